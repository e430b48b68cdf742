/* Linux 5.4 and later, glibc or musl.
 *
 * Nothing here keeps state that a lock must guard, or that a death could leave half done. There is one exception: a
 * reservation that is interrupted leaves a file that is longer than its user has noted; the next one starts over. Calls
 * that C libraries wrap only recently are made by syscall(), with the numbers that all architectures share. */
#include "base/platform.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/futex.h>
#include <sched.h>
#include <math.h>
#include <mp.h>
#include <signal.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cancelling.h"

#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef MFD_CLOEXEC
#define MFD_CLOEXEC 1U
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U
#endif

#define WAIT_PIDFD ((idtype_t)3) /* P_PIDFD, which older headers do not have */
#define SECOND INT64_C(1000000000)
#define RESERVE_STEP (UINT64_C(4) << 20)

/* ---- time ---- */

static int64_t read_clock(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * SECOND + now.tv_nsec;
}

int64_t clock_now(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

int64_t clock_boot(void)
{
    return read_clock(CLOCK_BOOTTIME);
}

bool clock_deadline(double seconds, int64_t *deadline)
{
    if (isnan(seconds))
        return false;
    if (seconds >= MP_FOREVER) { /* does not read the clock, which costs as much as a short wait itself */
        *deadline = DEADLINE_NEVER;
        return true;
    }
    int64_t now = clock_now();
    if (seconds <= 0)
        *deadline = now;
    else if (seconds >= (double)(INT64_MAX - now) / (double)SECOND - 1)
        *deadline = DEADLINE_NEVER;
    else
        *deadline = now + (int64_t)(seconds * (double)SECOND);
    return true;
}

uint32_t cpu_now(void)
{
    return (uint32_t)(sched_getcpu() + 1);
}

/* Where the system refuses futexes, the waiter polls: this sleeps once, for a millisecond. */
static int wait_without_futex(const _Atomic uint32_t *word, uint32_t expected, int64_t deadline)
{
    struct timespec pause = {.tv_nsec = 1000000};

    if (atomic_load(word) != expected)
        return 0;
    if (clock_now() >= deadline)
        return MP_ETIMEOUT;
    syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &pause, NULL); /* no cancellation point */
    return 0;
}

int futex_wait_as(_Atomic uint32_t *word, uint32_t expected, int64_t deadline, uint32_t who)
{
    struct timespec end = {.tv_sec = (time_t)(deadline / SECOND), .tv_nsec = (long)(deadline % SECOND)};
    struct timespec *limit = deadline == DEADLINE_NEVER ? NULL : &end;

    /* FUTEX_WAIT_BITSET takes an absolute deadline on the monotonic clock, FUTEX_WAIT does not. */
    if (syscall(SYS_futex, word, FUTEX_WAIT_BITSET, expected, limit, NULL, who) == 0 || errno == EAGAIN ||
        errno == EINTR)
        return 0;
    if (errno == ETIMEDOUT)
        return MP_ETIMEOUT;
    return wait_without_futex(word, expected, deadline);
}

int futex_wait(_Atomic uint32_t *word, uint32_t expected, int64_t deadline)
{
    return futex_wait_as(word, expected, deadline, FUTEX_BITSET_MATCH_ANY);
}

void futex_wake(_Atomic uint32_t *word, int count)
{
    syscall(SYS_futex, word, FUTEX_WAKE, count, NULL, NULL, 0);
}

void futex_wake_some(_Atomic uint32_t *word, int count, uint32_t who)
{
    if (syscall(SYS_futex, word, FUTEX_WAKE_BITSET, count, NULL, NULL, who) < 0)
        futex_wake(word, INT_MAX);
}

/* ---- robust mutexes ---- */

int robust_mutex_type(const pthread_mutex_t *mutex)
{
#ifdef __GLIBC__
    return mutex->__data.__kind;
#else
    return mutex->__u.__i[0];
#endif
}

