/* Heaps as files: making, naming, opening, mapping, closing.
 *
 * A heap is one MAP_SHARED mapping over far more addresses than its file has bytes. Growing the file makes the new pages valid
 * at once in every process that has the mapping; nothing moves. Forked children share the mapping and, by the same number,
 * the descriptor; `heaps` below tells the descriptor of each, and is used only on slow paths.
 *
 * LIFE OF A NAME. Everybody who has a named heap open holds a shared flock on it, which the kernel drops when the last process
 * that shares the open file is gone. So who gets an exclusive flock knows that nobody has the heap open: it is stale, and
 * whoever finds that out removes the name, while holding the lock. Hence also: whoever has just opened a file and got its lock
 * looks whether the name still leads to that file, and starts again if not. A heap gets its name when it is whole and locked,
 * by linking an unnamed file: no half-made one is ever seen, and a creator that dies leaves nothing.
 *
 * CLOSED HEAPS. Their addresses are kept, reading as zeros, so that a stale handle is an error and not a crash; only when
 * RETIRED_KEPT others have been closed after it, are they used again. (Where the system refuses even that, they are let go.) */
#include "heap_file.h"

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

#include "lifecycle.h"
#include "mutex.h"
#include "object.h"
#include "platform.h"

#define MAGIC UINT64_C(0x31706d2070616568)
#define VERSION 4
#define LARGEST (UINT64_C(1) << 36)
#define SMALLEST (UINT64_C(1) << 20)
#define NAME_LENGTH 200
#define RETIRED_KEPT 16
#define LEAVE_TRIES 3

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

/* A heap this process has open, or (fd -1) the addresses of one it has closed. */
struct open_heap {
    struct open_heap *next;
    struct heap *heap;
    uint64_t length;
    uint64_t serial; /* counts all heaps ever opened */
    int fd;
    dev_t device;
    ino_t inode;
    char *path; /* NULL: anonymous, or not yet published */
    bool published;
};

static struct open_heap *heaps;
static uint64_t opened;           /* how many ever were */
static struct open_heap *retired; /* newest first */
static pthread_mutex_t heaps_mutex = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(void (*)(uint64_t serial)) when_closed;

static struct open_heap *find(const struct heap *heap)
{
    struct open_heap *open = heaps;

    while (open != NULL && open->heap != heap)
        open = open->next;
    return open;
}

/* ---- names ---- */

static int name_path(const char *name, char **path)
{
    size_t length;

    if (name == NULL)
        return MP_EINVAL;
    length = strnlen(name, NAME_LENGTH + 1);
    if (length == 0 || length > NAME_LENGTH || strchr(name, '/') != NULL || strcmp(name, ".") == 0 ||
        strcmp(name, "..") == 0)
        return MP_ENAME;
    size_t size = strlen(memory_directory()) + length + 32;
    *path = malloc(size);
    if (*path == NULL)
        return MP_ENOMEM;
    snprintf(*path, size, "%s/libmp-%lu-%s", memory_directory(), (unsigned long)geteuid(), name);
    return 0;
}

static int error_of(int number)
{
    switch (number) {
    case ENOENT:
        return MP_ENOENT;
    case EACCES:
    case EPERM:
    case ELOOP: /* a symbolic link: not ours */
        return MP_EACCESS;
    case EISDIR:
    case ENXIO:
        return MP_EKIND;
    case EMFILE:
    case ENFILE:
        return MP_EAGAIN;
    case ENOMEM:
    case ENOSPC:
    case ENOLCK:
        return MP_ENOMEM;
    default:
        return MP_ESYSTEM;
    }
}

/* Opens what a name leads to, if it is a private file of this user. The descriptor, or an error. */
static int open_file(const char *path, struct stat *file)
{
    int fd, error = 0;

    do {
        fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0)
        return error_of(errno);
    if (fstat(fd, file) != 0)
        error = error_of(errno);
    else if (!S_ISREG(file->st_mode))
        error = MP_EKIND;
    else if (file->st_uid != geteuid() || (file->st_mode & 077) != 0)
        error = MP_EACCESS;
    if (error == 0)
        return fd;
    close(fd);
    return error;
}

