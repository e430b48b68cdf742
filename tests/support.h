/* What the tests share: waiting for conditions, and looking for leaks. */
#ifndef SUPPORT_H
#define SUPPORT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>
#include <unistd.h>

/* Seconds on the monotonic clock. */
double now(void);
/* Waits until cond(arg) is true; false when it still is not after so many seconds. */
bool wait_until(bool (*cond)(void *), void *arg, double seconds);
/* The same of a number that another thread or process counts up. */
bool reaches(_Atomic int *word, int number, double seconds);
/* In a child process, where cmocka's assertions would end in its parent's code. */
#define CHILD_REQUIRES(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            _exit(1); \
        } \
    } while (0)
int count_descriptors(void);
/* Of the process of that number in /proc; -1: it is gone. */
pid_t parent_of(const char *pid);
/* Live and zombie children of this process. */
int count_children(void);
/* libmp's named objects of this user whose names hold this process's pid: others may be those of tests beside. */
int count_shared_files(void);
bool process_gone(pid_t pid);
/* Whether its main thread sleeps. */
bool process_sleeps(pid_t pid);

/* Group setup and teardown: descriptors, children and shared files are as they were. */
int leak_check_begin(void **state);
int leak_check_end(void **state);

#endif
