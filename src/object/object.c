/* Objects: made, shared, locked, repaired, reclaimed. See object.h for who owns what.
 *
 * An object's place is made once and then goes between use and heap.spare for ever. An object without a share (no ref,
 * no handle) is dead: the step that takes its last share also makes it OBJECT_DEAD and puts it into heap.dead. The next
 * process to unlock any object of the heap reclaims it: under its mutex, releases its content piece by piece, then
 * moves it to heap.spare. If that process dies meanwhile, the next one goes on. Releasing content may take the last
 * share of other objects, which enter heap.dead in turn: nothing recurses, however deep containers are nested.
 *
 * The process that reclaims may hold other mutexes. So it does not wait for an object's mutex or stripes: an object
 * that another process has locked is left to that process, which looks for dead objects when it unlocks. */
#include "object/object.h"

#include <errno.h>
#include <mp.h>
#include <signal.h>

#include "base/cancelling.h"
#include "base/clock.h"
#include "base/cpu.h"
#include "base/robust_mutex.h"
#include "base/word.h"
#include "object/callback.h"
#include "object/checking.h"
#include "object/hold.h"
#include "object/holder.h"
#include "object/object_kind.h"
#include "object/pin.h"
#include "object/stripes.h"

/* READ_SPINS: how often a reader looks for an even version before it reads through the undo log. READ_TRIES: the number
 * of attempts, while others keep writing, before it asks for the mutex. READ_PATIENCE_NS: how long it waits for the
 * mutex. */
#define READ_SPINS 16
#define READ_TRIES 64
#define READ_PATIENCE_NS INT64_C(200000)
/* The interval at which a thread that waits for a checker asks whether it is dead. */
#define CHECKER_LOOK_NS INT64_C(2000000)
/* The number of objects in limbo that one look at it visits. */
#define LOOK_AT_LIMBO (4 * HEAP_PINS)

_Static_assert(sizeof(struct object) == HEAP_OBJECT_BYTES, "heap.h says how large an object is");
_Static_assert(offsetof(struct object, mutex) == HEAP_OBJECT_MUTEX, "heap.h says where its mutex is");

static struct object *object_at(const struct heap *heap, uint64_t ref)
{
    return heap_at(heap, ref & ~REF_MASK);
}

/* ---- making ---- */

/* Places are made in clusters, side by side. Places stay for ever, and scattered ones would cut up the memory of blocks
 * that are freed. A cluster has one place more than a quarter of those that exist, at most CLUSTER_MOST. */
#define CLUSTER_PART 4
#define CLUSTER_MOST 64

/* The first generation of a heap's places, where their generations also end. It differs from heap to heap, so that a
 * handle of a heap that lay at the same address before is stale as well. */
static uint64_t first_generation(const struct heap *heap)
{
    return heap->seed[0] * UINT64_C(0x9e3779b97f4a7c15) >> 32 & (OBJECT_GENERATIONS - 1);
}

static int take_cluster(struct heap *heap)
{
    uint64_t count = word_get(&heap->made) / CLUSTER_PART + 1;

    if (count > CLUSTER_MOST)
        count = CLUSTER_MOST;
    int error = heap_alloc_locked(heap, count * OBJECT_STRIDE + 63, &heap->under_construction);
    if (error == MP_ENOMEM && count > 1)
        error = heap_alloc_locked(heap, OBJECT_STRIDE + 63, &heap->under_construction);
    return error;
}

/* Writes `count` places, each of which leads to the next. The last leads to the chains heap.spare and heap.objects. */
static int make_places(struct heap *heap, uint64_t block, uint64_t count)
{
    uint64_t magic = OBJECT_FREE | object_tag_of(first_generation(heap)), at = object_first_of(block);
    int error = 0;

    for (; count > 0 && error == 0; count--, at += OBJECT_STRIDE) {
        struct object *object = heap_at(heap, at);

        *object = (struct object){.magic = magic, .self = at, .block = block};
        word_put(&object->next, count > 1 ? at + OBJECT_STRIDE : word_get(&heap->spare));
        word_put(&object->next_all, count > 1 ? at + OBJECT_STRIDE : word_get(&heap->objects));
        error = mutex_init(&object->mutex);
    }
    return error;
}

