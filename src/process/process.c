/* Process: starting, watching, joining and ending children.
 *
 * OWNERSHIP. A child belongs to the process that started it (`generation` tells which one that was): all others get
 * MP_EFOREIGN. The live children are in a registry, oldest first. A child leaves it as soon as it is found to have
 * ended. It is reaped at the same time, unless other threads wait for it.
 *
 * THREADS AND SIGNALS. One mutex guards the registry and every handle. Its holder has all signals blocked: so no signal
 * handler of the program runs while its thread holds the mutex, and such a handler may fork(), or call exit(), without
 * waiting for itself. A start blocks signals from before the fork until the pid is noted: so no child is forgotten at
 * the end.
 * The mutex is never held while waiting, or while memory is allocated or freed. A waiter counts itself in `waiters`,
 * unlocks the mutex, sleeps (in waitid(), or, with a deadline, on a pidfd), and locks the mutex again to look. The
 * first waiter to see the end notes the exit code. The last waiter reaps, so that the pid is not reused while one of
 * them is still on its way to sleep, and gives back the memory of a freed handle. Memory of handles is type-stable: it
 * is reused for handles only and never returned, so a stale handle always leads to a magic number that can be checked.
 *
 * FORK. Any fork, of the program's own too, locks the mutex first, so the child finds the registry whole. The child
 * then closes the descriptors of the `holders` and empties the registry; the handles of its siblings show by their
 * generation that they are not its own. (A child that was made without fork handlers does so when it first calls the
 * library; see lifecycle_pid().) The cost does not depend on the number of siblings that are not daemons: they have no
 * descriptor. The child writes as few pages as it can, since each is copied for it. An entry is in the registry before
 * its process is forked (with pid 0), so that a fork by another thread at that moment closes its descriptors too.
 *
 * REAPING. The library reaps only its own children, one by one. A program that reaps them itself, or ignores SIGCHLD,
 * loses the exit code: MP_EXITCODE_UNKNOWN. The pid may then be reused by another child of the program. So a pid is
 * believed only for a time in which it cannot have been reused. Then it is checked again: the system must say that the
 * process began when our child did. A pid that is believed, and belongs to a child not yet reaped, can be sent a
 * signal. (Without /proc, or without a free descriptor, any pid that is a child of this process is believed.)
 *
 * DAEMONS end with their parent however that ends: they are on a lifeline. A lifeline is a pair of connected sockets,
 * both of whose ends only the parent has open. When the parent is gone the kernel closes them, one before the other.
 * Each is set to send SIGKILL to the daemon when its peer is closed, so the end that is closed last does it. The daemon
 * has no descriptor for it: so the lifeline holds whatever program the daemon executes and whatever descriptors it
 * closes. The kernel checks the rights of the process that asked for the signal, not of the daemon: so the lifeline
 * holds whichever user the daemon becomes. The end of a thread, even of the main thread, does not matter. (The kernel's
 * own death signal is sent when the forking *thread* ends, and is lost when credentials change. It only serves if no
 * descriptors are left.) How a daemon gets on its lifeline:
 *
 *   1. The parent makes the pair, which may fail, and forks.
 *   2. The daemon, which has both ends open as well, names itself as the receiver of the signal.
 *   3. It closes both. If the parent has died before, the daemon is the last to have them open: the first close kills
 *      it.
 *
 * OUTPUT. Buffered output is flushed before the fork, so that it comes before what the child prints. What another
 * thread buffers between the flush and the fork is printed by the parent: the child discards its copy. */
#include "process/process.h"

#include <errno.h>
#include <fcntl.h>
#include <mp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cancelling.h"
#include "base/lifecycle.h"
#include "base/platform.h"
#include "heap/ranges.h"

