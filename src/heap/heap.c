/* The allocator of the shared heap.
 *
 * Two-level segregated fit: free blocks are in lists by size class, bitmaps tell which lists are not empty, and free
 * neighbours are merged at once. To take or free a block touches a bounded number of words, whatever the heap's size.
 * Requested sizes are rounded up to a class's lower bound, so a freed block always fits the next request of its size:
 * churn at constant size does not grow the heap.
 *
 * Layout: the header (struct heap), then blocks without gaps, then a sentinel of size 0 in the file's last word. A
 * block's offset is that of its first usable byte, a multiple of 16. The word before it holds its size (from its offset
 * to the next block's) and flags. A free block has its list links in its first two words, and its size again in the
 * word 16 bytes before the next block's offset, so that the next block finds its start.
 *
 * Everything happens under heap->mutex, and every word that meant something before is changed through heap->undo. A
 * process may die anywhere; the next one that locks the mutex finds either all of a step or nothing. The owner's slot
 * is one of those words.
 *
 * Large free blocks are given back to the system by punching a hole into the file. FLAG_PUNCHED is set before the hole
 * is made: the pages must be reserved again before they are used. The pages that hold the block's first and last
 * MIN_BLOCK bytes are never given back. A third word of a punched block, behind its links (solid_word()), says up to
 * which offset all pages are there. When pages behind it are needed, some more are reserved along with them, so that
 * many small blocks cost few system calls.
 *
 * THE RESERVE. Content that has filled a manager, and was removed, fits again, although its blocks now lie less well
 * and take more room. For that, a part of the limit is a reserve. heap.most is the most that was in use before the heap
 * grew into the reserve. heap.refilling says that a good part of that was freed later, in a heap that had grown up to
 * the reserve. The heap grows into the reserve
 * 1. as long as no more is in use than heap.most;
 * 2. with heap.refilling, for a little more: a list that cannot be extended in place needs room for its old and its new
 *    block.
 * Both words are hints: a roll-back does not restore them.
 *
 * WHAT MAY BECOME A HOLE. A process that touches a page in a hole gets a new page, or SIGBUS where the file system is
 * full. A reader without a mutex may touch a block that was freed long ago, as it may have been stopped meanwhile. So
 * 1. in a file system with a limit of its own (heap_file_holes_are_safe() is false), only blocks that were taken as
 *    values (FLAG_VALUE) are given back. Readers without a mutex copy those by system calls (value.c), which report an
 *    error instead.
 * 2. elsewhere (memfd) a new page is as certain as any other memory, and every free block may be given back. */
#include "heap/heap.h"

#include <mp.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory_file.h"
#include "base/units.h"
#include "heap/heap_block.h"
#include "heap/heap_file.h"
#include "sync/mutex.h"

/* Growth: an eighth of the heap, within these bounds. The system zeroes MAX_GROWTH bytes in about a millisecond, during
 * which others may have to wait. */
#define MIN_GROWTH (UINT64_C(64) * 1024)
#define MAX_GROWTH (UINT64_C(4) * 1024 * 1024)

/* A free block is given back when it has at least PUNCH_BLOCK bytes, and PUNCH_FREE bytes and half of what is in use
 * are free altogether. So a program that takes and frees the same large block again and again does not pay for new
 * pages each time, which cost several times what it costs to fill them. Adaptive retention, for a program that does so
 * with larger blocks: when a punched block is taken less than KEEP_NS after another large one (of PUNCH_VALUE bytes or
 * more), heap.keep grows by its size, up to KEEP_MOST. From then on, that much more may be free. is_much_free() resets
 * heap.keep when no large block was taken for KEEP_NS. */
#define PUNCH_BLOCK (UINT64_C(8) * 1024 * 1024)
#define PUNCH_FREE (UINT64_C(32) * 1024 * 1024)
#define KEEP_MOST (UINT64_C(512) * 1024 * 1024)
#define KEEP_NS (UINT64_C(10) * 1000000000)
/* A freed value of at least this size is given back alone, where the free block that it joins is not given back as a
 * whole. */
#define PUNCH_VALUE (UINT64_C(1024) * 1024)
/* A smaller block that is freed leads to a hole only when this much was freed since the last one. */
#define PUNCH_LEAST (UINT64_C(1024) * 1024)
/* A manager's reserve is its limit divided by this. */
#define RESERVED_PART 64
/* heap.refilling is set when heap.most divided by this was freed. */
#define REFILLED_PART 8
/* The most links that list_find_fitting() follows. */
#define FIT_LOOKS 1000

