/* A process has one record in each heap in which it holds objects, a holder, and a chain of holds behind it. Each hold owns a
 * share in an object, counted as those of containers are. All of it changes under the heap's mutex, with its undo log: so a
 * process that dies anywhere leaves it whole, and a holder's holds can be given back one by one, by any process, at any time.
 *
 * WHO IS DEAD. Handles are inherited by fork. So what a process holds is given back when it, and every process forked from it
 * since it first held anything, has died, closed the manager, or replaced itself by exec. The kernel knows when that is: a
 * holder locks a byte of the heap's file through an open file description of its own, which forks share. A holder is dead when
 *
 *   - its byte is not locked, and
 *   - no process of its pid has the heap mapped: a program may close all its descriptors, the lock with them, and go on.
 *
 * A holder that could not lock its byte (no descriptor left, no /proc) is never taken for dead: its holds end with the heap.
 *
 * WHEN IT IS LOOKED FOR. When a process begins to hold, when the heap has grown since the last look, when memory has run out, when
 * the heap is checked or asked about. Each look has an end: at most LOOKS holders. */
#include "hold.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "lifecycle.h"
#include "platform.h"

#define LOOKS 64
/* The bytes that holders lock begin far behind all that a heap can hold. */
#define LOCKED_BYTES (UINT64_C(1) << 40)

enum holder_state {
    HOLDER_NEW,      /* about to lock its byte */
    HOLDER_LOCKED,   /* the byte is locked as long as one of its family lives */
    HOLDER_UNLOCKED, /* the byte could not be locked */
    HOLDER_DEAD      /* its holds are being given back */
};

/* What this process knows of its own record in a heap; and what it was born with, of the records of those it was forked from:
 * their locks, which it holds with them. */
struct own {
    struct own *next;
    struct heap *heap;
    uint64_t heap_seed; /* another heap may be mapped at the same addresses */
    pid_t process;
    struct holder *holder;
    int fd;
    uint64_t grown; /* heap.grown at the last look */
};

static pthread_mutex_t own_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct own *owns;

static uint64_t get(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

static void put(_Atomic uint64_t *word, uint64_t value)
{
    atomic_store_explicit(word, value, memory_order_relaxed);
}

static struct holder *holder_at(const struct heap *heap, uint64_t offset)
{
    return heap_at(heap, offset);
}

static struct hold *hold_at(const struct heap *heap, uint64_t offset)
{
    return heap_at(heap, offset);
}

static void after_fork(void)
{
    pthread_mutex_init(&own_mutex, NULL);
}

/* ---- this process's record ---- */

/* Under heap_lock(). */
static int make_holder(struct heap *heap, struct holder **result)
{
    int error = get(&heap->holding) == 0 ? heap_alloc_locked(heap, sizeof(struct holder), &heap->holding) : 0;

    if (error != 0) {
        undo_roll_back(&heap->undo, (char *)heap, get(&heap->size));
        return error;
    }
    heap_commit(heap);
    uint64_t offset = get(&heap->holding);
    struct holder *holder = holder_at(heap, offset);
    put(&holder->next, get(&heap->holders));
    put(&holder->serial, get(&heap->holders_made));
    put(&holder->process, (uint64_t)getpid());
    put(&holder->state, HOLDER_NEW);
    put(&holder->holds, 0);
    put(&holder->reserve, 0);
    put(&holder->trash, 0);
    undo_order();
    heap_set(heap, &heap->holders_made, get(&heap->holders_made) + 1);
    heap_set(heap, &heap->holders, offset);
    heap_set(heap, &heap->holding, 0);
    heap_commit(heap);
    *result = holder;
    return 0;
}

/* Locks the holder's byte for as long as the description is open. The descriptor, or -1. */
static int lock_byte(struct heap *heap, struct holder *holder)
{
    struct flock lock = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)(LOCKED_BYTES + get(&holder->serial)), .l_len = 1};
    int fd = heap_reopen(heap);

    if (fd >= 0 && fcntl(fd, F_OFD_SETLK, &lock) != 0) {
        heap_close_reopened(heap, fd);
        fd = -1;
    }
    put(&holder->state, fd >= 0 ? HOLDER_LOCKED : HOLDER_UNLOCKED);
    return fd;
}

/* Under own_mutex. */
static int begin(struct heap *heap, struct own **result)
{
    struct own *own = malloc(sizeof *own);
    int error = own == NULL ? MP_ENOMEM : heap_lock(heap);

    if (error == 0) {
        error = make_holder(heap, &own->holder);
        heap_unlock(heap);
    }
    if (error != 0) {
        free(own);
        return error;
    }
    own->fd = lock_byte(heap, own->holder);
    own->heap = heap;
    own->heap_seed = heap->seed[0];
    own->process = getpid();
    own->grown = get(&heap->grown);
    own->next = owns;
    owns = own;
    *result = own;
    return 0;
}