/* Under heap_lock(), with nothing to commit.
 *   1. heap.under_construction gets the block, and that is committed: while a block may still be taken back, the free
 *      lists' words inside it must not be touched.
 *   2. The places are written. Nothing leads to them yet.
 *   3. One change puts them into the chains and clears heap.under_construction.
 * A process that dies between 1 and 3 leaves the block to heap.under_construction, and the next maker begins with step
 * 2. */
static int make_spares(struct heap *heap)
{
    int error = word_get(&heap->under_construction) == 0 ? take_cluster(heap) : 0;

    if (error != 0)
        return error;
    heap_commit(heap);
    uint64_t block = word_get(&heap->under_construction), first = object_first_of(block);
    uint64_t count = (block + heap_block_size(heap, block) - first) / OBJECT_STRIDE;
    error = make_places(heap, block, count);
    if (error != 0)
        return error;
    heap_set(heap, &heap->objects, first);
    heap_set(heap, &heap->spare, first);
    heap_set(heap, &heap->made, word_get(&heap->made) + count);
    heap_set(heap, &heap->under_construction, 0);
    heap_commit(heap);
    return 0;
}

/* Under heap_lock(), as the first words of a change: takes an object out of heap.spare. NULL: *error says why. */
static struct object *take_object(struct heap *heap, uint64_t kind, int *error)
{
    *error = word_get(&heap->spare) == 0 ? make_spares(heap) : 0;
    if (*error != 0)
        return NULL;
    struct object *object = object_at(heap, word_get(&heap->spare));
    if (object_kind_is_container(kind))
        *error = heap_alloc_locked(heap, UNDO_LOG_BYTES, &object->undo.log);
    if (*error != 0)
        return NULL;
    heap_set(heap, &heap->spare, word_get(&object->next));
    return object;
}

/* Within a change: from the commit on, the object is one of that kind. No other process looks at its words before. */
static void begin_life(struct heap *heap, struct object *object, uint64_t kind)
{
    word_put(&object->waits, 0);
    undo_order();
    heap_set(heap, &object->magic, kind | (word_get(&object->magic) & OBJECT_TAG));
}

/* Makes an object. Its only share is that of *slot, if it is given; or that of a hold, if `held`; else its handle keeps
 * it. */
static int create(struct heap *heap, uint64_t kind, _Atomic uint64_t *slot, bool held, struct object **result)
{
    struct holder *holder = NULL;
    int error = held ? hold_lock(heap, &holder) : heap_lock(heap);

    if (error != 0)
        return error;
    if (holder != NULL)
        error = hold_ready(heap, holder);
    struct object *object = error == 0 ? take_object(heap, kind, &error) : NULL;
    if (object == NULL) {
        undo_roll_back(&heap->undo, (char *)heap, word_get(&heap->size));
        heap_unlock(heap);
        return error;
    }
    word_put(&object->refs, slot != NULL);
    word_put(&object->kept, slot == NULL && !held ? KEPT_HANDLE : KEPT_NOT);
    word_put(&object->holds, 0);
    if (slot != NULL)
        heap_set(heap, slot, object->self | REF_OBJECT);
    if (holder != NULL)
        hold_enter(heap, holder, object);
    begin_life(heap, object, kind);
    heap_commit(heap);
    if (holder != NULL)
        hold_ready(heap, holder); /* without memory, a later call tries again */
    heap_unlock(heap);
    *result = object;
    return 0;
}

int object_create(struct heap *heap, uint64_t kind, struct object **object)
{
    return create(heap, kind, NULL, false, object);
}

int object_create_in(struct heap *heap, uint64_t kind, _Atomic uint64_t *slot, struct object **object)
{
    return create(heap, kind, slot, false, object);
}