uint64_t heap_block_size(const struct heap *heap, uint64_t offset)
{
    return size_of(heap, offset) - 8;
}

/* ---- size classes ---- */

/* The smallest block that holds a request. */
static uint64_t least_size_for(uint64_t request)
{
    uint64_t size = round_up(request + 8, 16);

    return size < MIN_BLOCK ? MIN_BLOCK : size;
}

/* The size of the block to take for a request; 0 when no heap could hold it. */
static uint64_t block_size_for(uint64_t request)
{
    if (request > UINT64_C(1) << 45)
        return 0;
    uint64_t size = least_size_for(request);
    if (size < LINEAR_LIMIT)
        return size;
    uint64_t step = UINT64_C(1) << (63 - (unsigned)__builtin_clzll(size) - 4);
    return (size + step - 1) / step * step;
}

/* ---- free lists; all words through the undo log ---- */

static void list_insert(struct heap *heap, uint64_t block, uint64_t size)
{
    struct size_class class = class_of(size);
    word *head = &heap->first_free[class.major][class.minor];
    uint64_t first = word_get(head);

    heap_set(heap, next_link(heap, block), first);
    heap_set(heap, previous_link(heap, block), 0);
    heap_set(heap, head, block);
    if (first != 0) {
        heap_set(heap, previous_link(heap, first), block);
        return;
    }
    uint64_t minors = word_get(&heap->subclasses[class.major]);
    heap_set(heap, &heap->subclasses[class.major], minors | UINT64_C(1) << class.minor);
    if (minors == 0)
        heap_set(heap, &heap->classes, word_get(&heap->classes) | UINT64_C(1) << class.major);
}

static void list_remove(struct heap *heap, uint64_t block)
{
    struct size_class class = class_of(size_of(heap, block));
    uint64_t next = word_get(next_link(heap, block));
    uint64_t previous = word_get(previous_link(heap, block));

    if (next != 0)
        heap_set(heap, previous_link(heap, next), previous);
    if (previous != 0) {
        heap_set(heap, next_link(heap, previous), next);
        return;
    }
    heap_set(heap, &heap->first_free[class.major][class.minor], next);
    if (next != 0)
        return;
    uint64_t minors = word_get(&heap->subclasses[class.major]) & ~(UINT64_C(1) << class.minor);
    heap_set(heap, &heap->subclasses[class.major], minors);
    if (minors == 0)
        heap_set(heap, &heap->classes, word_get(&heap->classes) & ~(UINT64_C(1) << class.major));
}

/* A free block of at least `size`, which is a class's lower bound; 0: none. */
static uint64_t list_find(const struct heap *heap, uint64_t size)
{
    struct size_class class = class_of(size);
    uint64_t minors = word_get(&heap->subclasses[class.major]) & (~UINT64_C(0) << class.minor);

    if (minors == 0) {
        uint64_t majors = word_get(&heap->classes) & (~UINT64_C(0) << class.major << 1);
        if (majors == 0)
            return 0;
        class.major = (unsigned)__builtin_ctzll(majors);
        minors = word_get(&heap->subclasses[class.major]);
    }
    return word_get(&heap->first_free[class.major][__builtin_ctzll(minors)]);
}

/* For a full heap: a free block of at least `size` in the list of that size's class, whose blocks may be smaller or
 * larger; 0: none was found. */
static uint64_t list_find_fitting(const struct heap *heap, uint64_t size)
{
    struct size_class class = class_of(size);
    uint64_t block = word_get(&heap->first_free[class.major][class.minor]);

    for (int i = 0; block != 0 && size_of(heap, block) < size; i++)
        block = i < FIT_LOOKS ? word_get(next_link(heap, block)) : 0;
    return block;
}

/* ---- blocks ---- */

/* Makes [block, block + size) one free block, merged with free neighbours. Of its own header only FLAG_PREVIOUS_FREE
 * need be right. Returns the offset of the block that it has become a part of. */
