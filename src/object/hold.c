/* A process has one record, a holder, in each heap in which it holds objects, and a chain of holds behind it. Each hold
 * owns a share in an object, counted as those of containers are. All of this changes under the heap's mutex, with the
 * heap's undo log. So a process that dies at any point leaves it whole, and any process can give back a holder's holds,
 * one by one, at any time.
 *
 * WITHOUT THE MUTEX. Reading a container takes a hold, and a reader must not wait for a stopped process. So a thread
 * that does not get the heap's mutex within PATIENCE_NS, as its holder is stopped,
 *   - pins what it would hold (pin.h),
 *   - notes in private memory what it would give up (struct owed).
 * The next thread of the process that gets the mutex for any hold does the rest: settle().
 *
 * THE DEAD (owner.h). A process looks for dead owners when it begins to hold, when the heap has grown since its last
 * look, when memory has run out, and when the heap is checked or asked about. One look examines at most LOOKS holders:
 * the next ones of the chain. */
#include "object/hold.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/word.h"
#include "object/object_reclaim.h"
#include "object/owner.h"
#include "object/pin.h"
#include "object/ref.h"

#define PATIENCE_NS (200 * MICROSECOND)
/* The time after such a wait was in vain in which no thread of this process waits again: they only try. */
#define STUCK_NS (5 * MILLISECOND)
#define LOOKS 64
/* The number of times that a thread that pins asks whether the object is alive, while others commit changes. */
#define LIVE_TRIES 64

static struct holder *holder_at(const struct heap *heap, uint64_t offset)
{
    return heap_at(heap, offset);
}

static struct hold *hold_at(const struct heap *heap, uint64_t offset)
{
    return heap_at(heap, offset);
}

/* ---- holders and holds, under heap_lock() ---- */

static int make_holder(struct owner *owner)
{
    struct heap *heap = owner->heap;
    int error = word_get(&heap->holding) == 0 ? heap_alloc_locked(heap, sizeof(struct holder), &heap->holding) : 0;

    if (error != 0) {
        undo_roll_back(&heap->undo, (char *)heap, word_get(&heap->size));
        return error;
    }
    heap_commit(heap);
    uint64_t offset = word_get(&heap->holding);
    struct holder *holder = holder_at(heap, offset);
    word_put(&holder->next, word_get(&heap->holders));
    word_put(&holder->mark, owner->mark);
    word_put(&holder->state, HOLDER_LIVES);
    word_put(&holder->holds, 0);
    word_put(&holder->reserve, 0);
    word_put(&holder->trash, 0);
    undo_order();
    heap_set(heap, &heap->holders, offset);
    heap_set(heap, &heap->holding, 0);
    heap_commit(heap);
    atomic_store(&owner->holder, holder);
    return 0;
}

int hold_ready(struct heap *heap, struct holder *holder)
{
    if (word_get(&holder->reserve) != 0)
        return 0;
    int error = heap_alloc_locked(heap, sizeof(struct hold), &holder->reserve);
    if (error != 0)
        undo_roll_back(&heap->undo, (char *)heap, word_get(&heap->size));
    heap_commit(heap);
    return error;
}

/* Within a change: the holder's reserve becomes a hold, the first in the holder's chain. */
static struct hold *link_hold(struct heap *heap, struct holder *holder)
{
    uint64_t offset = word_get(&holder->reserve), next = word_get(&holder->holds);
    struct hold *hold = hold_at(heap, offset);

    word_put(&hold->ref, 0);
    word_put(&hold->holder, heap_offset(heap, holder));
    word_put(&hold->same, 0);
    word_put(&hold->next, next);
    word_put(&hold->previous, 0);
    undo_order();
    if (next != 0)
        heap_set(heap, &hold_at(heap, next)->previous, offset);
    heap_set(heap, &holder->holds, offset);
    heap_set(heap, &holder->reserve, 0);
    return hold;
}