int object_create_held(struct heap *heap, uint64_t kind, struct object **object)
{
    int error = create(heap, kind, NULL, true, object);

    if (error == MP_ENOMEM && hold_look_at_all(heap)) /* what the dead held may be enough */
        error = create(heap, kind, NULL, true, object);
    return error;
}

/* ---- sharing ---- */

int object_retain(const void *handle, uint64_t kind, _Atomic uint64_t *slot)
{
    struct object *object = object_of(handle);
    struct heap *heap = object_heap(object);
    int error = heap_lock(heap);

    if (error != 0)
        return error;
    if (word_get(&object->magic) == object_magic(handle, kind)) {
        heap_set(heap, &object->refs, word_get(&object->refs) + 1);
        heap_set(heap, slot, object->self | REF_OBJECT);
        heap_commit(heap);
    } else {
        error = MP_EINVAL;
    }
    heap_unlock(heap);
    return error;
}

static void set_kind(struct heap *heap, struct object *object, uint64_t kind)
{
    heap_set(heap, &object->magic, kind | (word_get(&object->magic) & OBJECT_TAG));
}

static bool is_container(const struct object *object)
{
    return object_kind_is_container(object_kind(object));
}

static void enter_limbo(struct heap *heap, struct object *object)
{
    heap_set(heap, &object->kept, KEPT_LIMBO);
    heap_set(heap, &object->next, word_get(&heap->limbo));
    heap_set(heap, &heap->limbo, object->self);
}

/* Within a change. The caller has stored the last 0 in refs or in kept; pin_is_set() loads after that (pin.h). */
static void die_if_unheld(struct heap *heap, struct object *object)
{
    if (word_get(&object->refs) != 0 || word_get(&object->kept) != KEPT_NOT)
        return;
    if (is_container(object) && pin_is_set(heap, object->self)) {
        enter_limbo(heap, object);
        return;
    }
    set_kind(heap, object, OBJECT_DEAD);
    heap_set(heap, &object->next, word_get(&heap->dead));
    heap_set(heap, &heap->dead, object->self);
}

void object_lose_share(struct heap *heap, struct object *object)
{
    uint64_t refs = word_get(&object->refs) - 1;

    /* An object that is known to be pinned enters limbo first: so refs and kept never both say that it is not alive. */
    if (refs == 0 && word_get(&object->kept) == KEPT_NOT && is_container(object) && pin_is_set(heap, object->self))
        enter_limbo(heap, object);
    heap_set(heap, &object->refs, refs);
    die_if_unheld(heap, object);
}

static void release_share(struct heap *heap, _Atomic uint64_t *ref)
{
    if (heap_lock(heap) != 0)
        return;
    struct object *object = object_at(heap, word_get(ref));
    heap_set(heap, ref, 0);
    object_lose_share(heap, object);
    heap_commit(heap);
    heap_unlock(heap);
}

/* ---- reclaiming ---- */

/* Under heap_lock(), with nothing to commit: whether the object that *link leads to stays in limbo. If not, takes it
 * out; it dies unless it has a share. */
static bool stays_in_limbo(struct heap *heap, _Atomic uint64_t *link)
{
    struct object *object = object_at(heap, word_get(link));

    if (word_get(&object->refs) == 0 && pin_is_set(heap, object->self))
        return true;
    heap_set(heap, link, word_get(&object->next));
    heap_set(heap, &object->kept, KEPT_NOT);
    die_if_unheld(heap, object);
    heap_commit(heap);
    return false;
}

/* Under heap_lock(): objects in limbo that are not pinned any more die; those that have a share again leave limbo
 * alive. */
static void look_at_limbo(struct heap *heap)
{
    _Atomic uint64_t *link = &heap->limbo;

    for (int looks = 0; word_get(link) != 0 && looks < LOOK_AT_LIMBO; looks++) {
        if (stays_in_limbo(heap, link))
            link = &object_at(heap, word_get(link))->next;
    }
}

