#define _GNU_SOURCE
#include "KillAtCall.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* 0 while no call is meant to be the last. */
static atomic_long calls_left;

void kill_at_call(long number) { atomic_store(&calls_left, number); }

static void count(void) {
    if (atomic_load(&calls_left) > 0 && atomic_fetch_sub(&calls_left, 1) == 1) {
        kill(getpid(), SIGKILL);
        pause();
    }
}

int fsync(int descriptor) {
    count();
    return (int)syscall(SYS_fsync, descriptor);
}

int ftruncate(int descriptor, off_t length) {
    count();
    return (int)syscall(SYS_ftruncate, descriptor, length);
}

ssize_t pwrite(int descriptor, const void *buffer, size_t size, off_t offset) {
    count();
    return syscall(SYS_pwrite64, descriptor, buffer, size, offset);
}

int rename(const char *from, const char *to) {
    count();
    return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int renameat2(int from_directory, const char *from, int to_directory, const char *to, unsigned int flags) {
    count();
    return (int)syscall(SYS_renameat2, from_directory, from, to_directory, to, flags);
}

int unlink(const char *path) {
    count();
    return (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}

int rmdir(const char *path) {
    count();
    return (int)syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR);
}

int mkdir(const char *path, mode_t mode) {
    count();
    return (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}

/* Loop devices are attached and detached, and files are cloned, by this. */
int ioctl(int descriptor, unsigned long request, ...) {
    va_list arguments;
    va_start(arguments, request);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    count();
    return (int)syscall(SYS_ioctl, descriptor, request, argument);
}
