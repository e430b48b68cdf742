/* What is not POSIX, or differs between systems: clock, futex, memory files, pidfds, CPU counts. Another system is
 * another platform_<name>.c. Functions return 0 or a negative MP_E..., unless they say otherwise. */
#ifndef PLATFORM_H
#define PLATFORM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

/* Deadlines are nanoseconds on the monotonic clock. */
#define DEADLINE_NEVER INT64_MAX

int64_t clock_now(void);
/* Nanoseconds since the system was started, by the clock in which the system tells when a process began. */
int64_t clock_boot(void);
/* The deadline `seconds` from now. DEADLINE_NEVER for MP_FOREVER and for times too far to count; now for 0 and less.
 * False for NaN. */
bool clock_deadline(double seconds, int64_t *deadline);

/* Sleeps while *word == expected, until woken or until the deadline. 0 (woken, or the word differed, or spuriously) or
 * MP_ETIMEOUT. Works between processes. */
int futex_wait(_Atomic uint32_t *word, uint32_t expected, int64_t deadline);
void futex_wake(_Atomic uint32_t *word, int count);
/* Like futex_wait() and futex_wake(), for a word on which threads sleep for different reasons. Each sleeper says by the
 * bits of `who` what it waits for; a wake-up is for the sleepers that have one of its bits. */
int futex_wait_as(_Atomic uint32_t *word, uint32_t expected, int64_t deadline, uint32_t who);
void futex_wake_some(_Atomic uint32_t *word, int count, uint32_t who);
/* The CPU that this thread runs on, plus 1; 0: not known. It may run on another one a moment later. */
uint32_t cpu_now(void);
/* For short spins. */
static inline void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Moves a descriptor of the library's out of the way of the standard descriptors. The program may have closed those,
 * and would take this one for its own: its output would go there. Takes over `fd`. Returns a descriptor of the same
 * open file description that is 3 or more and close-on-exec; that is `fd` itself if it is 3 or more. MP_EAGAIN: there
 * is no descriptor left; fd is closed, and errno set. For a negative fd: MP_ESYSTEM, errno unchanged. */
int descriptor_move_up(int fd);

/* A memory file that vanishes with its last user. Like all files below, its descriptor is close-on-exec, and 3 or more.
 * The descriptor, or negative; MP_ESYSTEM (with errno): the system has no such files. */
int memory_file(void);
/* Where named memory files live: a directory path. */
const char *memory_directory(void);
/* Gives the unnamed file `fd` the name `path`. MP_EEXIST: that is taken. */
int memory_file_link(int fd, const char *path);
/* An unnamed file in memory_directory() that memory_file_link() can name. The descriptor, or negative. */
int memory_file_unnamed(void);
/* A new file in memory_directory() under a name of its own, libmp-<user>.<anything>, which is stored in `path`. The
 * descriptor, or negative. */
#define MEMORY_PATH 80
int memory_file_temporary(char path[MEMORY_PATH]);
/* Gives a file another name. MP_EEXIST: that is taken. */
int memory_file_rename(const char *from, const char *to);
/* How many bytes of addresses RLIMIT_AS leaves this process; UINT64_MAX: there is no such limit. */
uint64_t addresses_left(void);
/* What the errno of a mapping that failed means: MP_ENOMEM, or MP_ESYSTEM where the system refuses it. */
int mapping_error(int number);
/* Whether the process runs under valgrind, whose leak check reads every mapped page, those past the end of a file
 * included. */
bool on_valgrind(void);
/* Makes bytes [from, to) of the file exist, reserved for good, so that touching them can never fail. On failure the
 * file is as long as before: MP_ENOMEM, also if RLIMIT_FSIZE is too low (never SIGXFSZ), or MP_ESYSTEM. */
int memory_file_reserve(int fd, uint64_t from, uint64_t to);
/* Makes the file that long, without reserving anything, if RLIMIT_FSIZE allows it. */
void memory_file_lengthen(int fd, uint64_t length);
/* Has the system enter these reserved pages of a mapped file into the process's page table at once. To touch them one
 * by one costs several times as much. Only makes it faster. */
void memory_file_populate(void *address, uint64_t length);
/* Whether only the system's memory limits the file: its file system has no size, and the system overcommits memory. */
bool memory_file_is_unlimited(int fd);
/* Gives the whole pages inside [from, to) back; they read as zeros afterwards. */
void memory_file_punch(int fd, uint64_t from, uint64_t to);

/* A private page that every child finds zeroed, however the child was made. NULL: the system has none. */
void *memory_wiped_by_fork(void);

/* A close-on-exec descriptor, 3 or more, that becomes readable when the process ends. -1: the process is gone and
 * reaped, there are no descriptors left, or the system refuses them. */
int pidfd_of(pid_t pid);
/* Sends a signal through a pidfd. 0 also if the process has ended. */
int pidfd_signal(int pidfd, int signal);
/* Reaps a child if it has ended; through its pidfd, if that is not negative. 1: done, and its exit code is stored (or
 * minus the signal that killed it); 0: it still runs; MP_ENOENT: it is reaped already; MP_ESYSTEM: the descriptor is no
 * pidfd (any more), or the system refuses. */
