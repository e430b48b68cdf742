/* Assertions: what must hold at a point of the code, and what nothing else checks.
 *
 * They are on with -DMP_ASSERTIONS=ON, which is the default with the tests. A condition that does not hold is written
 * to standard error with its place, and the process is aborted. Without the option nothing is compiled.
 *
 * An assertion is about what this process does. It must hold also while damaged shared memory is checked. */
#ifndef CHECK_H
#define CHECK_H

#ifdef MP_ASSERTIONS
#define MP_ASSERT(condition) ((condition) ? (void)0 : check_failed(#condition, __FILE__, __LINE__))
#else
#define MP_ASSERT(condition) ((void)sizeof(condition))
#endif

__attribute__((cold)) _Noreturn void check_failed(const char *condition, const char *file, int line);

#endif