enum { TRY_AGAIN = 1 };

/* 0: the name leads to that file. TRY_AGAIN: to another one or to none. Or an error. */
static int leads_to(const char *path, const struct stat *file)
{
    struct stat now;

    if (lstat(path, &now) != 0)
        return errno == ENOENT ? TRY_AGAIN : error_of(errno);
    return now.st_dev == file->st_dev && now.st_ino == file->st_ino ? 0 : TRY_AGAIN;
}

/* 0; TRY_AGAIN: somebody has a lock that does not go with it; or an error. */
static int try_flock(int fd, int operation)
{
    while (flock(fd, operation | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK)
            return TRY_AGAIN;
        if (errno != EINTR)
            return error_of(errno);
    }
    return 0;
}

/* Takes the shared lock of a file just opened. 0; MP_ENOENT: it was stale, and its name is gone now; TRY_AGAIN: somebody else
 * has just removed it, or is about to find out whether it is stale; or an error. */
static int lock_file(int fd, const char *path, const struct stat *file)
{
    int error = try_flock(fd, LOCK_EX);

    if (error == 0) {
        error = leads_to(path, file);
        if (error != 0)
            return error;
        unlink(path);
        return MP_ENOENT;
    }
    if (error == TRY_AGAIN)
        error = try_flock(fd, LOCK_SH);
    return error == 0 ? leads_to(path, file) : error;
}

/* Opens and locks what a name leads to. The descriptor, or an error. */
static int open_locked(const char *path, struct stat *file)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    int64_t deadline = clock_now() + 5 * INT64_C(1000000000);

    do {
        int fd = open_file(path, file);

        if (fd < 0)
            return fd;
        int result = lock_file(fd, path, file);
        if (result == 0)
            return fd;
        close(fd);
        if (result != TRY_AGAIN)
            return result;
        nanosleep(&pause, NULL);
    } while (clock_now() < deadline);
    return MP_EAGAIN;
}

/* ---- mapping ---- */

static void *map(int fd, void *at, uint64_t length)
{
    int flags = MAP_SHARED | MAP_NORESERVE | (at != NULL ? MAP_FIXED : 0);
    void *address = mmap(at, length, PROT_READ | PROT_WRITE, flags, fd, 0);

    if (address == MAP_FAILED)
        return NULL;
    madvise(address, length, MADV_DONTDUMP);
    return address;
}

/* The addresses of the heap of that length that was closed longest ago, if at least `kept` of any were closed after it. Under
 * heaps_mutex. */
static struct open_heap *take_retired(uint64_t length, int kept)
{
    struct open_heap **oldest = NULL;
    int count = 0;

    for (struct open_heap **link = &retired; *link != NULL; link = &(*link)->next, count++) {
        if (count >= kept && (*link)->length == length)
            oldest = link;
    }
    if (oldest == NULL)
        return NULL;
    struct open_heap *found = *oldest;
    *oldest = found->next;
    return found;
}

/* Maps the file over such addresses. NULL: there are none, or they are lost. Under heaps_mutex. */
static struct heap *map_over_retired(int fd, uint64_t length, int kept)
{
    struct open_heap *old = take_retired(length, kept);
    void *address = old == NULL ? NULL : map(fd, old->heap, length);

    free(old);
    return address;
}

/* Maps `length` bytes. Where that is refused, addresses are scarce: those of a heap that was closed lately will do as well; and
 * when `shrink`, less, by halving. Under heaps_mutex. */
static struct heap *map_somewhere(int fd, uint64_t *length, bool shrink)
{
    struct heap *heap = map_over_retired(fd, *length, RETIRED_KEPT);

    while (heap == NULL) {
        heap = map(fd, NULL, *length);
        if (heap == NULL)
            heap = map_over_retired(fd, *length, 0);
        if (heap != NULL || !shrink || *length <= SMALLEST)
            break;
        *length /= 2;
    }
    return heap;
}

static void close_all_at_end(void);

static void after_fork(void)
{
    pthread_mutex_init(&heaps_mutex, NULL);
}

static struct open_heap *open_heap_new(int fd)
{
    struct open_heap *open = calloc(1, sizeof *open);
    struct stat file;