bool robust_mutex_held(const pthread_mutex_t *mutex, pid_t *thread)
{
    uint32_t word = robust_mutex_word(mutex);

    *thread = (pid_t)(word & ROBUST_THREAD);
    return word != 0 && (word & FUTEX_OWNER_DIED) == 0;
}

bool robust_mutex_is_mine(const pthread_mutex_t *mutex)
{
    pid_t thread;

    return robust_mutex_held(mutex, &thread) && thread == (pid_t)syscall(SYS_gettid);
}

/* Asks with a length that is not valid: EINVAL means that the system lets the call through. */
static bool robust_lists_are_taken(void)
{
    errno = ENOSYS;
    return syscall(SYS_set_robust_list, NULL, (size_t)0) != 0 && errno == EINVAL;
}

/* Whether the C library has told the kernel of the calling thread's list of robust mutexes. As musl does so when the
 * thread locks the first one, this locks one. True also when the system does not tell. */
static bool robust_list_is_known(void)
{
    pthread_mutexattr_t attributes;
    pthread_mutex_t mutex;
    size_t length;
    void *head = NULL;

    if (pthread_mutexattr_init(&attributes) != 0)
        return true;
    if (pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST) != 0 ||
        pthread_mutex_init(&mutex, &attributes) != 0) {
        pthread_mutexattr_destroy(&attributes);
        return false;
    }
    pthread_mutexattr_destroy(&attributes);
    pthread_mutex_lock(&mutex);
    bool known = syscall(SYS_get_robust_list, 0, &head, &length) != 0 || head != NULL;
    pthread_mutex_unlock(&mutex);
    pthread_mutex_destroy(&mutex);
    return known;
}

bool robust_mutexes_work(void)
{
    int number = errno;

    if (!robust_lists_are_taken()) /* errno says why */
        return false;
    bool known = robust_list_is_known();
    errno = known ? number : ENOSYS;
    return known;
}