#define MAGIC UINT64_C(0x6d705f70726f6331)
#define NAME_LENGTH 200
#define SECOND INT64_C(1000000000)
#define GRACE SECOND /* between a daemon's SIGTERM and its SIGKILL at exit */
#define FIRST_PAUSE INT64_C(100000)
#define LONGEST_PAUSE INT64_C(10000000)
#define LOCK_STREAM INT64_C(50000000) /* the longest wait for a thread that prints, before a start */
#define ROOM 40                       /* bytes of most names with their identities */
#define FEW 8                         /* children that most programs have at a time */
/* The kernel does not reuse a pid within this time. Longer than a clock tick, the unit of the times at which processes
 * begin. */
#define BELIEF INT64_C(20000000)

/* A descriptor and the file it refers to: the program may have closed it and reused its number for another file. */
struct descriptor {
    int fd; /* -1: none */
    dev_t device;
    ino_t inode;
};

struct mp_process {
    uint64_t magic;                     /* MAGIC while the handle is live */
    struct mp_process *previous, *next; /* in the registry; `next` also in the list of spare handles */
    struct mp_process *previous_holder, *next_holder;
    uint64_t generation;       /* the generation of the process whose child it is */
    pid_t pid;                 /* 0: about to be forked */
    int64_t started, believed; /* when it was forked; when the pid was last known to be its own */
    struct descriptor pidfd;   /* while a thread waits with a deadline */
    struct descriptor lifeline[2];
    int waiters;
    bool holds;  /* it has descriptors, and so is in the list of holders */
    bool ended;  /* its exit code is known, and it is out of the registry */
    bool zombie; /* it has ended, and the last waiter has to reap it */
    bool daemon;
    bool has_lifeline;
    int exitcode;
    const char *name;
    const char *identity;           /* "2:1": the second child's first child */
    struct mp_process *made_before; /* links all handles that malloc() gave */
    char *memory;                   /* for name and identity if `room` is too small, else NULL */
    char room[ROOM];
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static uint64_t holders_mask; /* the signals that were blocked before the mutex was taken */
static bool forking;          /* under the mutex, by the thread `forker` */
static pthread_t forker;
static struct mp_process *oldest, *newest;
static struct mp_process *holders; /* of descriptors, which a forked child has to close */
static uint64_t generation;        /* how many forks this process is away from the first */
static struct mp_process few[FEW]; /* near the mutex: in a page that a fork copies anyway */
static struct mp_process *spare;
static struct mp_process *newest_made;
static struct mp_process *unfreed; /* handles not freed when this process ended */

static struct mp_process self = {.magic = MAGIC, .name = "MainProcess", .identity = ""};
static struct mp_process creator = {.magic = MAGIC};
static bool has_creator;
/* The lifeline of this process, until it has named itself. */
static struct descriptor own_lifeline[2] = {{.fd = -1}, {.fd = -1}};
static _Atomic unsigned children_started;
static _Thread_local struct mp_process *starting; /* the process this thread is about to fork, if it has a lifeline */

/* Like lock(), but for callers that know that a fork handler, if any was needed, has run in this process. */
static void lock_as_known(void)
{
    uint64_t before = signals_set(SIGNALS_ALL);

    pthread_mutex_lock(&mutex);
    holders_mask = before;
}

static void lock(void)
{
    lifecycle_pid();
    lock_as_known();
}

static void unlock(void)
{
    uint64_t before = holders_mask;

    pthread_mutex_unlock(&mutex);
    signals_set(before);
}

/* ---- descriptors and memory of handles ---- */

/* Records a descriptor that was just opened; none if fd is negative. */
static struct descriptor descriptor_of(int fd)
{
    struct descriptor descriptor = {.fd = fd < 0 ? -1 : fd};
    struct stat file;