    lifecycle_register(LIFECYCLE_HEAP, close_all_at_end, after_fork);
    if (open == NULL || fstat(fd, &file) != 0) {
        free(open);
        return NULL;
    }
    open->fd = fd;
    open->device = file.st_dev;
    open->inode = file.st_ino;
    return open;
}

/* Maps the file and enters it in the list of open heaps. Takes fd over, and `path`, also when it fails. */
static int map_heap(int fd, char *path, uint64_t length, bool shrink, struct open_heap **result)
{
    struct open_heap *open = open_heap_new(fd);

    if (open != NULL) {
        pthread_mutex_lock(&heaps_mutex);
        open->heap = map_somewhere(fd, &length, shrink);
        open->length = length;
        open->path = path;
        if (open->heap != NULL) {
            open->serial = ++opened;
            open->next = heaps;
            heaps = open;
        }
        pthread_mutex_unlock(&heaps_mutex);
        if (open->heap != NULL) {
            *result = open;
            return 0;
        }
    }
    free(open);
    free(path);
    close(fd);
    return MP_ENOMEM;
}

/* ---- making ---- */

uint64_t heap_header_checksum(const struct heap *heap)
{
    const unsigned char *byte = (const unsigned char *)heap;
    uint64_t sum = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < offsetof(struct heap, checksum); i++)
        sum = (sum ^ byte[i]) * UINT64_C(0x100000001b3);
    return sum;
}

static uint64_t layout(void)
{
    return sizeof(struct heap) | (uint64_t)sizeof(pthread_mutex_t) << 16 | (uint64_t)sizeof(struct object) << 24 |
           (uint64_t)sizeof(void *) << 40 | (uint64_t)offsetof(struct object, mutex) << 48;
}

static int initialise(struct heap *heap, enum heap_kind kind, uint64_t length)
{
    heap->magic = MAGIC;
    heap->version = VERSION;
    heap->kind = kind;
    heap->layout = layout();
    heap->limit = length;
    random_bytes(heap->seed, sizeof heap->seed);
    heap->checksum = heap_header_checksum(heap);
    heap_format(heap);
    int error = mutex_supported();
    return error != 0 ? error : mutex_init(&heap->mutex);
}

int heap_create(struct heap **heap, enum heap_kind kind, const char *name, size_t limit)
{
    uint64_t length = limit == 0 || limit > LARGEST ? LARGEST : (limit + HEAP_PAGE - 1) / HEAP_PAGE * HEAP_PAGE;
    char *path = NULL;
    struct open_heap *open;
    int error = name != NULL ? name_path(name, &path) : 0;

    if (error != 0)
        return error;
    if (length < 2 * HEAP_FIRST_SIZE)
        length = 2 * HEAP_FIRST_SIZE;
    int fd = name != NULL ? memory_file_unnamed() : memory_file();
    if (fd < 0) {
        free(path);
        return fd;
    }
    error = memory_file_reserve(fd, 0, HEAP_FIRST_SIZE);
    if (error != 0) {
        free(path);
        close(fd);
        return error;
    }
    error = map_heap(fd, path, length, limit == 0, &open);
    if (error != 0)
        return error;
    error = initialise(open->heap, kind, open->length);
    if (error != 0) {
        heap_close(open->heap);
        return error;
    }
    *heap = open->heap;
    return 0;
}

/* Reads the file's start. The bytes read, or an error. */
static ssize_t read_start(int fd, void *buffer, size_t size, off_t from)
{
    ssize_t got;

    do {
        got = pread(fd, buffer, size, from);
    } while (got < 0 && errno == EINTR);
    return got >= 0 ? got : error_of(errno);
}

/* What stands in the way of a new heap of that name: 0 when nothing does any more, MP_EEXIST, or an error. */
static int make_way(const char *path, enum heap_kind kind)
{
    struct stat file;
    uint32_t other;
    int fd = open_locked(path, &file);

    if (fd == MP_ENOENT)
        return 0;
    if (fd < 0)
        return fd;
    ssize_t got = read_start(fd, &other, sizeof other, offsetof(struct heap, kind));
    close(fd);
    if (got < 0)
        return (int)got;
    return got == (ssize_t)sizeof other && other != (uint32_t)kind ? MP_EKIND : MP_EEXIST;
}