bool robust_mutex_owner_died(pthread_mutex_t *mutex, uint32_t word)
{
#ifdef __GLIBC__
    int *place = &mutex->__data.__lock;
#else
    volatile int *place = &mutex->__u.__vi[1];
#endif
    int expected = (int)word, died = (int)((word & FUTEX_WAITERS) | FUTEX_OWNER_DIED);

    if (!__atomic_compare_exchange_n(place, &expected, died, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
        return false;
    if (word & FUTEX_WAITERS)
        syscall(SYS_futex, place, FUTEX_WAKE, 1, NULL, NULL, 0);
    return true;
}

/* A file, as a line of /proc/<n>/maps names it from the device on. */
struct mapped_file {
    unsigned major_number, minor_number;
    unsigned long inode;
};

/* Searches the lines of a process's maps file: for the mapping that contains `address`, whose file is stored; or, with
 * a NULL address, for a mapping of *file. 1: found; 0: not there; MP_ESYSTEM: cannot be read. */
static int find_mapping(const char *path, const void *address, struct mapped_file *file)
{
    CANCELLING_FORBIDDEN;
    FILE *maps = fopen(path, "re");
    char *line = NULL;
    size_t size = 0;
    int found = 0;

    if (maps == NULL)
        return MP_ESYSTEM;
    while (found == 0 && getline(&line, &size, maps) > 0) {
        struct mapped_file here;
        unsigned long from, to;

        if (sscanf(line, "%lx-%lx %*s %*s %x:%x %lu", &from, &to, &here.major_number, &here.minor_number,
                   &here.inode) != 5)
            continue;
        if (address == NULL)
            found = here.major_number == file->major_number && here.minor_number == file->minor_number &&
                    here.inode == file->inode;
        else
            found = (uintptr_t)address >= from && (uintptr_t)address < to;
        if (found != 0)
            *file = here;
    }
    if (found == 0 && !feof(maps))
        found = MP_ESYSTEM; /* it may be among the lines that were not read */
    free(line);
    fclose(maps);
    return found;
}

bool thread_shares(pid_t thread, const void *address)
{
    struct mapped_file file;
    char path[40];

    if (kill(thread, 0) != 0 && errno == ESRCH)
        return false;
    snprintf(path, sizeof path, "/proc/%d/maps", (int)thread);
    return find_mapping("/proc/self/maps", address, &file) != 1 || find_mapping(path, NULL, &file) != 0;
}

static bool is_refusal(int number)
{
    return number == ENOSYS || number == EPERM || number == EACCES || number == EOPNOTSUPP;
}

/* ---- memory files ---- */

static int file_error(int number)
{
    switch (number) {
    case EMFILE:
    case ENFILE:
        return MP_EAGAIN;
    case ENOMEM:
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return MP_ENOMEM;
    case EEXIST:
        return MP_EEXIST;
    case EACCES:
    case EPERM:
        return MP_EACCESS;
    default:
        return MP_ESYSTEM;
    }
}

int descriptor_move_up(int fd)
{
    if (fd < 0)
        return MP_ESYSTEM;
    if (fd > STDERR_FILENO) {
        int flags = fcntl(fd, F_GETFD);

        if (flags >= 0 && (flags & FD_CLOEXEC) == 0)
            fcntl(fd, F_SETFD, flags | FD_CLOEXEC);
        return fd;
    }
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    int number = errno;
    close(fd);
    errno = number;
    if (moved >= 0)
        return moved;
    /* EINVAL: RLIMIT_NOFILE does not allow a descriptor that high. */
    return number == EINVAL ? MP_EAGAIN : file_error(number);
}

/* A refusal for lack of a privilege, or by a sandbox, is MP_ESYSTEM: MP_EACCESS would mean another user's object. */
static int memory_error(int number)
{
    int error = file_error(number);

    return error == MP_EACCESS ? MP_ESYSTEM : error;
}

const char *memory_directory(void)
{
    return "/dev/shm";
}

/* Sets the mode to 0600, of which the umask may have cleared bits. Takes over fd: the descriptor, or an error. */
static int with_mode(int fd)
{
    struct stat file;

    if (fd >= 0 && ((fstat(fd, &file) == 0 && (file.st_mode & 07777) == 0600) || fchmod(fd, 0600) == 0))
        return fd;
    int error = fd < 0 ? fd : memory_error(errno);
    int number = errno;
    if (fd >= 0)
        close(fd);
    errno = number;
    return error;
}

int memory_file_unnamed(void)
{
    CANCELLING_FORBIDDEN;
    int fd;

    do {
        fd = open(memory_directory(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    } while (fd < 0 && errno == EINTR);
    return fd < 0 ? memory_error(errno) : with_mode(descriptor_move_up(fd));
}

int memory_file_temporary(char path[MEMORY_PATH])
{
    for (;;) {
        uint64_t number;

        random_bytes(&number, sizeof number);
        snprintf(path, MEMORY_PATH, "%s/libmp-%lu.%016llx", memory_directory(), (unsigned long)geteuid(),
                 (unsigned long long)number);
        int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0 && (errno == EINTR || errno == EEXIST))
            continue;
        fd = fd < 0 ? memory_error(errno) : with_mode(descriptor_move_up(fd));
        return fd;
    }
}

static int memory_file_unlinked(void)
{
    char path[MEMORY_PATH];
    int fd = memory_file_unnamed();

    if (fd != MP_ESYSTEM)
        return fd;
    fd = memory_file_temporary(path);
    if (fd >= 0)
        unlink(path);
    return fd;
}

int memory_file(void)
{
    /* Some systems are configured to refuse executable memory files; older ones do not know the flag. */
    long fd = syscall(SYS_memfd_create, "libmp", MFD_CLOEXEC | MFD_NOEXEC_SEAL);

    if (fd < 0 && errno == EINVAL)
        fd = syscall(SYS_memfd_create, "libmp", MFD_CLOEXEC);
    if (fd >= 0)
        return descriptor_move_up((int)fd);
    int error = memory_error(errno);
    return error == MP_ESYSTEM ? memory_file_unlinked() : error;
}

int memory_file_link(int fd, const char *path)
{
    char self[40];

    /* The first call needs a privilege on older kernels, the second one needs /proc. */
    if (linkat(fd, "", AT_FDCWD, path, AT_EMPTY_PATH) == 0)
        return 0;
    if (errno == EEXIST)
        return MP_EEXIST;
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    return linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0 ? 0 : memory_error(errno);
}

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#endif

int memory_file_rename(const char *from, const char *to)
{
    if (syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno == EEXIST)
        return MP_EEXIST;
    if (linkat(AT_FDCWD, from, AT_FDCWD, to, 0) != 0)
        return memory_error(errno);
    unlink(from);
    return 0;
}

/* ---- addresses ---- */

int mapping_error(int number)
{
    return is_refusal(number) ? MP_ESYSTEM : MP_ENOMEM;
}

uint64_t addresses_left(void)
{
    struct rlimit limit;
    unsigned long long pages;
    char text[64];

    if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return UINT64_MAX;
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t size = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    text[size > 0 ? size : 0] = '\0';
    if (sscanf(text, "%llu", &pages) != 1)
        return limit.rlim_cur / 2;
    uint64_t used = (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
    return used < limit.rlim_cur ? limit.rlim_cur - used : 0;
}

bool on_valgrind(void)
{
    const char *preloaded = getenv("LD_PRELOAD");

    return preloaded != NULL && strstr(preloaded, "/vgpreload_") != NULL;
}

/* ---- room in files ---- */

/* Whether RLIMIT_FSIZE allows a file of that length. To ask the system for more would raise SIGXFSZ, which kills. */
static bool may_grow_to(uint64_t size)
{
    struct rlimit limit;

    if (size > INT64_MAX)
        return false;
    return getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY || size <= limit.rlim_cur;
}

static int reserve_error(int number)
{
    return file_error(number) == MP_ENOMEM ? MP_ENOMEM : MP_ESYSTEM;
}

/* Writes zeros over a range without data, which allocates its pages as fallocate() does. */
static int fill(int fd, off_t from, off_t to)
{
    static const char zeros[4096];

    while (from < to) {
        size_t size = sizeof zeros - (size_t)from % sizeof zeros;
        ssize_t done = pwrite(fd, zeros, (off_t)size < to - from ? size : (size_t)(to - from), from);

        if (done > 0)
            from += done;
        else if (done < 0 && errno != EINTR)
            return reserve_error(errno);
    }
    return 0;
}

/* Does what fallocate() does, where that is refused. Writes to the holes only: the rest is data that other processes
 * may be changing. */
static int fill_holes(int fd, uint64_t from, uint64_t to)
{
    struct stat file;
    off_t at = (off_t)from, end = (off_t)to;

    if (fstat(fd, &file) != 0)
        return reserve_error(errno);
    while (at < end && at < file.st_size) {
        off_t hole = lseek(fd, at, SEEK_HOLE);
        if (hole < 0)
            return reserve_error(errno);
        off_t data = lseek(fd, hole, SEEK_DATA);
        if (data < 0 && errno != ENXIO)
            return reserve_error(errno);
        if (data < 0)
            data = file.st_size;
        if (hole >= end || hole >= file.st_size)
            break;
        int error = fill(fd, hole, data < end ? data : end);
        if (error != 0)
            return error;
        at = data;
    }
    if (end <= file.st_size)
        return 0;
    return fill(fd, (off_t)from > file.st_size ? (off_t)from : file.st_size, end);
}

/* Reserves in steps: a call that a signal interrupts starts over, so under a steady timer a large one might never
 * end. */
static int reserve_steps(int fd, uint64_t from, uint64_t to)
{
    uint64_t step = RESERVE_STEP;

    while (from < to) {
        uint64_t size = to - from < step ? to - from : step;

        if (fallocate(fd, 0, (off_t)from, (off_t)size) == 0)
            from += size;
        else if (is_refusal(errno))
            return fill_holes(fd, from, to);
        else if (errno != EINTR)
            return reserve_error(errno);
        else if (step > RESERVE_STEP / 1024)
            step /= 2;
    }
    return 0;
}

int memory_file_reserve(int fd, uint64_t from, uint64_t to)
{
    CANCELLING_FORBIDDEN;
    struct stat before;

    if (fstat(fd, &before) != 0)
        return reserve_error(errno);
    if (to > (uint64_t)before.st_size && !may_grow_to(to))
        return MP_ENOMEM;
    int error = reserve_steps(fd, from, to);
    if (error != 0 && to > (uint64_t)before.st_size) {
        int reason = errno;

        while (ftruncate(fd, before.st_size) != 0 && errno == EINTR)
            ;
        errno = reason;
    }
    return error;
}

void memory_file_lengthen(int fd, uint64_t length)
{
    while (may_grow_to(length) && ftruncate(fd, (off_t)length) != 0 && errno == EINTR)
        ;
}

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

void memory_file_populate(void *address, uint64_t length)
{
    madvise(address, length, MADV_POPULATE_WRITE); /* kernels before 5.14 do not know it */
}

/* Whether the system overcommits memory. With vm.overcommit_memory 2 it may refuse a page that was not reserved. */
static bool overcommits(void)
{
    char mode = '2';
    int fd = open("/proc/sys/vm/overcommit_memory", O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return false;
    ssize_t got = read(fd, &mode, 1);
    close(fd);
    return got == 1 && mode != '2';
}

bool memory_file_is_unlimited(int fd)
{
    struct statvfs system;

    return fstatvfs(fd, &system) == 0 && system.f_blocks == 0 && overcommits();
}

void memory_file_punch(int fd, uint64_t from, uint64_t to)
{
    CANCELLING_FORBIDDEN;
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t first = (from + page - 1) / page * page;
    uint64_t end = to / page * page;

    if (first >= end)
        return;
    while (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)first, (off_t)(end - first)) != 0 &&
           errno == EINTR)
        ;
}

/* ---- processes ---- */

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

void *memory_wiped_by_fork(void)
{
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    void *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (page == MAP_FAILED)
        return NULL;
    if (madvise(page, size, MADV_WIPEONFORK) == 0)
        return page;
    munmap(page, size);
    return NULL;
}

int pidfd_of(pid_t pid)
{
    int fd = descriptor_move_up((int)syscall(SYS_pidfd_open, pid, 0)); /* close-on-exec always */

    return fd >= 0 ? fd : -1;
}

int pidfd_signal(int pidfd, int signal)
{
    if (syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0) == 0 || errno == ESRCH)
        return 0;
    return MP_ESYSTEM;
}

/* Where waitid() is refused. Always reaps: wait4() cannot leave the child. */
static int reap_by_wait4(pid_t pid, int *exitcode)
{
    int status;
    long got;

    do {
        got = syscall(SYS_wait4, pid, &status, WNOHANG, NULL);
    } while (got < 0 && errno == EINTR);
    if (got < 0)
        return errno == ECHILD ? MP_ENOENT : MP_ESYSTEM;
    if (got > 0)
        *exitcode = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    return got > 0;
}

/* Calls waitid() by syscall(), which is no cancellation point. Returns as child_reap() does. */
static int wait_for_end(idtype_t type, id_t id, int flags, int *exitcode)
{
    siginfo_t info = {.si_pid = 0};
    long error;

    do {
        error = syscall(SYS_waitid, type, id, &info, WEXITED | WNOHANG | flags, NULL);
    } while (error != 0 && errno == EINTR);
    if (error != 0 && errno != ECHILD)
        return type == P_PID && flags == 0 ? reap_by_wait4((pid_t)id, exitcode) : MP_ESYSTEM;
    if (error != 0)
        return MP_ENOENT;
    if (info.si_pid == 0)
        return 0;
    *exitcode = info.si_code == CLD_EXITED ? info.si_status : -info.si_status;
    return 1;
}

int child_reap(pid_t pid, int pidfd, int *exitcode)
{
    return pidfd >= 0 ? wait_for_end(WAIT_PIDFD, (id_t)pidfd, 0, exitcode)
                      : wait_for_end(P_PID, (id_t)pid, 0, exitcode);
}

int child_look(pid_t pid, int *exitcode)
{
    return wait_for_end(P_PID, (id_t)pid, WNOWAIT, exitcode);
}

int child_wait(pid_t pid)
{
    siginfo_t info;

    if (syscall(SYS_waitid, P_PID, pid, &info, WEXITED | WNOWAIT, NULL) == 0)
        return 1;
    return errno == EINTR || errno == ECHILD ? 0 : MP_ESYSTEM;
}

/* Reads the start of a file in /proc, as a string. False: cannot be read, or empty. */
static bool read_text(const char *path, char *text, size_t size)
{
    CANCELLING_FORBIDDEN;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return false;
    ssize_t got = read(fd, text, size - 1);
    close(fd);
    text[got > 0 ? got : 0] = '\0';
    return got > 0;
}

/* When a process began, in ticks since the system was started: the 22nd word of /proc/<n>/stat. The second word is the
 * program's name in brackets, and may contain anything, so the search begins at the last closing bracket. *state: the
 * third word. */
static bool read_beginning(pid_t pid, unsigned long long *ticks, char *state)
{
    char path[40], text[1024];

    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (!read_text(path, text, sizeof text))
        return false;
    const char *at = strrchr(text, ')');
    *state = at != NULL && at[1] == ' ' ? at[2] : '\0';
    for (int word = 2; word < 22 && at != NULL; word++)
        at = strchr(at + 1, ' ');
    return at != NULL && sscanf(at, "%llu", ticks) == 1;
}

bool thread_began(pid_t thread, uint64_t *ticks, bool *ended)
{
    unsigned long long began;
    char state;

    if (!read_beginning(thread, &began, &state))
        return false;
    *ticks = began;
    *ended = state == 'Z' || state == 'X';
    return true;
}

uint64_t process_tick(void)
{
    long each = sysconf(_SC_CLK_TCK);

    return (uint64_t)SECOND / (uint64_t)(each > 0 ? each : 100);
}

bool process_namespaces(uint64_t inode[2])
{
    struct stat file;

    if (stat("/proc/self/ns/pid", &file) != 0)
        return false;
    inode[0] = file.st_ino;
    inode[1] = stat("/proc/self/ns/time", &file) == 0 ? file.st_ino : 0; /* since 5.6 */
    return true;
}

/* The line NSpid has the process's number in each PID namespace from that of /proc to its own: a single one if they are
 * the same. */
bool process_table_is_own(void)
{
    char text[4096];
    const char *at = read_text("/proc/self/status", text, sizeof text) ? strstr(text, "\nNSpid:") : NULL;
    int first, second;

    return at != NULL && sscanf(at + 7, "%d%*[ \t]%d", &first, &second) == 1;
}

bool process_began_by(pid_t pid, int64_t moment)
{
    long each = sysconf(_SC_CLK_TCK);
    unsigned long long ticks;
    char state;

    return each <= 0 || moment < 0 || !read_beginning(pid, &ticks, &state) ||
           ticks <= (unsigned long long)moment / (unsigned long long)(SECOND / each);
}

/* Reads as many bytes as it can get. Returns how many. */
static size_t read_random_file(char *at, size_t size)
{
    size_t done = 0;
    int fd = descriptor_move_up(open("/dev/urandom", O_RDONLY | O_CLOEXEC));

    while (fd >= 0 && done < size) {
        ssize_t got = read(fd, at + done, size - done);

        if (got > 0)
            done += (size_t)got;
        else if (got == 0 || errno != EINTR)
            break;
    }
    if (fd >= 0)
        close(fd);
    return done;
}

/* Makes bytes from what differs between processes and calls: the 16 random bytes that the kernel gives each program,
 * the clock, the pid, addresses. */
static void make_random(char *at, size_t size)
{
    static _Atomic uint64_t calls;
    const char *given = (const char *)(uintptr_t)getauxval(AT_RANDOM);
    uint64_t state = (uint64_t)clock_now() ^ (uint64_t)getpid() << 40 ^ (uint64_t)(uintptr_t)&size;
    uint64_t word;

    if (given != NULL) {
        memcpy(&word, given, sizeof word);
        state ^= word;
    }
    state += atomic_fetch_add(&calls, 1) << 32;
    for (size_t i = 0; i < size; i++) {
        state += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
        word = (state ^ state >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        word = (word ^ word >> 27) * UINT64_C(0x94d049bb133111eb);
        at[i] = (char)(word >> 56);
    }
}

void random_bytes(void *buffer, size_t size)
{
    CANCELLING_FORBIDDEN;
    char *at = buffer;

    while (size > 0) {
        ssize_t got = getrandom(at, size, 0);

        if (got <= 0 && errno != EINTR)
            break;
        if (got > 0) {
            at += got;
            size -= (size_t)got;
        }
    }
    size_t got = size == 0 ? 0 : read_random_file(at, size);
    if (got < size)
        make_random(at + got, size - got);
}

/* prctl() with one argument. The C library's function lies in a page that a forked child has not mapped yet: the page
 * fault would be the most expensive thing that many a child does. The same goes for pthread_sigmask() (see
 * signals_set()). */
static void control_process(int option, unsigned long argument)
{
#ifdef __x86_64__
    long number = SYS_prctl;

    __asm__ volatile("syscall" : "+a"(number) : "D"((long)option), "S"(argument) : "rcx", "r11", "memory");
#else
    prctl(option, argument, 0, 0, 0);
#endif
}

uint64_t signals_set(uint64_t mask)
{
    uint64_t before = 0;
#ifdef __x86_64__
    long number = SYS_rt_sigprocmask;
    register long size __asm__("r10") = sizeof mask;

    __asm__ volatile("syscall"
                     : "+a"(number)
                     : "D"((long)SIG_SETMASK), "S"(&mask), "d"(&before), "r"(size)
                     : "rcx", "r11", "memory");
#else
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, &before, sizeof mask);
#endif
    return before;
}

void death_signal(int signal)
{
    control_process(PR_SET_PDEATHSIG, (unsigned long)signal);
}

bool death_signal_holds(int signal)
{
    int now = 0;

    return prctl(PR_GET_PDEATHSIG, (unsigned long)(uintptr_t)&now, 0, 0, 0) == 0 && now == signal;
}

int hangup_signal_prepare(int fd, int signal)
{
    if (fcntl(fd, F_SETOWN, 0) == 0 && fcntl(fd, F_SETSIG, signal) == 0 && fcntl(fd, F_SETFL, O_ASYNC) == 0)
        return 0;
    return errno == ENOMEM ? MP_ENOMEM : MP_ESYSTEM;
}

int hangup_signal_take(int fd)
{
    return fcntl(fd, F_SETOWN, getpid()) == 0 ? 0 : MP_ESYSTEM;
}

bool on_main_thread(void)
{
    return (pid_t)syscall(SYS_gettid) == getpid();
}

void process_title(const char *name)
{
    control_process(PR_SET_NAME, (unsigned long)(uintptr_t)name);
}

bool stream_is_empty(FILE *stream)
{
#ifdef __GLIBC__
    /* Looks into the stream, to avoid a page fault as in control_process(). A stream of wide characters has another
     * buffer. */
    if (stream->_mode <= 0)
        return stream->_IO_write_ptr == stream->_IO_write_base;
#endif
    return __fpending(stream) == 0;
}

void stream_discard(FILE *stream)
{
    __fpurge(stream);
}
