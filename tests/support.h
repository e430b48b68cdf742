/* Shared by the tests: waiting for conditions, and checking for leaks. */
#ifndef SUPPORT_H
#define SUPPORT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>
#include <unistd.h>

/* Seconds on the monotonic clock. */
double now(void);
/* Waits until cond(arg) is true. False: it still is not after that many seconds. */
bool wait_until(bool (*cond)(void *), void *arg, double seconds);
/* Like wait_until(), until a number that another thread or process counts up reaches `number`. */
bool reaches(_Atomic int *word, int number, double seconds);
/* For a child process, where cmocka's assertions would run on in the parent's code. */
#define CHILD_REQUIRES(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            _exit(1); \
        } \
    } while (0)
int count_descriptors(void);
/* The parent of the process with that number in /proc; -1: it is gone. */
pid_t parent_of(const char *pid);
/* The number of live and zombie children of this process. */
int count_children(void);
/* The number of libmp's named objects of this user whose names contain this process's pid. Others may belong to tests
 * that run at the same time. */
int count_shared_files(void);
bool process_gone(pid_t pid);
/* Whether the main thread of the process sleeps. */
bool process_sleeps(pid_t pid);

/* Group setup and teardown: descriptors, children and shared files must be the same at the end as at the beginning. */
int leak_check_begin(void **state);
int leak_check_end(void **state);

#endif
