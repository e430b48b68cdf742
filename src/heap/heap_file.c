/* The heaps that this process has open. Their names: heap_name.c. Those it has closed: heap_retired.h.
 *
 * A heap is one MAP_SHARED mapping over far more addresses than its file has bytes. Growing the file makes the new
 * pages valid at once in every process that has the mapping; nothing moves. Forked children share the mapping, and have
 * the descriptor under the same number. The list `heaps` has the descriptor of each heap; only slow paths use it. The
 * program may have closed the descriptor and opened something else under its number, so each function compares the file
 * before it uses or closes the descriptor.
 *
 * THE END OF THE PROCESS. Only names are given up. The heaps stay mapped: threads and exit handlers may still use them,
 * and so does the kernel, which finds the mutexes that the process holds by their addresses and marks them before it
 * takes the memory away. The exit handler waits for heaps_mutex for END_PATIENCE_NS at the most, and not at all if
 * exit() was called in a signal handler that has interrupted the thread that holds it. Each change of the list of heaps
 * is one store, so the list can be read at any time. */
#include "heap/heap_file.h"

#include <errno.h>
#include <fcntl.h>
#include <mp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cancelling.h"
#include "base/clock.h"
#include "base/descriptor.h"
#include "base/lifecycle.h"
#include "base/memory_file.h"
#include "base/robust_mutex.h"
#include "base/units.h"
#include "heap/heap_retired.h"
#include "heap/ranges.h"
#include "sync/mutex.h"

#define END_PATIENCE_NS (200 * MILLISECOND)

struct open_heap {
    struct open_heap *_Atomic next;
    struct heap *heap;
    struct heap_file file;
    int parents_fd;             /* file.fd as it was when this process was forked */
    struct retired_heap *after; /* memory for what remains when it is closed, which cannot fail */
    struct heap_name name;
};

static struct open_heap *_Atomic heaps;
static uint64_t opened; /* counts the heaps ever opened */
static pthread_mutex_t heaps_mutex = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(const char *) heaps_holder; /* address of the holder's this_thread; NULL: no holder, or not noted yet */
static _Thread_local char this_thread;     /* its address identifies the thread */
static _Atomic(void (*)(uint64_t serial)) when_closed;

static void lock_heaps(void)
{
    pthread_mutex_lock(&heaps_mutex);
    atomic_store_explicit(&heaps_holder, &this_thread, memory_order_relaxed);
}

static void unlock_heaps(void)
{
    atomic_store_explicit(&heaps_holder, NULL, memory_order_relaxed);
    pthread_mutex_unlock(&heaps_mutex);
}

static struct open_heap *find(const struct heap *heap)
{
    struct open_heap *open = heaps;

    while (open != NULL && open->heap != heap)
        open = open->next;
    return open;
}

static void close_if_ours(const struct open_heap *open)
{
    struct stat file;
    int number = errno;

    /* If the system does not tell, it most likely is the heap's. */
    if (fstat(open->file.fd, &file) == 0 ? heap_file_is(&open->file, &file) : errno != EBADF)
        close(open->file.fd);
    errno = number;
}

/* ---- mapping ---- */

static void *map(int fd, void *near, uint64_t length)
{
    void *address = mmap(near, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);

    if (address == MAP_FAILED)
        return NULL;
    madvise(address, length, MADV_DONTDUMP);
    return address;
}

/* Maps *length bytes; with `shrink`, fewer where the system does not give so many addresses. */
static struct heap *map_most(int fd, void *near, uint64_t *length, bool shrink)
{
    struct heap *heap = map(fd, near, *length);

    while (heap == NULL && shrink && *length / 2 >= HEAP_SMALLEST) {
        *length = *length / 2 / HEAP_PAGE * HEAP_PAGE;
        heap = map(fd, NULL, *length);
    }
    return heap;
}

/* The most to map. A program with a limit on its addresses needs most of them for other things, and perhaps for other
 * heaps: so a heap gets a quarter of them. It is rounded down to a power of two, so that not each heap is a little
 * smaller than the one before. */