static uint64_t make_free(struct heap *heap, uint64_t block, uint64_t size)
{
    uint64_t flags = FLAG_FREE, next = block + size, after = word_get(header_of(heap, next)), solid = 0;

    if (word_get(header_of(heap, block)) & FLAG_PREVIOUS_FREE) {
        uint64_t previous = block - word_get(word_at(heap, block - 16));

        flags |= word_get(header_of(heap, previous)) & FLAG_PUNCHED;
        solid = word_get(solid_word(heap, previous));
        list_remove(heap, previous);
        size += block - previous;
        block = previous;
    }
    if (after & FLAG_FREE) {
        /* If the previous block has a hole, that is the first one, and its solid word stays. */
        if ((flags & FLAG_PUNCHED) == 0 && (after & FLAG_PUNCHED) != 0) {
            solid = word_get(solid_word(heap, next));
            heap_set(heap, solid_word(heap, block), solid);
        }
        flags |= after & FLAG_PUNCHED;
        list_remove(heap, next);
        size += after & ~FLAGS;
    } else {
        heap_set(heap, header_of(heap, next), after | FLAG_PREVIOUS_FREE);
    }
    heap_set(heap, header_of(heap, block), size | flags);
    heap_set(heap, footer_of(heap, block, size), size);
    list_insert(heap, block, size);
    return block;
}

/* How many bytes are usually taken from the system at a time. */
static uint64_t usual_growth(const struct heap *heap)
{
    uint64_t growth = word_get(&heap->size) / 8;

    return growth < MIN_GROWTH ? MIN_GROWTH : growth > MAX_GROWTH ? MAX_GROWTH : growth;
}

/* The size of the free block at the heap's end; 0: the last block is in use. */
static uint64_t free_at_end(const struct heap *heap)
{
    uint64_t end = word_get(&heap->size);

    return word_get(header_of(heap, end)) & FLAG_PREVIOUS_FREE ? word_get(word_at(heap, end - 16)) : 0;
}

static uint64_t reserve_of(const struct heap *heap)
{
    uint64_t reserve = round_up(heap->limit / RESERVED_PART, HEAP_PAGE);

    return heap->kind == HEAP_MANAGER ? reserve : 0;
}

/* Up to where the heap may grow for a block of that size: see THE RESERVE. */
static uint64_t end_of_growth(const struct heap *heap, uint64_t size)
{
    uint64_t reserve = reserve_of(heap), most = word_get(&heap->most) + (word_get(&heap->refilling) ? reserve / 2 : 0);

    return word_get(&heap->used) + size <= most ? heap->limit : heap->limit - reserve;
}

/* Within a change: `size` more bytes are in use. */
static void note_used(struct heap *heap, uint64_t size)
{
    uint64_t used = word_get(&heap->used) + size;

    heap_set(heap, &heap->used, used);
    if (used > word_get(&heap->most) && word_get(&heap->size) <= heap->limit - reserve_of(heap))
        atomic_store_explicit(&heap->most, used, memory_order_relaxed);
}

/* Within a change: `size` fewer bytes are in use. */
static void note_unused(struct heap *heap, uint64_t size)
{
    uint64_t used = word_get(&heap->used) - size, most = word_get(&heap->most);

    heap_set(heap, &heap->used, used);
    if (used < most - most / REFILLED_PART && word_get(&heap->size) >= heap->limit - reserve_of(heap))
        atomic_store_explicit(&heap->refilling, 1, memory_order_relaxed);
}

/* Extends the heap so that it has a free block of at least `size` bytes at its end. Commits. MP_ENOMEM, MP_ESYSTEM. */
static int grow(struct heap *heap, uint64_t size)
{
    uint64_t end = word_get(&heap->size), growth = usual_growth(heap), least = size - free_at_end(heap);
    uint64_t most = end_of_growth(heap, size);

    least = round_up(least, HEAP_PAGE);
    if (growth < size)
        growth = size;
    growth = round_up(growth, HEAP_PAGE);
    if (end > most || most - end < least)
        return MP_ENOMEM;
    if (growth > most - end)
        growth = most - end;

    int error = heap_file_reserve(heap, end, end + growth);
    if (error == MP_ENOMEM && growth > least) {
        growth = least;
        error = heap_file_reserve(heap, end, end + growth);
    }
    if (error != 0)
        return error;
    if (growth > size && growth <= MAX_GROWTH) /* it will be used bit by bit, most likely by this process */
        memory_file_populate(heap_at(heap, end), growth);
    /* The old sentinel becomes the header of the new block. */
    atomic_store_explicit(header_of(heap, end + growth), 0, memory_order_relaxed);
    heap_set(heap, &heap->size, end + growth);
    heap_set(heap, &heap->grown, word_get(&heap->grown) + 1);
    make_free(heap, end, growth);
    heap_commit(heap);
    return 0;
}

/* Whether a large block was taken less than KEEP_NS ago. */
static bool is_busy(const struct heap *heap, uint64_t now)
{
    return now - word_get(&heap->taken) < KEEP_NS;
}

