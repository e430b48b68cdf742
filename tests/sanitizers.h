/* Differences of tests that are built with a sanitizer, and their workarounds for sanitizers. */
#ifndef SANITIZERS_H
#define SANITIZERS_H

#include <pthread.h>
#include <stdlib.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) && !defined(ASAN)
#define ASAN 1
#endif
#if defined(__SANITIZE_THREAD__) && !defined(TSAN)
#define TSAN 1
#endif
#ifndef ASAN
#define ASAN 0
#endif
#ifndef TSAN
#define TSAN 0
#endif

#if ASAN
#include <sanitizer/asan_interface.h>

/* ASan marks the gaps between the variables of a frame, and the frame removes its marks when it returns. A frame that
 * is unwound because its thread was cancelled does not, so the next use of that part of the stack is reported. For
 * pthread_exit() and longjmp() the compiler sees the call, and ASan removes the marks there by itself. */
struct cancellable {
    void *(*function)(void *);
    void *arg, *stack;
    size_t size;
};

static inline void cancellable_take_marks_away(void *arg)
{
    const struct cancellable *thread = arg;

    __asan_unpoison_memory_region(thread->stack, thread->size);
}

/* The outermost frame of such a thread. It finds the bounds of its stack before there are marks on it. */
static inline void *cancellable_run(void *arg)
{
    struct cancellable thread = *(struct cancellable *)arg;
    pthread_attr_t attributes;
    void *result;

    free(arg);
    if (pthread_getattr_np(pthread_self(), &attributes) != 0 ||
        pthread_attr_getstack(&attributes, &thread.stack, &thread.size) != 0)
        abort();
    pthread_attr_destroy(&attributes);
    pthread_cleanup_push(cancellable_take_marks_away, &thread);
    result = thread.function(thread.arg);
    pthread_cleanup_pop(0);
    return result;
}
#endif

/* Like pthread_create(), for a thread that may be cancelled. */
static inline int create_cancellable(pthread_t *thread, void *(*function)(void *), void *arg)
{
#if ASAN
    struct cancellable *start = malloc(sizeof *start);

    if (start == NULL)
        abort();
    *start = (struct cancellable){.function = function, .arg = arg};
    return pthread_create(thread, NULL, cancellable_run, start);
#else
    return pthread_create(thread, NULL, function, arg);
#endif
}

/* For LeakSanitizer, in a test whose main thread ends before its process: only that thread's stack led to the memory
 * that cmocka has allocated for the run. Used outside of all functions. */
#if ASAN
#define LEAKS_OF(functions) \
    const char *__lsan_default_suppressions(void); \
    const char *__lsan_default_suppressions(void) \
    { \
        return functions; \
    }
#else
#define LEAKS_OF(functions)
#endif
/* Makes LeakSanitizer search a process for leaks at its end only if `condition` is true there. Used outside of all
 * functions. */
#if ASAN
#define LEAKS_ONLY_IF(condition) \
    int __lsan_is_turned_off(void); \
    int __lsan_is_turned_off(void) \
    { \
        return !(condition); \
    }
#else
#define LEAKS_ONLY_IF(condition)
#endif

/* For a test with children that LeakSanitizer cannot search, because they have another user or other namespaces. */
#define LEAKS_ONLY_IN(first) LEAKS_ONLY_IF(getpid() == (first))

#define LEAKS_OF_CMOCKA "leak:_cmocka_run_group_tests\n"

#endif