/* Under own_mutex. */
static struct own *find_own(const struct heap *heap)
{
    struct own *own = owns;

    while (own != NULL && (own->heap != heap || own->heap_seed != heap->seed[0] || own->process != lifecycle_pid()))
        own = own->next;
    return own;
}

int hold_begin(struct heap *heap, struct holder **holder)
{
    struct own *own;
    bool look = false, is_new = false;
    int error = 0;

    pthread_mutex_lock(&own_mutex);
    own = find_own(heap);
    is_new = own == NULL;
    if (is_new) {
        lifecycle_register(LIFECYCLE_HOLD, NULL, after_fork);
        error = begin(heap, &own);
    }
    if (error == 0) {
        look = is_new || own->grown != get(&heap->grown);
        own->grown = get(&heap->grown);
        *holder = own->holder;
    }
    pthread_mutex_unlock(&own_mutex);
    if (look)
        hold_look(heap);
    return error;
}

void hold_leave(struct heap *heap)
{
    pthread_mutex_lock(&own_mutex);
    for (struct own **link = &owns; *link != NULL;) {
        struct own *own = *link;

        if (own->heap != heap || own->heap_seed != heap->seed[0]) {
            link = &own->next;
            continue;
        }
        *link = own->next;
        heap_close_reopened(heap, own->fd);
        free(own);
    }
    pthread_mutex_unlock(&own_mutex);
}

/* ---- holds ---- */

int hold_ready(struct heap *heap, struct holder *holder)
{
    if (get(&holder->reserve) != 0)
        return 0;
    int error = heap_alloc_locked(heap, sizeof(struct hold), &holder->reserve);
    if (error != 0)
        undo_roll_back(&heap->undo, (char *)heap, get(&heap->size));
    heap_commit(heap);
    return error;
}

/* Within a change: the reserve becomes a hold of the holder's. */
static struct hold *link_hold(struct heap *heap, struct holder *holder)
{
    uint64_t offset = get(&holder->reserve), next = get(&holder->holds);
    struct hold *hold = hold_at(heap, offset);

    put(&hold->ref, 0);
    put(&hold->holder, heap_offset(heap, holder));
    put(&hold->same, 0);
    put(&hold->next, next);
    put(&hold->previous, 0);
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

    put(&hold->ref, object->self | REF_OBJECT);
    put(&hold->same, get(&object->holds));
    undo_order();
    heap_set(heap, &object->holds, heap_offset(heap, hold));
    heap_set(heap, &object->refs, get(&object->refs) + 1);
}

/* Within a change: the hold leaves its holder's chain. Its block becomes the reserve, or is in the trash: to be freed after the
 * commit. */
static void unlink_hold(struct heap *heap, struct hold *hold)
{
    struct holder *holder = holder_at(heap, get(&hold->holder));
    uint64_t next = get(&hold->next), previous = get(&hold->previous);

    if (next != 0)
        heap_set(heap, &hold_at(heap, next)->previous, previous);
    heap_set(heap, previous != 0 ? &hold_at(heap, previous)->next : &holder->holds, next);
    heap_set(heap, get(&holder->reserve) == 0 ? &holder->reserve : &holder->trash, heap_offset(heap, hold));
}

/* Under heap_lock(), with nothing to commit: the trash of a holder is freed. Also before it is filled again. */
static void empty_trash(struct heap *heap, struct holder *holder)
{
    heap_free_locked(heap, &holder->trash);
}

/* Under heap_lock(): gives up the hold that *link, in its object's chain, leads to. */
static void end_hold(struct heap *heap, struct object *object, _Atomic uint64_t *link)
{
    struct hold *hold = hold_at(heap, get(link));
    struct holder *holder = holder_at(heap, get(&hold->holder));

    empty_trash(heap, holder);
    heap_set(heap, link, get(&hold->same));
    unlink_hold(heap, hold);
    object_lose_share(heap, object);
    heap_commit(heap);
    empty_trash(heap, holder);
}

int hold_take(const void *handle, uint64_t kind)
{
    if (!object_is(handle, kind))
        return MP_EINVAL;
    struct object *object = object_of(handle);
    struct heap *heap = object_heap(object);
    struct holder *holder;
    int error = hold_begin(heap, &holder);

    if (error == 0)
        error = heap_lock(heap);
    if (error != 0)
        return error;
    error = hold_ready(heap, holder);
    if (error == 0 && get(&object->magic) != object_magic(handle, kind))
        error = MP_EINVAL;
    if (error == 0) {
        hold_enter(heap, holder, object);
        heap_commit(heap);
        hold_ready(heap, holder); /* if there is no memory for it, another time */
    }
    heap_unlock(heap);
    return error;
}