/* Notes that a large block is taken. These words are hints: they need no undo record. */
static void note_large(struct heap *heap, uint64_t size, bool punched)
{
    uint64_t now = (uint64_t)clock_now(), keep = word_get(&heap->keep) + size;

    if (punched && is_busy(heap, now))
        atomic_store_explicit(&heap->keep, keep < KEEP_MOST ? keep : KEEP_MOST, memory_order_relaxed);
    atomic_store_explicit(&heap->taken, now, memory_order_relaxed);
}

/* Reserves pages of a punched block again, so that all are there up to `needed`, and some more if the system has them.
 * *solid: the offset up to which all are there then. */
static int make_solid(struct heap *heap, uint64_t block, uint64_t needed, uint64_t *solid)
{
    uint64_t from = word_get(solid_word(heap, block)), end = block + size_of(heap, block),
             to = from + usual_growth(heap);

    *solid = from;
    if (needed <= from)
        return 0;
    if (to < needed)
        to = needed;
    to = round_up(to, HEAP_PAGE);
    *solid = to < end ? to : end;
    from = from / HEAP_PAGE * HEAP_PAGE;
    int error = heap_file_reserve(heap, from, round_up(*solid, HEAP_PAGE));
    if (error == MP_ENOMEM && needed < *solid) {
        *solid = round_up(needed, HEAP_PAGE);
        return heap_file_reserve(heap, from, *solid);
    }
    if (error == 0 && needed < *solid)
        memory_file_populate(heap_at(heap, from), *solid - from);
    return error;
}

/* Finds a free block for a request, and how many bytes of it to take; grows the heap if it must. 0, MP_ENOMEM,
 * MP_ESYSTEM. */
static int find_block(struct heap *heap, uint64_t request, uint64_t *block, uint64_t *size)
{
    *size = block_size_for(request);
    if (*size == 0)
        return MP_ENOMEM;
    *block = list_find(heap, *size);
    if (*block != 0)
        return 0;
    int error = grow(heap, *size);
    if (error == 0) {
        *block = list_find(heap, *size);
    } else if (error == MP_ENOMEM) {
        *size = least_size_for(request);
        *block = list_find_fitting(heap, *size);
    }
    return *block != 0 ? 0 : error;
}

/* Makes a free block of what remains of a free block of `whole` bytes when its first `size` are taken. Its pages are
 * there up to `solid`. */
static void put_rest(struct heap *heap, uint64_t block, uint64_t size, uint64_t whole, uint64_t solid)
{
    uint64_t other = block + size, rest = whole - size;
    bool punched = solid < block + whole;

    heap_set(heap, header_of(heap, other), rest | FLAG_FREE | (punched ? FLAG_PUNCHED : 0));
    if (punched)
        heap_set(heap, solid_word(heap, other), solid);
    heap_set(heap, footer_of(heap, other, rest), rest);
    list_insert(heap, other, rest);
}

int heap_alloc_locked(struct heap *heap, uint64_t request, word *slot)
{
    uint64_t block = 0, size;
    int error = find_block(heap, request, &block, &size);

    if (error != 0)
        return error;
    uint64_t header = word_get(header_of(heap, block));
    uint64_t whole = header & ~FLAGS;
    uint64_t rest = whole - size >= MIN_BLOCK ? whole - size : 0;
    uint64_t solid = block + whole;

    if (header & FLAG_PUNCHED) {
        /* The first MIN_BLOCK bytes of the rest are needed as well: for its links and its solid word. A rest so small
         * that there is nothing between these and its last MIN_BLOCK bytes has no hole. */
        uint64_t needed = rest > 2 * MIN_BLOCK ? block + size + MIN_BLOCK : block + whole;

        error = make_solid(heap, block, needed, &solid);
        if (error != 0)
            return error;
    }
    if (size >= PUNCH_VALUE)
        note_large(heap, size, (header & FLAG_PUNCHED) != 0);
    list_remove(heap, block);
    if (rest != 0) {
        heap_set(heap, header_of(heap, block), size);
        put_rest(heap, block, size, whole, solid);
    } else {
        word *next = header_of(heap, block + whole);

        size = whole;
        heap_set(heap, header_of(heap, block), size);
        heap_set(heap, next, word_get(next) & ~FLAG_PREVIOUS_FREE);
    }
    note_used(heap, size);
    heap_set(heap, slot, block);
    return 0;
}

