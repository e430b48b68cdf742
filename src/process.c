/* Process: starting, watching, joining and ending children.
 *
 * WHO MAY DO WHAT. A child belongs to the process that started it (`owner`): all others get MP_EFOREIGN. The live ones
 * are in a registry, oldest first; one leaves it in the instant in which it is found to have ended, which is also when
 * it is reaped.
 *
 * THREADS. One mutex guards the registry and every handle. It is never held while waiting: a waiter counts itself in
 * `waiters`, lets the mutex go, sleeps on the pidfd, and takes the mutex again to look. Whoever comes first reaps; the
 * others find the exit code. The pidfd is closed, and the memory of a freed handle given back, by the last waiter.
 * Memory of handles is kept for new handles and never returned, so that a stale handle always leads to a magic number
 * that can be looked at.
 *
 * FORK. Any fork, of the program's own too, takes the mutex first, so the child finds the registry whole; the child
 * then closes the descriptors of its brothers and forgets them. An entry is in the registry before its process is
 * forked (with pid 0), so that a fork by another thread in that very moment closes its descriptors, too.
 *
 * REAPING. Only our own children, one by one. A program that reaps them itself, or ignores SIGCHLD, takes the exit
 * code with it: MP_EXITCODE_UNKNOWN. Signals go through the pidfd, which never means another process. Without one
 * (descriptors had run out) the pid has to do, which is ours until it is reaped; waits then look again and again.
 *
 * DAEMONS end with their parent however that ends. A child of the main thread asks the kernel for SIGKILL at its
 * parent's death, then looks whether it has happened already. The kernel counts the end of the forking *thread* as
 * that death, so a child of any other thread gets a leash: a pipe whose write end only the parent holds. When the
 * parent is gone the kernel closes it, and sends the reader the signal it asked for. */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <mp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lifecycle.h"
#include "platform.h"

#define MAGIC UINT64_C(0x6d705f70726f6331)
#define NAME_LENGTH 200
#define SECOND INT64_C(1000000000)
#define GRACE SECOND /* between a daemon's SIGTERM and its SIGKILL at exit */
#define FIRST_PAUSE INT64_C(100000)
#define LONGEST_PAUSE INT64_C(10000000)

