// What gRPC says on stderr.

#include <grpc/support/log.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "internal.hpp"

namespace perssd {

namespace {

// All else comes back as the status of a call or the failure of a start, where it can be understood.
void only_last_words(gpr_log_func_args *entry) {
    if (std::strstr(entry->message, "assertion failed") == nullptr) return;
    std::fprintf(stderr, "fatal: gRPC, %s:%d: %s\n", entry->file, entry->line, entry->message);
}

}  // namespace

void quiet_log() {
    static std::once_flag once;
    // Who sets gRPC's own variable for it wants to hear more.
    std::call_once(once, [] {
        if (std::getenv("GRPC_VERBOSITY") == nullptr) gpr_set_log_function(only_last_words);
    });
}

}  // namespace perssd
