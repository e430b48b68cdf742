/* Process: starting, watching, joining and ending children. The registry of children: process_registry.h. How they end:
 * process_end.h. Daemons: process_lifeline.h.
 *
 * OUTPUT. Buffered output is flushed before the fork, so that it comes before what the child prints. What another
 * thread buffers between the flush and the fork is printed by the parent: the child discards its copy. */
#include "process/process.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cancelling.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/lifecycle.h"
#include "base/stream.h"
#include "base/this_process.h"
#include "heap/ranges.h"
#include "process/process_end.h"
#include "process/process_lifeline.h"
#include "process/process_name.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void after_fork(void)
{
    process_lifeline_after_fork();
    registry_after_fork();
    process_name_after_fork();
}

static void initialise(void)
{
    lifecycle_register(LIFECYCLE_PROCESS, process_lifeline_end, after_fork);
    uint64_t signals = signals_set(SIGNALS_ALL); /* as start() in lifecycle.c does */
    pthread_atfork(registry_before_fork, registry_fork_done, registry_fork_done);
    signals_set(signals);
    process_self.pid = lifecycle_pid();
    registry_begin();
}

void process_flush(void)
{
    stream_flush(stdout);
    stream_flush(stderr);
}

/* In a forked child: discards buffered output, which the parent prints. */
static void discard_output(void)
{
    stream_discard(stdout);
    stream_discard(stderr);
}

_Noreturn void process_leave(int code)
{
    lifecycle_end();
    if (stream_is_empty(stdout) && stream_is_empty(stderr))
        _exit(code);
    cancelling_forbid();
    fflush(stdout);
    fflush(stderr);
    _exit(code);
}

/* ---- starting ---- */

void process_prepare(void)
{
    pthread_once(&once, initialise);
}

void process_enter_worker(unsigned number, char room[WORKER_ROOM])
{
    static const char prefix[] = "PoolWorker-";
    char *identity = room + strlen(prefix);

    memcpy(room, prefix, strlen(prefix));
    *process_name_number(identity, number) = '\0';
    discard_output();
    process_name_enter(room, identity, true);
}

static _Noreturn void run_child(const struct mp_process *process, mp_process_function *function, void *arg,
                                uint64_t signals)
{
    process_lifeline_starting(NULL);
    if (process->daemon)
        process_lifeline_take(process_creator.pid);
    discard_output();
    process_name_enter(process->name, process->identity, process->daemon);
    signals_set(signals);
    process_leave(function(arg));
}

static int check_options(const mp_process_options *options)
{
    if (options == NULL)
        return 0;
    if ((int)options->daemon < MP_DAEMON_INHERIT || (int)options->daemon > MP_DAEMON_NO)
        return MP_EINVAL;
    return process_name_check(options->name);
}

/* Makes a handle and enters it in the registry. */
static int prepare(struct mp_process **result, const mp_process_options *options, unsigned number)
{
    struct mp_process *process = registry_take_spare();
    enum mp_daemon daemon = options != NULL ? options->daemon : MP_DAEMON_INHERIT;

    if (process == NULL)
        return MP_ENOMEM;
    *process = (struct mp_process){
        .generation = registry_generation, .exitcode = MP_EXITCODE_NONE, .made_before = process->made_before};
    process->pidfd.fd = process->lifeline[0].fd = process->lifeline[1].fd = -1;
    process->daemon = daemon == MP_DAEMON_INHERIT ? process_self.daemon : daemon == MP_DAEMON_YES;
    int error = process_name_set(process, options != NULL ? options->name : NULL, number);

    registry_lock();
    if (error == 0)
        error = process_lifeline_make(process);
    if (error == 0)
        registry_link(process);
    else
        registry_put_spare(process);
    registry_unlock();
    *result = process;
    return error;
}

/* Undoes prepare(). */
static void discard(struct mp_process *process)
{
    registry_lock();
    registry_unlink(process);
    registry_release(process);
    registry_unlock();
}

/* Forks the process. All signals are blocked; `signals` is the mask from before. */
static int start(struct mp_process *process, mp_process_function *function, void *arg, uint64_t signals)
{
    process_lifeline_starting(process->has_lifeline ? process : NULL);
    pid_t pid = fork();
    if (pid == 0)
        run_child(process, function, arg, signals);
    int number = errno;
    process_lifeline_starting(NULL);
    if (pid < 0)
        return system_error(number);
    registry_note_started(process, pid);
    return 0;
}

static int make_and_start(mp_process **process, mp_process_function *function, void *arg,
                          const mp_process_options *options)
{
    struct mp_process *made;
    unsigned number;

    process_flush();
    uint64_t signals = signals_set(SIGNALS_ALL);
    number = process_name_take();
    int error = prepare(&made, options, number);
    if (error == 0) {
        error = start(made, function, arg, signals);
        if (error != 0)
            discard(made);
    }
    if (error == 0) {
        *process = made;
    } else {
        process_name_return(number);
    }
    signals_set(signals);
    return error;
}