void hold_enter(struct heap *heap, struct holder *holder, struct object *object)
{
    struct hold *hold = link_hold(heap, holder);

    word_put(&hold->ref, object->self | REF_OBJECT);
    word_put(&hold->same, word_get(&object->holds));
    undo_order();
    heap_set(heap, &object->holds, heap_offset(heap, hold));
    heap_set(heap, &object->refs, word_get(&object->refs) + 1);
}

/* Adds a hold in an object that is alive. A change of its own. MP_ENOMEM. */
static int add_hold(struct heap *heap, struct holder *holder, struct object *object)
{
    int error = hold_ready(heap, holder);

    if (error != 0)
        return error;
    hold_enter(heap, holder, object);
    heap_commit(heap);
    hold_ready(heap, holder); /* without memory, a later call tries again */
    return 0;
}

/* Within a change: takes the hold out of its holder's chain. Its block becomes the holder's reserve, or its trash,
 * which is freed after the commit. */
static void unlink_hold(struct heap *heap, struct hold *hold)
{
    struct holder *holder = holder_at(heap, word_get(&hold->holder));
    uint64_t next = word_get(&hold->next), previous = word_get(&hold->previous);

    if (next != 0)
        heap_set(heap, &hold_at(heap, next)->previous, previous);
    heap_set(heap, previous != 0 ? &hold_at(heap, previous)->next : &holder->holds, next);
    heap_set(heap, word_get(&holder->reserve) == 0 ? &holder->reserve : &holder->trash, heap_offset(heap, hold));
}

/* With nothing to commit: frees a holder's trash. Also called before the trash is filled again, as a process may have
 * died before it freed the last one. */
static void empty_trash(struct heap *heap, struct holder *holder)
{
    heap_free_locked(heap, &holder->trash);
}

/* With nothing to commit: gives up the hold that *link, in its object's chain, leads to. Commits. */
static void end_hold(struct heap *heap, struct object *object, _Atomic uint64_t *link)
{
    struct hold *hold = hold_at(heap, word_get(link));
    struct holder *holder = holder_at(heap, word_get(&hold->holder));

    empty_trash(heap, holder);
    heap_set(heap, link, word_get(&hold->same));
    unlink_hold(heap, hold);
    object_lose_share(heap, object);
    heap_commit(heap);
    empty_trash(heap, holder);
}

/* The link of the object's chain that leads to a hold of the holder's (NULL: of any holder's). If there is none: the
 * last link, which is 0. */
static _Atomic uint64_t *find_hold(const struct heap *heap, struct object *object, const struct holder *holder)
{
    _Atomic uint64_t *link = &object->holds;

    while (word_get(link) != 0 && holder != NULL &&
           word_get(&hold_at(heap, word_get(link))->holder) != heap_offset(heap, holder))
        link = &hold_at(heap, word_get(link))->same;
    return link;
}

/* Gives up one of the holder's holds (NULL: of any holder's) in the object that the handle leads to. False: there is
 * none, or the handle is not live. */
static bool end_one(struct heap *heap, const struct holder *holder, const void *handle, uint64_t kind)
{
    struct object *object = object_of(handle);

    if (word_get(&object->magic) != object_magic(handle, kind))
        return false;
    _Atomic uint64_t *link = find_hold(heap, object, holder);
    if (word_get(link) == 0)
        return false;
    end_hold(heap, object, link);
    return true;
}

/* One step of ending a table's hold: gives up the last share in the table; if there is none, frees the table and the
 * hold. True: there is more to be done. */
static bool end_table_step(struct heap *heap, struct hold *hold)
{
    struct holder *holder = holder_at(heap, word_get(&hold->holder));
    uint64_t ref = word_get(&hold->ref);
    _Atomic uint64_t *table = heap_at(heap, ref & ~REF_MASK);

    empty_trash(heap, holder);
    if ((ref & REF_MASK) == REF_TABLE && word_get(&table[0]) > 0) {
        uint64_t last = word_get(&table[0]);

        heap_set(heap, &table[0], last - 1);
        object_lose_share(heap, heap_at(heap, word_get(&table[last]) & ~REF_MASK));
        heap_commit(heap);
        return true;
    }
    heap_free_locked(heap, &hold->ref);
    unlink_hold(heap, hold);
    heap_commit(heap);
    empty_trash(heap, holder);
    return false;
}

