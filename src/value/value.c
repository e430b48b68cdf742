/* Values: how they are stored, compared and copied.
 *
 * Words in the heap may change while they are read here, as readers of a dict hold no mutex. So every word is loaded
 * with one relaxed atomic load, and every offset and length is checked against the heap's size before it is used. */
#include "value/value.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define COPY_PLAINLY
#endif
#endif
#if defined(__SSE2__) && !defined(__SANITIZE_THREAD__) && !defined(COPY_PLAINLY)
#include <emmintrin.h>
#define COPY_BY_VECTORS
#endif

#include "base/word.h"
#include "heap/heap_file.h"
#include "object/hold.h"

/* ---- constructors ---- */

mp_value mp_value_none(void)
{
    return (mp_value){.type = MP_NONE};
}

mp_value mp_value_bool(bool value)
{
    return (mp_value){.type = MP_BOOL, .as.boolean = value};
}

mp_value mp_value_int(int64_t value)
{
    return (mp_value){.type = MP_INT, .as.integer = value};
}

mp_value mp_value_float(double value)
{
    return (mp_value){.type = MP_FLOAT, .as.real = value};
}

mp_value mp_value_str(const char *text)
{
    return mp_value_strn(text, text != NULL ? strlen(text) : 0);
}

mp_value mp_value_strn(const char *text, size_t size)
{
    return (mp_value){.type = MP_STR, .size = size, .as.str = text};
}

mp_value mp_value_bytes(const void *data, size_t size)
{
    return (mp_value){.type = MP_BYTES, .size = size, .as.bytes = size == 0 && data == NULL ? "" : data};
}

mp_value mp_value_dict(mp_dict *dict)
{
    return (mp_value){.type = MP_DICT, .as.dict = dict};
}

mp_value mp_value_list(mp_list *list)
{
    return (mp_value){.type = MP_LIST, .as.list = list};
}

void mp_value_free(mp_value *value)
{
    if (value == NULL)
        return;
    if (!value_is_container(value))
        free(value->owned);
    else if (value->owned != NULL)
        hold_give(value->owned, value_kind(value));
    *value = mp_value_none();
}

int value_hold(mp_value *value)
{
    if (!value_is_container(value))
        return 0;
    int error = hold_take(value->as.dict, value_kind(value));
    if (error == 0)
        value->owned = value->as.dict;
    return error;
}

int value_copy(const mp_value *from, mp_value *to)
{
    mp_value copy = *from;

    copy.owned = NULL;
    if (from->type == MP_STR || from->type == MP_BYTES) {
        char *text = malloc(from->size + 1);

        if (text == NULL)
            return MP_ENOMEM;
        memcpy(text, from->as.bytes, from->size);
        text[from->size] = 0;
        copy.owned = text;
        copy.as.str = text;
    }
    int error = value_hold(&copy);
    if (error == 0)
        *to = copy;
    return error;
}

/* ---- bytes in the heap ---- */

/* Pages of a large free block are given back to the system (heap.c), even while a reader without the mutex copies from
 * it. A thread that touches such a page makes the system find a new one, and is killed (SIGBUS) if there is none. So
 * memory that may become a hole is copied by system calls, which report an error instead. */

/* Copies from the heap's file, in which a hole reads as zeros. False: this process has no descriptor of it any more. */
static bool copy_from_file(const struct heap *heap, uint64_t offset, char *to, size_t size)
{
    struct heap_file file;
    struct stat now;
    ssize_t done;

    if (heap_find(heap, (enum heap_kind)heap->kind, &file) != heap || fstat(file.fd, &now) != 0 ||
        now.st_dev != file.device || now.st_ino != file.inode)
        return false;
    for (; size > 0; offset += (uint64_t)done, to += done, size -= (size_t)done) {
        done = pread(file.fd, to, size, (off_t)offset);
        if (done <= 0)
            return false;
    }
    return true;
}