int heap_publish(struct heap *heap)
{
    pthread_mutex_lock(&heaps_mutex);
    struct open_heap *open = find(heap);
    pthread_mutex_unlock(&heaps_mutex);
    int error;

    if (open == NULL)
        return MP_EINVAL;
    if (open->path == NULL)
        return 0;
    error = try_flock(open->fd, LOCK_SH);
    if (error != 0)
        return error == TRY_AGAIN ? MP_ESYSTEM : error;
    do {
        error = memory_file_link(open->fd, open->path);
        if (error != MP_EEXIST)
            break;
        error = make_way(open->path, (enum heap_kind)heap->kind);
    } while (error == 0);
    open->published = error == 0;
    return error;
}

/* ---- opening ---- */

/* What the first words of a file say: only enough to map it. */
static int read_header(int fd, enum heap_kind kind, uint64_t *length)
{
    union {
        struct heap heap;
        char bytes[offsetof(struct heap, mutex)];
    } header;
    ssize_t got = read_start(fd, header.bytes, sizeof header.bytes, 0);

    if (got < 0)
        return (int)got;
    if (got != (ssize_t)sizeof header.bytes || header.heap.magic != MAGIC)
        return MP_ECORRUPT;
    if (header.heap.version != VERSION || header.heap.layout != layout())
        return MP_EVERSION;
    if (header.heap.checksum != heap_header_checksum(&header.heap))
        return MP_ECORRUPT;
    if (header.heap.kind != (uint32_t)kind)
        return MP_EKIND;
    *length = header.heap.limit;
    return *length >= 2 * HEAP_FIRST_SIZE && *length <= LARGEST && *length % HEAP_PAGE == 0 ? 0 : MP_ECORRUPT;
}

/* Whether the descriptor still is the heap's: the program may have closed it and opened something else under its number. */
static bool is_file_of(const struct stat *file, const struct open_heap *open)
{
    return file->st_dev == open->device && file->st_ino == open->inode;
}

/* The file is at least as long as the heap says, always: it is extended first. */
static bool size_is_sound(const struct open_heap *open)
{
    uint64_t size = atomic_load(&open->heap->size);
    struct stat file;

    if (fstat(open->fd, &file) == 0 && is_file_of(&file, open) && size > (uint64_t)file.st_size)
        return false;
    return size >= HEAP_FIRST_SIZE && size <= open->length && size % HEAP_PAGE == 0;
}

int heap_check_header(const struct heap *heap)
{
    struct open_heap *open;
    int error = MP_ECORRUPT;

    pthread_mutex_lock(&heaps_mutex);
    open = find(heap);
    if (open != NULL && heap->magic == MAGIC && heap->version == VERSION && heap->layout == layout() &&
        heap->checksum == heap_header_checksum(heap) && heap->limit == open->length && size_is_sound(open))
        error = 0;
    pthread_mutex_unlock(&heaps_mutex);
    return error;
}

int heap_open(struct heap **heap, enum heap_kind kind, const char *name)
{
    char *path;
    struct stat file;
    struct open_heap *open;
    uint64_t length;
    int error = name_path(name, &path);

    if (error != 0)
        return error;
    int fd = open_locked(path, &file);
    if (fd < 0) {
        free(path);
        return fd;
    }
    error = read_header(fd, kind, &length);
    if (error != 0) {
        free(path);
        close(fd);
        return error;
    }
    error = map_heap(fd, path, length, false, &open);
    if (error != 0)
        return error;
    open->published = true;
    if (fstat(open->fd, &file) != 0)
        error = error_of(errno);
    else if (!size_is_sound(open) || mutex_check(&open->heap->mutex) != 0)
        error = MP_ECORRUPT;
    if (error == 0)
        *heap = open->heap;
    else
        heap_close(open->heap);
    return error;
}

/* ---- closing ---- */