/* ---- what could not be done without the mutex ---- */

/* Turns this process's pins into holds. If another thread takes a pin back meanwhile, the new hold is one too many and
 * is given up. */
static void write_down_pins(struct owner *owner, struct holder *holder)
{
    struct heap *heap = owner->heap;
    uint64_t offset;

    for (int place = 0; pin_next(heap, owner->mark, &place, &offset); place++) {
        struct object *object = heap_at(heap, offset);

        if (add_hold(heap, holder, object) != 0)
            return;
        if (pin_end_one(heap, owner->mark, offset))
            atomic_fetch_sub(&owner->pins, 1);
        else
            end_hold(heap, object, find_hold(heap, object, holder));
    }
}

static void pay_owed(struct owner *owner, const struct holder *holder)
{
    struct owed *owed = atomic_exchange(&owner->owed, NULL);

    while (owed != NULL) {
        struct owed *next = owed->next;

        if (owed->kind != 0)
            end_one(owner->heap, holder, owed->handle, owed->kind);
        else
            while (end_table_step(owner->heap, hold_at(owner->heap, owed->hold)))
                ;
        free(owed);
        owed = next;
    }
}

static void settle(struct owner *owner, struct holder *holder)
{
    if (atomic_load(&owner->pins) > 0)
        write_down_pins(owner, holder);
    if (atomic_load(&owner->owed) != NULL)
        pay_owed(owner, holder);
}

/* heap_lock() with a deadline. MP_ETIMEOUT: another thread has kept the mutex for PATIENCE_NS. If such a wait has
 * failed less than STUCK_NS ago, this only tries. */
static int lock_soon(struct owner *owner)
{
    int error = heap_lock_until(owner->heap, 0);

    if (error != MP_ETIMEOUT || clock_now() < atomic_load(&owner->stuck_until))
        return error;
    error = heap_lock_until(owner->heap, clock_now() + PATIENCE_NS);
    if (error == MP_ETIMEOUT)
        atomic_store(&owner->stuck_until, clock_now() + STUCK_NS);
    return error;
}

/* Takes the heap's mutex, makes this process's holder if there is none yet, and settles. `patiently`: waits without
 * limit, else as lock_soon(). */
static int lock(struct owner *owner, bool patiently, struct holder **holder)
{
    int error = patiently ? heap_lock(owner->heap) : lock_soon(owner);

    if (error != 0)
        return error;
    if (atomic_load(&owner->holder) == NULL) {
        error = make_holder(owner);
        if (error != 0) {
            heap_unlock(owner->heap);
            return error;
        }
    }
    *holder = atomic_load(&owner->holder);
    settle(owner, *holder);
    return 0;
}

/* Called after a hold or a pin was given up, without the heap's mutex. */
static void reclaim(struct heap *heap)
{
    if ((word_get(&heap->dead) | word_get(&heap->limbo)) != 0)
        object_reclaim_dead(heap);
}

/* ---- for handles ---- */

/* This process as an owner. Looks for the dead if the heap has grown since the last look. */
static int begin(struct heap *heap, struct owner **owner)
{
    int error = owner_begin(heap, owner);

    if (error == 0 && atomic_load(&(*owner)->grown) != word_get(&heap->grown)) {
        atomic_store(&(*owner)->grown, word_get(&heap->grown));
        hold_look(heap);
    }
    return error;
}

int hold_lock(struct heap *heap, struct holder **holder)
{
    struct owner *owner;
    int error = begin(heap, &owner);

    return error == 0 ? lock(owner, true, holder) : error;
}