/* Copies by a system call. False: the system does not allow it here. */
static bool copy_large(const char *from, char *to, size_t size)
{
    static _Atomic bool refused;
    ssize_t done = -1;

    if (atomic_load_explicit(&refused, memory_order_relaxed))
        return false;
    for (; size > 0; from += done, to += done, size -= (size_t)done) {
        struct iovec remote = {(void *)(uintptr_t)from, size}, local = {to, size};

        done = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
        if (done <= 0)
            break;
    }
    if (size == 0)
        return true;
    /* A hole: the block was freed meanwhile, so the result will not count. */
    if (done == 0 || errno == EFAULT)
        return true;
    atomic_store_explicit(&refused, true, memory_order_relaxed);
    return false;
}

/* Copies bytes that may be changing, a word at a time. `from` is aligned to 16, and whole words may be read, also
 * beyond `size`. */
static void copy_out(const struct heap *heap, uint64_t offset, void *to, size_t size)
{
    const _Atomic uint64_t *from = heap_at(heap, offset);
    unsigned char *byte = to;

    if (size >= HEAP_READ_FROM_FILE &&
        (copy_large((const char *)from, to, size) || copy_from_file(heap, offset, to, size)))
        return;
#ifdef COPY_BY_VECTORS
    for (; size >= 32; size -= 32, byte += 32, from += 4) {
        __m128i a = _mm_load_si128((const __m128i *)(const void *)from);
        __m128i b = _mm_load_si128((const __m128i *)(const void *)(from + 2));

        _mm_storeu_si128((__m128i *)(void *)byte, a);
        _mm_storeu_si128((__m128i *)(void *)(byte + 16), b);
    }
#endif
    for (; size >= 8; size -= 8, byte += 8) {
        uint64_t word = word_get(from++);
        memcpy(byte, &word, 8);
    }
    if (size > 0) {
        uint64_t word = word_get(from);
        memcpy(byte, &word, size);
    }
}

/* ---- cells ---- */

static struct object *container_of(const mp_value *value)
{
    return object_of(value->as.dict);
}

bool value_is_valid(const mp_value *value)
{
    switch (value->type) {
    case MP_NONE:
    case MP_BOOL:
    case MP_INT:
    case MP_FLOAT:
        return true;
    case MP_STR:
    case MP_BYTES:
        return value->as.bytes != NULL && value->size <= VALUE_LONGEST;
    default:
        return value_kind(value) != 0 && object_is(value->as.dict, value_kind(value));
    }
}

int value_check_other(const struct heap *heap, const mp_value *value)
{
    if (!value_is_valid(value))
        return MP_EINVAL;
    return value_is_container(value) && object_heap(container_of(value)) != heap ? MP_EFOREIGN : 0;
}

static int build_bytes(struct object *owner, const mp_value *value, _Atomic uint64_t *pending, uint64_t *head,
                       uint64_t *body)
{
    *head = (uint64_t)value->type | (uint64_t)value->size << CELL_LENGTH_SHIFT;
    *body = 0;
    if (value->size <= CELL_INLINE) {
        memcpy(body, value->as.bytes, value->size);
        return 0;
    }
    struct heap *heap = object_heap(owner);
    int error = heap_alloc_value(heap, value->size, pending);
    if (error != 0)
        return error;
    *head |= CELL_OWNS;
    *body = word_get(pending);
    memcpy(heap_at(heap, *body), value->as.bytes, value->size);
    return 0;
}

int cell_build(struct object *owner, const mp_value *value, _Atomic uint64_t *pending, uint64_t *head, uint64_t *body)
{
    if (cell_plain(value, head, body))
        return 0;
    if (value->type == MP_STR || value->type == MP_BYTES)
        return build_bytes(owner, value, pending, head, body);
    int error = object_retain(value->as.dict, value_kind(value), pending);
    *head |= CELL_OWNS | object_generation_of((uintptr_t)value->as.dict & OBJECT_TAG) << CELL_LENGTH_SHIFT;
    *body = word_get(pending);
    return error;
}

int cell_stage(struct object *owner, const mp_value *value, struct cell *cell)
{
    uint64_t head, body;

    word_put(&cell->head, CELL_OWNS);
    undo_order();
    int error = value_check(object_heap(owner), value);
    if (error == 0)
        error = cell_build(owner, value, &cell->body, &head, &body);
    if (error != 0)
        return error;
    word_put(&cell->head, head);
    undo_order();
    word_put(&cell->body, body);
    return 0;
}

