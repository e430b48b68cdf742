/* The checker of a heap: stops all other threads, collects all refs that can be reached from objects, and compares them
 * with the blocks of the heap.
 *
 * Others may have damaged the heap, so the checker trusts nothing in it:
 *   - It follows no offset that it has not found to lie in the heap.
 *   - It looks at no block or object twice.
 *   - It waits for each mutex with a deadline.
 *   - It rolls back an unfinished change, and releases a pending ref, only if their words can be that.
 * What a dead owner has left pending is released only when everything has been found sound. */
#include "object/object_check.h"

#include <mp.h>
#include <stdlib.h>
#include <time.h>

#include "base/cancelling.h"
#include "base/clock.h"
#include "base/word.h"
#include "heap/heap_check.h"
#include "heap/heap_create.h"
#include "object/checking.h"
#include "object/hold.h"
#include "object/object_kind.h"
#include "object/object_reclaim.h"
#include "object/ref.h"
#include "object/stripes.h"

#define PATIENCE (30 * SECOND)

struct offsets {
    uint64_t *item;
    size_t count, capacity;
    bool failed;
};

struct check {
    struct heap *heap;
    int64_t deadline;
    struct offsets objects;      /* all of them, ascending */
    struct offsets inherited;    /* those that we hold in place of dead owners */
    struct offsets shares;       /* objects, once for each REF_OBJECT */
    struct offsets holds;        /* those in an object */
    uint64_t *starts;            /* a bit for each block in use that no ref has owned yet */
    uint64_t unowned;            /* how many these are */
    uint64_t dead, spare, limbo; /* objects of these kinds; and in limbo */
    bool corrupt;
};

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

