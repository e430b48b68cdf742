/* What the other modules need of Process (process.c). */
#ifndef PROCESS_H
#define PROCESS_H

#include <stdbool.h>

/* Flushes stdout and stderr. What holds nothing is not touched: after a fork each page written is copied. */
void process_flush(void);
/* Ends the calling process as a child of the library ends: at_end functions, stdout and stderr flushed, _exit(code). */
_Noreturn void process_leave(int code);
/* In the child of a fork: makes it the current process, and the one that forked it the parent process. `name` is kept,
 * not copied; what follows its last '-' ("PoolWorker-3") goes into the names of its own children ("Process-3:1"). Does
 * not tie it to its parent's life. */
void process_enter_child(const char *name, bool daemon);

#endif