/* Called after the pin was published. The shares are read before magic: they may be those of another object that has
 * taken the place since, and magic tells that. An object may leave limbo between the loads of refs and kept: one change
 * counts a new share in refs, and a later one clears kept. So two zeros count only if nothing was committed
 * meanwhile. */
static bool is_alive(const struct heap *heap, const void *handle, uint64_t kind)
{
    const struct object *object = object_of(handle);
    uint64_t shares, emptied;
    int tries = 0;

    do {
        emptied = undo_emptied(&heap->undo);
        shares = word_get(&object->refs) | word_get(&object->kept);
        atomic_thread_fence(memory_order_acquire);
    } while (shares == 0 && undo_emptied(&heap->undo) != emptied && ++tries < LIVE_TRIES);
    return shares != 0 && word_get(&object->magic) == object_magic(handle, kind);
}

/* Publishes the pin first, then looks whether the object is alive: see pin.h. MP_EINVAL: it is not; MP_ETIMEOUT: no
 * place is free. */
static int pin_handle(struct owner *owner, const void *handle, uint64_t kind)
{
    struct object *object = object_of(handle);
    int place = pin_begin(owner->heap, owner->mark, object->self);

    if (place < 0)
        return MP_ETIMEOUT;
    if (!is_alive(owner->heap, handle, kind)) {
        pin_end(owner->heap, place, owner->mark, object->self);
        return MP_EINVAL;
    }
    atomic_fetch_add(&owner->pins, 1);
    pin_confirm(owner->heap, place, owner->mark, object->self);
    return 0;
}

static int take_locked(struct heap *heap, struct holder *holder, const void *handle, uint64_t kind)
{
    struct object *object = object_of(handle);

    return word_get(&object->magic) == object_magic(handle, kind) ? add_hold(heap, holder, object) : MP_EINVAL;
}

static int take(struct owner *owner, const void *handle, uint64_t kind, bool patiently)
{
    struct holder *holder;
    int error = lock(owner, patiently, &holder);

    if (error == 0) {
        error = take_locked(owner->heap, holder, handle, kind);
        heap_unlock(owner->heap);
        if (word_get(&owner->heap->limbo) != 0)
            object_reclaim_dead(owner->heap);
    }
    return error;
}

int hold_take(const void *handle, uint64_t kind)
{
    if (!object_is(handle, kind))
        return MP_EINVAL;
    struct heap *heap = object_heap(object_of(handle));
    struct owner *owner;
    int error = begin(heap, &owner);

    if (error != 0)
        return error;
    error = take(owner, handle, kind, false);
    if (error != MP_ETIMEOUT && error != MP_ENOMEM)
        return error;
    /* Reading must work in a full heap, too: a pin needs no memory. */
    int pinned = pin_handle(owner, handle, kind);
    if (pinned != MP_ETIMEOUT)
        return pinned;
    return error == MP_ETIMEOUT ? take(owner, handle, kind, true) : error;
}

static bool owe(struct owner *owner, const void *handle, uint64_t kind, uint64_t hold)
{
    struct owed *owed = malloc(sizeof *owed);

    if (owed == NULL)
        return false;
    *owed = (struct owed){atomic_load(&owner->owed), kind, handle, hold};
    while (!atomic_compare_exchange_weak(&owner->owed, &owed->next, owed))
        ;
    return true;
}

/* Takes back one of this process's pins in the object, if there is one: a pin counts as a hold. */
static bool unpin(struct owner *owner, const struct object *object)
{
    if (atomic_load(&owner->pins) == 0 || !pin_end_one(owner->heap, owner->mark, object->self))
        return false;
    atomic_fetch_sub(&owner->pins, 1);
    return true;
}

/* Gives up one of the owner's holds in the object that the handle leads to. Unless `patiently`, only notes it as owed
 * if the heap's mutex is not free soon. */