    if (fd >= 0 && fstat(fd, &file) == 0) {
        descriptor.device = file.st_dev;
        descriptor.inode = file.st_ino;
    }
    return descriptor;
}

static void close_descriptor(struct descriptor *descriptor)
{
    struct stat file;

    if (descriptor->fd < 0)
        return;
    int state = cancelling_forbid();
    /* If fstat() is refused, or was when the descriptor was opened, it most likely still is ours. */
    if (fstat(descriptor->fd, &file) != 0
            ? errno != EBADF
            : descriptor->inode == 0 || (file.st_dev == descriptor->device && file.st_ino == descriptor->inode))
        close(descriptor->fd);
    cancelling_allow(state);
    descriptor->fd = -1;
}

/* To be called after descriptors of the process have been opened or closed. The caller holds the mutex. */
static void note_descriptors(struct mp_process *process)
{
    bool holds = process->pidfd.fd >= 0 || process->lifeline[0].fd >= 0 || process->lifeline[1].fd >= 0;

    if (holds == process->holds)
        return;
    process->holds = holds;
    if (holds) {
        process->previous_holder = NULL;
        process->next_holder = holders;
        if (holders != NULL)
            holders->previous_holder = process;
        holders = process;
        return;
    }
    if (process->previous_holder != NULL)
        process->previous_holder->next_holder = process->next_holder;
    else
        holders = process->next_holder;
    if (process->next_holder != NULL)
        process->next_holder->previous_holder = process->previous_holder;
}

static void close_lifeline(struct mp_process *process)
{
    close_descriptor(&process->lifeline[0]);
    close_descriptor(&process->lifeline[1]);
}

static void close_descriptors(struct mp_process *process)
{
    close_descriptor(&process->pidfd);
    close_lifeline(process);
}

/* Puts a handle into the list of spare ones. The memory of its name is freed on reuse, not here: the caller holds the
 * mutex. */
static void put_spare(struct mp_process *process)
{
    process->magic = 0;
    process->next = spare;
    spare = process;
}

static struct mp_process *make_handle(void)
{
    struct mp_process *process = malloc(sizeof *process);

    if (process == NULL)
        return NULL;
    process->magic = 0;
    lock();
    process->made_before = newest_made;
    newest_made = process;
    unlock();
    return process;
}

static struct mp_process *take_spare(void)
{
    struct mp_process *process;

