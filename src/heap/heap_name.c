/* A named heap is a file in memory_directory(): libmp-<user>-<name>, of that user, mode 0600.
 *
 * LIFE OF A NAME. Each process that has a named heap open holds a share (a shared flock) in its file. The kernel drops
 * the share when the last process that has the open file description is gone. So an exclusive flock succeeds only when
 * no process has the heap open. Then the name is stale, and is removed under that lock. By the time a file is opened
 * and locked, the name may lead to another file: leads_to() looks, and if so, all starts again. A heap gets its name
 * when it is complete and locked: so no half-made heap is ever found.
 *
 * THE SHARE belongs to an open file description of its own, not to that of the descriptor from which the heap is
 * mapped. So a process can give up its share at its end while the heap stays mapped: mutexes in it may be held, and the
 * kernel finds them by their addresses. The share is held by a page of that file, mapped without access, and by no
 * descriptor: a program that closes all descriptors does not lose it.
 *
 * FILES OF OTHERS. A file that does not begin as a heap does is not the library's: it is never removed, and never
 * waited for. Only a file named libmp-<user>.<anything>, of that user, is taken for the library's whatever it contains.
 *
 * STALE NAMES. A process that is killed, or ends by _exit() or exec, leaves its names, and the memory under them.
 * Whenever a named heap is made or opened, sweep() looks for such names of this user: at a bounded number each time,
 * from a random place, and for a tenth of the time at the most. */
#include "heap/heap_name.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <mp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cancelling.h"
#include "base/clock.h"
#include "base/descriptor.h"
#include "base/error.h"
#include "base/memory_file.h"
#include "base/random.h"

#define NAME_LENGTH 200
#define PATIENCE_NS (2 * SECOND)
#define LEAVE_PATIENCE_NS (200 * MILLISECOND)
#define LEAVE_ERRORS 3
#define SWEEP_MOST 128
#define SWEEP_PAUSE 10 /* times as long as the last sweep took */

enum { TRY_AGAIN = 1, IN_USE = 2 };

static int error_of(int number)
{
    switch (number) {
    case ENOENT:
        return MP_ENOENT;
    case EACCES:
    case ELOOP: /* a symbolic link: not the library's */
        return MP_EACCESS;
    case EISDIR:
    case ENXIO:
        return MP_EKIND;
    default:
        return system_error(number);
    }
}

static int path_of(const char *text, char **path)
{
    if (text == NULL)
        return MP_EINVAL;
    size_t length = strnlen(text, NAME_LENGTH + 1);
    if (length == 0 || length > NAME_LENGTH || strchr(text, '/') != NULL || strcmp(text, ".") == 0 ||
        strcmp(text, "..") == 0)
        return MP_ENAME;
    size_t size = strlen(memory_directory()) + length + 32;
    *path = malloc(size);
    if (*path == NULL)
        return MP_ENOMEM;
    snprintf(*path, size, "%s/libmp-%lu-%s", memory_directory(), (unsigned long)geteuid(), text);
    return 0;
}

/* ---- files ---- */

/* 0: it is a private file of this user. MP_EKIND: no regular file. MP_EACCESS: another user's, or not private. */
static int check_file(const struct stat *file)
{
    if (S_ISLNK(file->st_mode))
        return MP_EACCESS;
    if (!S_ISREG(file->st_mode))
        return MP_EKIND;
    return file->st_uid == geteuid() && (file->st_mode & 077) == 0 ? 0 : MP_EACCESS;
}

static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Opens what a name leads to, if it is a private file of this user. It looks before it opens: to open a pipe or a
 * device may have an effect, or wait. Returns the descriptor (3 or more), TRY_AGAIN, or an error. TRY_AGAIN: the name
 * has changed meanwhile; or a process has a lease on the file, which opening does not wait for. */