static int give(struct owner *owner, const void *handle, uint64_t kind, bool patiently)
{
    struct holder *holder;

    if (unpin(owner, object_of(handle)))
        return 0;
    int error = lock(owner, patiently, &holder);
    if (error == MP_ETIMEOUT && owe(owner, handle, kind, 0))
        return 0;
    if (error == MP_ETIMEOUT)
        error = lock(owner, true, &holder);
    if (error != 0)
        return error;
    error = end_one(owner->heap, holder, handle, kind) ? 0 : MP_EINVAL;
    heap_unlock(owner->heap);
    return error;
}

int hold_give(const void *handle, uint64_t kind)
{
    struct owner *owner = object_is(handle, kind) ? owner_find(object_heap(object_of(handle))) : NULL;
    int error = owner != NULL ? give(owner, handle, kind, false) : MP_EINVAL;

    if (error == 0)
        reclaim(owner->heap);
    return error;
}

/* Gives up a hold or a pin of any process. A pin counts, too: the process that this one was forked from may have pinned
 * the object because it did not get the mutex. */
static int give_anybodys(struct heap *heap, const void *handle, uint64_t kind)
{
    const struct object *object = object_of(handle);
    int error = heap_lock(heap);

    if (error != 0)
        return error;
    if (!end_one(heap, NULL, handle, kind) &&
        (word_get(&object->magic) != object_magic(handle, kind) || !pin_end_any(heap, object->self)))
        error = MP_EINVAL;
    heap_unlock(heap);
    return error;
}

int hold_give_any(const void *handle, uint64_t kind)
{
    if (!object_is(handle, kind))
        return MP_EINVAL;
    struct heap *heap = object_heap(object_of(handle));
    struct owner *owner = owner_find(heap);
    int error = owner != NULL ? give(owner, handle, kind, true) : MP_EINVAL;

    if (error == MP_EINVAL)
        error = give_anybodys(heap, handle, kind);
    if (error == 0)
        reclaim(heap);
    return error;
}

/* Settles what there is, if the heap's mutex is free soon. */
static void settle_soon(struct owner *owner)
{
    struct holder *holder;

    if ((atomic_load(&owner->pins) > 0 || atomic_load(&owner->owed) != NULL) && lock(owner, false, &holder) == 0)
        heap_unlock(owner->heap);
}

/* The process may open the same heap again, so the holder itself says that this opening has ended. It is stored without
 * the heap's mutex, which a stopped process may keep: no other process stores there before the owner is found dead. */
static void leave_holder(struct owner *owner)
{
    settle_soon(owner);
    struct holder *holder = atomic_load(&owner->holder);
    if (holder != NULL)
        atomic_store(&holder->state, HOLDER_LEFT);
}

void hold_leave(struct heap *heap)
{
    owner_leave(heap, leave_holder);
}

/* ---- snapshots ---- */

/* Pins every object for this process, in one place that all snapshots of the process share. False: no place is free. */
static bool pin_all(struct owner *owner, struct hold_table *table)
{
    pthread_mutex_lock(&owner->mutex);
    if (owner->all_count == 0)
        owner->all_place = pin_begin(owner->heap, owner->mark, PIN_ALL);
    owner->all_count += owner->all_place >= 0;
    table->pinned_by = owner->all_place >= 0 ? owner->mark : 0;
    pthread_mutex_unlock(&owner->mutex);
    atomic_thread_fence(memory_order_seq_cst); /* as pin_begin() does, should another thread have published the pin */
    return table->pinned_by != 0;
}

/* Ends one use of pin_all(). A child that a signal handler has forked meanwhile has no such pin. */
static void unpin_all(struct owner *owner, const struct hold_table *table)
{
    if (owner == NULL || table->pinned_by != owner->mark)
        return;
    pthread_mutex_lock(&owner->mutex);
    if (--owner->all_count == 0)
        pin_end(owner->heap, owner->all_place, owner->mark, PIN_ALL);
    pthread_mutex_unlock(&owner->mutex);
}