struct mp_process {
    uint64_t magic;                     /* MAGIC while the handle is live */
    struct mp_process *previous, *next; /* in the registry; `next` also in the list of spare handles */
    pid_t owner;                        /* who started it */
    pid_t pid;                          /* 0: about to be forked */
    int pidfd;                          /* -1: none */
    int leash[2];                       /* read and write end; -1: none */
    int waiters;
    bool ended; /* and reaped, and out of the registry */
    bool daemon;
    int exitcode;
    const char *name;
    const char *identity; /* "2:1": the second child's first child */
    char *memory;         /* of name and identity */
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct mp_process *oldest, *newest;
static struct mp_process *spare;
static struct mp_process *unfreed; /* ended at this process's end */

static struct mp_process self = {.magic = MAGIC, .name = "MainProcess", .identity = ""};
static struct mp_process creator = {.magic = MAGIC};
static bool has_creator;
static int own_leash = -1; /* read end of the leash this process is on; -1: none */
static _Atomic unsigned children_started;
static _Thread_local struct mp_process *starting; /* what this thread is about to fork */
static _Thread_local int cancel_state;            /* while it holds the mutex: what to go back to */

/* What is called under the mutex has cancellation points, and must not be left half done: no cancelling until
 * unlock(). */
static void lock(void)
{
    int state;

    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    pthread_mutex_lock(&mutex);
    cancel_state = state;
}

static void unlock(void)
{
    int state = cancel_state;

    pthread_mutex_unlock(&mutex);
    pthread_setcancelstate(state, NULL);
}

/* ---- descriptors and memory of handles ---- */

static void close_descriptor(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void close_descriptors(struct mp_process *process)
{
    close_descriptor(&process->pidfd);
    close_descriptor(&process->leash[0]);
    close_descriptor(&process->leash[1]);
}

static void put_spare(struct mp_process *process)
{
    free(process->memory);
    process->memory = NULL;
    process->magic = 0;
    process->next = spare;
    spare = process;
}

static struct mp_process *take_spare(void)
{
    struct mp_process *process;

    lock();
    process = spare;
    if (process != NULL)
        spare = process->next;
    unlock();
    return process != NULL ? process : malloc(sizeof *process);
}

/* After the process has ended: lets go of what no waiter needs any more. */
static void release(struct mp_process *process)
{
    if (process->waiters > 0)
        return;
    close_descriptors(process);
    if (process->magic != MAGIC)
        put_spare(process);
}

/* ---- the registry ---- */

static void link_newest(struct mp_process *process)
{
    process->previous = newest;
    process->next = NULL;
    if (newest != NULL)
        newest->next = process;
    else
        oldest = process;
    newest = process;
}

static void unlink_process(struct mp_process *process)
{
    if (process->previous != NULL)
        process->previous->next = process->next;
    else
        oldest = process->next;
    if (process->next != NULL)
        process->next->previous = process->previous;
    else
        newest = process->previous;
}

static void before_fork(void)
{
    pthread_mutex_lock(&mutex);
}

/* In the parent and, after after_fork(), in the child. */
static void fork_done(void)
{
    pthread_mutex_unlock(&mutex);
}

/* In the child of any fork, under the mutex, which the forking thread holds. */
static void after_fork(void)
{
    close_descriptor(&own_leash);
    for (struct mp_process *process = oldest; process != NULL; process = process->next) {
        if (process == starting) {
            own_leash = process->leash[0];
            process->leash[0] = -1;
        }
        close_descriptors(process);
        process->owner = -1; /* nobody's, whatever pids come round again */
    }
    oldest = newest = NULL;
    has_creator = false;
    creator.pid = self.pid;
    self.pid = lifecycle_pid();
}

/* ---- the end of a child ---- */

/* Reaps it if it has ended. Under the mutex. */
static void reap(struct mp_process *process)
{
    int exitcode = MP_EXITCODE_UNKNOWN;
    int found;

    if (process->ended)
        return;
    found = child_reap(process->pid, process->pidfd, &exitcode);
    if (found == MP_ESYSTEM) {
        process->pidfd = -1; /* the program has closed it; its number may be another's by now */
        found = child_reap(process->pid, -1, &exitcode);
    }
    if (found == 0)
        return;
    process->exitcode = exitcode;
    process->ended = true;
    unlink_process(process);
    release(process);
}

struct patience {
    int64_t deadline;
    int64_t pause;
    bool readable; /* the pidfd was */
};

static struct timespec until(int64_t deadline, int64_t most)
{
    int64_t left = deadline - clock_now();

    if (left > most)
        left = most;
    if (left < 0)
        left = 0;
    return (struct timespec){.tv_sec = (time_t)(left / SECOND), .tv_nsec = (long)(left % SECOND)};
}

/* Sleeps until the process may have ended, or the deadline, or a signal. A debugger may keep a process that has ended
 * from being reaped: so what is readable, and still not reaped, is looked at with pauses, as if there was no pidfd. */
static void wait_a_while(int pidfd, struct patience *patience)
{
    struct pollfd watch = {.fd = pidfd, .events = POLLIN};
    struct timespec time;

    if (pidfd >= 0 && !patience->readable) {
        time = until(patience->deadline, INT64_MAX);
        patience->readable = ppoll(&watch, 1, patience->deadline == DEADLINE_NEVER ? NULL : &time, NULL) > 0;
        return;
    }
    time = until(patience->deadline, patience->pause);
    nanosleep(&time, NULL);
    patience->pause = patience->pause * 2 < LONGEST_PAUSE ? patience->pause * 2 : LONGEST_PAUSE;
}

/* Under the mutex, which is let go meanwhile. The handle may have been freed afterwards. */
static int wait_until_ended(struct mp_process *process, int64_t deadline)
{
    struct patience patience = {.deadline = deadline, .pause = FIRST_PAUSE};
    bool ended;

    process->waiters++;
    for (;;) {
        int pidfd;

        reap(process);
        ended = process->ended;
        if (ended || (deadline != DEADLINE_NEVER && clock_now() >= deadline))
            break;
        pidfd = process->pidfd;
        pthread_mutex_unlock(&mutex);
        wait_a_while(pidfd, &patience);
        pthread_mutex_lock(&mutex);
    }
    process->waiters--;
    if (ended)
        release(process);
    return ended ? 0 : MP_ETIMEOUT;
}

/* Under the mutex. */
static int send_signal(struct mp_process *process, int number)
{
    reap(process);
    if (process->ended)
        return 0;
    if (process->pidfd >= 0)
        return pidfd_signal(process->pidfd, number);
    return kill(process->pid, number) == 0 || errno == ESRCH ? 0 : MP_ESYSTEM;
}

/* ---- the end of this process ---- */

static struct mp_process *oldest_of(bool daemon)
{
    struct mp_process *process = oldest;

    while (process != NULL && (process->pid == 0 || process->daemon != daemon))
        process = process->next;
    return process;
}

static void signal_daemons(int number)
{
    struct mp_process *next;

    for (struct mp_process *process = oldest; process != NULL; process = next) {
        next = process->next;
        if (process->pid != 0 && process->daemon)
            send_signal(process, number);
    }
}

/* A handle whose process was running at the end could not be freed before. It stays in a list of such, where leak
 * checkers see that it is not lost. Under the mutex, which is let go meanwhile. */
static bool end_child(struct mp_process *process, int64_t deadline)
{
    if (wait_until_ended(process, deadline) != 0)
        return false;
    if (process->magic == MAGIC) {
        process->next = unfreed;
        unfreed = process;
    }
    return true;
}

static void at_end(void)
{
    int64_t deadline = clock_now() + GRACE;
    struct mp_process *process;

    lock();
    signal_daemons(SIGTERM);
    while ((process = oldest_of(true)) != NULL) {
        if (end_child(process, deadline))
            continue;
        signal_daemons(SIGKILL); /* again and again, should it not be permitted just now */
        deadline = clock_now() + GRACE;
    }
    while ((process = oldest_of(false)) != NULL)
        end_child(process, DEADLINE_NEVER);
    unlock();
}

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void initialise(void)
{
    lifecycle_register(LIFECYCLE_PROCESS, at_end, after_fork);
    pthread_atfork(before_fork, fork_done, fork_done);
    self.pid = lifecycle_pid();
}

_Noreturn void process_leave(int code)
{
    lifecycle_end();
    fflush(stdout);
    fflush(stderr);
    _exit(code);
}

/* ---- starting ---- */

static void enter(const char *name, const char *identity, bool daemon)
{
    creator.name = self.name;
    creator.identity = self.identity;
    creator.daemon = self.daemon;
    has_creator = true;
    self.name = name;
    self.identity = identity;
    self.daemon = daemon;
    atomic_store(&children_started, 0);
    process_title(name);
}

void process_enter_child(const char *name, bool daemon)
{
    const char *dash = strrchr(name, '-');

    pthread_once(&once, initialise);
    if (creator.pid == 0)
        creator.pid = getppid(); /* the fork was before the first use of this module */
    enter(name, dash != NULL ? dash + 1 : "", daemon);
}

/* A dead parent's children are given to another process, whose pid is another: it was there already when the parent
 * was. (0: the parent is in another pid namespace.) */
static bool parent_lives(pid_t parent)
{
    pid_t now = getppid();

    return now == parent || now == 0;
}

static bool hung_up(int fd)
{
    struct pollfd watch = {.fd = fd, .events = POLLIN};

    return poll(&watch, 1, 0) > 0;
}

/* Makes this process end with its parent: at once, and in the same way, if that is gone already. */
static void tie_to_parent(pid_t parent)
{
    bool tied = true;

    if (own_leash < 0)
        death_signal(SIGKILL);
    else
        tied = hangup_signal_take(own_leash) == 0 && !hung_up(own_leash);
    if (!tied || !parent_lives(parent))
        kill(getpid(), SIGKILL);
}

static _Noreturn void run_child(const struct mp_process *process, mp_process_function *function, void *arg)
{
    if (process->daemon)
        tie_to_parent(creator.pid);
    enter(process->name, process->identity, process->daemon);
    process_leave(function(arg));
}

static int check_options(const mp_process_options *options)
{
    size_t length;

    if (options == NULL)
        return 0;
    if ((int)options->daemon < MP_DAEMON_INHERIT || (int)options->daemon > MP_DAEMON_NO)
        return MP_EINVAL;
    if (options->name == NULL)
        return 0;
    length = strnlen(options->name, NAME_LENGTH + 1);
    return length == 0 || length > NAME_LENGTH ? MP_ENAME : 0;
}

/* Stores the identity of the child with that number, and its name: the one given, or "Process-" and the identity. */
static int set_names(struct mp_process *process, const char *name, unsigned number)
{
    const char *prefix = name != NULL ? name : "Process-";
    size_t prefix_size = strlen(prefix) + (name != NULL); /* a name given ends before the identity begins */
    size_t size = prefix_size + strlen(self.identity) + 16;

    process->memory = malloc(size);
    if (process->memory == NULL)
        return MP_ENOMEM;
    memcpy(process->memory, prefix, prefix_size);
    snprintf(process->memory + prefix_size, size - prefix_size, "%s%s%u", self.identity,
             *self.identity != '\0' ? ":" : "", number);
    process->name = process->memory;
    process->identity = process->memory + prefix_size;
    return 0;
}

/* Under the mutex, so that no fork of another thread takes it along unseen. */
static int make_leash(struct mp_process *process)
{
    if (pipe2(process->leash, O_CLOEXEC) != 0)
        return errno == EMFILE || errno == ENFILE ? MP_EAGAIN : MP_ESYSTEM;
    int error = hangup_signal_prepare(process->leash[0], SIGKILL);
    if (error != 0)
        close_descriptors(process);
    return error;
}

/* Makes a handle and enters it in the registry. */
static int prepare(struct mp_process **result, const mp_process_options *options, unsigned number)
{
    struct mp_process *process = take_spare();
    enum mp_daemon daemon = options != NULL ? options->daemon : MP_DAEMON_INHERIT;
    bool leash;

    if (process == NULL)
        return MP_ENOMEM;
    *process = (struct mp_process){.owner = self.pid, .pidfd = -1, .leash = {-1, -1}, .exitcode = MP_EXITCODE_NONE};
    process->daemon = daemon == MP_DAEMON_INHERIT ? self.daemon : daemon == MP_DAEMON_YES;
    leash = process->daemon && !on_main_thread();
    int error = set_names(process, options != NULL ? options->name : NULL, number);

    lock();
    if (error == 0 && leash)
        error = make_leash(process);
    if (error == 0)
        link_newest(process);
    else
        put_spare(process);
    unlock();
    *result = process;
    return error;
}

/* Takes back what prepare() did. */
static void discard(struct mp_process *process)
{
    lock();
    unlink_process(process);
    release(process);
    unlock();
}

static int fork_error(int number)
{
    switch (number) {
    case EAGAIN:
        return MP_EAGAIN;
    case ENOMEM:
        return MP_ENOMEM;
    default:
        return MP_ESYSTEM;
    }
}

static pid_t flush_and_fork(struct mp_process *process)
{
    int state;
    pid_t pid;

    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    fflush(stdout);
    fflush(stderr);
    starting = process;
    pid = fork();
    starting = NULL;
    pthread_setcancelstate(state, NULL);
    return pid;
}

static int start(struct mp_process *process, mp_process_function *function, void *arg)
{
    pid_t pid = flush_and_fork(process);

    if (pid == 0)
        run_child(process, function, arg);
    if (pid < 0)
        return fork_error(errno);
    lock();
    process->pid = pid;
    process->pidfd = pidfd_of(pid);
    process->magic = MAGIC;
    close_descriptor(&process->leash[0]);
    unlock();
    return 0;
}

int mp_process_start(mp_process **process, mp_process_function *function, void *arg, const mp_process_options *options)
{
    struct mp_process *made;
    unsigned number, next;
    int error = process != NULL && function != NULL ? check_options(options) : MP_EINVAL;

    if (error != 0)
        return error;
    pthread_once(&once, initialise);
    number = atomic_fetch_add(&children_started, 1) + 1;
    error = prepare(&made, options, number);
    if (error == 0) {
        error = start(made, function, arg);
        if (error != 0)
            discard(made);
    }
    if (error == 0) {
        *process = made;
    } else {
        next = number; /* the number goes to the next one, unless another thread has started one meanwhile */
        atomic_compare_exchange_strong(&children_started, &next, number - 1);
    }
    return error;
}

/* ---- handles ---- */

static bool is_live(const mp_process *process)
{
    return process != NULL && ((uintptr_t)process & (_Alignof(mp_process) - 1)) == 0 && process->magic == MAGIC;
}

/* Takes the mutex if the handle is that of a child of this process. */
static int lock_child(mp_process *process)
{
    int error = 0;

    if (process == NULL)
        return MP_EINVAL;
    pthread_once(&once, initialise);
    lock();
    if (!is_live(process))
        error = MP_EINVAL;
    else if (process == &self || process == &creator || process->owner != self.pid)
        error = MP_EFOREIGN;
    if (error != 0)
        unlock();
    return error;
}

int mp_process_join(mp_process *process, double timeout)
{
    int64_t deadline;
    int error = clock_deadline(timeout, &deadline) ? lock_child(process) : MP_EINVAL;

    if (error != 0)
        return error;
    error = wait_until_ended(process, deadline);
    unlock();
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
    reap(process);
    if (process->ended) {
        process->magic = 0;
        release(process);
    } else {
        error = MP_EBUSY;
    }
    unlock();
    return error;
}

int mp_process_exitcode(mp_process *process, int *exitcode)
{
    int error = exitcode != NULL ? lock_child(process) : MP_EINVAL;

    if (error != 0)
        return error;
    reap(process);
    *exitcode = process->exitcode;
    unlock();
    return 0;
}

int mp_process_is_alive(mp_process *process, bool *alive)
{
    int error;

    if (alive == NULL || process == NULL)
        return MP_EINVAL;
    if (process == &self || (process == &creator && has_creator)) {
        *alive = process == &self || parent_lives(creator.pid);
        return 0;
    }
    error = lock_child(process);
    if (error != 0)
        return error;
    reap(process);
    *alive = !process->ended;
    unlock();
    return 0;
}

static int signal_child(mp_process *process, int number)
{
    int error = lock_child(process);

    if (error != 0)
        return error;
    error = send_signal(process, number);
    unlock();
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

/* What can be told of any handle, of another process's too, as the copy it was forked with says it. */
static int lock_any(const mp_process *process)
{
    pthread_once(&once, initialise);
    lock();
    if (is_live(process))
        return 0;
    unlock();
    return MP_EINVAL;
}

int mp_process_pid(mp_process *process, pid_t *pid)
{
    int error = pid != NULL ? lock_any(process) : MP_EINVAL;

    if (error != 0)
        return error;
    *pid = process->pid;
    unlock();
    return 0;
}

const char *mp_process_name(mp_process *process)
{
    const char *name;

    if (lock_any(process) != 0)
        return "";
    name = process->name;
    unlock();
    return name;
}

int mp_process_is_daemon(mp_process *process, bool *daemon)
{
    int error = daemon != NULL ? lock_any(process) : MP_EINVAL;

    if (error != 0)
        return error;
    *daemon = process->daemon;
    unlock();
    return 0;
}

int mp_process_children(mp_process **processes, size_t capacity, size_t *count)
{
    struct mp_process *next;
    size_t found = 0;

    if (count == NULL || (processes == NULL && capacity > 0))
        return MP_EINVAL;
    pthread_once(&once, initialise);
    lock();
    for (struct mp_process *process = oldest; process != NULL; process = next) {
        next = process->next;
        if (process->pid == 0)
            continue;
        reap(process);
        if (process->ended)
            continue;
        if (found < capacity)
            processes[found] = process;
        found++;
    }
    unlock();
    *count = found;
    return 0;
}

mp_process *mp_process_current(void)
{
    pthread_once(&once, initialise);
    return &self;
}

mp_process *mp_process_parent(void)
{
    return has_creator ? &creator : NULL;
}