/* Where the object's chain leads to a hold of the holder's, of any holder when that is NULL. Points to 0: nowhere. */
static _Atomic uint64_t *find_hold(const struct heap *heap, struct object *object, const struct holder *holder)
{
    _Atomic uint64_t *link = &object->holds;

    while (get(link) != 0 && holder != NULL && get(&hold_at(heap, get(link))->holder) != heap_offset(heap, holder))
        link = &hold_at(heap, get(link))->same;
    return link;
}

static struct holder *own_holder(const struct heap *heap)
{
    pthread_mutex_lock(&own_mutex);
    struct own *own = find_own(heap);
    pthread_mutex_unlock(&own_mutex);
    return own != NULL ? own->holder : NULL;
}

int hold_give(const void *handle, uint64_t kind, bool any)
{
    if (!object_is(handle, kind))
        return MP_EINVAL;
    struct object *object = object_of(handle);
    struct heap *heap = object_heap(object);
    const struct holder *holder = own_holder(heap);
    int error = heap_lock(heap);

    if (error != 0)
        return error;
    error = MP_EINVAL;
    if (get(&object->magic) == object_magic(handle, kind)) {
        _Atomic uint64_t *link = holder != NULL ? find_hold(heap, object, holder) : NULL;

        if ((link == NULL || get(link) == 0) && any)
            link = find_hold(heap, object, NULL);
        if (link != NULL && get(link) != 0) {
            end_hold(heap, object, link);
            error = 0;
        }
    }
    heap_unlock(heap);
    if (error == 0)
        object_bury_dead(heap);
    return error;
}

/* ---- snapshots ---- */

/* A hold whose ref is the table as soon as that is whole: all zeros, so that it owns nothing yet. */
int hold_table_new(struct heap *heap, uint64_t count, uint64_t *result)
{
    struct holder *holder;
    int error = hold_begin(heap, &holder);

    if (error == 0)
        error = heap_lock(heap);
    if (error != 0)
        return error;
    error = hold_ready(heap, holder);
    if (error == 0) {
        struct hold *hold = link_hold(heap, holder);

        heap_commit(heap);
        *result = heap_offset(heap, hold);
    }
    heap_unlock(heap);
    if (error != 0)
        return error;
    struct hold *hold = hold_at(heap, *result);
    error = heap_alloc(heap, (count + 1) * 8, &hold->ref);
    if (error != 0) {
        hold_table_free(heap, *result);
        return error;
    }
    put(heap_at(heap, get(&hold->ref)), 0);
    undo_order();
    put(&hold->ref, get(&hold->ref) | REF_TABLE);
    return 0;
}

void hold_table_add(struct heap *heap, uint64_t hold, struct object *object)
{
    if (heap_lock(heap) != 0)
        return;
    _Atomic uint64_t *table = heap_at(heap, get(&hold_at(heap, hold)->ref) & ~REF_MASK);
    uint64_t count = get(&table[0]);

    put(&table[count + 1], object->self | REF_OBJECT);
    undo_order();
    heap_set(heap, &table[0], count + 1);
    heap_set(heap, &object->refs, get(&object->refs) + 1);
    heap_commit(heap);
    heap_unlock(heap);
}

/* Under heap_lock(), one step: true: there is more to be done. */
static bool end_table_step(struct heap *heap, struct hold *hold)
{
    struct holder *holder = holder_at(heap, get(&hold->holder));
    uint64_t ref = get(&hold->ref);
    _Atomic uint64_t *table = heap_at(heap, ref & ~REF_MASK);

    empty_trash(heap, holder);
    if ((ref & REF_MASK) == REF_TABLE && get(&table[0]) > 0) {
        uint64_t last = get(&table[0]);

        heap_set(heap, &table[0], last - 1);
        object_lose_share(heap, heap_at(heap, get(&table[last]) & ~REF_MASK));
        heap_commit(heap);
        return true;
    }
    heap_free_locked(heap, &hold->ref);
    unlink_hold(heap, hold);
    heap_commit(heap);
    empty_trash(heap, holder);
    return false;
}

void hold_table_free(struct heap *heap, uint64_t hold)
{
    bool more = true;

    while (more && heap_lock(heap) == 0) {
        more = end_table_step(heap, hold_at(heap, hold));
        heap_unlock(heap);
    }
    object_bury_dead(heap);
}

/* ---- the dead ---- */

struct suspect {
    uint64_t offset, serial;
    pid_t process;
    uint64_t state;
};

