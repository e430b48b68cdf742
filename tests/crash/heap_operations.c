/* The allocator: a heap with a block of slots in it, each of which owns a block or none. */
#include <mp.h>
#include <stdio.h>
#include <stdlib.h>

#include "heap/heap_create.h"
#include "heap/heap_file.h"
#include "heap_killer.h"
#include "object/object.h"
#include "object/object_check.h"

#define SLOTS 32
#define KIB UINT64_C(1024)
#define MIB (KIB * 1024)

static struct heap *heap;

static _Atomic uint64_t *slot(int index)
{
    return (_Atomic uint64_t *)heap_at(heap, atomic_load(&heap->root)) + index;
}

static void take(int index, uint64_t size)
{
    if (heap_alloc(heap, size, slot(index)) != 0)
        abort();
}

static void drop(int index)
{
    heap_free(heap, slot(index));
}

/* ---- the scene ---- */

static struct heap *create(void)
{
    if (heap_create(&heap, HEAP_LOCK, NULL, 0) != 0 || heap_alloc(heap, SLOTS * 8, &heap->root) != 0)
        abort();
    for (int i = 0; i < SLOTS; i++)
        atomic_store(slot(i), 0);
    return heap;
}

static void destroy(void)
{
    heap_close(heap);
}

static void recover(void)
{
    heap_recover(heap);
}

static void mark_slots(struct heap *marked, object_marker *mark, void *context)
{
    (void)marked;
    mark(context, atomic_load(&heap->root));
    for (int i = 0; i < SLOTS; i++)
        mark(context, atomic_load(slot(i)));
}

static void check(const char *when)
{
    int error = object_check_heap(heap, mark_slots);

    if (error != 0)
        report_problem("%s: the heap: %s", when, mp_strerror(error));
}

static void inspect(void)
{
    char line[100];
    uint64_t used = 0;

    check("after the death");
    for (int i = 0; i < SLOTS; i++) {
        uint64_t block = atomic_load(slot(i));

        snprintf(line, sizeof line, "%d:%lu ", i, block == 0 ? 0UL : (unsigned long)heap_block_size(heap, block));
        report_state(line);
    }
    used = atomic_load(&heap->used);
    snprintf(line, sizeof line, "used %lu", (unsigned long)used);
    report_state(line);
    for (int i = 0; i < SLOTS; i++) {
        if (atomic_load(slot(i)) != 0)
            continue;
        take(i, (uint64_t)i * 100);
        check("after taking a block");
        drop(i);
    }
    check("after use");
    if (atomic_load(&heap->used) != used)
        report_problem("what was taken and given back is still in use");
}

static const struct scene heap_scene = {create, destroy, recover, inspect, NULL, NULL, NULL};

static void run(const struct operation *operation, const struct plan *plan, struct tally *tally)
{
    heap_killer_run(&heap_scene, operation, plan, tally);
}

/* ---- operations ---- */

/* One operation for each spacing of size classes. */
#define TAKE(name_, size_) \
    static void take_##name_(void) \
    { \
        take(0, size_); \
    }
TAKE(1, 1)
TAKE(24, 24)
TAKE(100, 100)
TAKE(240, 240)
TAKE(300, 300)
TAKE(1000, 1000)
TAKE(5000, 5000)
TAKE(20000, 20000)
TAKE(60000, 60000)
TAKE(1m, MIB)
TAKE(9m, 9 * MIB)

/* Takes a row of blocks of that size and gives the first one back: it fits the next request exactly. */
static void row(uint64_t size)
{
    for (int i = 1; i < 10; i++)
        take(i, size);
    drop(1);
    drop(3);
}

static void row_100(void)
{
    row(100);
}

static void row_1000(void)
{
    row(1000);
}

static void drop_5(void)
{
    drop(5);
}

/* The block lies between two free ones. */
static void drop_2(void)
{
    drop(2);
}

/* The block lies after a free one. */
static void drop_4(void)
{
    drop(4);
}

/* The block lies before a free one. */
static void before_free(void)
{
    row(100);
    take(11, 90);
    take(12, 90);
    drop(6);
}

/* A free block that is slightly larger than the request: it is not split. */
static void snug(void)
{
    take(1, 136);
    take(2, 136);
    drop(1);
}

static void take_120(void)
{
    take(0, 120);
}

/* The heap is nearly full: the next request makes it grow. */
static void nearly_full(void)
{
    for (int i = 1; i < 12; i++)
        take(i, 2000);
}

static void large_in_use(void)
{
    take(1, 25 * MIB);
    take(2, 9 * MIB);
    take(3, 100);
    drop(1);
}

static void large_free(void)
{
    large_in_use();
    drop(2);
}

static void drop_large(void)
{
    drop(2);
}

static void take_from_hole(void)
{
    take(0, 12 * MIB);
}

static void take_all_of_hole(void)
{
    take(0, 36 * MIB);
}

static const struct operation operations[] = {
    {"heap.take_1", NULL, take_1, NULL, NULL},
    {"heap.take_24", row_100, take_24, NULL, NULL},
    {"heap.take_100", NULL, take_100, NULL, NULL},
    {"heap.take_100_again", row_100, take_100, NULL, NULL},
    {"heap.take_240", row_1000, take_240, NULL, NULL},
    {"heap.take_300", NULL, take_300, NULL, NULL},
    {"heap.take_1000", NULL, take_1000, NULL, NULL},
    {"heap.take_1000_again", row_1000, take_1000, NULL, NULL},
    {"heap.take_5000", NULL, take_5000, NULL, NULL},
    {"heap.take_20000", NULL, take_20000, NULL, NULL},
    {"heap.take_grow", nearly_full, take_20000, NULL, NULL},
    {"heap.take_60000_grow", NULL, take_60000, NULL, NULL},
    {"heap.take_1m_grow", row_100, take_1m, NULL, NULL},
    {"heap.take_9m_grow", NULL, take_9m, NULL, NULL},
    {"heap.take_undivided", snug, take_120, NULL, NULL},
    {"heap.free_between_used", row_100, drop_5, NULL, NULL},
    {"heap.free_merge_both", row_100, drop_2, NULL, NULL},
    {"heap.free_merge_before", before_free, drop_4, NULL, NULL},
    {"heap.free_merge_after", before_free, drop_5, NULL, NULL},
    {"heap.free_merge_1000", row_1000, drop_2, NULL, NULL},
    {"heap.free_punch", large_in_use, drop_large, NULL, NULL},
    {"heap.take_from_hole", large_free, take_from_hole, NULL, NULL},
    {"heap.take_across_hole", large_free, take_all_of_hole, NULL, NULL},
};

const struct family heap_family = {operations, sizeof operations / sizeof *operations, run};
