#define _GNU_SOURCE
#include "clinux.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FILE_SYSTEM = 0, LIFELINE = 1 };

/* After a fork of a process with threads nothing may be called that could wait for one of them: system calls only. */
static void guard(int descriptor, int lifeline, int milliseconds) {
    setsid();
    prctl(PR_SET_NAME, "perssd-thaw", 0, 0, 0);
    /* Neither may be overwritten by the other's copy. */
    descriptor = fcntl(descriptor, F_DUPFD, 2);
    lifeline = fcntl(lifeline, F_DUPFD, 2);
    if (descriptor < 0 || lifeline < 0) _exit(2);
    if (dup2(descriptor, FILE_SYSTEM) < 0 || dup2(lifeline, LIFELINE) < 0) _exit(2);
    /* All else goes, the lifeline's other end above all. */
    if (close_range(LIFELINE + 1, ~0U, 0) != 0) _exit(2);
    for (;;) {
        struct pollfd waiting = {.fd = LIFELINE, .events = POLLIN};
        int ready = poll(&waiting, 1, milliseconds);
        if (ioctl(FILE_SYSTEM, FITHAW, 0) == 0) _exit(1);
        if (errno != EINVAL) _exit(2);
        /* Not frozen: not any more, or, after a pause that has passed, not yet. */
        if (ready != 0) _exit(0);
    }
}

pid_t clinux_start_thaw_guard(int descriptor, int milliseconds, int *lifeline) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return -1;
    sigset_t all, before;
    sigfillset(&all);
    /* What ends the parent is not to end the guard. */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t process = fork();
    if (process == 0) guard(descriptor, ends[0], milliseconds);
    int error = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    close(ends[0]);
    if (process < 0) {
        close(ends[1]);
        errno = error;
        return -1;
    }
    *lifeline = ends[1];
    return process;
}

int clinux_exit_status(pid_t process) {
    int status = 0;
    pid_t result;
    do {
        result = waitpid(process, &status, 0);
    } while (result < 0 && errno == EINTR);
    if (result < 0) return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}