/* Under heap_lock(): makes a hold whose ref is a table, with no share in it yet. */
static int make_table(struct heap *heap, struct holder *holder, uint64_t count, struct hold_table *table)
{
    int error = hold_ready(heap, holder);

    if (error != 0)
        return error;
    struct hold *hold = link_hold(heap, holder);
    heap_commit(heap);
    error = heap_alloc_locked(heap, (count + 1) * 8, &hold->ref);
    if (error != 0) {
        undo_roll_back(&heap->undo, (char *)heap, word_get(&heap->size));
        end_table_step(heap, hold);
        return error;
    }
    heap_commit(heap);
    word_put(heap_at(heap, word_get(&hold->ref)), 0);
    undo_order();
    word_put(&hold->ref, word_get(&hold->ref) | REF_TABLE);
    table->hold = heap_offset(heap, hold);
    return 0;
}

static int begin_table(struct owner *owner, uint64_t count, bool patiently, struct hold_table *table)
{
    struct holder *holder;
    int error = lock(owner, patiently, &holder);

    if (error == 0) {
        error = make_table(owner->heap, holder, count, table);
        heap_unlock(owner->heap);
    }
    return error;
}

int hold_table_pin(struct heap *heap, struct hold_table *table)
{
    struct owner *owner;
    int error = begin(heap, &owner);

    *table = (struct hold_table){heap, 0, 0};
    return error == 0 && !pin_all(owner, table) ? MP_ETIMEOUT : error;
}

int hold_table_begin(struct heap *heap, uint64_t count, struct hold_table *table)
{
    struct owner *owner;
    int error = begin(heap, &owner);

    *table = (struct hold_table){heap, 0, 0};
    if (error == 0)
        error = begin_table(owner, count, false, table);
    if ((error == MP_ETIMEOUT || error == MP_ENOMEM) && hold_table_pin(heap, table) == 0)
        return 0;
    return error == MP_ETIMEOUT ? begin_table(owner, count, true, table) : error;
}

/* Under heap_lock(). */
static void add_share(struct heap *heap, const struct hold_table *table, struct object *object)
{
    _Atomic uint64_t *word = heap_at(heap, word_get(&hold_at(heap, table->hold)->ref) & ~REF_MASK);
    uint64_t count = word_get(&word[0]);

    word_put(&word[count + 1], object->self | REF_OBJECT);
    undo_order();
    heap_set(heap, &word[0], count + 1);
    heap_set(heap, &object->refs, word_get(&object->refs) + 1);
    heap_commit(heap);
}

void hold_table_add(struct hold_table *table, struct object *object)
{
    struct heap *heap = table->heap;
    struct owner *owner = owner_find(heap);

    if (table->pinned_by != 0 || owner == NULL)
        return;
    int error = lock_soon(owner);
    if (error == MP_ETIMEOUT && !pin_all(owner, table))
        error = heap_lock(heap);
    if (error != 0)
        return;
    add_share(heap, table, object);
    heap_unlock(heap);
}

void hold_table_end(struct hold_table *table)
{
    if (table->hold == 0 && table->pinned_by == 0)
        return;
    struct heap *heap = table->heap;
    struct owner *owner = owner_find(heap);
    bool more = table->hold != 0 && owner != NULL;

    if (table->pinned_by != 0)
        unpin_all(owner, table);
    while (more) {
        int error = lock_soon(owner);

        if (error == MP_ETIMEOUT && owe(owner, NULL, 0, table->hold))
            break;
        if (error == MP_ETIMEOUT)
            error = heap_lock(heap);
        if (error != 0)
            break;
        more = end_table_step(heap, hold_at(heap, table->hold));
        heap_unlock(heap);
    }
    *table = (struct hold_table){heap, 0, 0};
    reclaim(heap);
}

/* ---- the dead ---- */

/* A holder whose owner may be dead. */
struct suspect {
    uint64_t offset, mark, state;
};

/* Lists the next holders of the chain, at most LOOKS. heap.looked counts those that were looked at in this round. 0:
 * also when the heap's mutex is not free soon. */
