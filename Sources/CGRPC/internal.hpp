// What the parts of CGRPC share with each other.

#pragma once

#include <grpcpp/grpcpp.h>
#include <grpcpp/support/byte_buffer.h>

#include <memory>
#include <string>
#include <vector>

#include "cgrpc.h"

namespace perssd {

inline std::string text(cgrpc_bytes bytes) {
    return std::string(reinterpret_cast<const char *>(bytes.bytes), bytes.count);
}

inline cgrpc_bytes view(const std::string &text) {
    return cgrpc_bytes{reinterpret_cast<const uint8_t *>(text.data()), text.size()};
}

inline cgrpc_bytes view(grpc::string_ref text) {
    return cgrpc_bytes{reinterpret_cast<const uint8_t *>(text.data()), text.size()};
}

/// A copy of the bytes that gRPC owns.
grpc::ByteBuffer buffer(cgrpc_bytes bytes);

/// The same object, as C sees it.
inline const cgrpc_message *message(const grpc::ByteBuffer &buffer) {
    return reinterpret_cast<const cgrpc_message *>(&buffer);
}

/// Nanoseconds from now on as a point in time. Anything not above zero is now.
gpr_timespec after(int64_t nanoseconds);

/// Nanoseconds until a point in time, at least 0; CGRPC_NO_DEADLINE for the infinite future.
int64_t until(gpr_timespec time);

std::shared_ptr<grpc::ServerCredentials> server_credentials(const cgrpc_tls *tls);
std::shared_ptr<grpc::ChannelCredentials> channel_credentials(const cgrpc_tls *tls);

/// Keeps gRPC from writing to stderr, unless its variable GRPC_VERBOSITY is set. To be called before anything else.
void quiet_log();

/// What a library cannot go on without (memory) is missing: ends the process, as Swift does in this case.
[[noreturn]] void out_of_memory(const char *where) noexcept;

}  // namespace perssd