/* Removes the name if nobody has the file open any more. 0; else it could not be found out, and another try may help. */
static int remove_if_unused(const struct open_heap *open)
{
    struct stat file;
    int fd = open_file(open->path, &file);

    if (fd < 0)
        return fd == MP_ENOENT ? 0 : fd;
    int error = is_file_of(&file, open) ? 0 : TRY_AGAIN;
    if (error == 0)
        error = try_flock(fd, LOCK_EX);
    if (error == 0)
        error = leads_to(open->path, &file);
    if (error == 0 && unlink(open->path) != 0)
        error = error_of(errno);
    close(fd);
    return error == TRY_AGAIN ? 0 : error; /* somebody else's by now, or still in use */
}

/* Gives up this process's share of the lock, and removes the name if nobody else has one. The mapping, which keeps the file
 * open like a descriptor, is gone already. The open file, and so the lock, may be shared with the process this one was forked
 * from: hence the second descriptor, with a lock of its own; not before the first is closed, as there may be room for only
 * one. A name that stays in spite of all is stale, and the next one to come across it removes it. */
static void leave_name(struct open_heap *open)
{
    close(open->fd);
    open->fd = -1;
    for (int tries = 0; open->published && tries < LEAVE_TRIES && remove_if_unused(open) != 0; tries++)
        ;
}

/* Takes the heap's memory away and keeps its addresses. Where there are too many mappings to lay another over this one, this
 * one goes first. False: even so the addresses could not be kept. */
static bool take_mapping_away(const struct open_heap *open)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

    if (mmap(open->heap, open->length, PROT_READ, flags | MAP_FIXED, -1, 0) != MAP_FAILED)
        return true;
    munmap(open->heap, open->length);
    void *address = mmap(open->heap, open->length, PROT_READ, flags | MAP_FIXED_NOREPLACE, -1, 0);
    if (address != MAP_FAILED && address != open->heap)
        munmap(address, open->length);
    return address == open->heap;
}

/* Takes a heap out of the list of open ones, and the mapping away. Under heaps_mutex. */
static void retire(struct open_heap **link)
{
    struct open_heap *open = *link;
    bool kept = take_mapping_away(open);

    *link = open->next;
    leave_name(open);
    free(open->path);
    open->path = NULL;
    if (kept) {
        open->next = retired;
        retired = open;
    } else {
        free(open);
    }
}

int heap_close(struct heap *heap)
{
    pthread_mutex_lock(&heaps_mutex);
    struct open_heap **link = &heaps;

    while (*link != NULL && (*link)->heap != heap)
        link = &(*link)->next;
    bool found = *link != NULL;
    uint64_t serial = found ? (*link)->serial : 0;
    if (found)
        retire(link);
    pthread_mutex_unlock(&heaps_mutex);
    if (!found)
        return MP_EINVAL;
    void (*function)(uint64_t) = atomic_load(&when_closed);
    if (function != NULL)
        function(serial);
    return 0;
}

void heap_when_closed(void (*function)(uint64_t serial))
{
    atomic_store(&when_closed, function);
}

/* The process ends: names need care. The other mappings stay, for threads and exit handlers that still use them. */
static void close_all_at_end(void)
{
    pthread_mutex_lock(&heaps_mutex);
    for (struct open_heap **link = &heaps; *link != NULL;) {
        if ((*link)->published)
            retire(link);
        else
            link = &(*link)->next;
    }
    pthread_mutex_unlock(&heaps_mutex);
}

int heap_unlink(enum heap_kind kind, const char *name)
{
    char *path;
    struct stat file;
    uint64_t length;
    int error = name_path(name, &path);

    if (error != 0)
        return error;
    int fd = open_locked(path, &file);
    error = fd < 0 ? fd : read_header(fd, kind, &length);
    if (error == 0)
        error = leads_to(path, &file);
    if (error == 0 && unlink(path) != 0)
        error = error_of(errno);
    else if (error == TRY_AGAIN) /* somebody else has removed it */
        error = 0;
    if (fd >= 0)
        close(fd);
    free(path);
    return error;
}