static size_t list_suspects(struct heap *heap, struct suspect *suspect)
{
    size_t count = 0;

    if (heap_lock_until(heap, clock_now() + PATIENCE_NS) != 0)
        return 0;
    uint64_t at = word_get(&heap->holders), looked = word_get(&heap->looked);
    for (uint64_t i = 0; at != 0 && i < looked; i++)
        at = word_get(&holder_at(heap, at)->next);
    for (; at != 0 && count < LOOKS; at = word_get(&holder_at(heap, at)->next)) {
        const struct holder *holder = holder_at(heap, at);

        suspect[count++] = (struct suspect){at, word_get(&holder->mark), word_get(&holder->state)};
    }
    word_put(&heap->looked, at != 0 ? looked + count : 0);
    heap_unlock(heap);
    return count;
}

/* Under heap_lock(): takes a holder that holds nothing out of the chain, and frees its block. */
static void end_holder(struct heap *heap, struct holder *holder)
{
    _Atomic uint64_t *link = &heap->holders;
    uint64_t place = 0;

    empty_trash(heap, holder);
    heap_free_locked(heap, &holder->reserve);
    heap_free_locked(heap, &heap->holding); /* of one that died as it made a holder */
    for (; word_get(link) != heap_offset(heap, holder); place++)
        link = &holder_at(heap, word_get(link))->next;
    uint64_t looked = word_get(&heap->looked); /* hold_look_at_all() may store 0 at any time */
    if (place < looked)                        /* those behind it move up */
        word_put(&heap->looked, looked - 1);
    heap_set(heap, link, word_get(&holder->next));
    heap_set(heap, &heap->holding, heap_offset(heap, holder));
    heap_commit(heap);
    heap_free_locked(heap, &heap->holding);
}

/* Under heap_lock(): one step of giving back what a dead holder held. False: that was all, and the holder is freed. */
static bool reclaim_step(struct heap *heap, struct holder *holder)
{
    uint64_t first = word_get(&holder->holds);

    if (first == 0) {
        end_holder(heap, holder);
        return false;
    }
    struct hold *hold = hold_at(heap, first);
    if ((word_get(&hold->ref) & REF_MASK) != REF_OBJECT) {
        end_table_step(heap, hold);
        return true;
    }
    struct object *object = heap_at(heap, word_get(&hold->ref) & ~REF_MASK);
    end_hold(heap, object, find_hold(heap, object, holder));
    return true;
}

/* Under heap_lock(): the holder, if it is still in the chain; else NULL. */
static struct holder *find_holder(struct heap *heap, const struct suspect *suspect)
{
    for (uint64_t at = word_get(&heap->holders); at != 0; at = word_get(&holder_at(heap, at)->next)) {
        if (at == suspect->offset && word_get(&holder_at(heap, at)->mark) == suspect->mark)
            return holder_at(heap, at);
    }
    return NULL;
}

static void reclaim_holder(struct heap *heap, const struct suspect *suspect)
{
    bool more = true;

    while (more && heap_lock_until(heap, clock_now() + PATIENCE_NS) == 0) {
        struct holder *holder = find_holder(heap, suspect);

        more = holder != NULL;
        if (more) {
            word_put(&holder->state, HOLDER_DEAD);
            more = reclaim_step(heap, holder);
        }
        heap_unlock(heap);
    }
}

/* Drops the pins of dead owners. True: there was one. */
static bool reclaim_pins(struct heap *heap)
{
    bool found = false;

    for (int place = 0; place < HEAP_PINS && word_get(&heap->pinned) != word_get(&heap->unpinned); place++) {
        uint64_t mark = pin_owner(heap, place);

        if (mark == 0 || !owner_is_dead(heap, mark, false) || heap_lock_until(heap, clock_now() + PATIENCE_NS) != 0)
            continue;
        pin_drop(heap, place, mark);
        heap_unlock(heap);
        found = true;
    }
    return found;
}

static bool is_dead(const struct heap *heap, const struct suspect *suspect)
{
    return suspect->state == HOLDER_DEAD || owner_is_dead(heap, suspect->mark, suspect->state == HOLDER_LEFT);
}