/* Under heap_lock(): takes a dead object out of heap.dead. Objects that died while it was reclaimed lie before it. */
static void unlink_dead(struct heap *heap, struct object *object)
{
    _Atomic uint64_t *link = &heap->dead;

    while (word_get(link) != object->self)
        link = &object_at(heap, word_get(link))->next;
    heap_set(heap, link, word_get(&object->next));
}

/* Frees the log last, after the commit. If the process dies before that, the object is still dead, and the next process
 * to reclaim it frees the log. */
static bool clear_content(struct heap *heap, struct object *object)
{
    bool released = true;

    object_begin(object);
    for (int i = 0; i < OBJECT_ROOTS && released; i++)
        released = ref_release(heap, &object->root[i]);
    for (int i = 0; i < OBJECT_PENDING && released; i++)
        released = ref_release(heap, &object->pending[i]);
    if (!released)
        return false;
    object_release_undo(object);
    for (size_t i = 0; i < sizeof object->word / sizeof object->word[0]; i++)
        word_put(&object->word[i], 0);
    object_commit(object);
    heap_free(heap, &object->undo.log);
    return (word_get(&object->undo.more) | word_get(&object->undo.log)) == 0;
}

bool object_roll_back_dead(struct object *object)
{
    struct heap *heap = object_heap(object);

    object_begin_again(object);
    if (!undo_roll_back(&object->undo, (char *)heap, word_get(&heap->size)))
        return false;
    object_commit(object);
    return true;
}

void object_finish_repair(struct object *object)
{
    object_release_pending(object);
    object_release_undo(object);
    const struct object_kind *kind = object_kind_of(object_kind(object));
    if (kind != NULL && kind->recover != NULL)
        kind->recover(object);
    mutex_repaired(&object->mutex);
}

int object_repair(struct object *object)
{
    word_put(&object->waits, 0);
    word_put(&object->met, word_get(&object->met) & ~(OBJECT_CHECKED | OBJECT_INSIDE));
    heap_recover(object_heap(object));
    if (!object_roll_back_dead(object)) {
        mutex_unlock(&object->mutex); /* unrepaired: it cannot be locked any more */
        return MP_ECORRUPT;
    }
    object_finish_repair(object);
    return 0;
}

/* Within a change: the place is free for another object, of the next generation. */
static void become_spare(struct heap *heap, struct object *object)
{
    uint64_t next = (object_generation(object) + 1) & (OBJECT_GENERATIONS - 1);

    unlink_dead(heap, object);
    if (next == first_generation(heap)) {
        set_kind(heap, object, OBJECT_SPENT);
        return;
    }
    heap_set(heap, &object->magic, OBJECT_FREE | object_tag_of(next));
    heap_set(heap, &object->next, word_get(&heap->spare));
    heap_set(heap, &heap->spare, object->self);
}

/* Under the object's mutex. Stops where the heap's mutex is not free within heap_patience, as if the process had died
 * there: the object stays dead, and is reclaimed later. */
static void reclaim(struct heap *heap, struct object *object)
{
    word_put(&object->held, 0);
    if (heap_lock(heap) != 0) /* recovers: the step that made the object dead may not be committed */
        return;
    heap_unlock(heap);
    if (object_kind(object) != OBJECT_DEAD || !stripes_try_hold_all(object))
        return;
    if (!clear_content(heap, object)) {
        if (word_get(&object->striped) != 0)
            stripes_release(object);
        return;
    }
    stripes_end(object);
    if (word_get(&object->stripes) != 0 || heap_lock(heap) != 0)
        return;
    become_spare(heap, object);
    heap_commit(heap);
    heap_unlock(heap);
}

#define LOOK_AT_MOST 64

/* Takes the mutex of the first dead object whose mutex is free. *error: 0, or MP_EOWNERDEAD. Holds the heap's mutex
 * meanwhile, so it only tries. NULL: there is none. */
static struct object *take_dead(struct heap *heap, int *error)
{
    struct object *found = NULL;
    int looks = 0;