static uint64_t share_of_addresses(uint64_t length)
{
    uint64_t share = addresses_left() / 4;

    if (on_valgrind() && length > HEAP_ON_VALGRIND)
        length = HEAP_ON_VALGRIND;
    if (share >= length)
        return length;
    return share < HEAP_SMALLEST ? HEAP_SMALLEST : UINT64_C(1) << (63 - (unsigned)__builtin_clzll(share));
}

/* Maps *length bytes; with `shrink`, fewer if it must, and stores how many. Under heaps_mutex. */
static struct heap *map_somewhere(int fd, uint64_t *length, bool shrink)
{
    uint64_t most = shrink ? share_of_addresses(*length) : *length;

    *length = most;
    struct heap *heap = map_most(fd, retired_reuse(*length), length, shrink);
    if (heap == NULL && retired_drop()) {
        *length = most;
        heap = map_most(fd, NULL, length, shrink);
    }
    return heap;
}

static void after_fork(void)
{
    pthread_mutex_init(&heaps_mutex, NULL);
    atomic_store(&heaps_holder, NULL);
    bool several_spaces = getppid() == 0; /* the parent is in another PID namespace */
    for (struct open_heap *open = heaps; open != NULL; open = open->next) {
        if (open->parents_fd != open->file.fd) /* a store would copy the page */
            open->parents_fd = open->file.fd;
        if (several_spaces && open->heap != NULL)
            atomic_store(&open->heap->several_spaces, 1);
    }
}

static struct open_heap *open_heap_new(int fd)
{
    struct open_heap *open = calloc(1, sizeof *open);
    struct retired_heap *after = malloc(sizeof *after);
    struct stat file;

    lifecycle_register(LIFECYCLE_HEAP, heap_leave_names, after_fork);
    if (open == NULL || after == NULL || fstat(fd, &file) != 0) {
        free(open);
        free(after);
        return NULL;
    }
    open->after = after;
    open->file.fd = open->parents_fd = fd;
    open->file.device = file.st_dev;
    open->file.inode = file.st_ino;
    return open;
}

int heap_file_map(struct heap **heap, int fd, struct heap_name *name, uint64_t *length, bool shrink)
{
    struct open_heap *open = open_heap_new(fd);

    if (open != NULL) {
        lock_heaps();
        open->heap = map_somewhere(fd, length, shrink);
        open->file.length = *length;
        open->name = *name;
        if (open->heap != NULL && !range_add(open->heap)) {
            munmap(open->heap, *length);
            open->heap = NULL;
        }
        if (open->heap != NULL) {
            open->file.serial = ++opened;
            open->next = heaps;
            heaps = open;
        }
        unlock_heaps();
        if (open->heap != NULL) {
            *heap = open->heap;
            return 0;
        }
    }
    int error = mapping_error(errno), number = errno;
    if (open != NULL)
        free(open->after);
    free(open);
    heap_name_free(name);
    close(fd);
    errno = number;
    return error;
}

int heap_publish(struct heap *heap)
{
    lock_heaps();
    struct open_heap *open = find(heap);
    unlock_heaps();

    if (open == NULL)
        return MP_EINVAL;
    if (open->name.path == NULL)
        return 0;
    CANCELLING_FORBIDDEN;
    return heap_name_publish(&open->name, open->file.fd, (enum heap_kind)heap->kind);
}

/* ---- closing ---- */

/* Takes a heap out of the list of open heaps, and its mapping away. Under heaps_mutex. */
static void retire(struct open_heap *_Atomic *link)
{
    struct open_heap *open = *link;

    *link = open->next;
    range_remove(open->heap);
    *open->after = (struct retired_heap){.heap = open->heap, .length = open->file.length};
    retired_put(open->after);
    close_if_ours(open); /* first: leaving the name needs a descriptor, and there may be no other */
    heap_name_free(&open->name);
    free(open);
}