static int alloc_flagged(struct heap *heap, uint64_t size, word *slot, uint64_t flag)
{
    int error = heap_lock(heap);

    if (error != 0)
        return error;
    error = heap_alloc_locked(heap, size, slot);
    if (error == 0 && flag != 0) {
        word *header = header_of(heap, word_get(slot));

        atomic_store_explicit(header, word_get(header) | flag,
                              memory_order_relaxed); /* its old value is noted already */
    }
    heap_commit(heap);
    heap_unlock(heap);
    return error;
}

int heap_alloc(struct heap *heap, uint64_t size, word *slot)
{
    return alloc_flagged(heap, size, slot, 0);
}

int heap_alloc_value(struct heap *heap, uint64_t size, word *slot)
{
    return alloc_flagged(heap, size, slot, size >= HEAP_READ_FROM_FILE ? FLAG_VALUE : 0);
}

/* ---- extending ---- */

/* The size of the free block that begins there, if it has at least `needed` bytes and no hole; otherwise 0. If it is
 * the heap's last and too small, the heap grows. */
static uint64_t free_behind(struct heap *heap, uint64_t block, uint64_t needed)
{
    uint64_t header = word_get(header_of(heap, block)), size = header & FLAG_FREE ? header & ~FLAGS : 0;

    if (size < needed && block + size == word_get(&heap->size) && grow(heap, needed) == 0) {
        header = word_get(header_of(heap, block));
        size = header & ~FLAGS;
    }
    return size >= needed && (header & FLAG_PUNCHED) == 0 ? size : 0;
}

/* Extends a block by `more` bytes of the free block behind it, which has `whole` bytes; by all of them if the rest
 * would be too small for a block. */
static void take_behind(struct heap *heap, uint64_t block, uint64_t more, uint64_t whole)
{
    uint64_t next = block + size_of(heap, block);

    list_remove(heap, next);
    if (whole - more >= MIN_BLOCK) {
        put_rest(heap, next, more, whole, next + whole);
    } else {
        word *after = header_of(heap, next + whole);

        more = whole;
        heap_set(heap, after, word_get(after) & ~FLAG_PREVIOUS_FREE);
    }
    heap_set(heap, header_of(heap, block), word_get(header_of(heap, block)) + more);
    note_used(heap, more);
}

bool heap_extend(struct heap *heap, const word *slot, uint64_t request)
{
    uint64_t block = word_get(slot) & ~FLAGS, size = block_size_for(request);

    if (size == 0 || heap_lock(heap) != 0)
        return false;
    uint64_t old = size_of(heap, block), whole = size > old ? free_behind(heap, block + old, size - old) : 0;
    if (whole != 0)
        take_behind(heap, block, size - old, whole);
    heap_commit(heap);
    heap_unlock(heap);
    return whole != 0 || size <= old;
}

/* ---- giving back ---- */

/* Whether so much is free that some of it is given back. Resets heap.keep if no large block was taken for KEEP_NS. */
static bool is_much_free(struct heap *heap)
{
    uint64_t used = word_get(&heap->used);

    if (word_get(&heap->size) - used < PUNCH_FREE + used / 2)
        return false;
    if (!is_busy(heap, (uint64_t)clock_now()))
        atomic_store_explicit(&heap->keep, 0, memory_order_relaxed);
    return word_get(&heap->size) - used >= PUNCH_FREE + used / 2 + word_get(&heap->keep);
}

/* Makes a hole of the whole pages in [from, to), a part of a free block. Leaves out the block's first and last
 * MIN_BLOCK bytes, and so the pages that hold them. Commits FLAG_PUNCHED before. */
static void punch(struct heap *heap, uint64_t block, uint64_t from, uint64_t to)
{
    uint64_t header = word_get(header_of(heap, block)), last = block + (header & ~FLAGS) - MIN_BLOCK;

    if (from < block + MIN_BLOCK)
        from = block + MIN_BLOCK;
    if (to > last)
        to = last;
    if (from >= to)
        return;
    if ((header & FLAG_PUNCHED) == 0 || from < word_get(solid_word(heap, block))) {
        heap_set(heap, header_of(heap, block), header | FLAG_PUNCHED);
        heap_set(heap, solid_word(heap, block), from);
        heap_commit(heap);
    }
    heap_file_punch(heap, from, to);
    atomic_store_explicit(&heap->loose, 0, memory_order_relaxed);
}

/* After [from, to) was freed and has become a part of that free block: gives back the whole block, or that part, or
 * nothing. */