/* The index of the first offset that is not less than that one. The offsets must be sorted. */
static size_t position(const struct offsets *offsets, uint64_t offset)
{
    size_t low = 0, high = offsets->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (offsets->item[middle] < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static size_t times_in(const struct offsets *offsets, uint64_t offset)
{
    return offset == UINT64_MAX ? 0 : position(offsets, offset + 1) - position(offsets, offset);
}

static struct object *object_at(const struct check *check, uint64_t offset)
{
    return heap_at(check->heap, offset);
}

/* ---- what refs own ---- */

/* Where a ref lies decides what it may be: so nothing nests deeper than this. */
enum place { IN_OBJECT, IN_TABLE, IN_ITEM };

static void mark_at(struct check *check, uint64_t ref, enum place place);

/* Whether a block can hold `count` things of `size` bytes from byte `from` on. */
static bool fits(struct check *check, uint64_t offset, uint64_t from, uint64_t count, uint64_t size)
{
    uint64_t room = heap_block_size(check->heap, offset);

    if (room < from || count > (room - from) / size)
        check->corrupt = true;
    return !check->corrupt;
}

static void mark_table(struct check *check, uint64_t offset, uint64_t mask)
{
    _Atomic uint64_t *table = heap_at(check->heap, offset);
    uint64_t count = word_get(&table[0]);

    if (!fits(check, offset, 8, count, 8))
        return;
    for (uint64_t i = 1; !check->corrupt && i <= count; i++)
        mark_at(check, word_get(&table[i]) & mask, IN_TABLE);
}

static void mark_items(struct check *check, uint64_t offset, const struct block_kind *kind)
{
    _Atomic uint64_t *block = heap_at(check->heap, offset), *ref;
    uint64_t count = word_get(&block[0]), at = 0;

    if (!fits(check, offset, BLOCK_ITEMS, count, kind->item))
        return;
    while (!check->corrupt && (ref = kind->next_ref((char *)block + BLOCK_ITEMS, count, &at)) != NULL)
        mark_at(check, word_get(ref), IN_ITEM);
}

static void mark_content(struct check *check, uint64_t ref, uint64_t offset)
{
    const struct block_kind *kind = block_kinds[ref & REF_MASK];

    if ((ref & REF_MASK) == REF_TABLE)
        mark_table(check, offset, UINT64_MAX);
    else if ((ref & REF_MASK) == REF_TABLE_SHALLOW)
        mark_table(check, offset, ~REF_MASK);
    else if (kind != NULL)
        mark_items(check, offset, kind);
}

/* Whether there is a block in use that no ref has owned so far. Notes that it is owned now. */
static bool own_block(struct check *check, uint64_t offset)
{
    if (offset % 16 != 0 || offset >= word_get(&check->heap->size) || !heap_bit_clear(check->starts, offset))
        return false;
    check->unowned--;
    return true;
}

static bool kind_belongs(uint64_t kind, enum place place)
{
    switch (kind) {
    case REF_BLOCK:
    case REF_OBJECT:
        return true;
    case REF_TABLE:
    case REF_TABLE_SHALLOW:
        return place == IN_OBJECT;
    default:
        return place != IN_ITEM && block_kinds[kind] != NULL;
    }
}

static void mark_at(struct check *check, uint64_t ref, enum place place)
{
    uint64_t offset = ref & ~REF_MASK;

    if (ref == 0 || check->corrupt)
        return;
    if (!kind_belongs(ref & REF_MASK, place)) {
        check->corrupt = true;
    } else if ((ref & REF_MASK) == REF_OBJECT) {
        check->corrupt = times_in(&check->objects, offset) == 0;
        add(&check->shares, offset);
    } else if (own_block(check, offset)) {
        mark_content(check, ref, offset);
    } else {
        check->corrupt = true;
    }
}

static void mark(void *context, uint64_t ref)
{
    mark_at(context, ref, IN_OBJECT);
}

/* ---- objects ---- */

static bool is_inherited(const struct check *check, uint64_t offset)
{
    for (size_t i = 0; i < check->inherited.count; i++) {
        if (check->inherited.item[i] == offset)
            return true;
    }
    return false;
}

static bool nothing_is_pending(const struct object *object)
{
    uint64_t words = 0;

    for (int i = 0; i < OBJECT_PENDING; i++)
        words |= word_get(&object->pending[i]);
    return words == 0;
}

static bool owns_nothing(const struct object *object)
{
    return (word_get(&object->root[0]) | word_get(&object->root[1]) | word_get(&object->undo.more)) == 0 &&
           nothing_is_pending(object);
}

/* Invariant: an object in heap.spare owns nothing, and its words are 0; object_create() relies on it. The words of a
 * lock are excepted: a thread that waits for a lock while it is freed may still write there. */
static bool is_blank(const struct check *check, const struct object *object)
{
    uint64_t words = 0;

    for (int i = 0; i < OBJECT_WORDS && check->heap->kind != HEAP_LOCK; i++)
        words |= word_get(&object->word[i]);
    return (words | word_get(&object->striped) | word_get(&object->undo.log)) == 0 && owns_nothing(object);
}

/* The words and roots that the kind does not use. */
static bool unused_are_zero(const struct object *object, const struct object_kind *kind)
{
    uint64_t words = 0;

    for (int i = kind->words; i < OBJECT_WORDS; i++)
        words |= word_get(&object->word[i]);
    for (int i = kind->roots; i < OBJECT_ROOTS; i++)
        words |= word_get(&object->root[i]);
    return words == 0;
}

static bool live_is_sound(struct check *check, const struct object *object)
{
    const struct object_kind *kind = object_kind_of(object_kind(object));

    if (kind == NULL || !unused_are_zero(object, kind))
        return false;
    if (kind->type == MP_NONE)
        return word_get(&object->kept) <= KEPT_HANDLE && word_get(&object->holds) == 0 &&
               (kind->undo || nothing_is_pending(object));
    check->limbo += word_get(&object->kept) == KEPT_LIMBO;
    return word_get(&object->kept) == KEPT_NOT || word_get(&object->kept) == KEPT_LIMBO;
}

static bool kind_is_sound(struct check *check, const struct object *object)
{
    switch (object_kind(object)) {
    case OBJECT_SPENT:
        return is_blank(check, object);
    case OBJECT_DEAD:
        check->dead++;
        return true;
    case OBJECT_FREE:
        check->spare++;
        return is_blank(check, object);
    default:
        return live_is_sound(check, object);
    }
}

/* Called for objects in ascending order. The first object in a block owns the block; the others in it belong to the
 * same. */
static bool place_is_sound(struct check *check, const struct object *object)
{
    uint64_t block = object->block, first = object_first_of(block), end = object->self + sizeof *object;

    if (object->self == first)
        return own_block(check, block) && block + heap_block_size(check->heap, block) >= end;
    return object->self > first && (object->self - first) % OBJECT_STRIDE == 0 &&
           times_in(&check->objects, first) == 1 && object_at(check, first)->block == block &&
           block + heap_block_size(check->heap, block) >= end;
}

static void mark_log(struct check *check, const struct object *object)
{
    uint64_t log = word_get(&object->undo.log), more = word_get(&object->undo.more);

    if (((log | more) & REF_MASK) != REF_BLOCK || (log == 0 && object_kind_has_undo(object_kind(object))))
        check->corrupt = true;
    mark_at(check, log, IN_OBJECT);
    if (!check->corrupt && log != 0)
        fits(check, log, 0, UNDO_RECORDS, sizeof(struct undo_record));
    mark_at(check, more, IN_OBJECT);
    if (!check->corrupt && more != 0)
        fits(check, more, 0, word_get(&object->undo.more_capacity), sizeof(struct undo_record));
}

static void mark_object(struct check *check, struct object *object)
{
    if (!place_is_sound(check, object) || !kind_is_sound(check, object) || undo_count(&object->undo) != 0 ||
        (word_get(&object->version) & 1) != 0) {
        check->corrupt = true;
        return;
    }
    /* Operations expect pending refs to be empty. So only an operation that was cut short by a death may have left
     * any. */
    if (!nothing_is_pending(object) && !is_inherited(check, object->self))
        check->corrupt = true;
    for (int i = 0; i < OBJECT_ROOTS; i++)
        mark_at(check, word_get(&object->root[i]), IN_OBJECT);
    for (int i = 0; i < OBJECT_PENDING; i++)
        mark_at(check, word_get(&object->pending[i]), IN_OBJECT);
    if ((word_get(&object->stripes) & REF_MASK) != REF_BLOCK)
        check->corrupt = true;
    mark_at(check, word_get(&object->stripes), IN_OBJECT);
    if (!check->corrupt && !stripes_are_sound(object))
        check->corrupt = true;
    mark_log(check, object);
}

static bool holds_match(struct check *check)
{
    sort(&check->shares);
    for (size_t i = 0; i < check->objects.count; i++) {
        const struct object *object = object_at(check, check->objects.item[i]);
        uint64_t kind = object_kind(object), shares = times_in(&check->shares, check->objects.item[i]);
        bool gone = kind == OBJECT_FREE || kind == OBJECT_DEAD || kind == OBJECT_SPENT;

        if (gone ? shares != 0 : shares != word_get(&object->refs))
            return false;
        if (!gone && shares == 0 && word_get(&object->kept) == KEPT_NOT)
            return false;
    }
    return true;
}

static bool is_in_limbo(const struct object *object)
{
    return object_kind_is_container(object_kind(object)) && word_get(&object->kept) == KEPT_LIMBO;
}

static bool is_dead(const struct object *object)
{
    return object_kind(object) == OBJECT_DEAD;
}

static bool is_spare(const struct object *object)
{
    return object_kind(object) == OBJECT_FREE;
}

/* Whether a chain has exactly `count` objects, all of which belong there. */
static bool chain_is_sound(const struct check *check, uint64_t at, bool (*belongs)(const struct object *object),
                           uint64_t count)
{
    for (; at != 0; at = word_get(&object_at(check, at)->next)) {
        if (count-- == 0 || times_in(&check->objects, at) == 0 || !belongs(object_at(check, at)))
            return false;
    }
    return count == 0;
}

static bool chains_are_sound(const struct check *check)
{
    const struct heap *heap = check->heap;

    return chain_is_sound(check, word_get(&heap->dead), is_dead, check->dead) &&
           chain_is_sound(check, word_get(&heap->spare), is_spare, check->spare) &&
           chain_is_sound(check, word_get(&heap->limbo), is_in_limbo, check->limbo);
}

/* Marks a ref that a holder or a hold has. */
static bool mark_hold(void *context, uint64_t ref)
{
    struct check *check = context;

    mark_at(check, ref, IN_OBJECT);
    return !check->corrupt;
}

/* Collects all holds in objects, once hold_check() has found the holders' chains sound. */
static void collect_holds(struct check *check)
{
    for (uint64_t at = word_get(&check->heap->holders); at != 0;) {
        const struct holder *holder = heap_at(check->heap, at);

        for (uint64_t offset = word_get(&holder->holds); offset != 0;) {
            const struct hold *hold = heap_at(check->heap, offset);

            if ((word_get(&hold->ref) & REF_MASK) == REF_OBJECT)
                add(&check->holds, offset);
            offset = word_get(&hold->next);
        }
        at = word_get(&holder->next);
    }
    sort(&check->holds);
}

/* Whether each object's chain has only holds in that object, and there are no other holds in objects. */
static bool holds_are_sound(struct check *check)
{
    uint64_t found = 0;

    collect_holds(check);
    for (size_t i = 0; i < check->objects.count; i++) {
        const struct object *object = object_at(check, check->objects.item[i]);
        bool live = object_kind_is_container(object_kind(object));

        for (uint64_t at = live ? word_get(&object->holds) : 0; at != 0;) {
            if (times_in(&check->holds, at) == 0 || found++ == check->holds.count)
                return false;
            const struct hold *hold = heap_at(check->heap, at);
            if (word_get(&hold->ref) != (object->self | REF_OBJECT))
                return false;
            at = word_get(&hold->same);
        }
    }
    return found == check->holds.count && !check->holds.failed;
}

static bool contents_are_sound(const struct check *check)
{
    for (size_t i = 0; i < check->objects.count; i++) {
        const struct object *object = object_at(check, check->objects.item[i]);
        const struct object_kind *kind = object_kind_of(object_kind(object));

        if (kind != NULL && kind->is_sound != NULL && !kind->is_sound(object))
            return false;
    }
    return true;
}

static bool root_is_sound(struct check *check)
{
    uint64_t root = word_get(&check->heap->root);

    if (check->heap->kind != HEAP_MANAGER || root == 0)
        return true;
    add(&check->shares, root); /* it is held by the header */
    return times_in(&check->objects, root) == 1 && object_kind(object_at(check, root)) == OBJECT_DICT;
}

/* Marks every block of stripes that no object has. */
static void mark_spare_stripes(struct check *check)
{
    for (uint64_t at = word_get(&check->heap->stripes); at != 0 && !check->corrupt;) {
        if (!own_block(check, at) || !stripes_block_is_sound(check->heap, at))
            check->corrupt = true;
        else
            at = word_get(&stripes_at(check->heap, at)->next);
    }
}

/* Marks the block that the next objects are made of, if object_create.c can use it. */
static void mark_carving(struct check *check)
{
    uint64_t under_construction = word_get(&check->heap->under_construction);

    if ((under_construction & REF_MASK) != REF_BLOCK)
        check->corrupt = true;
    mark_at(check, under_construction, IN_OBJECT);
    if (under_construction != 0 && !check->corrupt)
        fits(check, under_construction, 0, OBJECT_STRIDE + 63, 1);
}

static int check_locked(struct check *check, void (*extra)(struct heap *, object_marker *, void *))
{
    struct heap *heap = check->heap;

    check->starts = calloc(word_get(&heap->size) / 1024 + 1, sizeof *check->starts);
    if (check->starts == NULL)
        return MP_ENOMEM;
    int error = heap_check(heap, check->starts, &check->unowned);
    if (error != 0)
        return error;
    for (size_t i = 0; i < check->objects.count && !check->corrupt; i++)
        mark_object(check, object_at(check, check->objects.item[i]));
    mark_carving(check);
    if (!hold_check(heap, word_get(&heap->size) / sizeof(struct hold), mark_hold, check) || !holds_are_sound(check))
        return check->holds.failed ? MP_ENOMEM : MP_ECORRUPT;
    mark_spare_stripes(check);
    if (!root_is_sound(check))
        return MP_ECORRUPT;
    if (extra != NULL)
        extra(heap, mark, check);
    if (check->shares.failed)
        return MP_ENOMEM;
    return !check->corrupt && check->unowned == 0 && holds_match(check) && chains_are_sound(check) &&
                   contents_are_sound(check)
               ? 0
               : MP_ECORRUPT;
}

/* ---- stopping all others ---- */

/* Under heap_lock(): lists all objects. MP_ECORRUPT: one of them cannot be an object. */
static int collect_objects(struct check *check)
{
    uint64_t size = word_get(&check->heap->size);

    check->objects.count = 0;
    for (uint64_t at = word_get(&check->heap->objects); at != 0; at = word_get(&object_at(check, at)->next_all)) {
        if (at % 64 != 0 || at < sizeof(struct heap) || at > size - sizeof(struct object) ||
            object_at(check, at)->self != at || check->objects.count > size / sizeof(struct object))
            return MP_ECORRUPT;
        if (checking_look(object_at(check, at), heap_numbers_tell(check->heap)) != 0)
            return MP_ECORRUPT;
        add(&check->objects, at);
        if (check->objects.failed)
            return MP_ENOMEM;
    }
    if (check->objects.count != word_get(&check->heap->made))
        return MP_ECORRUPT;
    sort(&check->objects);
    for (size_t i = 1; i < check->objects.count; i++) {
        if (check->objects.item[i] - check->objects.item[i - 1] < sizeof(struct object))
            return MP_ECORRUPT;
    }
    return 0;
}

/* Locks the heap, if its header is sound: then its size is that of its file. */
static int lock_heap(struct check *check)
{
    int error = heap_check_header(check->heap);

    if (error == 0)
        error = mutex_check(&check->heap->mutex, heap_numbers_tell(check->heap));
    if (error == 0)
        error = heap_lock_until(check->heap, check->deadline);
    if (error != 0)
        return error;
    error = heap_check_header(check->heap); /* the lock may have taken a step of a dead process back */
    if (error != 0)
        heap_unlock(check->heap);
    return error;
}

/* Unlocks in the reverse order of locking: see checking.c. */
static void unlock_objects(struct check *check, size_t count)
{
    while (count-- > 0) {
        if (!is_inherited(check, check->objects.item[count]))
            checking_unlock(object_at(check, check->objects.item[count]));
    }
}

/* We hold an object whose owner died. If the owner left nothing to roll back, repairs the mutex now, so that
 * unlock_objects() unlocks it when we back off. Otherwise a thread that waits for it while it holds another object's
 * mutex would wait until the checker's deadline, and the checker for that thread. */
static void inherit(struct check *check, uint64_t offset)
{
    struct object *object = object_at(check, offset);

    if (lock_heap(check) == 0) {
        bool nothing = owns_nothing(object) && undo_count(&object->undo) == 0 && (word_get(&object->version) & 1) == 0;

        heap_unlock(check->heap);
        if (nothing) {
            mutex_repaired(&object->mutex);
            return;
        }
    }
    add(&check->inherited, offset);
}

/* Takes every object's mutex. Other threads may take mutexes in another order, so to prevent a deadlock this unlocks
 * all again when one is not free within a millisecond. */
static int lock_objects(struct check *check)
{
    for (size_t i = 0; i < check->objects.count; i++) {
        uint64_t offset = check->objects.item[i];

        if (is_inherited(check, offset))
            continue;
        int error = checking_lock(object_at(check, offset), clock_now() + 1000000);
        if (error == MP_EOWNERDEAD) {
            checking_inherit(object_at(check, offset));
            inherit(check, offset);
        } else if (error != 0) {
            unlock_objects(check, i);
            return error;
        }
    }
    return 0;
}

static int try_to_lock_all(struct check *check)
{
    int error = lock_heap(check);

    if (error != 0)
        return error;
    uint64_t first = word_get(&check->heap->objects);
    error = collect_objects(check);
    heap_unlock(check->heap);
    if (error == 0) {
        checking_say(check->heap);
        error = lock_objects(check);
    }
    if (error != 0)
        return error;
    error = lock_heap(check);
    if (error == 0 && word_get(&check->heap->objects) == first)
        return 0;
    if (error == 0) {
        heap_unlock(check->heap);
        error = MP_ETIMEOUT; /* more objects have been made: try again */
    }
    unlock_objects(check, check->objects.count);
    return error;
}

/* Leaves all objects and the heap locked. */
static int lock_all(struct check *check)
{
    CANCELLING_FORBIDDEN;
    int error;

    while ((error = try_to_lock_all(check)) == MP_ETIMEOUT && clock_now() < check->deadline)
        clock_sleep(MILLISECOND);
    return error;
}

/* ---- what dead owners have left ---- */

/* Whether a change of the object can have changed this word: one of its own that its mutex guards, or one in a
 * block. */
static bool may_take_back(const struct check *check, const struct object *object, uint64_t offset)
{
    size_t next = position(&check->objects, offset + 1);
    uint64_t before = next > 0 ? check->objects.item[next - 1] : 0;

    if (offset < sizeof(struct heap))
        return false;
    if (next == 0 || offset - before >= sizeof(struct object))
        return true;
    uint64_t at = offset - before;
    return before == object->self && ((at >= offsetof(struct object, root) && at < offsetof(struct object, refs)) ||
                                      at >= offsetof(struct object, stripes));
}

struct taker {
    const struct check *check;
    const struct object *object;
};

static bool may_take(const void *context, uint64_t offset)
{
    const struct taker *taker = context;

    return may_take_back(taker->check, taker->object, offset);
}

static bool take_back(const struct check *check, struct object *object)
{
    struct taker taker = {check, object};

    return undo_is_sound(&object->undo, (const char *)check->heap, word_get(&check->heap->size), may_take, &taker) &&
           object_roll_back_dead(object);
}

static int take_all_back(const struct check *check)
{
    for (size_t i = 0; i < check->inherited.count; i++) {
        if (!take_back(check, object_at(check, check->inherited.item[i])))
            return MP_ECORRUPT;
    }
    return heap_check_header(check->heap);
}

/* If the heap is sound, releases what the dead have left. If it is damaged, unlocks their mutexes unrepaired. If the
 * check did not get so far, repairs each object as object_lock() does. */
static void settle_inherited(struct check *check, int error)
{
    for (size_t i = 0; i < check->inherited.count; i++) {
        struct object *object = object_at(check, check->inherited.item[i]);

        if (error == 0)
            object_finish_repair(object);
        else if (error != MP_ECORRUPT && object_repair(object) != 0)
            continue;
        checking_unlock(object);
    }
}

static int check_all(struct check *check, void (*extra)(struct heap *heap, object_marker *mark, void *context))
{
    int error = lock_all(check);

    if (error == 0) {
        error = take_all_back(check);
        if (error == 0)
            error = check_locked(check, extra);
        heap_unlock(check->heap);
        unlock_objects(check, check->objects.count);
    }
    settle_inherited(check, error);
    return error;
}

int object_check_heap(struct heap *heap, void (*extra)(struct heap *heap, object_marker *mark, void *context))
{
    struct check check = {.heap = heap, .deadline = clock_now() + PATIENCE};
    int error = heap_check_header(heap);

    if (error == 0)
        error = checking_begin(heap, check.deadline);
    if (error != 0)
        return error;
    error = check_all(&check, extra);
    checking_end(heap);
    free(check.starts);
    free(check.objects.item);
    free(check.inherited.item);
    free(check.shares.item);
    free(check.holds.item);
    return error;
}