int heap_close(struct heap *heap)
{
    CANCELLING_FORBIDDEN;

    lock_heaps();
    struct open_heap *_Atomic *link = &heaps;
    while (*link != NULL && (*link)->heap != heap)
        link = &(*link)->next;
    bool found = *link != NULL;
    uint64_t serial = found ? (*link)->file.serial : 0;
    if (found)
        retire(link);
    unlock_heaps();
    void (*function)(uint64_t) = atomic_load(&when_closed);
    if (found && function != NULL)
        function(serial);
    return found ? 0 : MP_EINVAL;
}

void heap_when_closed(void (*function)(uint64_t serial))
{
    atomic_store(&when_closed, function);
}

/* Whether the heap is a named lock that another thread holds. Then its name is not given up: while that thread lives,
 * nobody may make another lock of that name and take it. When the process is gone, so is its share, and the name is
 * stale. */
static bool is_held_elsewhere(const struct heap *heap)
{
    uint64_t root = atomic_load(&heap->root);
    pid_t thread;

    if (heap->kind != HEAP_LOCK || root % 64 != 0 || !heap_holds(heap, root, HEAP_OBJECT_BYTES))
        return false;
    const pthread_mutex_t *mutex = heap_at(heap, root + HEAP_OBJECT_MUTEX);
    return robust_mutex_held(mutex, &thread) && !robust_mutex_is_mine(mutex);
}

/* False: another thread has kept heaps_mutex for END_PATIENCE_NS. */
static bool lock_heaps_at_end(void)
{
    int64_t deadline = clock_now() + END_PATIENCE_NS;

    while (pthread_mutex_trylock(&heaps_mutex) != 0) {
        if (clock_now() >= deadline)
            return false;
        clock_sleep(MILLISECOND);
    }
    atomic_store_explicit(&heaps_holder, &this_thread, memory_order_relaxed);
    return true;
}

void heap_leave_names(void)
{
    bool interrupted = atomic_load_explicit(&heaps_holder, memory_order_relaxed) == &this_thread;

    if (!interrupted && !lock_heaps_at_end())
        return; /* the names are stale once this process is gone */
    for (struct open_heap *open = heaps; open != NULL; open = open->next) {
        if (open->name.published && !is_held_elsewhere(open->heap))
            heap_name_leave(&open->name);
    }
    if (!interrupted)
        unlock_heaps();
}

int heap_check_handle(const struct heap *heap, enum heap_kind kind)
{
    if (heap == NULL || ((uintptr_t)heap & (HEAP_PAGE - 1)) != 0)
        return MP_EINVAL;
    lock_heaps();
    bool known = find(heap) != NULL;
    unlock_heaps();
    return known && heap->kind == (uint32_t)kind ? 0 : MP_EINVAL;
}

void heap_each_open(heap_visitor *visit, void *context)
{
    bool found = false;

    lock_heaps();
    for (const struct open_heap *open = heaps; open != NULL && !found; open = open->next)
        found = visit(open->heap, context);
    unlock_heaps();
}

struct heap *heap_find(const void *address, enum heap_kind kind, struct heap_file *file)
{
    struct heap *heap = NULL;

