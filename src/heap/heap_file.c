/* Heaps as files: making, opening, mapping, closing. Their names: heap_name.c.
 *
 * A heap is one MAP_SHARED mapping over far more addresses than its file has bytes. Growing the file makes the new
 * pages valid at once in every process that has the mapping; nothing moves. Forked children share the mapping, and have
 * the descriptor under the same number. The list `heaps` has the descriptor of each heap; only slow paths use it. The
 * program may have closed the descriptor and opened something else under its number, so each function compares the file
 * before it uses or closes the descriptor.
 *
 * CLOSED HEAPS. The addresses that handles can point to, up to the end of the heap, stay mapped for a while and read as
 * zeros: so a stale handle is an error and not a crash. All other addresses are given back at once. Kept are
 * - the last RETIRED_KEPT closed heaps, within retired_bytes(),
 * - older ones, until a new heap reuses their addresses or there are more than RETIRED_MOST.
 * All are given up when a mapping fails.
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
#include "base/lifecycle.h"
#include "base/platform.h"
#include "base/units.h"
#include "heap/heap_name.h"
#include "heap/ranges.h"
#include "sync/mutex.h"

#define LARGEST (UINT64_C(1) << 36)
#define SMALLEST (2 * HEAP_FIRST_SIZE)
#define ON_VALGRIND (UINT64_C(1) << 26)
#define RETIRED_KEPT 16
#define RETIRED_MOST 256
#define END_PATIENCE_NS INT64_C(200000000)

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

/* A heap that this process has open, or the addresses of one that it has closed. */
struct open_heap {
    struct open_heap *_Atomic next;
    struct heap *heap;
    uint64_t length; /* bytes mapped; of a closed heap: bytes that were mapped */
    uint64_t kept;   /* of a closed heap: bytes that are still mapped */
    uint64_t serial; /* its number among the heaps ever opened */
    int fd;
    int parents_fd; /* fd as it was when this process was forked */
    dev_t device;
    ino_t inode;
    struct heap_name name;
};

static struct open_heap *_Atomic heaps;
static uint64_t opened;           /* counts the heaps ever opened */
static struct open_heap *retired; /* newest first */
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

/* Whether a descriptor with this status still leads to the heap's file: the program may have closed it and opened
 * something else under its number. */
static bool is_file_of(const struct stat *file, const struct open_heap *open)
{
    return file->st_dev == open->device && file->st_ino == open->inode;
}

