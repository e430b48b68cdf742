/* What the library's modules do when the process ends or forks. The order does not depend on which module was used
 * first. */
#ifndef LIFECYCLE_H
#define LIFECYCLE_H

#include <sys/types.h>

enum lifecycle_order {
    LIFECYCLE_HEAP,
    LIFECYCLE_HOLDER,
    LIFECYCLE_HOLD,
    LIFECYCLE_LOCK,
    LIFECYCLE_PROCESS,
    LIFECYCLE_POOL,
    LIFECYCLE_MODULES
};

/* Registers a module. at_end runs at a normal end of the process (exit, return from main, or lifecycle_end()), highest
 * order first. after_fork runs in the child of every fork, lowest order first, and makes the module's own state right
 * there. Either may be NULL. May be called again with the same functions. */
void lifecycle_register(enum lifecycle_order order, void (*at_end)(void), void (*after_fork)(void));
/* Runs the at_end functions, once in a process. Does nothing in a child in which no fork handler has run (_Fork(),
 * clone(), vfork()) and that has not used the library: what the modules know there is the parent's. */
void lifecycle_end(void);
/* getpid(), mostly without the system call. Right in every process that has its own memory, however it was made. In a
 * process in which no fork handler has run, the first call runs the after_fork functions. So a function calls this
 * before it asks whether something belongs to the calling process. */
pid_t lifecycle_pid(void);

#endif
