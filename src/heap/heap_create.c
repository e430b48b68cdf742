#include "heap/heap_create.h"

#include <errno.h>
#include <mp.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cancelling.h"
#include "base/memory_file.h"
#include "base/random.h"
#include "base/units.h"
#include "heap/heap.h"
#include "heap/heap_file.h"
#include "heap/heap_name.h"
#include "sync/mutex.h"

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
    int error = memory_file_reserve(fd, 0, HEAP_FIRST_SIZE);

    if (error != 0) {
        heap_name_free(name);
        close(fd);
        return error;
    }
    struct heap *made;
    error = heap_file_map(&made, fd, name, &length, shrink);
    if (error != 0)
        return error;
    /* Valgrind's leak check reads all mapped pages, and takes a signal at each one past the end of the file. */
    if (on_valgrind() && length <= HEAP_ON_VALGRIND)
        memory_file_lengthen(fd, length);
    error = initialise(made, kind, length);
    if (error == 0)
        *heap = made;
    else
        heap_close(made);
    return error;
}

static int create_limited(struct heap **heap, enum heap_kind kind, const char *text, uint64_t limit, bool shrink)
{
    CANCELLING_FORBIDDEN;
    struct heap_name name = {.path = NULL};
    uint64_t length = limit == 0 || limit > HEAP_LARGEST ? HEAP_LARGEST : round_up(limit, HEAP_PAGE);
    int fd = text != NULL ? heap_name_create(&name, text) : memory_file();

    if (fd >= 0)
        fd = create(heap, kind, &name, fd, length > HEAP_SMALLEST ? length : HEAP_SMALLEST, shrink);
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
    return *length >= 2 * HEAP_FIRST_SIZE && *length <= HEAP_LARGEST && *length % HEAP_PAGE == 0 ? 0 : MP_ECORRUPT;
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

int heap_check_header(const struct heap *heap)
{
    struct heap_file file;
    struct stat status;

    if (heap_find(heap, (enum heap_kind)heap->kind, &file) != heap)
        return MP_ECORRUPT;
    if (heap->magic != HEAP_MAGIC || heap->version != HEAP_VERSION || heap->layout != layout() ||
        heap->checksum != heap_header_checksum(heap) || heap->limit != file.length)
        return MP_ECORRUPT;
    uint64_t size = atomic_load(&heap->size);
    /* The file is never shorter than the heap says, as it is extended first. */
    if (fstat(file.fd, &status) == 0 && heap_file_is(&file, &status) && size > (uint64_t)status.st_size)
        return MP_ECORRUPT;
    /* The undo log must be right because every change writes there. */
    if (atomic_load(&heap->undo.log) != offsetof(struct heap, log))
        return MP_ECORRUPT;
    return size >= HEAP_FIRST_SIZE && size <= file.length && size % HEAP_PAGE == 0 ? 0 : MP_ECORRUPT;
}

int heap_open(struct heap **heap, enum heap_kind kind, const char *text)
{
    CANCELLING_FORBIDDEN;
    struct heap_name name;
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
    struct heap *opened;
    error = heap_file_map(&opened, fd, &name, &length, false);
    if (error != 0)
        return error;
    if (heap_check_header(opened) != 0 || mutex_check(&opened->mutex, true) != 0) {
        heap_close(opened);
        return MP_ECORRUPT;
    }
    *heap = opened;
    return 0;
}
