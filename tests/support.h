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
/* A pause of a loop that wait_until() cannot be: one of another process, or one that also does something. */
void pause_us(long microseconds);
/* For wait_until(). `flag`: an atomic_int. */
bool is_set(void *flag);
/* Zeroed memory that is shared with all processes that are forked from here on. Without it the program ends. */
void *shared_memory(size_t size);
/* The number of elements of an array. */
#define COUNT(array) (sizeof(array) / sizeof *(array))
/* For other processes than the test's own, in which cmocka's assertions would run on in the parent's code: if it is not
 * so, they print it and exit with code 99. */
#define MUST(condition) ((condition) ? (void)0 : must_failed(#condition, __FILE__, __LINE__))
_Noreturn void must_failed(const char *condition, const char *file, int line);
int count_descriptors(void);
/* The parent of the process with that number in /proc; -1: it is gone. */
pid_t parent_of(const char *pid);
/* The number of live and zombie children of this process. */
int count_children(void);
/* The number of libmp's named objects of this user whose names contain this process's pid. Others may belong to tests
 * that run at the same time. */
int count_shared_files(void);
/* For wait_until(): reaps all children that have ended. True: no others are left. */
bool nobody_left(void *unused);
bool process_gone(pid_t pid);
/* No thread of the process runs any more. It may still be a zombie that its new parent has not reaped. */
bool process_ended(pid_t pid);
/* The state of a process or thread, as a letter of /proc: S for one that sleeps. X: it is gone. */
char process_state(pid_t pid);
/* For wait_until(). `pid`: a pid_t. */
bool is_gone(void *pid);
bool is_asleep(void *pid);

/* For pools: the square of an int. */
int square(const void *arg, void *result);
/* For processes. */
int do_nothing(void *unused);
/* Waits for the end of a child: its exit code, or minus the number of the signal. INT_MIN: it is no child. */
int end_of(pid_t pid);

/* A test with the file's setup and teardown. */
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)
/* Group setup and teardown: descriptors, children and shared files must be the same at the end as at the beginning. */
int leak_check_begin(void **state);
int leak_check_end(void **state);

#endif
