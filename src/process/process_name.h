/* The calling process and its parent process as they appear to the user, and how children are named. */
#ifndef PROCESS_NAME_H
#define PROCESS_NAME_H

#include "process/process_registry.h"

extern struct mp_process process_self, process_creator;
extern bool process_has_creator;

/* 0 or MP_ENAME; NULL is no name, and allowed. */
int process_name_check(const char *name);
/* The number of the next child. It is returned if that cannot be started: then the next one gets it, unless another
 * thread has started one meanwhile. */
unsigned process_name_take(void);
void process_name_return(unsigned number);
/* Stores the identity of the child with that number, and its name: the one given, or "Process-" and the identity. 0 or
 * MP_ENOMEM. */
int process_name_set(struct mp_process *process, const char *name, unsigned number);
/* Writes a number in decimal, without a NUL. Returns where it ends. */
char *process_name_number(char *to, unsigned number);
/* In a forked child: makes it the current process, and the forking process the parent process. */
void process_name_enter(const char *name, const char *identity, bool daemon);
void process_name_after_fork(void);

#endif