int cell_replace(struct object *owner, struct cell *cell, const mp_value *value)
{
    uint64_t head, body, old_head = word_get(&cell->head);

    if (cell_plain(value, &head, &body) && head == old_head) {
        atomic_store_explicit(&cell->body, body, memory_order_release);
        return 0;
    }
    int error = cell_build(owner, value, &owner->pending[0], &head, &body);
    if (error != 0)
        return error;
    object_begin(owner);
    object_set(owner, &owner->pending[0], 0);
    if (old_head & CELL_OWNS)
        object_set(owner, &owner->pending[1], word_get(&cell->body));
    object_set(owner, &cell->head, head);
    object_set(owner, &cell->body, body);
    object_commit(owner);
    ref_release(object_heap(owner), &owner->pending[1]);
    return 0;
}

static bool bytes_are_held(const struct heap *heap, uint64_t head, uint64_t body)
{
    uint64_t size = head >> CELL_LENGTH_SHIFT;

    return head & CELL_OWNS ? heap_holds(heap, body, size) : size <= CELL_INLINE;
}

static void copy_bytes(const struct heap *heap, uint64_t head, uint64_t body, void *to)
{
    if (head & CELL_OWNS)
        copy_out(heap, body, to, head >> CELL_LENGTH_SHIFT);
    else
        memcpy(to, &body, head >> CELL_LENGTH_SHIFT);
}

/* A buffer for `size` bytes. */
static char *staged_room(struct staged_bytes *staged, size_t size)
{
    if (size <= STAGED_SHORT)
        return (char *)staged->words;
    if (size > staged->room) {
        free(staged->owned);
        staged->owned = malloc(size);
        staged->room = staged->owned != NULL ? size : 0;
    }
    return staged->owned;
}

int cell_stage_bytes(const struct heap *heap, uint64_t head, uint64_t body, struct staged_bytes *staged)
{
    if ((head & CELL_TYPE) != staged->type)
        return MP_ETYPE;
    staged->length = head >> CELL_LENGTH_SHIFT;
    if (staged->length + (staged->type == MP_STR) > staged->size)
        return MP_ETOOSMALL;
    if (!bytes_are_held(heap, head, body))
        return MP_ECORRUPT;
    char *room = staged_room(staged, staged->length);
    if (room == NULL)
        return MP_ENOMEM;
    copy_bytes(heap, head, body, room);
    return 0;
}

int staged_end(struct staged_bytes *staged, int error, void *buffer, size_t *length)
{
    if (error == 0 && staged->length > 0) /* else the buffer may be NULL */
        memcpy(buffer, staged->length <= STAGED_SHORT ? (char *)staged->words : staged->owned, staged->length);
    if (error == 0 && staged->type == MP_STR)
        ((char *)buffer)[staged->length] = 0;
    if (length != NULL && (error == 0 || error == MP_ETOOSMALL))
        *length = staged->length;
    free(staged->owned);
    return error;
}

static int new_text(size_t size, mp_type type, mp_value *value, char **text)
{
    *value = mp_value_none();
    *text = malloc(size + 1);
    if (*text == NULL)
        return MP_ENOMEM;
    (*text)[size] = 0;
    *value = (mp_value){.type = type, .size = size, .as.str = *text, .owned = *text};
    return 0;
}

static int read_bytes(const struct heap *heap, mp_type type, uint64_t head, uint64_t body, mp_value *value)
{
    size_t size = head >> CELL_LENGTH_SHIFT;
    char *text;

    if (!bytes_are_held(heap, head, body))
        return MP_ECORRUPT;
    int error = new_text(size, type, value, &text);
    if (error == 0)
        copy_bytes(heap, head, body, text);
    return error;
}

