// Tells ThreadSanitizer what gRPC guarantees: what was done before an operation was started is seen by the callback that
// answers it, and what a callback did by the call's later callbacks. It can't see that by itself, because the library
// is not built with it.

#pragma once

namespace perssd {

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define PERSSD_THREAD_SANITIZER
#endif
#endif

#ifdef PERSSD_THREAD_SANITIZER
extern "C" void __tsan_acquire(void *address);
extern "C" void __tsan_release(void *address);

inline void hand_over(void *reactor) { __tsan_release(reactor); }
inline void take_over(void *reactor) { __tsan_acquire(reactor); }
#else
inline void hand_over(void *) {}
inline void take_over(void *) {}
#endif

/// For the length of a callback that is not the call's last.
struct Callback {
    explicit Callback(void *reactor) : reactor(reactor) { take_over(reactor); }
    ~Callback() { hand_over(reactor); }
    void *reactor;
};

}  // namespace perssd