    if (heap_lock_until(heap, clock_now() + READ_PATIENCE_NS) != 0)
        return NULL;
    look_at_limbo(heap);
    for (uint64_t at = word_get(&heap->dead); at != 0 && found == NULL && looks < LOOK_AT_MOST; looks++) {
        struct object *object = object_at(heap, at);

        *error = mutex_error(pthread_mutex_trylock(&object->mutex));
        if (*error == MP_ETIMEOUT && checking_forgot(object))
            *error = mutex_error(pthread_mutex_trylock(&object->mutex));
        if (*error == 0 || *error == MP_EOWNERDEAD)
            found = object;
        at = word_get(&object->next);
    }
    heap_unlock(heap);
    return found;
}

void object_reclaim_dead(struct heap *heap)
{
    struct object *object, *last = NULL;
    int error;

    while ((word_get(&heap->dead) | word_get(&heap->limbo)) != 0 && (object = take_dead(heap, &error)) != NULL) {
        if (error == MP_EOWNERDEAD && object_repair(object) != 0)
            return;
        heap_patience = READ_PATIENCE_NS;
        reclaim(heap, object);
        heap_patience = 0;
        bool again = object == last && object_kind(object) == OBJECT_DEAD; /* another thread holds its stripes */
        mutex_unlock(&object->mutex);
        if (again)
            return;
        last = object;
    }
}

int object_free(const void *handle, uint64_t kind)
{
    if (!object_is(handle, kind))
        return MP_EINVAL;
    struct object *object = object_of(handle);
    struct heap *heap = object_heap(object);
    int error = heap_lock(heap);
    if (error != 0)
        return error;
    if (word_get(&object->magic) != object_magic(handle, kind) || word_get(&object->kept) == 0) {
        heap_unlock(heap);
        return MP_EINVAL;
    }
    heap_set(heap, &object->kept, 0);
    die_if_unheld(heap, object);
    heap_commit(heap);
    heap_unlock(heap);
    object_reclaim_dead(heap);
    return 0;
}

/* ---- locking ---- */

/* The process that takes the last share may be stopped before it commits. So the word is read through the heap's undo
 * log, and the reader does not wait. */
bool object_is_slow(const struct object *object, uint64_t magic)
{
    const struct heap *heap = object_heap(object);
    uint64_t emptied, now;

    do {
        emptied = undo_emptied(&heap->undo);
        undo_read(&heap->undo, (const char *)heap, word_get(&heap->size), &object->magic, 1, &now);
        atomic_thread_fence(memory_order_acquire);
    } while (undo_emptied(&heap->undo) != emptied);
    return now == magic;
}

/* Under the object's mutex: whether its magic is that one. If not, takes the heap's mutex once, which rolls back what a
 * dead process left unfinished, and looks again. 0, MP_EINVAL, MP_ETIMEOUT. */
static int check_magic(struct object *object, uint64_t magic, int64_t deadline)
{
    struct heap *heap = object_heap(object);

    if (word_get(&object->magic) == magic)
        return 0;
    int error = heap_lock_until(heap, deadline);
    if (error == MP_ETIMEOUT)
        return error;
    if (error == 0)
        heap_unlock(heap);
    return word_get(&object->magic) == magic ? 0 : MP_EINVAL;
}

/* Completes locking. `error` is the result of taking the mutex. */
static int finish_lock(struct object *object, uint64_t magic, int error, int64_t deadline)
{
    if (error == MP_EOWNERDEAD)
        error = object_repair(object);
    if (error != 0)
        return error;
    error = check_magic(object, magic, deadline);
    if (error != 0) {
        mutex_unlock(&object->mutex);
        return error;
    }
    word_put(&object->held, 0); /* whatever a dead holder held, we hold nothing */
    return 0;
}

static void give_away(pthread_mutex_t *mutex, pid_t thread)
{
    uint32_t word = robust_mutex_word(mutex);
    pid_t holder;

    if (robust_mutex_held(mutex, &holder) && holder == thread)
        robust_mutex_owner_died(mutex, word);
}