int child_reap(pid_t pid, int pidfd, int *exitcode);
/* Like child_reap() through the pid, but the child stays to be reaped. */
int child_look(pid_t pid, int *exitcode);
/* Waits until the child has ended, was reaped elsewhere, or a signal came. 1: it has ended, and is still to be reaped;
 * 0: not known; MP_ESYSTEM: the system refuses such waits, and this has not waited. */
int child_wait(pid_t pid);
/* False: the process of that number began after `moment` (of clock_boot()), give or take a clock tick, usually a
 * hundredth of a second. True also when the system does not tell. */
bool process_began_by(pid_t pid, int64_t moment);
/* What the memory of a robust mutex contains, as the C library lays it out:
 * - robust_mutex_word(): the word that the kernel reads when a thread ends. The bits of ROBUST_THREAD are the number of
 *   the thread that holds the mutex.
 * - robust_mutex_type(): its type with all attributes.
 * - robust_mutex_held(): whether a thread holds it whose death has not been noted, and which one (0: the word is
 *   garbage). */
#define ROBUST_THREAD UINT32_C(0x3fffffff)
static inline uint32_t robust_mutex_word(const pthread_mutex_t *mutex)
{
#ifdef __GLIBC__
    return (uint32_t)__atomic_load_n(&mutex->__data.__lock, __ATOMIC_RELAXED);
#else
    return (uint32_t)__atomic_load_n(&mutex->__u.__i[1], __ATOMIC_RELAXED);
#endif
}
int robust_mutex_type(const pthread_mutex_t *mutex);
bool robust_mutex_held(const pthread_mutex_t *mutex, pid_t *thread);
/* For assertions: whether a thread holds it, that of the caller or another, without a system call. */
static inline bool mutex_is_held(const pthread_mutex_t *mutex)
{
    return (robust_mutex_word(mutex) & ROBUST_THREAD) != 0;
}
/* Whether the word names the calling thread. It may also do so if a thread with the same number, in another PID
 * namespace, holds the mutex. */
bool robust_mutex_is_mine(const pthread_mutex_t *mutex);
/* Whether the system marks a thread's robust mutexes when it ends, so that others get them. A sandbox can forbid it,
 * and emulators do not do it. False: errno says why. */
bool robust_mutexes_work(void);
/* Marks a mutex as the kernel does when the holder ends: the next thread to lock it gets EOWNERDEAD. False: the word is
 * no longer `word`. */
bool robust_mutex_owner_died(pthread_mutex_t *mutex, uint32_t word);
/* Whether there is a thread of that number whose process maps the same file as this process does at `address`. True
 * also when the system does not tell. */
bool thread_shares(pid_t thread, const void *address);
/* Numbers that identify the PID namespace and the time namespace of the process. False: the system does not tell. */
bool process_namespaces(uint64_t inode[2]);
/* Whether /proc shows the PID namespace of the process. False also when the system does not tell. */
bool process_table_is_own(void);
/* When the thread of that number began, in ticks since the system was started. *ended: the thread has ended, and only
 * its status is left, to be reaped. False: there is no such thread, or the system does not tell. */
bool thread_began(pid_t thread, uint64_t *ticks, bool *ended);
/* Nanoseconds in such a tick. */
uint64_t process_tick(void);
/* Sets which signals the calling thread blocks: bit s - 1 for signal s. Returns the mask before. It runs in each forked
 * child, and twice in each start of one, so it costs as little as possible. */
uint64_t signals_set(uint64_t mask);
#define SIGNALS_ALL (~(UINT64_C(7) << 31)) /* except those that C libraries reserve for themselves */
/* Random bytes. If the system refuses to give any, they are made of clock, pid and addresses. */
void random_bytes(void *buffer, size_t size);
/* Makes the calling process get `signal` when the thread that forked it ends. */
void death_signal(int signal);
/* Whether death_signal() still holds: the system forgets it when the process changes its user or group. */
bool death_signal_holds(int signal);
/* Prepares the read end of a pipe, or an end of a socket pair, to send `signal` when the last descriptor of the other
 * end is closed. No process receives the signal before hangup_signal_take(). MP_ENOMEM. */
int hangup_signal_prepare(int fd, int signal);
/* Makes the calling process get that signal, whatever program it executes later, and as whatever user. It may close its
 * descriptor then, as long as another process has that end open. The setting belongs to the open file description: only
 * one process gets the signal. All that needs memory is done before, by hangup_signal_prepare(). */
int hangup_signal_take(int fd);
/* True in the thread that the process started with. */
bool on_main_thread(void);
/* Sets the name of the calling process for ps and top, which show 15 bytes of it. */
void process_title(const char *name);
/* Whether the stream's output buffer is empty. */
bool stream_is_empty(FILE *stream);
/* Discards what was written to the stream and not flushed. */
void stream_discard(FILE *stream);

/* At least 1. */
int cpus_online(void);
int cpus_usable(void);
/* Like cpus_usable(), with quotas that may be a second old: good enough to decide whether spinning pays. */
int cpus_usable_lately(void);

#endif