static int read_container(const struct heap *heap, uint64_t head, uint64_t body, mp_value *value)
{
    mp_type type = (mp_type)(head & CELL_TYPE);

    if (object_kind_of_type(type) == NULL || (body & REF_MASK) != REF_OBJECT ||
        !heap_holds(heap, body & ~REF_MASK, sizeof(struct object)))
        return MP_ECORRUPT;
    *value = (mp_value){.type = type, .as.dict = cell_handle(heap, head, body)};
    return 0;
}

int cell_number(uint64_t head, uint64_t body, mp_value *value)
{
    double real;

    switch (head & CELL_TYPE) {
    case MP_NONE:
        *value = mp_value_none();
        return 0;
    case MP_BOOL:
        *value = mp_value_bool(body != 0);
        return 0;
    case MP_INT:
        *value = mp_value_int((int64_t)body);
        return 0;
    case MP_FLOAT:
        memcpy(&real, &body, sizeof real);
        *value = mp_value_float(real);
        return 0;
    default:
        return MP_ECORRUPT;
    }
}

int cell_read(const struct heap *heap, uint64_t head, uint64_t body, mp_value *value)
{
    mp_type type = (mp_type)(head & CELL_TYPE);

    if (type <= MP_FLOAT)
        return cell_number(head, body, value);
    return type <= MP_BYTES ? read_bytes(heap, type, head, body, value) : read_container(heap, head, body, value);
}

int cell_value(const struct heap *heap, const struct cell *cell, mp_value *value)
{
    return cell_read(heap, word_get(&cell->head), word_get(&cell->body), value);
}

int cell_view_short(const struct heap *heap, uint64_t head, uint64_t body, char *text, mp_value *value)
{
    mp_type type = (mp_type)(head & CELL_TYPE);
    size_t size = head >> CELL_LENGTH_SHIFT;

    if (type != MP_STR && type != MP_BYTES)
        return cell_read(heap, head, body, value);
    if ((head & CELL_OWNS) || size > CELL_INLINE)
        return MP_ECORRUPT;
    memcpy(text, &body, CELL_INLINE);
    text[size] = 0;
    *value = (mp_value){.type = type, .size = size, .as.str = text};
    return 0;
}

mp_value cell_view(const struct heap *heap, const struct cell *cell)
{
    uint64_t head = word_get(&cell->head), body = word_get(&cell->body);
    mp_value value = mp_value_none();

    if ((head & CELL_TYPE) == MP_STR || (head & CELL_TYPE) == MP_BYTES) {
        value.type = (mp_type)(head & CELL_TYPE);
        value.size = head >> CELL_LENGTH_SHIFT;
        value.as.bytes = head & CELL_OWNS ? heap_at(heap, body) : (const void *)&cell->body;
        return value;
    }
    cell_read(heap, head, body, &value);
    return value;
}

/* ---- comparing ---- */

static bool is_number(const mp_value *value)
{
    return value->type == MP_BOOL || value->type == MP_INT || value->type == MP_FLOAT;
}

static int64_t integer_of(const mp_value *value)
{
    return value->type == MP_BOOL ? value->as.boolean : value->as.integer;
}

/* Exact, as in Python: a float equals an integer only if its value is exactly that integer. */
static bool same_number(const mp_value *a, const mp_value *b)
{
    if (a->type == MP_FLOAT && b->type == MP_FLOAT)
        return a->as.real == b->as.real;
    if (b->type == MP_FLOAT)
        return same_number(b, a);
    if (a->type != MP_FLOAT)
        return integer_of(a) == integer_of(b);
    return a->as.real >= -9223372036854775808.0 && a->as.real < 9223372036854775808.0 &&
           trunc(a->as.real) == a->as.real && (int64_t)a->as.real == integer_of(b);
}

bool value_same(const mp_value *a, const mp_value *b)
{
    if (is_number(a) && is_number(b))
        return same_number(a, b);
    if (a->type != b->type)
        return false;
    switch (a->type) {
    case MP_NONE:
        return true;
    case MP_STR:
    case MP_BYTES:
        return a->size == b->size && memcmp(a->as.bytes, b->as.bytes, a->size) == 0;
    default:
        return a->as.dict == b->as.dict;
    }
}
