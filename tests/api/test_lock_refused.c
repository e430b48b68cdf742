/* Systems that refuse what locks are based on. Without robust lists no process would learn of a death, so no lock is
 * made or opened. Without the rest everything works. Each test runs in a child, because refusals last. */
#include <errno.h>
#include <linux/futex.h>
#include <mp.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "refuse.h"
#include "support.h"

static char name[64], manager_name[64], new_name[64], new_manager_name[64];
static atomic_int *held; /* shared */

#define EXPECT(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition); \
            return 1; \
        } \
    } while (0)

/* ---- calls that make or open something ---- */

static mp_manager *first_manager;
static mp_lock *first_lock;

/* The call fails, and errno holds the reason. */
#define REFUSED(call) EXPECT((errno = 0, (call)) == MP_ESYSTEM && errno == error)

static int all_say_so(int error)
{
    const mp_lock_options named_lock = {new_name};
    const mp_manager_options named_manager = {.name = new_manager_name};
    mp_manager *manager;
    mp_lock *lock;
    mp_pool *pool;
    int descriptors = count_descriptors();

    REFUSED(mp_manager_create(&manager, NULL));
    REFUSED(mp_manager_create(&manager, &named_manager));
    REFUSED(mp_manager_open(&manager, manager_name, NULL));
    REFUSED(mp_lock_create(&lock, NULL));
    REFUSED(mp_lock_create(&lock, &named_lock));
    REFUSED(mp_lock_open(&lock, name, NULL));
    EXPECT(mp_lock_unlink(new_name) == MP_ENOENT);
    REFUSED(mp_pool_create(&pool, 1, NULL));
    EXPECT(count_descriptors() == descriptors);
    return 0;
}

static int all_works(int unused)
{
    const mp_lock_options named = {new_name};
    mp_manager *manager;
    mp_lock *lock;
    (void)unused;

    EXPECT(mp_manager_create(&manager, NULL) == 0);
    EXPECT(mp_manager_free(manager) == 0);
    EXPECT(mp_lock_create(&lock, &named) == 0);
    EXPECT(mp_lock_acquire(lock, MP_FOREVER) == 0);
    EXPECT(mp_lock_acquire(lock, MP_FOREVER) == MP_EDEADLK);
    EXPECT(mp_lock_free(lock) == MP_EBUSY);
    EXPECT(mp_lock_release(lock) == 0);
    EXPECT(mp_lock_free(lock) == 0);
    EXPECT(mp_lock_create(&lock, NULL) == 0);
    pid_t owner = fork();
    if (owner == 0) {
        mp_lock_acquire(lock, MP_FOREVER);
        raise(SIGKILL);
    }
    waitpid(owner, NULL, 0);
    EXPECT(mp_lock_acquire(lock, 20) == MP_EOWNERDEAD);
    *held = 0;
    pid_t waiter = fork(); /* holds up the lock long enough for a ticket */
    if (waiter == 0) {
        *held = 1;
        _exit(mp_lock_acquire(lock, 60) == 0 && mp_lock_release(lock) == 0 ? 0 : 1);
    }
    EXPECT(wait_until(is_set, held, 60) && wait_until(is_asleep, &waiter, 60));
    pause_us(20000);
    EXPECT(mp_lock_release(lock) == 0);
    int status;
    EXPECT(waitpid(waiter, &status, 0) == waiter && status == 0);
    EXPECT(mp_lock_free(lock) == 0);
    return 0;
}

static int refuse_robust_lists(int error)
{
    return refuse_call(SYS_set_robust_list, error);
}

static int refuse_looking_at_robust_lists(int error)
{
    return refuse_call(SYS_get_robust_list, error);
}

static int refuse_membarrier(int error)
{
    return refuse_call(SYS_membarrier, error);
}

static int refuse_some_wakes(int error)
{
    return refuse_call_with(SYS_futex, 1, (uint32_t)FUTEX_CMD_MASK, FUTEX_WAKE_BITSET, error);
}

static int refuse_kill(int error)
{
    return refuse_call(SYS_kill, error);
}

static const struct refused {
    const char *what;
    int (*refuse)(int error);
    int (*then)(int error);
} table[] = {
    {"set_robust_list", refuse_robust_lists, all_say_so},
    {"get_robust_list", refuse_looking_at_robust_lists, all_works},
    {"membarrier", refuse_membarrier, all_works},
    {"futex(FUTEX_WAKE_BITSET)", refuse_some_wakes, all_works},
    {"kill", refuse_kill, all_works},
};
static const int errors[] = {ENOSYS, EPERM};

static bool run(const struct refused *refused, int error, bool used_before)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        if (used_before && (mp_lock_acquire(first_lock, 0) != 0 || mp_lock_release(first_lock) != 0))
            _exit(2);
        if (refused->refuse(error) != 0)
            _exit(77);
        _exit(refused->then(error));
    }
    waitpid(pid, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        skip();
    if (status != 0)
        fprintf(stderr, "%s refused with %d: %x\n", refused->what, error, (unsigned)status);
    return status == 0;
}

static void each_call(void **state)
{
    bool right = true;
    (void)state;

    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        for (size_t k = 0; k < sizeof errors / sizeof *errors; k++) {
            right &= run(&table[i], errors[k], false);
            right &= run(&table[i], errors[k], true);
        }
    }
    assert_true(right);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_call)};
    const mp_lock_options lock_options = {name};
    const mp_manager_options manager_options = {.name = manager_name};

    snprintf(name, sizeof name, "test-refused-%d", (int)getpid());
    snprintf(manager_name, sizeof manager_name, "test-refused-too-%d", (int)getpid());
    snprintf(new_name, sizeof new_name, "test-refused-new-%d", (int)getpid());
    snprintf(new_manager_name, sizeof new_manager_name, "test-refused-new-too-%d", (int)getpid());
    held = shared_memory(sizeof *held);
    if (mp_lock_create(&first_lock, &lock_options) != 0 || mp_manager_create(&first_manager, &manager_options) != 0)
        return 1;
    int failed = cmocka_run_group_tests(tests, leak_check_begin, leak_check_end);
    return mp_manager_free(first_manager) != 0 || mp_lock_free(first_lock) != 0 ? 1 : failed;
}
