// Messages, metadata and time.

#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/support/time.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "internal.hpp"

namespace perssd {

grpc::ByteBuffer buffer(cgrpc_bytes bytes) {
    grpc::Slice slice(bytes.bytes, bytes.count);
    return grpc::ByteBuffer(&slice, 1);
}

gpr_timespec after(int64_t nanoseconds) {
    if (nanoseconds == CGRPC_NO_DEADLINE) return gpr_inf_future(GPR_CLOCK_MONOTONIC);
    gpr_timespec now = gpr_now(GPR_CLOCK_MONOTONIC);
    return nanoseconds <= 0 ? now : gpr_time_add(now, gpr_time_from_nanos(nanoseconds, GPR_TIMESPAN));
}

int64_t until(gpr_timespec time) {
    if (gpr_time_cmp(time, gpr_inf_future(time.clock_type)) == 0) return CGRPC_NO_DEADLINE;
    gpr_timespec left = gpr_time_sub(time, gpr_now(time.clock_type));
    if (left.tv_sec < 0) return 0;
    // A point in time some centuries away does not fit in nanoseconds.
    if (left.tv_sec > INT64_MAX / GPR_NS_PER_SEC - 1) return CGRPC_NO_DEADLINE;
    return left.tv_sec * GPR_NS_PER_SEC + left.tv_nsec;
}

void out_of_memory(const char *where) noexcept {
    std::fprintf(stderr, "fatal: out of memory in %s\n", where);
    std::abort();
}

}  // namespace perssd

size_t cgrpc_message_size(const cgrpc_message *message) {
    return reinterpret_cast<const grpc::ByteBuffer *>(message)->Length();
}

size_t cgrpc_message_copy(const cgrpc_message *message, uint8_t *target, size_t capacity) {
    try {
        std::vector<grpc::Slice> slices;
        if (!reinterpret_cast<const grpc::ByteBuffer *>(message)->Dump(&slices).ok()) return 0;
        size_t written = 0;
        for (const grpc::Slice &slice : slices) {
            size_t count = std::min(slice.size(), capacity - written);
            if (count == 0) continue;
            std::memcpy(target + written, slice.begin(), count);
            written += count;
        }
        return written;
    } catch (...) {
        perssd::out_of_memory("cgrpc_message_copy");
    }
}

bool cgrpc_entry_is_legal(cgrpc_entry entry) {
    grpc_slice key = grpc_slice_from_static_buffer(entry.key.bytes, entry.key.count);
    if (entry.key.count == 0 || !grpc_header_key_is_legal(key)) return false;
    if (grpc_is_binary_header(key)) return true;
    return grpc_header_nonbin_value_is_legal(grpc_slice_from_static_buffer(entry.value.bytes, entry.value.count)) != 0;
}

const char *cgrpc_version(void) { return grpc_version_string(); }