static int open_file(const char *path, int access, struct stat *file)
{
    struct stat before;
    int fd;

    if (lstat(path, &before) != 0)
        return error_of(errno);
    int error = check_file(&before);
    if (error != 0)
        return error;
    do {
        fd = open(path, access | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0)
        return errno == EWOULDBLOCK ? TRY_AGAIN : error_of(errno);
    fd = descriptor_move_up(fd);
    if (fd < 0)
        return fd;
    if (fstat(fd, file) != 0)
        error = error_of(errno);
    else
        error = is_same(file, &before) ? check_file(file) : TRY_AGAIN;
    if (error == 0)
        return fd;
    close(fd);
    return error;
}

/* 0: the name leads to that file. TRY_AGAIN: it leads to another file or to none. Or an error. */
static int leads_to(const char *path, const struct stat *file)
{
    struct stat now;

    if (lstat(path, &now) != 0)
        return errno == ENOENT ? TRY_AGAIN : error_of(errno);
    return is_same(&now, file) ? 0 : TRY_AGAIN;
}

/* Removes the name of a file that is known to be this user's. So what forbids it is the directory, the file system or a
 * sandbox: MP_ESYSTEM. */
static int remove_name(const char *path)
{
    if (unlink(path) == 0 || errno == ENOENT)
        return 0;
    return errno == EACCES || errno == EPERM ? MP_ESYSTEM : error_of(errno);
}

/* Whether the file begins as a heap of any version does, and which kind of heap it is. 0, MP_EKIND (it does not), or
 * another error. */
static int look_inside(int fd, uint32_t *kind)
{
    struct {
        uint64_t magic;
        uint32_t version, kind;
    } start = {0, 0, 0};
    ssize_t got;

    _Static_assert(offsetof(struct heap, magic) == 0 && offsetof(struct heap, kind) == 12, "a heap's first words");
    do {
        got = pread(fd, &start, sizeof start, 0);
    } while (got < 0 && errno == EINTR);
    if (got < 0)
        return errno == ENOMEM ? MP_ENOMEM : MP_ESYSTEM;
    *kind = start.kind;
    return got >= (ssize_t)sizeof start.magic && start.magic == HEAP_MAGIC ? 0 : MP_EKIND;
}

/* ---- locks ---- */

/* 0; TRY_AGAIN: another open file description has a lock that conflicts; or an error. */
static int try_flock(int fd, int operation)
{
    while (flock(fd, operation | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK)
            return TRY_AGAIN;
        if (errno != EINTR)
            return system_error(errno);
    }
    return 0;
}

/* Removes the name of a heap that the caller has locked exclusively: no process has it open. MP_ENOENT: done. */
static int remove_stale(const char *path, const struct stat *file)
{
    int error = leads_to(path, file);

    if (error == 0)
        error = remove_name(path);
    return error == 0 ? MP_ENOENT : error;
}

/* Finds out whether any process has a share in a file just opened. 0: none has, and the descriptor has the exclusive
 * lock. TRY_AGAIN: another process is finding out the same. IN_USE: a process has a share. Or an error.
 *
 * An exclusive lock that is refused does not tell whether another process has a share, or is just finding out the same
 * and removing the name. So:
 *   1. Ask for the exclusive lock. Granted: no process has a share.
 *   2. Ask for a share. Refused: another process has the exclusive lock, for a moment. TRY_AGAIN.
 *   3. Give the share up, and ask for the exclusive lock once more. Refused: IN_USE.
 * Several processes that give up the last shares at once may meet each other's share of step 2. But the last of their
 * exclusive requests comes after all of these are given up. So it is refused in two cases only: another process has a
 * share; or it has just got the exclusive lock, and removes the name. */
static int lock_if_unused(int fd)
{
    int error = try_flock(fd, LOCK_EX);

    if (error != TRY_AGAIN)
        return error;
    error = try_flock(fd, LOCK_SH);
    if (error != 0)
        return error;
    while (flock(fd, LOCK_UN) != 0 && errno == EINTR)
        ;
    error = try_flock(fd, LOCK_EX);
    return error == TRY_AGAIN ? IN_USE : error;
}

/* Removes the name if it still leads to that file and no process has a share in it. 0: it is removed, or in use, or
 * leads elsewhere. TRY_AGAIN, or an error: this could not be found out. */
static int look_and_remove(const char *path, dev_t device, ino_t inode)
{
    struct stat file;
    int fd = open_file(path, O_RDONLY, &file);

    if (fd <= TRY_AGAIN)
        return fd == MP_ENOENT ? 0 : fd;
    int error = file.st_dev == device && file.st_ino == inode ? lock_if_unused(fd) : IN_USE;
    if (error == 0) {
        error = remove_stale(path, &file);
        if (error == TRY_AGAIN) /* another process has removed it meanwhile */
            error = 0;
    }
    close(fd);
    return error == MP_ENOENT || error == IN_USE ? 0 : error;
}

/* Called by each process after it has given up a share: so the last one removes the name. The share's own open file
 * description does not show whether it was the last: processes forked from this one, or the one that this was forked
 * from, may have the same. So this opens the file anew, and asks for a lock of its own.
 *
 * If it fails, the name is stale: the next process that comes across it removes it. */
static void remove_if_unused(const char *path, dev_t device, ino_t inode)
{
    int64_t deadline = clock_now() + LEAVE_PATIENCE_NS;
    int error, errors = 0;

    while ((error = look_and_remove(path, device, inode)) != 0 && clock_now() < deadline) {
        if (error != TRY_AGAIN && ++errors >= LEAVE_ERRORS)
            return;
        if (error == TRY_AGAIN)
            clock_sleep(MILLISECOND);
    }
}

/* Gives up a share that only a descriptor holds, and closes the descriptor. */
static void drop_share(int fd, const char *path, const struct stat *file)
{
    int number = errno;

    close(fd);
    remove_if_unused(path, file->st_dev, file->st_ino);
    errno = number;
}

/* Takes a share in a file just opened. 0; MP_ENOENT: it was stale, and its name is now removed; TRY_AGAIN: another
 * process has just removed it, or is finding out whether it is stale; or an error. */
static int lock_file(int fd, const char *path, const struct stat *file)
{
    int error = try_flock(fd, LOCK_EX);

    if (error == 0)
        return remove_stale(path, file);
    if (error == TRY_AGAIN)
        error = try_flock(fd, LOCK_SH);
    return error == 0 ? leads_to(path, file) : error;
}

static int take_share(int fd, const char *path, const struct stat *file)
{
    int error = try_flock(fd, LOCK_SH);

    return error == 0 ? leads_to(path, file) : error;
}

/* Opens what a name leads to, and locks it with one of the two functions above, if it is a heap: a file that is not the
 * library's is never locked. Other processes hold conflicting locks for a moment only; should one not let go for
 * PATIENCE_NS, MP_EAGAIN. The descriptor, or an error. */
static int open_locked(const char *path, struct stat *file, int (*lock)(int, const char *, const struct stat *))
{
    int64_t deadline = clock_now() + PATIENCE_NS;
    uint32_t kind;

    do {
        int fd = open_file(path, O_RDONLY, file);
        int error = fd;

        if (fd > TRY_AGAIN) {
            error = look_inside(fd, &kind);
            if (error == 0)
                error = lock(fd, path, file);
            if (error == 0)
                return fd;
            int number = errno;
            close(fd);
            errno = number;
        }
        if (error != TRY_AGAIN)
            return error;
        clock_sleep(MILLISECOND);
    } while (clock_now() < deadline);
    return MP_EAGAIN;
}

/* Maps the page that holds the share, the descriptor's lock. Takes over the descriptor. NULL: errno says why. */
static void *keep_share(int fd)
{
    void *share = mmap(NULL, HEAP_PAGE, PROT_NONE, MAP_SHARED, fd, 0);
    int number = errno;

    close(fd);
    errno = number;
    return share == MAP_FAILED ? NULL : share;
}

/* ---- stale names ---- */

/* Whether the file name is one of this user's: libmp-<user>- for heaps, libmp-<user>. (temporary) for files that have
 * not got the name of their heap. */
static bool is_ours(const char *entry, bool *temporary)
{
    char prefix[40];
    int length = snprintf(prefix, sizeof prefix, "libmp-%lu", (unsigned long)geteuid());

    if (strncmp(entry, prefix, (size_t)length) != 0)
        return false;
    *temporary = entry[length] == '.';
    return *temporary || entry[length] == '-';
}

/* Removes the name if it is stale. */
static void sweep_name(const char *entry, bool temporary)
{
    char path[sizeof "/dev/shm/" + 256];
    struct stat file;
    uint32_t kind;

    snprintf(path, sizeof path, "%s/%s", memory_directory(), entry);
    int fd = open_file(path, O_RDONLY, &file);
    if (fd <= TRY_AGAIN)
        return;
    /* The content is looked at before the file is locked: a file that is not the library's is never locked. A file
     * that has not got its name yet may be empty. */
    if ((temporary || look_inside(fd, &kind) == 0) && try_flock(fd, LOCK_EX) == 0 && leads_to(path, &file) == 0)
        unlink(path);
    close(fd);
}

static unsigned count_names(DIR *directory)
{
    const struct dirent *entry;
    unsigned count = 0;
    bool temporary;

    while ((entry = readdir(directory)) != NULL)
        count += is_ours(entry->d_name, &temporary);
    rewinddir(directory);
    return count;
}

static void sweep_some(DIR *directory)
{
    const struct dirent *entry;
    unsigned count = count_names(directory), at = 0;
    uint64_t first = 0;
    bool temporary;

    if (count > SWEEP_MOST) {
        random_bytes(&first, sizeof first);
        first %= count;
    }
    while ((entry = readdir(directory)) != NULL) {
        if (!is_ours(entry->d_name, &temporary))
            continue;
        uint64_t distance = at >= first ? at - first : at + count - first;
        if (distance < SWEEP_MOST)
            sweep_name(entry->d_name, temporary);
        at++;
    }
}

static void sweep(void)
{
    static _Atomic int64_t next;
    int64_t begin = clock_now();

    if (begin < atomic_load(&next))
        return;
    int number = errno;
    DIR *directory = opendir(memory_directory());
    if (directory != NULL) {
        sweep_some(directory);
        closedir(directory);
    }
    int64_t end = clock_now();
    atomic_store(&next, end + SWEEP_PAUSE * (end - begin));
    errno = number;
}

/* ---- making ---- */

/* A share in the file under `fd`, through a second open file description. NULL: the system has no way to make one. */
static void *share_of_unnamed(int fd)
{
    char self[40];

    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    int second = descriptor_move_up(open(self, O_RDONLY | O_CLOEXEC));
    if (second < 0)
        return NULL;
    if (try_flock(second, LOCK_SH) == 0)
        return keep_share(second);
    close(second);
    return NULL;
}

static int create_unnamed(struct heap_name *name)
{
    int fd = memory_file_unnamed();

    if (fd < 0)
        return fd;
    name->share = share_of_unnamed(fd);
    if (name->share != NULL)
        return fd;
    int number = errno;
    close(fd);
    errno = number;
    return MP_ESYSTEM;
}

/* Where the system has no unnamed files, or no way to open them twice: makes a file under a name of its own. Until it
 * is locked, another process may take it for stale and remove it; then this makes another one. */
static int create_temporary(struct heap_name *name)
{
    struct stat file;
    int error = TRY_AGAIN;

    name->temporary = malloc(MEMORY_PATH);
    if (name->temporary == NULL)
        return MP_ENOMEM;
    for (int tries = 0; error == TRY_AGAIN && tries < 100; tries++) {
        int fd = memory_file_temporary(name->temporary);

        if (fd < 0) {
            error = fd;
            break;
        }
        int second = open_file(name->temporary, O_RDONLY, &file);
        error = second > TRY_AGAIN ? take_share(second, name->temporary, &file) : second;
        if (error == 0) {
            name->share = keep_share(second);
            if (name->share != NULL)
                return fd;
            error = mapping_error(errno);
        } else if (second > TRY_AGAIN) {
            close(second);
        }
        int number = errno;
        unlink(name->temporary);
        close(fd);
        errno = number;
        if (error == MP_ENOENT)
            error = TRY_AGAIN;
    }
    free(name->temporary);
    name->temporary = NULL;
    return error == TRY_AGAIN ? MP_EAGAIN : error;
}

int heap_name_create(struct heap_name *name, const char *text)
{
    struct stat file;

    *name = (struct heap_name){.path = NULL};
    int error = path_of(text, &name->path);
    if (error != 0)
        return error;
    sweep();
    int fd = create_unnamed(name);
    if (fd == MP_ESYSTEM)
        fd = create_temporary(name);
    if (fd >= 0 && fstat(fd, &file) == 0) {
        name->device = file.st_dev;
        name->inode = file.st_ino;
        return fd;
    }
    error = fd < 0 ? fd : MP_ESYSTEM;
    if (fd >= 0)
        close(fd);
    heap_name_free(name);
    return error;
}

/* Removes a stale name that stands in the way of a new heap. 0: nothing is in the way any more; MP_EEXIST: a heap of
 * that kind; MP_EKIND: something else; or an error. */
static int make_way(const char *path, enum heap_kind kind)
{
    struct stat file;
    uint32_t other;
    int fd = open_locked(path, &file, lock_file);

    if (fd == MP_ENOENT)
        return 0;
    if (fd < 0)
        return fd;
    int error = look_inside(fd, &other);
    drop_share(fd, path, &file);
    if (error != 0)
        return error;
    return other == (uint32_t)kind ? MP_EEXIST : MP_EKIND;
}

int heap_name_publish(struct heap_name *name, int fd, enum heap_kind kind)
{
    int64_t deadline = clock_now() + PATIENCE_NS;
    int error;

    do {
        error = name->temporary != NULL ? memory_file_rename(name->temporary, name->path)
                                        : memory_file_link(fd, name->path);
        if (error != MP_EEXIST)
            break;
        error = make_way(name->path, kind);
    } while (error == 0 && clock_now() < deadline);
    if (error != 0)
        return error;
    name->published = true;
    free(name->temporary);
    name->temporary = NULL;
    return 0;
}

/* ---- opening ---- */

/* Opens the file that is to be mapped as the heap. The lock of the descriptor `locked` becomes the share. Takes over
 * `locked`. */
static int open_for_heap(struct heap_name *name, int locked, const struct stat *file)
{
    struct stat again;
    int fd = open_file(name->path, O_RDWR, &again);

    if (fd == MP_ENOENT)
        fd = TRY_AGAIN;
    if (fd > TRY_AGAIN && !is_same(file, &again)) {
        close(fd);
        fd = TRY_AGAIN;
    }
    if (fd <= TRY_AGAIN) {
        drop_share(locked, name->path, file);
        return fd;
    }
    name->share = keep_share(locked);
    if (name->share == NULL) {
        int number = errno;
        close(fd);
        remove_if_unused(name->path, file->st_dev, file->st_ino);
        errno = number;
        return mapping_error(number);
    }
    name->device = file->st_dev;
    name->inode = file->st_ino;
    name->published = true;
    return fd;
}

int heap_name_open(struct heap_name *name, const char *text)
{
    int64_t deadline = clock_now() + PATIENCE_NS;

    *name = (struct heap_name){.path = NULL};
    int fd = path_of(text, &name->path);
    if (fd != 0)
        return fd;
    sweep();
    do {
        struct stat file;

        fd = open_locked(name->path, &file, lock_file);
        if (fd >= 0)
            fd = open_for_heap(name, fd, &file);
    } while (fd == TRY_AGAIN && clock_now() < deadline);
    if (fd > TRY_AGAIN)
        return fd;
    heap_name_free(name);
    return fd == TRY_AGAIN ? MP_EAGAIN : fd;
}

int heap_name_reopen(const struct heap_name *name)
{
    struct stat file;

    if (name->path == NULL || !name->published)
        return MP_ESYSTEM;
    int fd = open_file(name->path, O_RDWR, &file);
    if (fd > TRY_AGAIN && file.st_dev == name->device && file.st_ino == name->inode)
        return fd;
    if (fd > TRY_AGAIN)
        close(fd);
    return MP_ESYSTEM;
}

/* ---- leaving ---- */

void heap_name_leave(struct heap_name *name)
{
    if (name->share == NULL)
        return;
    /* Unmapping may need memory, if it splits a mapping. To lay something over it does not. */
    if (munmap(name->share, HEAP_PAGE) != 0)
        mmap(name->share, HEAP_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    name->share = NULL;
    if (name->temporary != NULL)
        unlink(name->temporary);
    if (name->published)
        remove_if_unused(name->path, name->device, name->inode);
}

void heap_name_free(struct heap_name *name)
{
    int number = errno;

    heap_name_leave(name);
    free(name->path);
    free(name->temporary);
    *name = (struct heap_name){.path = NULL};
    errno = number;
}

int heap_unlink(enum heap_kind kind, const char *text)
{
    CANCELLING_FORBIDDEN;
    char *path;
    struct stat file;
    uint32_t found;
    int error = path_of(text, &path);

    if (error != 0)
        return error;
    int fd = open_locked(path, &file, take_share);
    error = fd < 0 ? fd : look_inside(fd, &found);
    if (error == 0 && found != (uint32_t)kind)
        error = MP_EKIND;
    if (error == 0)
        error = remove_name(path);
    if (fd >= 0)
        drop_share(fd, path, &file);
    free(path);
    return error;
}
