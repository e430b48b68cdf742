/* Nothing here keeps state that a lock must guard, or that a death could leave half done. There is one exception: a
 * reservation that is interrupted leaves a file that is longer than its user has noted; the next one starts over. */
#include "base/memory_file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <mp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cancelling.h"
#include "base/descriptor.h"
#include "base/error.h"
#include "base/random.h"

#ifndef MFD_CLOEXEC
#define MFD_CLOEXEC 1U
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U
#endif
#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define RESERVE_STEP (UINT64_C(4) << 20)

static bool is_refusal(int number)
{
    return number == ENOSYS || number == EPERM || number == EACCES || number == EOPNOTSUPP;
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
    int error = fd < 0 ? fd : system_error(errno);
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
    return fd < 0 ? system_error(errno) : with_mode(descriptor_move_up(fd));
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
        fd = fd < 0 ? system_error(errno) : with_mode(descriptor_move_up(fd));
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
    int error = system_error(errno);
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
    return linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0 ? 0 : system_error(errno);
}

int memory_file_rename(const char *from, const char *to)
{
    if (syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno == EEXIST)
        return MP_EEXIST;
    if (linkat(AT_FDCWD, from, AT_FDCWD, to, 0) != 0)
        return system_error(errno);
    unlink(from);
    return 0;
}

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

/* Whether RLIMIT_FSIZE allows a file of that length. To ask the system for more would raise SIGXFSZ, which kills. */
static bool may_grow_to(uint64_t size)
{
    struct rlimit limit;

    if (size > INT64_MAX)
        return false;
    return getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY || size <= limit.rlim_cur;
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
            return system_error(errno);
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
        return system_error(errno);
    while (at < end && at < file.st_size) {
        off_t hole = lseek(fd, at, SEEK_HOLE);
        if (hole < 0)
            return system_error(errno);
        off_t data = lseek(fd, hole, SEEK_DATA);
        if (data < 0 && errno != ENXIO)
            return system_error(errno);
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
            return system_error(errno);
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
        return system_error(errno);
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
    CANCELLING_FORBIDDEN;
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
