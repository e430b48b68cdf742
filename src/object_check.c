/* The checker of a heap: collects all refs that can be reached from objects, and compares with the blocks there are. */
#include <mp.h>
#include <stdlib.h>
#include <time.h>

#include "object.h"
#include "platform.h"

struct offsets {
    uint64_t *item;
    size_t count, capacity;
    bool failed;
};

struct check {
    struct heap *heap;
    struct offsets blocks; /* owned by a ref */
    struct offsets shares; /* objects, once for each REF_OBJECT */
    struct offsets found;  /* blocks there are */
    bool corrupt;
};

static uint64_t get(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

static void add(struct offsets *offsets, uint64_t offset)
{
    if (offsets->count == offsets->capacity) {
        size_t capacity = offsets->capacity == 0 ? 1024 : offsets->capacity * 2;
        uint64_t *item = realloc(offsets->item, capacity * sizeof *item);

        if (item == NULL) {
            offsets->failed = true;
            return;
        }
        offsets->item = item;
        offsets->capacity = capacity;
    }
    offsets->item[offsets->count++] = offset;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static void sort(struct offsets *offsets)
{
    if (offsets->count > 1)
        qsort(offsets->item, offsets->count, sizeof *offsets->item, compare);
}

/* ---- collecting ---- */

static void mark(void *context, uint64_t ref);

static void mark_cell(struct check *check, const _Atomic uint64_t *head, const _Atomic uint64_t *body)
{
    if (get(head) & CELL_OWNS)
        mark(check, get(body));
}

/* Whether a block can hold `count` things of `size` bytes from byte `from` on. */
static bool fits(struct check *check, uint64_t offset, uint64_t from, uint64_t count, uint64_t size)
{
    uint64_t room = heap_block_size(check->heap, offset);

    if (room > get(&check->heap->size) || room < from || count > (room - from) / size)
        check->corrupt = true;
    return !check->corrupt;
}

static void mark_content(struct check *check, uint64_t ref, uint64_t offset)
{
    _Atomic uint64_t *block = heap_at(check->heap, offset);
    uint64_t count = get(&block[0]);
    struct cell *cells = (struct cell *)(block + 2);
    struct entry *entries = (struct entry *)(block + 2);

    switch ((enum ref_kind)(ref & REF_MASK)) {
    case REF_TABLE:
    case REF_SHELL:
        for (uint64_t i = 1; fits(check, offset, 8, count, 8) && i <= count; i++)
            mark(check, (ref & REF_MASK) == REF_SHELL ? get(&block[i]) & ~REF_MASK : get(&block[i]));
        break;
    case REF_CELLS:
        for (uint64_t i = 0; fits(check, offset, 16, count, sizeof *cells) && i < count; i++)
            mark_cell(check, &cells[i].head, &cells[i].body);
        break;
    case REF_ENTRIES:
        for (uint64_t i = 0; fits(check, offset, 16, count, sizeof *entries) && i < count; i++) {
            if (get(&entries[i].sequence) == 0)
                continue;
            mark_cell(check, &entries[i].key_head, &entries[i].key_body);
            mark_cell(check, &entries[i].value.head, &entries[i].value.body);
        }
        break;
    default:
        break;
    }
}

static void mark(void *context, uint64_t ref)
{
    struct check *check = context;
    uint64_t offset = ref & ~REF_MASK;

    if (offset == 0 || check->corrupt)
        return;
    if (offset < sizeof(struct heap) || offset >= get(&check->heap->size) || (ref & REF_MASK) > REF_SHELL) {
        check->corrupt = true;
        return;
    }
    if ((ref & REF_MASK) == REF_OBJECT) {
        add(&check->shares, offset);
        return;
    }
    add(&check->blocks, offset);
    mark_content(check, ref, offset);
}

static void mark_object(struct check *check, struct object *object)
{
    uint64_t magic = get(&object->magic);

    add(&check->blocks, object->block);
    for (int i = 0; i < OBJECT_ROOTS; i++)
        mark(check, get(&object->root[i]));
    for (int i = 0; i < OBJECT_PENDING; i++)
        mark(check, get(&object->pending[i]));
    mark(check, get(&object->undo.more));
    if (magic == OBJECT_SPARE && (get(&object->root[0]) != 0 || get(&object->word[0]) != 0))
        check->corrupt = true;
    if (get(&object->undo.count) != 0 || (get(&object->version) & 1) != 0)
        check->corrupt = true;
}

static int found_block(void *arg, uint64_t offset, uint64_t size)
{
    struct check *check = arg;

    (void)size;
    add(&check->found, offset);
    return 0;
}

/* ---- comparing ---- */

static bool blocks_match(struct check *check)
{
    sort(&check->blocks);
    if (check->blocks.count != check->found.count)
        return false;
    for (size_t i = 0; i < check->found.count; i++) {
        if (check->blocks.item[i] != check->found.item[i])
            return false;
    }
    return true;
}

static uint64_t shares_of(struct check *check, uint64_t offset)
{
    size_t low = 0, high = check->shares.count, first;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (check->shares.item[middle] < offset)
            low = middle + 1;
        else
            high = middle;
    }
    for (first = low; low < check->shares.count && check->shares.item[low] == offset; low++)
        ;
    return low - first;
}

static bool holds_match(struct check *check)
{
    sort(&check->shares);
    for (uint64_t at = get(&check->heap->objects); at != 0;) {
        struct object *object = heap_at(check->heap, at);
        uint64_t magic = get(&object->magic);
        uint64_t shares = shares_of(check, at);
        bool gone = magic == OBJECT_SPARE || magic == OBJECT_DEAD;

        if (object->self != at || (gone ? shares != 0 : shares != get(&object->refs)))
            return false;
        if (!gone && shares == 0 && get(&object->handle) == 0)
            return false;
        at = get(&object->next_all);
    }
    return true;
}

static int check_locked(struct check *check, void (*extra)(struct heap *, object_marker *, void *))
{
    struct heap *heap = check->heap;
    int error = heap_check(heap, found_block, check);

    if (error != 0)
        return error;
    for (uint64_t at = get(&heap->objects); at != 0 && !check->corrupt;) {
        if (at < sizeof(struct heap) || at >= get(&heap->size))
            return MP_ECORRUPT;
        struct object *object = heap_at(heap, at);
        mark_object(check, object);
        at = get(&object->next_all);
    }
    mark(check, get(&heap->carving));
    /* The root is held by the header. */
    if (get(&heap->root) != 0 && heap->kind == HEAP_MANAGER)
        add(&check->shares, get(&heap->root));
    if (extra != NULL)
        extra(heap, mark, check);
    if (check->blocks.failed || check->shares.failed || check->found.failed)
        return MP_ENOMEM;
    return !check->corrupt && blocks_match(check) && holds_match(check) ? 0 : MP_ECORRUPT;
}

/* ---- stopping all others ---- */

static void unlock_until(struct heap *heap, uint64_t from, uint64_t end)
{
    for (uint64_t at = from; at != end;) {
        struct object *object = heap_at(heap, at);
        uint64_t next = get(&object->next_all);

        mutex_unlock(&object->mutex);
        at = next;
    }
}

/* Takes every object's mutex, in no order that others could rely on: so gives all back when one is not to be had at once. */
static bool lock_objects(struct heap *heap, uint64_t first)
{
    for (uint64_t at = first; at != 0;) {
        struct object *object = heap_at(heap, at);
        int error = mutex_lock_until(&object->mutex, clock_now() + 1000000);

        if (error == MP_EOWNERDEAD) {
            object_repair(object);
        } else if (error != 0) {
            unlock_until(heap, first, at);
            return false;
        }
        at = get(&object->next_all);
    }
    return true;
}

/* Leaves all objects and the heap locked. */
static int lock_all(struct heap *heap, uint64_t *first)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    int64_t deadline = clock_now() + 30 * INT64_C(1000000000);

    do {
        *first = get(&heap->objects);
        if (lock_objects(heap, *first)) {
            int error = heap_lock(heap);

            if (error == 0 && get(&heap->objects) == *first)
                return 0;
            if (error == 0)
                heap_unlock(heap);
            unlock_until(heap, *first, 0);
            if (error != 0)
                return error;
        }
        nanosleep(&pause, NULL);
    } while (clock_now() < deadline);
    return MP_ETIMEOUT;
}

int object_check_heap(struct heap *heap, void (*extra)(struct heap *heap, object_marker *mark, void *context))
{
    struct check check = {.heap = heap};
    uint64_t first;
    int error = lock_all(heap, &first);

    if (error != 0)
        return error;
    error = check_locked(&check, extra);
    heap_unlock(heap);
    unlock_until(heap, first, 0);
    free(check.blocks.item);
    free(check.shares.item);
    free(check.found.item);
    return error;
}