int heap_check_handle(const struct heap *heap, enum heap_kind kind)
{
    if (heap == NULL || ((uintptr_t)heap & (HEAP_PAGE - 1)) != 0)
        return MP_EINVAL;
    pthread_mutex_lock(&heaps_mutex);
    bool known = find(heap) != NULL;
    pthread_mutex_unlock(&heaps_mutex);
    return known && heap->kind == (uint32_t)kind ? 0 : MP_EINVAL;
}

struct heap *heap_find(const void *address, enum heap_kind kind, struct heap_file *file)
{
    struct heap *heap = NULL;

    pthread_mutex_lock(&heaps_mutex);
    for (const struct open_heap *open = heaps; open != NULL && heap == NULL; open = open->next) {
        if ((uintptr_t)address - (uintptr_t)open->heap >= open->length || open->heap->kind != (uint32_t)kind)
            continue;
        heap = open->heap;
        *file = (struct heap_file){.serial = open->serial,
                                   .length = open->length,
                                   .fd = open->fd,
                                   .device = open->device,
                                   .inode = open->inode};
    }
    pthread_mutex_unlock(&heaps_mutex);
    return heap;
}

struct heap *heap_around(const void *address, enum heap_kind kind, uint64_t *serial)
{
    struct heap_file file;
    struct heap *heap = heap_find(address, kind, &file);

    if (heap != NULL && serial != NULL)
        *serial = file.serial;
    return heap;
}

/* ---- the file under a heap ---- */

/* Opens anew what another process has under that number, if it is the file it should be. The descriptor, or -1. */
static int open_of_process(pid_t process, int number, dev_t device, ino_t inode)
{
    struct stat file;
    char path[64];
    int fd;

    snprintf(path, sizeof path, "/proc/%ld/fd/%d", (long)process, number);
    do {
        fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    } while (fd < 0 && errno == EINTR);
    if (fd >= 0 && fstat(fd, &file) == 0 && file.st_dev == device && file.st_ino == inode)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

/* The program has closed the descriptor (a task of a pool, all descriptors). The parent may still have it under that number: a
 * worker's does. Under heaps_mutex. */
static bool reopen(struct open_heap *open_heap)
{
    int fd = open_of_process(getppid(), open_heap->fd, open_heap->device, open_heap->inode);

    if (fd < 0)
        return false;
    if (open_heap->path != NULL && try_flock(fd, LOCK_SH) != 0) {
        close(fd);
        return false;
    }
    open_heap->fd = fd;
    return true;
}

void *heap_borrow(pid_t process, const struct heap_file *file, void *near, int *fd)
{
    *fd = open_of_process(process, file->fd, file->device, file->inode);
    if (*fd < 0)
        return NULL;
    void *start = mmap(near, file->length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, *fd, 0);
    if (start != MAP_FAILED) {
        madvise(start, file->length, MADV_DONTDUMP);
        return start;
    }
    pthread_mutex_lock(&heaps_mutex);
    start = map_over_retired(*fd, file->length, 0); /* addresses are scarce */
    pthread_mutex_unlock(&heaps_mutex);
    if (start == NULL) {
        close(*fd);
        *fd = -1;
    }
    return start;
}

/* The heap's descriptor, if it still is that: the program may have closed it and opened something else under its number, which
 * is MP_ESYSTEM. */
static int descriptor_of(const struct heap *heap)
{
    struct stat file;
    int fd = MP_ESYSTEM;

    pthread_mutex_lock(&heaps_mutex);
    struct open_heap *open = find(heap);
    int number = open != NULL && fstat(open->fd, &file) != 0 ? errno : 0;
    if (number != 0 && number != EBADF)
        fd = error_of(number);
    else if (open != NULL && ((number == 0 && is_file_of(&file, open)) || reopen(open)))
        fd = open->fd;
    pthread_mutex_unlock(&heaps_mutex);
    return fd;
}

int heap_file_reserve(const struct heap *heap, uint64_t from, uint64_t to)
{
    int fd = descriptor_of(heap);

    return fd < 0 ? fd : memory_file_reserve(fd, from, to);
}

void heap_file_punch(const struct heap *heap, uint64_t from, uint64_t to)
{
    int fd = descriptor_of(heap);

    if (fd >= 0)
        memory_file_punch(fd, from, to);
}