/* Marks the stripes before the mutex. If this thread dies in between, the mutex still names the thread that does not
 * exist any more, and the next thread that looks goes on. */
void object_look_for_holder(struct object *object)
{
    uint64_t space = (word_get(&object->met) & OBJECT_INSIDE) >> OBJECT_INSIDE_SHIFT;
    pid_t thread;

    if (space == 0 || space != holder_space() || !robust_mutex_held(&object->mutex, &thread) || thread == 0 ||
        kill(thread, 0) == 0 || errno != ESRCH)
        return;
    for (int i = 0; i < STRIPES && word_get(&object->striped) != 0; i++)
        give_away(&stripes_of(object)->stripe[i].mutex, thread);
    give_away(&object->mutex, thread);
}

/* Waits while a checker holds the mutex. MP_ETIMEOUT: no checker holds it any more, but another thread may. */
static int wait_for_checker(struct object *object)
{
    int error = MP_ETIMEOUT;

    while (error == MP_ETIMEOUT && checking_holds(object)) {
        checking_forgot(object);
        error = mutex_lock_until(&object->mutex, clock_now() + CHECKER_LOOK_NS);
    }
    return error;
}

static int wait_for_mutex(struct object *object, int number)
{
    int error = number == EBUSY && checking_holds(object) ? wait_for_checker(object) : MP_ETIMEOUT;

    return error == MP_ETIMEOUT ? callback_lock(object, number) : error;
}

int object_lock_alone_slow(struct object *object, uint64_t magic, int number)
{
    int error = number == 0 ? 0 : wait_for_mutex(object, number);

    return finish_lock(object, magic, error, DEADLINE_NEVER);
}

int object_lock_to_read(struct object *object, uint64_t magic)
{
    int number = pthread_mutex_trylock(&object->mutex);
    int64_t deadline = clock_now() + READ_PATIENCE_NS;
    int error = number == 0 ? 0 : mutex_lock_slow(&object->mutex, deadline, number);

    return finish_lock(object, magic, error, deadline);
}

int object_lock_all_to_read(struct object *object, uint64_t magic)
{
    int error = object_lock_to_read(object, magic);

    if (error == 0) {
        error = stripes_hold_all_until(object, clock_now() + READ_PATIENCE_NS);
        if (error != 0)
            mutex_unlock(&object->mutex);
    }
    return error;
}

void object_read_words(const struct reading *reading, const _Atomic uint64_t *first, size_t count, uint64_t *words)
{
    const struct object *object = reading->object;
    const struct heap *heap = object_heap(object);

    if (reading->version & 1) {
        undo_read(&object->undo, (const char *)heap, word_get(&heap->size), first, count, words);
        return;
    }
    for (size_t i = 0; i < count; i++)
        words[i] = word_get(&first[i]);
}

bool object_read_again(struct reading *reading, unsigned tries)
{
    /* Most changes are over in a moment. */
    for (int i = 0; i < READ_SPINS; i++) {
        if (object_read_begin(reading->object, &reading->version))
            break;
        cpu_relax();
    }
    reading->emptied = undo_emptied(&reading->object->undo);
    return tries % READ_TRIES != READ_TRIES - 1;
}

int object_lock_slow(struct object *object, uint64_t magic, int number)
{
    int error = object_lock_alone_slow(object, magic, number);

    if (error == 0) {
        error = stripes_hold_all(object);
        if (error != 0)
            mutex_unlock(&object->mutex);
    }
    return error;
}

void object_unlock_striped(struct object *object)
{
    stripes_release(object);
    mutex_unlock(&object->mutex);
}

void object_roll_back(struct object *object)
{
    undo_roll_back(&object->undo, (char *)object_heap(object), word_get(&object_heap(object)->size));
    object_commit(object);
}