    lock();
    process = spare;
    if (process != NULL)
        spare = process->next;
    unlock();
    if (process == NULL)
        return make_handle();
    free(process->memory);
    return process;
}

/* Releases what no waiter needs any more. The process has ended; the caller holds the mutex. */
static void release(struct mp_process *process)
{
    int exitcode;

    if (process->waiters > 0)
        return;
    if (process->zombie)
        child_reap(process->pid, -1, &exitcode);
    process->zombie = false;
    close_descriptors(process);
    note_descriptors(process);
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
    if (process->generation != generation)
        return; /* a copy in a forked child */
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
    lock();
    forking = true;
    forker = pthread_self();
}

/* In the parent and, after after_fork(), in the child. */
static void fork_done(void)
{
    forking = false;
    unlock();
}

/* Runs in the child of any fork, with the mutex held by the forking thread. If no fork handler has run, it runs at the
 * child's first call, and the mutex may have been held by another thread of the parent: it is initialized anew. */
static void after_fork(void)
{
    if (!forking || !pthread_equal(forker, pthread_self())) {
        pthread_mutex_init(&mutex, NULL);
        forking = false;
    }
    for (int i = 0; i < 2; i++)
        close_descriptor(&own_lifeline[i]);
    if (starting != NULL) {
        for (int i = 0; i < 2; i++) {
            own_lifeline[i] = starting->lifeline[i];
            starting->lifeline[i].fd = -1;
        }
    }
    for (; holders != NULL; holders = holders->next_holder)
        close_descriptors(holders);
    oldest = newest = NULL;
    generation++;
    has_creator = false;
    creator.pid = self.pid;
    self.pid = getpid(); /* cheaper than lifecycle_pid() in every child */
}

/* ---- the end of a child ---- */

/* Whether the pid is still this child's: a program that reaps the child itself lets the pid be reused. */
static bool is_believed(struct mp_process *process)
{
    int64_t now = clock_boot();

    if (now - process->believed < BELIEF)
        return true;
    int state = cancelling_forbid();
    bool same = process_began_by(process->pid, process->started);
    cancelling_allow(state);
    if (same)
        process->believed = now;
    return same;
}

/* Checks whether the process has ended. If so, notes the exit code, and reaps it unless a thread is about to wait for
 * the pid. The caller holds the mutex. */
static void reap(struct mp_process *process)
{
    int exitcode = MP_EXITCODE_UNKNOWN;
    int found = MP_ENOENT;

    if (process->ended)
        return;
    if (is_believed(process))
        found = process->waiters > 0 ? child_look(process->pid, &exitcode) : child_reap(process->pid, -1, &exitcode);
    if (found == MP_ESYSTEM) /* refused: without waitid() the only way to look is to reap */
        found = child_reap(process->pid, -1, &exitcode);
    if (found == 0)
        return;
    process->exitcode = exitcode;
    process->zombie = found == 1 && process->waiters > 0;
    process->ended = true;
    unlink_process(process);
    release(process);
}

/* The state of one waiter. */
struct patience {
    int64_t deadline;
    int64_t pause;
    bool readable; /* the pidfd was */
    bool asked;    /* for a pidfd: if refused once, it is always refused */
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

/* Sleeps until the process may have ended, or the deadline, or a signal. A debugger may delay the reaping of a process
 * that has ended. So once the pidfd has been readable, the waiter polls with pauses, as if there was no pidfd. */
static void wait_a_while(int pidfd, struct patience *patience)
{
    struct pollfd watch = {.fd = pidfd, .events = POLLIN};
    struct timespec time;

    if (pidfd >= 0 && !patience->readable) {
        time = until(patience->deadline, INT64_MAX);
        patience->readable = ppoll(&watch, 1, &time, NULL) > 0;
        return;
    }
    time = until(patience->deadline, patience->pause);
    nanosleep(&time, NULL);
    patience->pause = patience->pause * 2 < LONGEST_PAUSE ? patience->pause * 2 : LONGEST_PAUSE;
}

static void wait_without_cancelling(int pidfd, struct patience *patience)
{
    int state = cancelling_forbid();

    wait_a_while(pidfd, patience);
    cancelling_allow(state);
}

/* The pid is believed. The caller holds the mutex; it is unlocked while sleeping. */
static void sleep_once(struct mp_process *process, struct patience *patience)
{
    int found = 0; /* 1: it has certainly ended and is not reaped */

    process->waiters++;
    if (patience->deadline != DEADLINE_NEVER && process->pidfd.fd < 0 && !patience->asked) {
        patience->asked = true;
        process->pidfd = descriptor_of(pidfd_of(process->pid));
        note_descriptors(process);
    }
    int pidfd = process->pidfd.fd;
    unlock();
    if (patience->deadline == DEADLINE_NEVER)
        found = child_wait(process->pid);
    if (patience->deadline != DEADLINE_NEVER || found == MP_ESYSTEM)
        wait_without_cancelling(pidfd, patience);
    lock();
    process->waiters--;
    if (found == 1)
        process->believed = clock_boot();
}

/* The caller holds the mutex; it is unlocked while waiting. The handle may have been freed on return. */
static int wait_until_ended(struct mp_process *process, int64_t deadline)
{
    struct patience patience = {.deadline = deadline, .pause = FIRST_PAUSE};

    for (;;) {
        reap(process);
        if (process->ended || (deadline != DEADLINE_NEVER && clock_now() >= deadline))
            break;
        sleep_once(process, &patience);
    }
    if (process->ended) {
        release(process);
        return 0;
    }
    if (process->waiters == 0) {
        close_descriptor(&process->pidfd);
        note_descriptors(process);
    }
    return MP_ETIMEOUT;
}

/* Sends a signal. If SIGKILL is refused, because either process now has another user, closing the lifeline may still
 * kill the daemon. The caller holds the mutex. */
static int send_signal(struct mp_process *process, int number)
{
    reap(process);
    if (process->ended || kill(process->pid, number) == 0 || errno == ESRCH)
        return 0;
    if (number != SIGKILL || process->lifeline[0].fd < 0)
        return MP_ESYSTEM;
    close_lifeline(process);
    note_descriptors(process);
    return 0;
}

/* ---- the end of this process ---- */

static struct mp_process *oldest_of(bool daemon)
{
    struct mp_process *process = oldest;

