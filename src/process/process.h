/* The functions of Process that other modules use (process.c). */
#ifndef PROCESS_H
#define PROCESS_H

/* Flushes stdout and stderr. A stream that holds nothing is not touched: after a fork each page written is copied. */
void process_flush(void);
/* Ends the calling process as a child of the library ends: at_end functions, stdout and stderr flushed, _exit(code). */
_Noreturn void process_leave(int code);
/* Prepares, once in the parent, what each forked child would otherwise prepare for itself. */
void process_prepare(void);
#define WORKER_ROOM 24
/* In a forked child, whose parent has called process_prepare() before the fork: makes it the current process, and the
 * forking process the parent process. Its name is "PoolWorker-3", kept in `room`, and its own children are
 * "Process-3:1" and so on. It is a daemon. Does not tie it to its parent's life. */
void process_enter_worker(unsigned number, char room[WORKER_ROOM]);

#endif