static void give_back(struct heap *heap, uint64_t block, uint64_t from, uint64_t to, bool value)
{
    uint64_t size = size_of(heap, block);

    if (size >= PUNCH_BLOCK && is_much_free(heap) && heap_file_holes_are_safe(heap))
        punch(heap, block, block, block + size);
    else if (value && to - from >= PUNCH_VALUE && is_much_free(heap))
        punch(heap, block, from + HEAP_PAGE, to);
}

void heap_free_locked(struct heap *heap, word *slot)
{
    uint64_t block = word_get(slot) & ~FLAGS;

    if (block == 0)
        return;
    uint64_t size = size_of(heap, block);
    bool value = (word_get(header_of(heap, block)) & FLAG_VALUE) != 0;
    note_unused(heap, size);
    heap_set(heap, slot, 0);
    uint64_t free = make_free(heap, block, size);
    heap_commit(heap);
    uint64_t loose = word_get(&heap->loose) + size;
    atomic_store_explicit(&heap->loose, loose, memory_order_relaxed);
    if (size >= PUNCH_VALUE || (size_of(heap, free) >= PUNCH_BLOCK && loose >= PUNCH_LEAST))
        give_back(heap, free, block, block + size, value);
}

void heap_free(struct heap *heap, word *slot)
{
    if ((word_get(slot) & ~FLAGS) == 0 || heap_lock(heap) != 0)
        return;
    heap_free_locked(heap, slot);
    heap_unlock(heap);
}

/* Which words a change of the heap may note in the log: the blocks, heap.size, and the words from `root` up to
 * `several_spaces`; no mutex, and nothing that is written once. */
static bool may_be_taken_back(const void *context, uint64_t offset)
{
    (void)context;
    return offset == offsetof(struct heap, size) || offset >= sizeof(struct heap) ||
           (offset >= offsetof(struct heap, root) && offset < offsetof(struct heap, several_spaces));
}

/* A growth changes heap.size before any other word, so a roll-back restores it last. Crash order:
 *   1. The roll-back has restored all words, heap.size as well. The undo log is not empty yet.
 *   2. The process dies. The log still names words beyond the heap's end, which undo_is_sound() would refuse.
 *   3. The next owner of the mutex finds heap.size at its old value, and only empties the log. */
static bool growth_is_taken_back(const struct heap *heap)
{
    const struct undo_record *first = &heap->log[0];

    return word_get(&heap->undo.log) == offsetof(struct heap, log) && undo_count(&heap->undo) > 0 &&
           word_get(&first->offset) == offsetof(struct heap, size) && word_get(&first->old) == word_get(&heap->size);
}

int heap_lock_until(struct heap *heap, int64_t deadline)
{
    int error = mutex_lock_until(&heap->mutex, deadline);

    if (error != MP_EOWNERDEAD)
        return error;
    if (growth_is_taken_back(heap))
        undo_commit(&heap->undo);
    if (!undo_is_sound(&heap->undo, (char *)heap, word_get(&heap->size), may_be_taken_back, NULL) ||
        !undo_roll_back(&heap->undo, (char *)heap, word_get(&heap->size))) {
        mutex_unlock(&heap->mutex); /* not repaired: from now on no thread can lock it */
        return MP_ECORRUPT;
    }
    mutex_repaired(&heap->mutex);
    return 0;
}

_Thread_local int64_t heap_patience;

int heap_lock(struct heap *heap)
{
    int error = heap_patience > 0 ? heap_lock_until(heap, 0) : MP_ETIMEOUT;

    if (error == MP_ETIMEOUT)
        error = heap_lock_until(heap, heap_patience > 0 ? clock_now() + heap_patience : DEADLINE_NEVER);
    return error;
}

void heap_unlock(struct heap *heap)
{
    mutex_unlock(&heap->mutex);
}

void heap_recover(struct heap *heap)
{
    if (heap_lock(heap) == 0)
        heap_unlock(heap);
}

int heap_format(struct heap *heap)
{
    uint64_t block = first_block();
    uint64_t size = HEAP_FIRST_SIZE - block;
    int error = mutex_lock(&heap->mutex);

    if (error != 0)
        return error;
    atomic_store(&heap->undo.log, offsetof(struct heap, log));
    atomic_store(&heap->size, HEAP_FIRST_SIZE);
    atomic_store(header_of(heap, HEAP_FIRST_SIZE), 0);
    atomic_store(header_of(heap, block), 0);
    make_free(heap, block, size);
    heap_commit(heap);
    return mutex_unlock(&heap->mutex);
}
