/* What is not POSIX, or differs between systems: clock, futex, memory files, pidfds, CPU counts. Another system is
 * another platform_<name>.c. Functions return 0 or a negative MP_E..., unless said otherwise. */
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
/* Nanoseconds since the system was started: the clock by which it tells when a process has begun. */
int64_t clock_boot(void);
/* The deadline `seconds` from now: DEADLINE_NEVER for MP_FOREVER and all that is too far to count, now for 0 and less.
 * False for NaN. */
bool clock_deadline(double seconds, int64_t *deadline);

/* Sleeps while *word == expected, until woken or the deadline. 0 (woken, or the word differed, or for no reason) or
 * MP_ETIMEOUT. Works between processes. */
int futex_wait(_Atomic uint32_t *word, uint32_t expected, int64_t deadline);
void futex_wake(_Atomic uint32_t *word, int count);
/* The same where not all sleep for the same reason: each says with a bit what it is woken for; a wake-up is for those
 * who have one of the bits `who`. */
int futex_wait_as(_Atomic uint32_t *word, uint32_t expected, int64_t deadline, uint32_t who);
void futex_wake_some(_Atomic uint32_t *word, int count, uint32_t who);
/* Which CPU this thread runs on, plus 1; 0: not known. It may be another one a moment later. */
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

/* Moves a descriptor of the library's out of the way of the standard ones, which the program may have closed, and would
 * otherwise take for its own: what it prints would go there. Takes `fd` over: the descriptor returned is 3 or more,
 * close-on-exec, and leads to the same open file; `fd` itself when that is so already. MP_EAGAIN: there is none left;
 * fd is closed then, and errno set. A negative fd is MP_ESYSTEM, with errno as it was. */
int descriptor_move_up(int fd);

/* A memory file that vanishes with its last user. Like all files below: close-on-exec, 3 or more. The descriptor, or
 * negative; MP_ESYSTEM with errno when the system has none. */
int memory_file(void);
/* Where named memory files live: a directory path. */
const char *memory_directory(void);
/* Makes the unnamed file `fd` appear under `path`; MP_EEXIST when that is taken. */
int memory_file_link(int fd, const char *path);
/* An unnamed file in memory_directory() that memory_file_link() can name. The descriptor, or negative. */
int memory_file_unnamed(void);
/* A new file there under a name of its own, which is stored in path: libmp-<user>.<anything>. The descriptor, or
 * negative. */
#define MEMORY_PATH 80
int memory_file_temporary(char path[MEMORY_PATH]);
/* Gives a file another name; MP_EEXIST when that is taken. */
int memory_file_rename(const char *from, const char *to);
/* How many bytes of addresses RLIMIT_AS leaves this process; UINT64_MAX: there is no such limit. */
uint64_t addresses_left(void);
/* What the errno of a mapping that failed means: MP_ENOMEM, or MP_ESYSTEM where the system refuses it. */
int mapping_error(int number);
/* Whether the process runs under valgrind, whose leak check looks at every mapped page, those past the end of a file
 * included. */
bool on_valgrind(void);
/* Makes bytes [from, to) of the file exist, reserved for good, so that touching them can never fail. When it cannot,
 * the file is as it was: MP_ENOMEM, also where RLIMIT_FSIZE is in the way (never SIGXFSZ). */
int memory_file_reserve(int fd, uint64_t from, uint64_t to);
/* Makes the file that long without reserving anything, if it may be. */
void memory_file_lengthen(int fd, uint64_t length);
/* Has the system enter these reserved pages of a mapped file into the process's page table now, all at once, and not
 * one by one as they are touched, which costs several times as much. Only makes it faster. */
void memory_file_populate(void *address, uint64_t length);
/* Whether nothing but the system's memory limits the file: its file system has no size, and memory may be promised to
 * more than can have it. */
bool memory_file_is_unlimited(int fd);
/* Gives the whole pages inside [from, to) back; they read as zeros afterwards. */
void memory_file_punch(int fd, uint64_t from, uint64_t to);

/* A page of this process's own that every child finds zeroed, however it was made. NULL: the system has none. */
void *memory_wiped_by_fork(void);

/* A close-on-exec descriptor, 3 or more, that becomes readable when the process ends: the descriptor, or -1 when there
 * is none (the process is gone and reaped, descriptors have run out, or the system refuses them). */
