#ifndef KILL_AT_CALL_H
#define KILL_AT_CALL_H

/*
 * Linked into an executable, this stands before the calls of libc that change files, and kills the process (SIGKILL) just
 * before one of them: the only way to die in every gap between two of them, and not only in the long ones.
 */

/* The process is killed at the `number`th call from now on, counted from 1. */
void kill_at_call(long number);

#endif