    while (process != NULL && (process->pid == 0 || process->daemon != daemon))
        process = process->next;
    return process;
}

/* Signals all daemons. Daemons that may not be sent this signal are killed. */
static void signal_daemons(int number)
{
    struct mp_process *next;

    for (struct mp_process *process = oldest; process != NULL; process = next) {
        next = process->next;
        if (process->pid != 0 && process->daemon && send_signal(process, number) != 0)
            send_signal(process, SIGKILL);
    }
}

/* Waits for a child at exit. Its handle could not be freed before, so it is kept in the list `unfreed`, where leak
 * checkers see that it is not lost. The caller holds the mutex; it is unlocked while waiting. */
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

/* Ends all daemons. A daemon that cannot be killed, as it has another user and no lifeline, is not waited for. The
 * caller holds the mutex; it is unlocked while waiting. */
static void end_daemons(void)
{
    int64_t deadline = clock_now() + GRACE;
    struct mp_process *process;

    signal_daemons(SIGTERM);
    while ((process = oldest_of(true)) != NULL) {
        if (end_child(process, deadline))
            continue;
        signal_daemons(SIGKILL);
        deadline = clock_now() + GRACE;
        if (process == oldest_of(true) && kill(process->pid, 0) != 0 && errno != ESRCH && !process->has_lifeline)
            unlink_process(process);
    }
}

static void at_end(void)
{
    struct mp_process *process;

    lock_as_known(); /* lifecycle_end() has asked */
    if (oldest_of(true) != NULL)
        end_daemons();
    while ((process = oldest_of(false)) != NULL)
        end_child(process, DEADLINE_NEVER);
    unlock();
}

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void initialise(void)
{
    lifecycle_register(LIFECYCLE_PROCESS, at_end, after_fork);
    uint64_t signals = signals_set(SIGNALS_ALL); /* as in lifecycle.c */
    pthread_atfork(before_fork, fork_done, fork_done);
    signals_set(signals);
    self.pid = lifecycle_pid();
    for (size_t i = FEW; i-- > 0;)
        put_spare(&few[i]);
}

/* Locks a stream, or gives up after a while: another thread may hold it for long, as when it prints into a full
 * pipe. */
static bool lock_stream(FILE *stream)
{
    const struct timespec pause = {.tv_nsec = FIRST_PAUSE};
    int64_t end = 0;

    while (ftrylockfile(stream) != 0) {
        int64_t now = clock_now();

        if (end == 0)
            end = now + LOCK_STREAM;
        if (now >= end)
            return false;
        nanosleep(&pause, NULL);
    }
    return true;
}

static void flush(FILE *stream)
{
    if (stream_is_empty(stream))
        return;
    int state = cancelling_forbid();
    if (lock_stream(stream)) {
        fflush(stream);
        funlockfile(stream);
    }
    cancelling_allow(state);
}

void process_flush(void)
{
    flush(stdout);
    flush(stderr);
}

/* In a forked child: discards buffered output, which the parent prints. */
static void discard_output(void)
{
    if (!stream_is_empty(stdout))
        stream_discard(stdout);
    if (!stream_is_empty(stderr))
        stream_discard(stderr);
}

_Noreturn void process_leave(int code)
{
    lifecycle_end();
    if (stream_is_empty(stdout) && stream_is_empty(stderr))
        _exit(code);
    int state = cancelling_forbid();
    fflush(stdout);
    fflush(stderr);
    cancelling_allow(state);
    _exit(code);
}

/* ---- starting ---- */

#define DIGITS 10 /* of the largest number */

/* Writes a number in decimal, without a NUL. Returns where it ends. */
static char *put_number(char *to, unsigned number)
{
    char digits[DIGITS];
    size_t count = 0;

    do {
        digits[count++] = (char)('0' + number % 10);
    } while ((number /= 10) != 0);
    while (count > 0)
        *to++ = digits[--count];
    return to;
}

static void enter(const char *name, const char *identity, bool daemon)
{
    discard_output();
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

void process_prepare(void)
{
    pthread_once(&once, initialise);
}

void process_enter_worker(unsigned number, char room[WORKER_ROOM])
{
    static const char prefix[] = "PoolWorker-";
    char *identity = room + strlen(prefix);

    memcpy(room, prefix, strlen(prefix));
    *put_number(identity, number) = '\0';
    enter(room, identity, true);
}

/* Whether the parent lives: the children of a dead parent get another parent. Its pid differs, as that process existed
 * while the old parent did. */
static bool parent_lives(pid_t parent)
{
    pid_t now = getppid();

    return now == parent || now <= 0; /* in another PID namespace; or the call was refused */
}

/* Makes this process end with its parent: at once, and in the same way, if the parent has ended already. */
static void tie_to_parent(pid_t parent)
{
    bool tied = true;

    if (own_lifeline[0].fd < 0)
        death_signal(SIGKILL);
    for (int i = 0; i < 2; i++)
        tied = (own_lifeline[i].fd < 0 || hangup_signal_take(own_lifeline[i].fd) == 0) && tied;
    for (int i = 0; i < 2; i++)
        close_descriptor(&own_lifeline[i]);
    /* The lifeline alone would be enough, but another child, made without fork handlers, may have it open too. */
    if (!tied || !parent_lives(parent))
        raise(SIGKILL);
}

static _Noreturn void run_child(const struct mp_process *process, mp_process_function *function, void *arg,
                                uint64_t signals)
{
    if (starting != NULL)
        starting = NULL;
    if (process->daemon)
        tie_to_parent(creator.pid);
    enter(process->name, process->identity, process->daemon);
    signals_set(signals);
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
    size_t own = strlen(self.identity);
    size_t size = prefix_size + own + 1 + DIGITS + 1;
    char *to = size <= ROOM ? process->room : (process->memory = malloc(size));

    if (to == NULL)
        return MP_ENOMEM;
    process->name = to;
    process->identity = to + prefix_size;
    memcpy(to, prefix, prefix_size);
    to += prefix_size;
    memcpy(to, self.identity, own);
    to += own;
    if (own > 0)
        *to++ = ':';
    *put_number(to, number) = '\0';
    return 0;
}

static int lifeline_error(int number)
{
    switch (number) {
    case EMFILE:
    case ENFILE:
        return MP_EAGAIN;
    case ENOMEM:
    case ENOBUFS:
        return MP_ENOMEM;
    default:
        return MP_ESYSTEM;
    }
}

/* Makes the lifeline under the mutex, so that a fork by another thread does not inherit it unseen. */
static int make_lifeline(struct mp_process *process)
{
    int fd[2], error = 0;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) != 0)
        return lifeline_error(errno);
    for (int i = 0; i < 2; i++) {
        fd[i] = descriptor_move_up(fd[i]);
        process->lifeline[i] = descriptor_of(fd[i]);
        if (error == 0)
            error = fd[i] < 0 ? fd[i] : hangup_signal_prepare(fd[i], SIGKILL);
    }
    if (error != 0)
        close_lifeline(process);
    process->has_lifeline = error == 0;
    note_descriptors(process);
    return error;
}

/* Ties a daemon to this process. If no lifeline can be made, the death signal is enough for a daemon of the main
 * thread, as long as that thread lives. */
static int tie(struct mp_process *process)
{
    int error = process->daemon ? make_lifeline(process) : 0;

    return error != 0 && on_main_thread() ? 0 : error;
}

/* Makes a handle and enters it in the registry. */
static int prepare(struct mp_process **result, const mp_process_options *options, unsigned number)
{
    struct mp_process *process = take_spare();
    enum mp_daemon daemon = options != NULL ? options->daemon : MP_DAEMON_INHERIT;

    if (process == NULL)
        return MP_ENOMEM;
    *process = (struct mp_process){
        .generation = generation, .exitcode = MP_EXITCODE_NONE, .made_before = process->made_before};
    process->pidfd.fd = process->lifeline[0].fd = process->lifeline[1].fd = -1;
    process->daemon = daemon == MP_DAEMON_INHERIT ? self.daemon : daemon == MP_DAEMON_YES;
    int error = set_names(process, options != NULL ? options->name : NULL, number);

    lock();
    if (error == 0)
        error = tie(process);
    if (error == 0)
        link_newest(process);
    else
        put_spare(process);
    unlock();
    *result = process;
    return error;
}

/* Undoes prepare(). */
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

/* Forks the process. All signals are blocked; `signals` is the mask from before. */
static int start(struct mp_process *process, mp_process_function *function, void *arg, uint64_t signals)
{
    if (process->has_lifeline)
        starting = process;
    pid_t pid = fork();
    if (pid == 0)
        run_child(process, function, arg, signals);
    int number = errno;
    if (starting != NULL)
        starting = NULL;
    if (pid < 0)
        return fork_error(number);
    pthread_mutex_lock(&mutex);
    process->pid = pid;
    process->started = process->believed = clock_boot();
    process->magic = MAGIC;
    pthread_mutex_unlock(&mutex);
    return 0;
}

static int make_and_start(mp_process **process, mp_process_function *function, void *arg,
                          const mp_process_options *options)
{
    struct mp_process *made;
    unsigned number, next;

    process_flush();
    uint64_t signals = signals_set(SIGNALS_ALL);
    number = atomic_fetch_add(&children_started, 1) + 1;
    int error = prepare(&made, options, number);
    if (error == 0) {
        error = start(made, function, arg, signals);
        if (error != 0)
            discard(made);
    }
    if (error == 0) {
        *process = made;
    } else {
        next = number; /* the next child gets the number, unless another thread has started one meanwhile */
        atomic_compare_exchange_strong(&children_started, &next, number - 1);
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
    const struct mp_process *other = newest_made;

    if (range_is_taken_as_known(process) || process == &self || process == &creator)
        return true;
    for (size_t i = 0; i < FEW; i++) {
        if (process == &few[i])
            return true;
    }
    while (other != NULL && other != process)
        other = other->made_before;
    return other != NULL;
}

/* The caller holds the mutex. */
static bool is_live(const mp_process *process)
{
    return process != NULL && range_is_address(process, _Alignof(mp_process)) && is_there(process) &&
           process->magic == MAGIC;
}

/* Locks the mutex if the handle is that of a child of this process. */
static int lock_child(mp_process *process)
{
    int error = 0;

    if (process == NULL)
        return MP_EINVAL;
    pthread_once(&once, initialise);
    lock();
    if (!is_live(process))
        error = MP_EINVAL;
    else if (process == &self || process == &creator || process->generation != generation)
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

/* Locks the mutex if the handle is live. Handles of another process are allowed too: their data is the copy made by the
 * fork. */
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
    lifecycle_pid();
    return &self;
}

mp_process *mp_process_parent(void)
{
    pthread_once(&once, initialise);
    lifecycle_pid();
    return has_creator ? &creator : NULL;
}