int object_reserve_undo(struct object *object, uint64_t notes, uint64_t words)
{
    if (notes <= UNDO_RECORDS)
        return 0;
    if (words > UINT64_C(1) << 40)
        return MP_ENOMEM;
    object_release_undo(object);
    uint64_t capacity = undo_capacity(words);
    int error = heap_alloc(object_heap(object), capacity * sizeof(struct undo_record), &object->undo.more);
    if (error == 0)
        undo_take_table(&object->undo, (char *)object_heap(object), capacity);
    return error;
}

void object_release_undo(struct object *object)
{
    word_put(&object->undo.more_capacity, 0);
    undo_order();
    heap_free(object_heap(object), &object->undo.more);
}

int object_root(struct heap *heap, uint64_t kind, struct object **root)
{
    uint64_t offset = atomic_load(&heap->root);

    if (offset % 64 != 0 || offset < sizeof(struct heap) || offset > word_get(&heap->size) - sizeof(struct object))
        return MP_ECORRUPT;
    *root = object_at(heap, offset);
    if (object_kind(*root) == OBJECT_DEAD)
        heap_recover(heap);
    if (object_kind(*root) != kind || (*root)->self != offset || checking_look(*root, true) != 0)
        return MP_ECORRUPT;
    return !object_kind_is_container(kind) || heap_holds(heap, word_get(&(*root)->undo.log), UNDO_LOG_BYTES)
               ? 0
               : MP_ECORRUPT;
}

/* ---- releasing ---- */

static bool owns_nothing(const _Atomic uint64_t *ref)
{
    return (word_get(ref) & ~REF_MASK) == 0;
}

static bool release_cell(struct heap *heap, _Atomic uint64_t *head, _Atomic uint64_t *body)
{
    return !(word_get(head) & CELL_OWNS) || ref_release(heap, body);
}

static bool release_table(struct heap *heap, _Atomic uint64_t *table, bool shell)
{
    bool released = true;

    for (uint64_t i = word_get(&table[0]); i > 0 && released; i--) {
        if (shell)
            heap_free(heap, &table[i]);
        released = shell ? owns_nothing(&table[i]) : ref_release(heap, &table[i]);
    }
    return released;
}

static bool release_cells(struct heap *heap, _Atomic uint64_t *block)
{
    struct cell *cells = (struct cell *)(block + 2);
    bool released = true;

    for (uint64_t i = 0, count = word_get(&block[0]); i < count && released; i++)
        released = release_cell(heap, &cells[i].head, &cells[i].body);
    return released;
}

static bool release_entries(struct heap *heap, _Atomic uint64_t *block)
{
    struct entry *entries = (struct entry *)(block + 2);
    bool released = true;

    for (uint64_t i = 0, count = word_get(&block[0]); i < count && released; i++) {
        if (word_get(&entries[i].sequence) != 0)
            released = release_cell(heap, &entries[i].key_head, &entries[i].key_body) &&
                       release_cell(heap, &entries[i].value.head, &entries[i].value.body);
    }
    return released;
}

bool ref_release(struct heap *heap, _Atomic uint64_t *ref)
{
    uint64_t value = word_get(ref);
    _Atomic uint64_t *block = heap_at(heap, value & ~REF_MASK);
    bool released = true;

    if ((value & ~REF_MASK) == 0)
        return true;
    switch ((enum ref_kind)(value & REF_MASK)) {
    case REF_OBJECT:
        release_share(heap, ref);
        return owns_nothing(ref);
    case REF_TABLE:
        released = release_table(heap, block, false);
        break;
    case REF_TABLE_SHALLOW:
        released = release_table(heap, block, true);
        break;
    case REF_CELLS:
        released = release_cells(heap, block);
        break;
    case REF_ENTRIES:
        released = release_entries(heap, block);
        break;
    case REF_BLOCK:
        break;
    }
    if (released)
        heap_free(heap, ref);
    return owns_nothing(ref);
}

void object_release_pending(struct object *object)
{
    struct heap *heap = object_heap(object);

    for (int i = 0; i < OBJECT_PENDING; i++)
        ref_release(heap, &object->pending[i]);
}