/* One look. *again: the chain has holders that this round has not looked at. */
static bool look(struct heap *heap, bool *again)
{
    struct suspect suspect[LOOKS];
    size_t count = list_suspects(heap, suspect);
    bool found = reclaim_pins(heap);

    *again = count > 0 && word_get(&heap->looked) != 0;
    for (size_t i = 0; i < count; i++) {
        if (!is_dead(heap, &suspect[i]))
            continue;
        reclaim_holder(heap, &suspect[i]);
        found = true;
    }
    reclaim(heap);
    return found;
}

bool hold_look(struct heap *heap)
{
    bool again;

    return look(heap, &again);
}

bool hold_look_at_all(struct heap *heap)
{
    struct owner *owner = owner_find(heap);
    bool again = true, found = false;

    if (owner != NULL)
        settle_soon(owner);
    atomic_store(&heap->looked, 0);
    /* The number of looks is bounded by that of all owners so far, as other processes that look at the same time change
     * heap.looked as well. */
    for (uint64_t rounds = word_get(&heap->owners) / LOOKS + 2; again && rounds > 0; rounds--)
        found = look(heap, &again) || found;
    return found;
}

/* ---- the checker ---- */

typedef bool marker(void *context, uint64_t ref);

/* Whether the ref is 0, or a block of at least that size that nothing else owns. */
static bool owns(const struct heap *heap, uint64_t ref, uint64_t size, marker *mark, void *context)
{
    return ref == 0 || ((ref & REF_MASK) == REF_BLOCK && mark(context, ref) && heap_block_size(heap, ref) >= size);
}

/* Whether the ref is a share; a table that contains only shares; or a block that was to become one, whatever it
 * contains. */
static bool holds_shares(const struct heap *heap, uint64_t ref, marker *mark, void *context)
{
    const _Atomic uint64_t *table = heap_at(heap, ref & ~REF_MASK);

    if (((ref & REF_MASK) != REF_OBJECT && (ref & REF_MASK) != REF_TABLE && (ref & REF_MASK) != REF_BLOCK) ||
        !mark(context, ref))
        return false;
    for (uint64_t i = (ref & REF_MASK) == REF_TABLE ? word_get(&table[0]) : 0; i > 0; i--) {
        if ((word_get(&table[i]) & REF_MASK) != REF_OBJECT)
            return false;
    }
    return true;
}

/* Checks the holds of one holder: the chain is linked both ways, and each hold names the holder. */
static bool check_holds(struct heap *heap, uint64_t at, uint64_t *most, marker *mark, void *context)
{
    uint64_t previous = 0;

    for (uint64_t hold = word_get(&holder_at(heap, at)->holds); hold != 0;
         hold = word_get(&hold_at(heap, hold)->next)) {
        if ((*most)-- == 0 || !owns(heap, hold, sizeof(struct hold), mark, context) ||
            word_get(&hold_at(heap, hold)->holder) != at || word_get(&hold_at(heap, hold)->previous) != previous ||
            !holds_shares(heap, word_get(&hold_at(heap, hold)->ref), mark, context))
            return false;
        previous = hold;
    }
    return true;
}

bool hold_check(struct heap *heap, uint64_t most, bool (*mark)(void *context, uint64_t ref), void *context)
{
    if (!pin_check(heap) || !owns(heap, word_get(&heap->holding), sizeof(struct holder), mark, context))
        return false;
    for (uint64_t at = word_get(&heap->holders); at != 0; at = word_get(&holder_at(heap, at)->next)) {
        if (most-- == 0 || !owns(heap, at, sizeof(struct holder), mark, context) ||
            !owns(heap, word_get(&holder_at(heap, at)->reserve), sizeof(struct hold), mark, context) ||
            !owns(heap, word_get(&holder_at(heap, at)->trash), sizeof(struct hold), mark, context) ||
            !check_holds(heap, at, &most, mark, context))
            return false;
    }
    return true;
}