int pidfd_of(pid_t pid);
/* Sends a signal through a pidfd: 0 also when the process has ended. */
int pidfd_signal(int pidfd, int signal);
/* Reaps a child if it has ended, through its pidfd when that is not negative. 1: done, its exit code (minus the
 * signal) is stored; 0: it still runs; MP_ENOENT: somebody else has reaped it; MP_ESYSTEM: the descriptor is no pidfd
 * (any more). */
int child_reap(pid_t pid, int pidfd, int *exitcode);
/* The same through the pid, and leaves it to be reaped. */
int child_look(pid_t pid, int *exitcode);
/* Waits until the child has ended, somebody has reaped it, or a signal came. 1: it has ended, and is still to be
 * reaped; 0: not known; MP_ESYSTEM: the system refuses such waits, nothing was waited for. */
int child_wait(pid_t pid);
/* False when the process of that number has begun later than `moment` (of clock_boot()), give or take a hundredth of a
 * second. True also when the system does not tell. */
bool process_began_by(pid_t pid, int64_t moment);
/* What a robust mutex's memory says of itself, as the C library lays it out: the word that the kernel looks at when a
 * thread ends, with the number of the thread that holds it in the bits of the mask; its type with all attributes;
 * whether somebody holds it whose death has not been noted, and which thread (0: nonsense). */
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
/* Whether the word names the calling thread; so may it where a thread of another PID namespace, of the same number,
 * holds it. */
bool robust_mutex_is_mine(const pthread_mutex_t *mutex);
/* Whether the system gives away what a thread holds when it ends: it can be told not to (sandboxes), and emulators do
 * not. False: errno says why. */
bool robust_mutexes_work(void);
/* What the kernel does with a mutex whose holder has ended: the next to lock it is told EOWNERDEAD. False: the word is
 * no more what the caller has seen. */
bool robust_mutex_owner_died(pthread_mutex_t *mutex, uint32_t word);
/* Whether there is a thread of that number whose process maps the same file as this one does at `address`. True when
 * the system does not tell. */
bool thread_shares(pid_t thread, const void *address);
/* Numbers for the namespaces of threads' numbers and of times that the process is in. False: the system does not
 * tell. */
bool process_namespaces(uint64_t inode[2]);
/* Whether /proc shows the PID namespace that the process is in: false also when it does not tell. */
bool process_table_is_own(void);
/* When a thread of that number began, in ticks since the system was started; *ended: only its status is left, to be
 * waited for. False: there is none, or the system does not tell. */
bool thread_began(pid_t thread, uint64_t *ticks, bool *ended);
/* Nanoseconds in such a tick. */
uint64_t process_tick(void);
/* Sets which signals the calling thread has blocked, bit s - 1 for signal s; the mask before. In a forked child, and
 * twice in each start, so it costs as little as it can. */
uint64_t signals_set(uint64_t mask);
#define SIGNALS_ALL (~(UINT64_C(7) << 31)) /* but those that C libraries keep for themselves */
/* Random bytes; where the system refuses to give any, as good as clock, pid and addresses make them. */
void random_bytes(void *buffer, size_t size);
/* Makes the calling process get `signal` when the thread that forked it ends. */
void death_signal(int signal);
/* Whether that still holds: the system forgets it when the process changes its user or group. */
bool death_signal_holds(int signal);
/* Readies the read end of a pipe, or an end of a pair of sockets, to send `signal` when the last descriptor of the
 * other end is closed, to nobody yet. MP_ENOMEM. */
int hangup_signal_prepare(int fd, int signal);
/* Makes the calling process the one that gets it, whatever program it will be and whatever user's; its descriptor may
 * be closed then, as long as another process has that end open. The setting belongs to the open end: one process at a
 * time. All that could fail for want of memory is done before. */
int hangup_signal_take(int fd);
/* True in the thread that the process started with. */
bool on_main_thread(void);
/* Names the calling process for ps and top (15 bytes of it are seen). */
void process_title(const char *name);
/* Whether nothing was written to the stream that is still to be flushed. */
bool stream_is_empty(FILE *stream);
/* Throws away what was written to the stream and not flushed. */
void stream_discard(FILE *stream);

/* At least 1. */
int cpus_online(void);
int cpus_usable(void);
/* The same with quotas that were read up to a second ago: for who only wonders whether spinning pays. */
int cpus_usable_lately(void);

#endif
