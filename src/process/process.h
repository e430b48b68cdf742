/* What the other modules need of Process (process.c). */
#ifndef PROCESS_H
#define PROCESS_H

/* Flushes stdout and stderr. What holds nothing is not touched: after a fork each page written is copied. */
void process_flush(void);
/* Ends the calling process as a child of the library ends: at_end functions, stdout and stderr flushed, _exit(code). */
_Noreturn void process_leave(int code);
/* Makes ready what else each forked child would have to make ready for itself. */
void process_prepare(void);
#define WORKER_ROOM 24
/* In the child of a fork, after process_prepare() before it: makes it the current process, and the one that forked it
 * the parent process. It is called "PoolWorker-3", which is kept in `room`, and its own children "Process-3:1" and so
 * on; it is a daemon. Does not tie it to its parent's life. */
void process_enter_worker(unsigned number, char room[WORKER_ROOM]);

#endif