static size_t list_suspects(struct heap *heap, struct suspect *suspect)
{
    size_t count = 0;

    if (heap_lock(heap) != 0)
        return 0;
    for (uint64_t at = get(&heap->holders); at != 0 && count < LOOKS; at = get(&holder_at(heap, at)->next)) {
        const struct holder *holder = holder_at(heap, at);

        suspect[count++] =
            (struct suspect){at, get(&holder->serial), (pid_t)get(&holder->process), get(&holder->state)};
    }
    heap_unlock(heap);
    return count;
}

static bool is_dead(const struct heap *heap, const struct suspect *suspect)
{
    bool locked = false;

    if (suspect->state == HOLDER_DEAD)
        return true;
    if (suspect->state == HOLDER_UNLOCKED || suspect->process == getpid())
        return false;
    if (!heap_byte_locked(heap, LOCKED_BYTES + suspect->serial, &locked) || locked)
        return false;
    return !thread_shares(suspect->process, heap);
}

/* Under heap_lock(): takes a holder that holds nothing out of the chain, and frees its block. */
static void end_holder(struct heap *heap, struct holder *holder)
{
    _Atomic uint64_t *link = &heap->holders;

    empty_trash(heap, holder);
    heap_free_locked(heap, &holder->reserve);
    heap_free_locked(heap, &heap->holding); /* of one who died as he made a holder */
    while (get(link) != heap_offset(heap, holder))
        link = &holder_at(heap, get(link))->next;
    heap_set(heap, link, get(&holder->next));
    heap_set(heap, &heap->holding, heap_offset(heap, holder));
    heap_commit(heap);
    heap_free_locked(heap, &heap->holding);
}

/* Under heap_lock(), one step of giving back what a dead holder held. False: that was all. */
static bool bury_step(struct heap *heap, struct holder *holder)
{
    uint64_t first = get(&holder->holds);

    if (first == 0) {
        end_holder(heap, holder);
        return false;
    }
    struct hold *hold = hold_at(heap, first);
    if ((get(&hold->ref) & REF_MASK) != REF_OBJECT) {
        end_table_step(heap, hold);
        return true;
    }
    struct object *object = heap_at(heap, get(&hold->ref) & ~REF_MASK);
    end_hold(heap, object, find_hold(heap, object, holder));
    return true;
}

/* Whether that holder is still there. Under heap_lock(). */
static struct holder *find_holder(struct heap *heap, const struct suspect *suspect)
{
    for (uint64_t at = get(&heap->holders); at != 0; at = get(&holder_at(heap, at)->next)) {
        if (at == suspect->offset && get(&holder_at(heap, at)->serial) == suspect->serial)
            return holder_at(heap, at);
    }
    return NULL;
}

static void bury_holder(struct heap *heap, const struct suspect *suspect)
{
    bool more = true;

    while (more && heap_lock(heap) == 0) {
        struct holder *holder = find_holder(heap, suspect);

        more = holder != NULL;
        if (more) {
            put(&holder->state, HOLDER_DEAD);
            more = bury_step(heap, holder);
        }
        heap_unlock(heap);
    }
}

bool hold_look(struct heap *heap)
{
    struct suspect suspect[LOOKS];
    size_t count = list_suspects(heap, suspect);
    bool found = false;

    for (size_t i = 0; i < count; i++) {
        if (!is_dead(heap, &suspect[i]))
            continue;
        bury_holder(heap, &suspect[i]);
        found = true;
    }
    if (found)
        object_bury_dead(heap);
    return found;
}

/* ---- the checker ---- */

/* The holds of one holder: linked both ways, each its own. */
static bool check_holds(struct heap *heap, uint64_t at, uint64_t *most, bool (*mark)(void *, uint64_t), void *context)
{
    uint64_t previous = 0;

    for (uint64_t hold = get(&holder_at(heap, at)->holds); hold != 0; hold = get(&hold_at(heap, hold)->next)) {
        if ((*most)-- == 0 || (hold & REF_MASK) != 0 || !mark(context, hold | REF_BLOCK) ||
            get(&hold_at(heap, hold)->holder) != at || get(&hold_at(heap, hold)->previous) != previous ||
            !mark(context, get(&hold_at(heap, hold)->ref)))
            return false;
        previous = hold;
    }
    return true;
}

bool hold_check(struct heap *heap, uint64_t most, bool (*mark)(void *context, uint64_t ref), void *context)
{
    if (!mark(context, get(&heap->holding)))
        return false;
    for (uint64_t at = get(&heap->holders); at != 0; at = get(&holder_at(heap, at)->next)) {
        if (most-- == 0 || (at & REF_MASK) != 0 || !mark(context, at | REF_BLOCK) ||
            !mark(context, get(&holder_at(heap, at)->reserve)) || !mark(context, get(&holder_at(heap, at)->trash)) ||
            !check_holds(heap, at, &most, mark, context))
            return false;
    }
    return true;
}