    lock_heaps();
    for (const struct open_heap *open = heaps; open != NULL && heap == NULL; open = open->next) {
        if ((uintptr_t)address - (uintptr_t)open->heap >= open->file.length || open->heap->kind != (uint32_t)kind)
            continue;
        heap = open->heap;
        *file = open->file;
    }
    unlock_heaps();
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

/* Opens once more what a process has under that number, if it is that file. The descriptor, or -1. */
static int open_of_process(pid_t process, int number, dev_t device, ino_t inode)
{
    struct stat file;
    char path[64];
    int fd;

    snprintf(path, sizeof path, "/proc/%ld/fd/%d", (long)process, number);
    /* The number may lead to anything by now. What is not the file is not even opened. */
    if (stat(path, &file) != 0 || file.st_dev != device || file.st_ino != inode)
        return -1;
    do {
        fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    } while (fd < 0 && errno == EINTR);
    fd = descriptor_move_up(fd);
    if (fd >= 0 && fstat(fd, &file) == 0 && file.st_dev == device && file.st_ino == inode)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

/* Called when the program has closed the descriptor (a task of a pool may close all). Opens the file once more: from
 * the parent, which may still have it under the number it had at the fork (a worker's parent has); or by its name.
 * Under heaps_mutex. */
static bool reopen(struct open_heap *open)
{
    int fd = open_of_process(getppid(), open->parents_fd, open->file.device, open->file.inode);

    if (fd < 0)
        fd = heap_name_reopen(&open->name);
    if (fd < 0)
        return false;
    open->file.fd = fd;
    return true;
}

void *heap_borrow(pid_t process, const struct heap_file *file, void *near, int *fd)
{
    *fd = open_of_process(process, file->fd, file->device, file->inode);
    if (*fd < 0)
        return NULL;
    void *start = map(*fd, near, file->length);
    if (start == NULL) { /* addresses are scarce */
        lock_heaps();
        retired_drop();
        unlock_heaps();
        start = map(*fd, near, file->length);
    }
    if (start == NULL) {
        close(*fd);
        *fd = -1;
    }
    return start;
}

/* The heap's descriptor, or one opened anew if the program has closed it. MP_ESYSTEM: this process has lost the file;
 * MP_ENOMEM. */
static int descriptor_now(const struct heap *heap)
{
    CANCELLING_FORBIDDEN;
    struct stat file;
    int fd = MP_ESYSTEM;

    lock_heaps();
    struct open_heap *open = find(heap);
    int number = open != NULL && fstat(open->file.fd, &file) != 0 ? errno : 0;
    if (number == ENOMEM)
        fd = MP_ENOMEM;
    else if (open != NULL && (number == 0 || number == EBADF) &&
             ((number == 0 && heap_file_is(&open->file, &file)) || reopen(open)))
        fd = open->file.fd;
    unlock_heaps();
    return fd;
}

int heap_file_reserve(const struct heap *heap, uint64_t from, uint64_t to)
{
    int fd = descriptor_now(heap);

    return fd < 0 ? fd : memory_file_reserve(fd, from, to);
}

bool heap_file_holes_are_safe(const struct heap *heap)
{
    int fd = descriptor_now(heap);

    return fd >= 0 && memory_file_is_unlimited(fd);
}

void heap_file_punch(const struct heap *heap, uint64_t from, uint64_t to)
{
    int fd = descriptor_now(heap);

    if (fd >= 0)
        memory_file_punch(fd, from, to);
}

int heap_reopen(const struct heap *heap)
{
    CANCELLING_FORBIDDEN;
    int fd = descriptor_now(heap);
    char path[64];

    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    while (fd >= 0 && (fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK)) < 0 && errno == EINTR)
        fd = 0;
    fd = descriptor_move_up(fd);
    return fd < 0 ? -1 : fd;
}

void heap_close_reopened(const struct heap *heap, int fd)
{
    CANCELLING_FORBIDDEN;
    struct stat file;

    pthread_mutex_lock(&heaps_mutex);
    struct open_heap *open = find(heap);
    /* If the system does not tell, it most likely is the heap's. */
    if (fd >= 0 && open != NULL && (fstat(fd, &file) == 0 ? heap_file_is(&open->file, &file) : errno != EBADF))
        close(fd);
    pthread_mutex_unlock(&heaps_mutex);
}

bool heap_byte_locked(const struct heap *heap, uint64_t byte, bool *locked)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)byte, .l_len = 1};
    int fd = descriptor_now(heap);

    if (fd < 0 || fcntl(fd, F_OFD_GETLK, &lock) != 0)
        return false;
    *locked = lock.l_type != F_UNLCK;
    return true;
}