static void close_if_ours(const struct open_heap *open)
{
    struct stat file;
    int number = errno;

    /* If the system does not tell, it most likely is the heap's. */
    if (fstat(open->fd, &file) == 0 ? is_file_of(&file, open) : errno != EBADF)
        close(open->fd);
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

/* How many bytes of closed heaps' addresses are kept: few where addresses are scarce. */
static uint64_t retired_bytes(void)
{
    uint64_t left = addresses_left();

    return left == UINT64_MAX ? LARGEST : left / 64;
}

static void let_go(struct open_heap *old)
{
    munmap(old->heap, old->kept);
    free(old);
}

/* Keeps at most the newest `count` closed heaps, with at most that many bytes together. Under heaps_mutex. */
static void trim_retired(int count, uint64_t bytes)
{
    struct open_heap *last = NULL, *old = retired;

    for (; old != NULL && count > 0 && old->kept <= bytes; count--) {
        bytes -= old->kept;
        last = old;
        old = old->next;
    }
    if (last != NULL)
        last->next = NULL;
    else
        retired = NULL;
    while (old != NULL) {
        struct open_heap *next = old->next;

        let_go(old);
        old = next;
    }
}

/* Among the closed heaps of that length, takes the one closed longest ago, if at least RETIRED_KEPT heaps of any length
 * were closed after it. Gives up its addresses, and returns where they were: a new heap fits there. NULL: there is
 * none. Under heaps_mutex. */
static void *reuse_retired(uint64_t length)
{
    struct open_heap *before = NULL, *found_before = NULL;
    int count = 0;

    for (struct open_heap *old = retired; old != NULL; before = old, old = old->next, count++) {
        if (count >= RETIRED_KEPT && old->length == length)
            found_before = before;
    }
    if (found_before == NULL)
        return NULL;
    struct open_heap *found = found_before->next;
    void *address = found->heap;
    found_before->next = found->next;
    let_go(found);
    return address;
}

/* Maps *length bytes; with `shrink`, fewer where the system does not give so many addresses. */
static struct heap *map_most(int fd, void *near, uint64_t *length, bool shrink)
{
    struct heap *heap = map(fd, near, *length);

    while (heap == NULL && shrink && *length / 2 >= SMALLEST) {
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

    if (on_valgrind() && length > ON_VALGRIND)
        length = ON_VALGRIND;
    if (share >= length)
        return length;
    return share < SMALLEST ? SMALLEST : UINT64_C(1) << (63 - (unsigned)__builtin_clzll(share));
}

/* Maps *length bytes; with `shrink`, fewer if it must, and stores how many. Under heaps_mutex. */
static struct heap *map_somewhere(int fd, uint64_t *length, bool shrink)
{
    uint64_t most = shrink ? share_of_addresses(*length) : *length;

    *length = most;
    struct heap *heap = map_most(fd, reuse_retired(*length), length, shrink);
    if (heap == NULL && retired != NULL) {
        trim_retired(0, 0);
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
        if (open->parents_fd != open->fd) /* a store would copy the page */
            open->parents_fd = open->fd;
        if (several_spaces && open->heap != NULL)
            atomic_store(&open->heap->several_spaces, 1);
    }
}

static struct open_heap *open_heap_new(int fd)
{
    struct open_heap *open = calloc(1, sizeof *open);
    struct stat file;

    lifecycle_register(LIFECYCLE_HEAP, heap_leave_names, after_fork);
    if (open == NULL || fstat(fd, &file) != 0) {
        free(open);
        return NULL;
    }
    open->fd = open->parents_fd = fd;
    open->device = file.st_dev;
    open->inode = file.st_ino;
    return open;
}

/* Maps the file and enters it in the list of open heaps. Takes over fd and what `name` owns, also when it fails. */
static int map_heap(int fd, struct heap_name *name, uint64_t length, bool shrink, struct open_heap **result)
{
    struct open_heap *open = open_heap_new(fd);

    if (open != NULL) {
        lock_heaps();
        open->heap = map_somewhere(fd, &length, shrink);
        open->length = length;
        open->name = *name;
        if (open->heap != NULL && !range_add(open->heap)) {
            munmap(open->heap, length);
            open->heap = NULL;
        }
        if (open->heap != NULL) {
            open->serial = ++opened;
            open->next = heaps;
            heaps = open;
        }
        unlock_heaps();
        if (open->heap != NULL) {
            *result = open;
            return 0;
        }
    }
    int error = mapping_error(errno), number = errno;
    free(open);
    heap_name_free(name);
    close(fd);
    errno = number;
    return error;
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

/* C libraries have mutexes of the same size, whose words have different meanings. */
#if defined(__GLIBC__)
#define C_LIBRARY UINT64_C(1)
#else
#define C_LIBRARY UINT64_C(2)
#endif

static uint64_t layout(void)
{
    return sizeof(struct heap) | (uint64_t)sizeof(pthread_mutex_t) << 16 | (uint64_t)HEAP_OBJECT_BYTES << 24 |
           (uint64_t)sizeof(void *) << 40 | (uint64_t)(HEAP_OBJECT_MUTEX / 8) << 48 | C_LIBRARY << 60;
}

static int initialise(struct heap *heap, enum heap_kind kind, uint64_t length)
{
    heap->magic = HEAP_MAGIC;
    heap->version = HEAP_VERSION;
    heap->kind = kind;
    heap->layout = layout();
    heap->limit = length;
    random_bytes(heap->seed, sizeof heap->seed);
    heap->checksum = heap_header_checksum(heap);
    int error = mutex_supported();
    if (error == 0)
        error = mutex_init(&heap->mutex);
    if (error == 0)
        error = mutex_init(&heap->checking);
    return error == 0 ? heap_format(heap) : error;
}

static int create(struct heap **heap, enum heap_kind kind, struct heap_name *name, int fd, uint64_t length, bool shrink)
{
    struct open_heap *open;
    int error = memory_file_reserve(fd, 0, HEAP_FIRST_SIZE);

    if (error != 0) {
        heap_name_free(name);
        close(fd);
        return error;
    }
    error = map_heap(fd, name, length, shrink, &open);
    if (error != 0)
        return error;
    /* Valgrind's leak check reads all mapped pages, and takes a signal at each one past the end of the file. */
    if (on_valgrind() && open->length <= ON_VALGRIND)
        memory_file_lengthen(fd, open->length);
    error = initialise(open->heap, kind, open->length);
    if (error != 0) {
        heap_close(open->heap);
        return error;
    }
    *heap = open->heap;
    return 0;
}

static int create_limited(struct heap **heap, enum heap_kind kind, const char *text, uint64_t limit, bool shrink)
{
    struct heap_name name = {.path = NULL};
    uint64_t length = limit == 0 || limit > LARGEST ? LARGEST : round_up(limit, HEAP_PAGE);
    int state = cancelling_forbid();
    int fd = text != NULL ? heap_name_create(&name, text) : memory_file();

    if (fd >= 0)
        fd = create(heap, kind, &name, fd, length > SMALLEST ? length : SMALLEST, shrink);
    cancelling_allow(state);
    return fd;
}

int heap_create(struct heap **heap, enum heap_kind kind, const char *name, size_t limit)
{
    return create_limited(heap, kind, name, limit, limit == 0);
}

int heap_create_up_to(struct heap **heap, enum heap_kind kind, size_t limit)
{
    return create_limited(heap, kind, NULL, limit, true);
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
    int state = cancelling_forbid();
    int error = heap_name_publish(&open->name, open->fd, (enum heap_kind)heap->kind);
    cancelling_allow(state);
    return error;
}

/* ---- opening ---- */

/* Reads the file's start. The bytes read, or an error. */
static ssize_t read_start(int fd, void *buffer, size_t size)
{
    ssize_t got;

    do {
        got = pread(fd, buffer, size, 0);
    } while (got < 0 && errno == EINTR);
    return got >= 0 ? got : MP_ESYSTEM;
}

/* The bytes of a heap that are looked at before it is mapped. */
#define HEADER_BYTES ((ssize_t)offsetof(struct heap, mutex))

/* Checks the first words of a file, of which `got` bytes were read, as far as is needed to map it. *length: the bytes
 * to map. */
static int check_header(const struct heap *header, ssize_t got, enum heap_kind kind, uint64_t *length)
{
    if (got < (ssize_t)sizeof header->magic || header->magic != HEAP_MAGIC)
        return MP_EKIND; /* not a file of the library's */
    if (got != HEADER_BYTES)
        return MP_ECORRUPT;
    if (header->version != HEAP_VERSION || header->layout != layout())
        return MP_EVERSION;
    if (header->checksum != heap_header_checksum(header))
        return MP_ECORRUPT;
    if (header->kind != (uint32_t)kind)
        return MP_EKIND;
    *length = header->limit;
    return *length >= 2 * HEAP_FIRST_SIZE && *length <= LARGEST && *length % HEAP_PAGE == 0 ? 0 : MP_ECORRUPT;
}

/* Reads the header into memory of its own: it is too large for small stacks. */
static int read_header(int fd, enum heap_kind kind, uint64_t *length)
{
    struct heap *header = malloc(sizeof *header);

    if (header == NULL)
        return MP_ENOMEM;
    ssize_t got = read_start(fd, header, (size_t)HEADER_BYTES);
    int error = got < 0 ? (int)got : check_header(header, got, kind, length);
    free(header);
    return error;
}

/* Whether the heap's end and its undo log are where they can be. The file is never shorter than the heap says, as it is
 * extended first. The undo log must be right because every change writes there. */
static bool places_are_sound(const struct open_heap *open)
{
    uint64_t size = atomic_load(&open->heap->size);
    struct stat file;

    if (fstat(open->fd, &file) == 0 && is_file_of(&file, open) && size > (uint64_t)file.st_size)
        return false;
    if (atomic_load(&open->heap->undo.log) != offsetof(struct heap, log))
        return false;
    return size >= HEAP_FIRST_SIZE && size <= open->length && size % HEAP_PAGE == 0;
}

int heap_check_header(const struct heap *heap)
{
    struct open_heap *open;
    int error = MP_ECORRUPT;

    lock_heaps();
    open = find(heap);
    if (open != NULL && heap->magic == HEAP_MAGIC && heap->version == HEAP_VERSION && heap->layout == layout() &&
        heap->checksum == heap_header_checksum(heap) && heap->limit == open->length && places_are_sound(open))
        error = 0;
    unlock_heaps();
    return error;
}

static int open_named(struct heap **heap, enum heap_kind kind, const char *text)
{
    struct heap_name name;
    struct open_heap *open;
    uint64_t length;
    int fd = heap_name_open(&name, text);

    if (fd < 0)
        return fd;
    int error = read_header(fd, kind, &length);
    if (error != 0) {
        heap_name_free(&name);
        close(fd);
        return error;
    }
    error = map_heap(fd, &name, length, false, &open);
    if (error != 0)
        return error;
    if (!places_are_sound(open) || mutex_check(&open->heap->mutex, true) != 0) {
        heap_close(open->heap);
        return MP_ECORRUPT;
    }
    *heap = open->heap;
    return 0;
}

int heap_open(struct heap **heap, enum heap_kind kind, const char *name)
{
    int state = cancelling_forbid();
    int error = open_named(heap, kind, name);

    cancelling_allow(state);
    return error;
}

/* ---- closing ---- */

/* Lays readable zeros over the start of a mapping, in one step: another thread may just read a handle there. The zeros
 * are mapped elsewhere first, and without access: otherwise, in a program that has all its future memory locked, the
 * system would make pages for them. False: there are too many mappings, or too much memory or locked memory. */
static bool lay_zeros_over(void *start, uint64_t size, int flags)
{
    void *zeros = mmap(NULL, size, PROT_NONE, flags, -1, 0);

    if (zeros == MAP_FAILED)
        return false;
    if (mprotect(zeros, size, PROT_READ) == 0 &&
        mremap(zeros, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, start) != MAP_FAILED)
        return true;
    munmap(zeros, size);
    return false;
}

/* Like lay_zeros_over(), for the whole mapping, and in steps. The first step lays inaccessible memory over it, and
 * cannot fail half-way. If the system refuses that, the heap is unmapped first. Then the part to be kept is made
 * readable. False: no addresses could be kept. */
static bool lay_zeros_in_steps(struct open_heap *open, int flags)
{
    if (mmap(open->heap, open->length, PROT_NONE, flags | MAP_FIXED, -1, 0) == MAP_FAILED) {
        munmap(open->heap, open->length);
        void *address = mmap(open->heap, open->length, PROT_NONE, flags | MAP_FIXED_NOREPLACE, -1, 0);
        if (address != open->heap) {
            if (address != MAP_FAILED)
                munmap(address, open->length);
            return false;
        }
    }
    if (open->kept > 0 && mprotect(open->heap, open->kept, PROT_READ) != 0)
        mmap(open->heap, open->kept, PROT_READ, flags | MAP_FIXED, -1, 0);
    return true;
}

/* False: it could not be unmapped. Then memory without access lies there instead. */
static bool drop_mapping(void *start, uint64_t size)
{
    if (munmap(start, size) == 0)
        return true;
    mmap(start, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    return false;
}

/* Unmaps the heap, but keeps the addresses that handles can point to, open->kept bytes. False: none could be kept. */
static bool take_mapping_away(struct open_heap *open)
{
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    uint64_t size = atomic_load(&open->heap->size), most = retired_bytes();

    size = size < open->length ? round_up(size, HEAP_PAGE) : open->length;
    open->kept = size < most ? size : most / HEAP_PAGE * HEAP_PAGE;
    if ((open->kept == 0 || !lay_zeros_over(open->heap, open->kept, flags)) && !lay_zeros_in_steps(open, flags))
        return false;
    if (open->kept < open->length && !drop_mapping((char *)open->heap + open->kept, open->length - open->kept))
        open->kept = open->length;
    return open->kept > 0;
}

/* Takes a heap out of the list of open heaps, and its mapping away. Under heaps_mutex. */
static void retire(struct open_heap *_Atomic *link)
{
    struct open_heap *open = *link;

    *link = open->next;
    range_remove(open->heap);
    bool kept = take_mapping_away(open);
    close_if_ours(open); /* first: leaving the name needs a descriptor, and there may be no other */
    open->fd = -1;
    heap_name_free(&open->name);
    if (!kept) {
        free(open);
        return;
    }
    open->next = retired;
    retired = open;
    trim_retired(RETIRED_MOST, retired_bytes());
}

int heap_close(struct heap *heap)
{
    int state = cancelling_forbid();

    lock_heaps();
    struct open_heap *_Atomic *link = &heaps;
    while (*link != NULL && (*link)->heap != heap)
        link = &(*link)->next;
    bool found = *link != NULL;
    uint64_t serial = found ? (*link)->serial : 0;
    if (found)
        retire(link);
    unlock_heaps();
    void (*function)(uint64_t) = atomic_load(&when_closed);
    if (found && function != NULL)
        function(serial);
    cancelling_allow(state);
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
    const struct timespec pause = {.tv_nsec = 1000000};
    int64_t deadline = clock_now() + END_PATIENCE_NS;

    while (pthread_mutex_trylock(&heaps_mutex) != 0) {
        if (clock_now() >= deadline)
            return false;
        nanosleep(&pause, NULL);
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

int heap_unlink(enum heap_kind kind, const char *name)
{
    int state = cancelling_forbid();
    int error = heap_name_unlink(name, kind);

    cancelling_allow(state);
    return error;
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
        if ((uintptr_t)address - (uintptr_t)open->heap >= open->length || open->heap->kind != (uint32_t)kind)
            continue;
        heap = open->heap;
        *file = (struct heap_file){.serial = open->serial,
                                   .length = open->length,
                                   .fd = open->fd,
                                   .device = open->device,
                                   .inode = open->inode};
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
    int fd = open_of_process(getppid(), open->parents_fd, open->device, open->inode);

    if (fd < 0)
        fd = heap_name_reopen(&open->name);
    if (fd < 0)
        return false;
    open->fd = fd;
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
        trim_retired(0, 0);
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
static int descriptor_of(const struct heap *heap)
{
    struct stat file;
    int fd = MP_ESYSTEM;

    lock_heaps();
    struct open_heap *open = find(heap);
    int number = open != NULL && fstat(open->fd, &file) != 0 ? errno : 0;
    if (number == ENOMEM)
        fd = MP_ENOMEM;
    else if (open != NULL && (number == 0 || number == EBADF) &&
             ((number == 0 && is_file_of(&file, open)) || reopen(open)))
        fd = open->fd;
    unlock_heaps();
    return fd;
}

int heap_file_reserve(const struct heap *heap, uint64_t from, uint64_t to)
{
    int state = cancelling_forbid();
    int fd = descriptor_of(heap);
    int error = fd < 0 ? fd : memory_file_reserve(fd, from, to);

    cancelling_allow(state);
    return error;
}

bool heap_file_holes_are_safe(const struct heap *heap)
{
    int fd = descriptor_of(heap);

    return fd >= 0 && memory_file_is_unlimited(fd);
}

void heap_file_punch(const struct heap *heap, uint64_t from, uint64_t to)
{
    int state = cancelling_forbid();
    int fd = descriptor_of(heap);

    if (fd >= 0)
        memory_file_punch(fd, from, to);
    cancelling_allow(state);
}

int heap_reopen(const struct heap *heap)
{
    int state = cancelling_forbid(), fd = descriptor_of(heap);
    char path[64];

    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    while (fd >= 0 && (fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK)) < 0 && errno == EINTR)
        fd = 0;
    fd = descriptor_move_up(fd);
    cancelling_allow(state);
    return fd < 0 ? -1 : fd;
}

void heap_close_reopened(const struct heap *heap, int fd)
{
    int state = cancelling_forbid();
    struct stat file;

    pthread_mutex_lock(&heaps_mutex);
    struct open_heap *open = find(heap);
    /* If the system does not tell, it most likely is the heap's. */
    if (fd >= 0 && open != NULL && (fstat(fd, &file) == 0 ? is_file_of(&file, open) : errno != EBADF))
        close(fd);
    pthread_mutex_unlock(&heaps_mutex);
    cancelling_allow(state);
}

bool heap_byte_locked(const struct heap *heap, uint64_t byte, bool *locked)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)byte, .l_len = 1};
    int fd = descriptor_of(heap);

    if (fd < 0 || fcntl(fd, F_OFD_GETLK, &lock) != 0)
        return false;
    *locked = lock.l_type != F_UNLCK;
    return true;
}