int mp_process_start(mp_process **process, mp_process_function *function, void *arg, const mp_process_options *options)
{
    int error = process != NULL && function != NULL ? check_options(options) : MP_EINVAL;

    if (error != 0)
        return error;
    process_prepare();
    lifecycle_pid();
    return make_and_start(process, function, arg, options);
}

/* ---- handles ---- */

/* Whether the memory of the handle exists here. In the worker of a pool, a handle made after the fork may lead to
 * memory that does not. The caller holds the mutex. */
static bool is_there(const mp_process *process)
{
    return range_is_taken_as_known(process) || process == &process_self || process == &process_creator ||
           registry_has(process);
}

/* The caller holds the mutex. */
static bool is_live(const mp_process *process)
{
    return process != NULL && range_is_address(process, _Alignof(mp_process)) && is_there(process) &&
           process->magic == PROCESS_MAGIC;
}

/* Locks the mutex if the handle is that of a child of this process. */
static int lock_child(mp_process *process)
{
    int error = 0;

    if (process == NULL)
        return MP_EINVAL;
    pthread_once(&once, initialise);
    registry_lock();
    if (!is_live(process))
        error = MP_EINVAL;
    else if (process == &process_self || process == &process_creator || process->generation != registry_generation)
        error = MP_EFOREIGN;
    if (error != 0)
        registry_unlock();
    return error;
}

int mp_process_join(mp_process *process, double timeout)
{
    int64_t deadline;
    int error = clock_deadline(timeout, &deadline) ? lock_child(process) : MP_EINVAL;

    if (error != 0)
        return error;
    error = process_wait(process, deadline);
    registry_unlock();
    return error;
}

int mp_process_free(mp_process *process)
{
    int error;

    if (process == NULL)
        return 0;
    error = lock_child(process);
    if (error != 0)
        return error;
    process_reap(process);
    if (process->ended) {
        process->magic = 0;
        registry_release(process);
    } else {
        error = MP_EBUSY;
    }
    registry_unlock();
    return error;
}

int mp_process_exitcode(mp_process *process, int *exitcode)
{
    int error = exitcode != NULL ? lock_child(process) : MP_EINVAL;

    if (error != 0)
        return error;
    process_reap(process);
    *exitcode = process->exitcode;
    registry_unlock();
    return 0;
}

int mp_process_is_alive(mp_process *process, bool *alive)
{
    int error;

    if (alive == NULL || process == NULL)
        return MP_EINVAL;
    if (process == &process_self || (process == &process_creator && process_has_creator)) {
        *alive = process == &process_self || process_parent_lives(process_creator.pid);
        return 0;
    }
    error = lock_child(process);
    if (error != 0)
        return error;
    process_reap(process);
    *alive = !process->ended;
    registry_unlock();
    return 0;
}

static int signal_child(mp_process *process, int number)
{
    int error = lock_child(process);

    if (error != 0)
        return error;
    error = process_signal(process, number);
    registry_unlock();
    return error;
}

int mp_process_terminate(mp_process *process)
{
    return signal_child(process, SIGTERM);
}

int mp_process_kill(mp_process *process)
{
    return signal_child(process, SIGKILL);
}

int mp_process_interrupt(mp_process *process)
{
    return signal_child(process, SIGINT);
}

/* Locks the mutex if the handle is live. Handles of another process are allowed too: their data is the copy made by the
 * fork. */
static int lock_any(const mp_process *process)
{
    pthread_once(&once, initialise);
    registry_lock();
    if (is_live(process))
        return 0;
    registry_unlock();
    return MP_EINVAL;
}

int mp_process_pid(mp_process *process, pid_t *pid)
{
    int error = pid != NULL ? lock_any(process) : MP_EINVAL;

    if (error != 0)
        return error;
    *pid = process->pid;
    registry_unlock();
    return 0;
}

const char *mp_process_name(mp_process *process)
{
    const char *name;

    if (lock_any(process) != 0)
        return "";
    name = process->name;
    registry_unlock();
    return name;
}

int mp_process_is_daemon(mp_process *process, bool *daemon)
{
    int error = daemon != NULL ? lock_any(process) : MP_EINVAL;

    if (error != 0)
        return error;
    *daemon = process->daemon;
    registry_unlock();
    return 0;
}

int mp_process_children(mp_process **processes, size_t capacity, size_t *count)
{
    struct mp_process *next;
    size_t found = 0;

    if (count == NULL || (processes == NULL && capacity > 0))
        return MP_EINVAL;
    pthread_once(&once, initialise);
    registry_lock();
    for (struct mp_process *process = registry_oldest; process != NULL; process = next) {
        next = process->next;
        if (process->pid == 0)
            continue;
        process_reap(process);
        if (process->ended)
            continue;
        if (found < capacity)
            processes[found] = process;
        found++;
    }
    registry_unlock();
    *count = found;
    return 0;
}

mp_process *mp_process_current(void)
{
    pthread_once(&once, initialise);
    lifecycle_pid();
    return &process_self;
}

mp_process *mp_process_parent(void)
{
    pthread_once(&once, initialise);
    lifecycle_pid();
    return process_has_creator ? &process_creator : NULL;
}
