/* Which processes a program waits for at its end. Each case needs a program of its own: this one runs itself once for
 * each. */
#include <mp.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "stopwatch.h"

static int tell_later(void *arg)
{
    nap(0.3);
    printf("  the %s has finished\n", (const char *)arg);
    return 0;
}

static int tell_later_task(const void *arg, void *result)
{
    (void)result;
    return tell_later((void *)(uintptr_t)arg);
}

static void process_is_waited_for(void)
{
    mp_process *process;

    CHECK(mp_process_start(&process, tell_later, "process", NULL));
}

static void daemon_is_not(void)
{
    const mp_process_options options = {.daemon = MP_DAEMON_YES};
    mp_process *process;

    CHECK(mp_process_start(&process, tell_later, "daemon", &options));
}

static void pool_ends_with_the_program(void)
{
    mp_pool *pool;

    CHECK(mp_pool_create(&pool, 2, NULL));
    CHECK(mp_pool_apply_async(pool, tell_later_task, "task", sizeof "task", 0, NULL));
}

static void pool_is_joined(void)
{
    mp_pool *pool;

    CHECK(mp_pool_create(&pool, 2, NULL));
    CHECK(mp_pool_apply_async(pool, tell_later_task, "task", sizeof "task", 0, NULL));
    CHECK(mp_pool_close(pool));
    CHECK(mp_pool_join(pool));
}

static const struct {
    const char *name;
    void (*run)(void);
} cases[] = {
    {"a process is waited for", process_is_waited_for},
    {"a daemon is not", daemon_is_not},
    {"a pool's workers end with the main program", pool_ends_with_the_program},
    {"a pool that is closed and joined finishes first", pool_is_joined},
};

static int run_case(const char *program, int number)
{
    const char digit[] = {(char)('0' + number), 0};
    int status;

    printf("%s:\n", cases[number].name);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        execl(program, program, digit, (char *)NULL);
        _exit(127);
    }
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        cases[argv[1][0] - '0'].run();
        printf("  the main program ends\n");
        fflush(stdout); /* before the library waits for processes, at the end */
        return 0;
    }
    for (int i = 0; i < 4; i++) {
        if (run_case(argv[0], i) != 0)
            return 1;
    }
    return 0;
}
