/* What all objects have in common (dicts, lists, locks, plain memory): identity, mutex, version, and, for kinds that
 * have one, an undo log.
 *
 * An object's place is never used for anything but objects (type-stable memory): its mutex must stay a mutex, and a
 * stale handle must find something it can look at. Everything else that belongs to an object, its undo log as well,
 * lies in blocks of its own. These serve other things when the object is gone.
 *
 * HANDLES. A handle given to users is the object's address with the generation of its place in the bits that an address
 * leaves free (OBJECT_TAG). When an object is reclaimed, the generation grows by one. `magic` is the object's kind and
 * its generation in one word, so one comparison tells a live handle from a stale one. A place whose generations are
 * used up serves no object any more. Invariant: a stale handle never becomes a live one again.
 *
 * OWNERSHIP. Words that own a block, or a share in an object, are refs: see ref.h.
 *
 * READING WITHOUT THE MUTEX (a seqlock). `version` is odd while words change that do not make sense one by one. A
 * reader notes an even version, reads with relaxed atomic loads, bounds every offset and length before using it, and
 * uses what it read only if the version is still the same. Memory is never unmapped, so the worst that it reads is
 * garbage.
 *
 * A version that stays odd is that of an unfinished change, whose process is stopped or dead, or takes long. Then the
 * reader reads through the undo log (undo.h) and finds the state before the change; or the state after it, if the log
 * was emptied already. It uses what it read only if version and log are still the same. This rests on three invariants:
 *   - Between object_begin() and object_commit(), each word that a reader of the old state can reach is changed with
 *     object_set(), or noted before it changes. Words that nothing leads to yet need not be.
 *   - No block that the old state leads to is freed before object_commit() is over, or overwritten without notes.
 *   - Single words that are stored without a change (stripes.h) are not among those that a change has noted. */
#ifndef OBJECT_H
#define OBJECT_H

#include <mp.h>

#include "base/delay.h"
#include "base/robust_mutex.h"
#include "base/units.h"
#include "heap/heap.h"
#include "heap/ranges.h"
#include "sync/fair_queue.h"
#include "sync/mutex.h"

/* What an object is: the bits of `magic` outside OBJECT_TAG. The numbers of all kinds are listed here, so that none is
 * given twice; all else about a kind is in its own file (object_kind.h). */
#define OBJECT_DICT UINT64_C(0x00006d7064696300)
#define OBJECT_LIST UINT64_C(0x00006d706c737400)
#define OBJECT_LOCK UINT64_C(0x00006d706c636b00)
#define OBJECT_MEMORY UINT64_C(0x00006d706d656d00)
#define OBJECT_DEAD UINT64_C(0x00006d7064656400)  /* in heap.dead: its content is still to be released */
#define OBJECT_FREE UINT64_C(0x00006d7073707200)  /* in heap.spare */
#define OBJECT_SPENT UINT64_C(0x00006d7073706e00) /* its generations are used up: in no chain but heap.objects */

/* Where a handle, and `magic`, have the generation: objects are aligned to 64 bytes, and addresses have 48 bits. */
#define OBJECT_TAG UINT64_C(0xffff00000000003f)
#define OBJECT_GENERATIONS (UINT64_C(1) << 22)

#define OBJECT_CHECKED (UINT64_C(1) << 63)
#define OBJECT_INSIDE_SHIFT 40
#define OBJECT_INSIDE (UINT64_C(0x3ffff) << OBJECT_INSIDE_SHIFT)
#define OBJECT_PENDING 4
#define OBJECT_ROOTS 2
#define OBJECT_WORDS 7

enum kept {
    KEPT_NOT,
    KEPT_HANDLE, /* a lock or memory that has not been freed */
    KEPT_LIMBO   /* in heap.limbo: it was pinned when the last share was given up */
};

/* Every container has undo.log: from the change that makes the object a container until it is reclaimed. */
struct object {
    /* What readers without the mutex look at. */
    _Atomic uint64_t magic;
    uint64_t self; /* the offset of this object; written once */
    _Atomic uint64_t version;
    /* The content: refs, and words, which mean what the kind says. All are 0 while it is empty. */
    _Atomic uint64_t root[OBJECT_ROOTS];
    union {
        _Atomic uint64_t word[OBJECT_WORDS]; /* zeroed when it is made */
        struct fair_queue queue;             /* a lock's; may hold anything at first: see object_check.c */
    };
    _Atomic uint64_t
        striped; /* 1: its stripes are in use (stripes.h). Set under the mutex, cleared when the object is reclaimed */

    /* Guarded by the heap's mutex, as are changes of magic. */
    _Atomic uint64_t refs;     /* refs of kind REF_OBJECT to it */
    _Atomic uint64_t kept;     /* enum kept: why it may live without a share */
    _Atomic uint64_t holds;    /* chain of the holds of processes in a container (hold.h); each is one of refs */
    _Atomic uint64_t next_all; /* in heap.objects */
    _Atomic uint64_t next;     /* in heap.spare, heap.dead or heap.limbo */
    uint64_t block;            /* the block it lies in, with others; written once */

    pthread_mutex_t mutex;  /* guards the content and what follows */
    _Atomic uint64_t waits; /* what the mutex's holder waits for, inside a function of the program's: see callback.h */
    union {
        _Atomic uint64_t held;   /* which stripes the holder of the mutex holds */
        _Atomic uint64_t holder; /* a lock's: the holder's mark, HOLDER_SUSPECT, or 0: see holder.h */
    };
    /* Guarded by the mutex, and read by threads that wait for it:
     *   - in the low bits: how often a thread that would only store a word had to wait for the mutex;
     *   - OBJECT_INSIDE: while the holder is inside a function of the program's: the holder's namespaces (callback.h);
     *   - OBJECT_CHECKED: the holder is a checker (checking.h). */
    _Atomic uint64_t met;
    _Atomic uint64_t stripes; /* owns their block; 0: none yet */
    _Atomic uint64_t pending[OBJECT_PENDING];
    struct undo undo;
};

/* Objects are aligned to cache lines, so that the words that readers load and the mutex lie in different lines. Those
 * in a block lie one behind the other from object_first_of() on. */
#define OBJECT_STRIDE ((sizeof(struct object) + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE)
static inline uint64_t object_first_of(uint64_t block)
{
    return round_up(block, CACHE_LINE);
}

static inline struct heap *object_heap(const struct object *object)
{
    return (struct heap *)((char *)(uintptr_t)object - object->self);
}

/* ---- handles ---- */

static inline uint64_t object_tag_of(uint64_t generation)
{
    return generation >> 6 << 48 | (generation & 63);
}

static inline uint64_t object_generation_of(uint64_t tag)
{
    return tag >> 48 << 6 | (tag & 63);
}

/* The object that a handle leads to, live or not. */
static inline struct object *object_of(const void *handle)
{
    return (struct object *)((uintptr_t)handle & ~OBJECT_TAG);
}

/* The value of `magic` if the handle is one of a live object of that kind. */
static inline uint64_t object_magic(const void *handle, uint64_t kind)
{
    return kind | ((uintptr_t)handle & OBJECT_TAG);
}

static inline uint64_t object_kind(const struct object *object)
{
    return atomic_load_explicit(&object->magic, memory_order_relaxed) & ~OBJECT_TAG;
}

/* Within a change of the heap's. */
static inline void object_set_kind(struct heap *heap, struct object *object, uint64_t kind)
{
    uint64_t magic = atomic_load_explicit(&object->magic, memory_order_relaxed);

    heap_set(heap, &object->magic, kind | (magic & OBJECT_TAG));
}

/* The first generation of a heap's places, where their generations also end. It differs from heap to heap, so that a
 * handle of a heap that lay at the same address before is stale as well. */
static inline uint64_t object_first_generation(const struct heap *heap)
{
    return heap->seed[0] * UINT64_C(0x9e3779b97f4a7c15) >> 32 & (OBJECT_GENERATIONS - 1);
}

static inline uint64_t object_generation(const struct object *object)
{
    return object_generation_of(atomic_load_explicit(&object->magic, memory_order_relaxed) & OBJECT_TAG);
}

/* The handle of an object in a heap, at that offset and of that generation. */
static inline void *object_handle_at(const struct heap *heap, uint64_t offset, uint64_t generation)
{
    return (void *)((uintptr_t)heap_at(heap, offset) | object_tag_of(generation & (OBJECT_GENERATIONS - 1)));
}

/* The handle of an object that cannot end meanwhile. */
static inline void *object_handle(const struct object *object)
{
    return object_handle_at(object_heap(object), object->self, object_generation(object));
}

/* Slow path for an object marked dead: the process that dropped the last share may have died before its commit. Reads
 * `magic` as the heap's undo log would restore it, and compares that. */
__attribute__((cold)) bool object_is_slow(const struct object *object, uint64_t magic);

/* Whether it is the handle of a live object of that kind, as far as the object's own words tell. The caller knows that
 * the address lies in a heap of this process. */
static inline bool object_is_there(const void *handle, uint64_t kind)
{
    const struct object *object = object_of(handle);
    uint64_t now = atomic_load_explicit(&object->magic, memory_order_acquire);

    return __builtin_expect(now == object_magic(handle, kind), 1) ||
           (now == object_magic(handle, OBJECT_DEAD) && object_is_slow(object, object_magic(handle, kind)));
}
/* Like object_is_there(), but for any address. */
static inline bool object_is(const void *handle, uint64_t kind)
{
    return range_known(object_of(handle)) && object_is_there(handle, kind);
}
/* The fast path of object_is_there(), without a call in it. False: the caller asks object_is_there(). */
static inline bool object_is_fast(const void *handle, uint64_t kind)
{
    return atomic_load_explicit(&object_of(handle)->magic, memory_order_acquire) == object_magic(handle, kind);
}

/* ---- changing ---- */

/* Makes the version odd, also where a dead process has left it so. Under the mutex. */
static inline void object_begin_again(struct object *object)
{
    uint64_t version = atomic_load_explicit(&object->version, memory_order_relaxed);

    MP_ASSERT(mutex_is_held(&object->mutex));
    atomic_store_explicit(&object->version, version | 1, memory_order_release);
    atomic_thread_fence(memory_order_release);
    undo_order();
    DELAY_POINT();
}

/* Begins a change. Under the mutex. Until object_commit(), readers use a word in place only if the log does not name
 * it. */
static inline void object_begin(struct object *object)
{
    MP_ASSERT(undo_count(&object->undo) == 0);
    object_begin_again(object);
}

/* Stores a word so that it is rolled back if the process dies before object_commit(). At most UNDO_RECORDS words,
 * unless object_reserve_undo() made room for more. */
static inline void object_set(struct object *object, _Atomic uint64_t *word, uint64_t value)
{
    MP_ASSERT((atomic_load_explicit(&object->version, memory_order_relaxed) & 1) != 0);
    MP_ASSERT(heap_holds_word(object_heap(object), word));
    undo_set(&object->undo, (char *)object - object->self, word, value);
    DELAY_POINT();
}

static inline void object_commit(struct object *object)
{
    uint64_t version = atomic_load_explicit(&object->version, memory_order_relaxed);

    MP_ASSERT(mutex_is_held(&object->mutex));
    undo_commit(&object->undo);
    DELAY_POINT();
    atomic_store_explicit(&object->version, (version | 1) + 1, memory_order_release);
    undo_order();
}

/* Instead of object_commit(): puts all words back as they were at object_begin(). */
void object_roll_back(struct object *object);
/* Makes room for `notes` stores to `words` different words in the next change. The caller calls object_release_undo()
 * after that change. */
int object_reserve_undo(struct object *object, uint64_t notes, uint64_t words);
void object_release_undo(struct object *object);

/* ---- reading ---- */

/* Reading without the mutex (a seqlock). False: a writer is changing the object; try again or lock. */
static inline bool object_read_begin(const struct object *object, uint64_t *version)
{
    *version = atomic_load_explicit(&object->version, memory_order_acquire);
    return (*version & 1) == 0;
}

static inline bool object_read_valid(const struct object *object, uint64_t version)
{
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(&object->version, memory_order_relaxed) == version;
}

/* Such a read that does not wait for a writer: while `version` is odd it reads through the undo log. */
struct reading {
    const struct object *object;
    uint64_t version; /* odd: words are read through the undo log */
    uint64_t emptied; /* see undo_emptied() */
};

/* Begins an attempt to read: the first one (`tries` is 0), or another after one that was not valid. False: many
 * attempts were not, so the caller should try object_lock_to_read(). The attempt is begun all the same, and can be
 * used. */
bool object_read_again(struct reading *reading, unsigned tries);
/* Reads up to UNDO_READ words that follow each other. */
void object_read_words(const struct reading *reading, const _Atomic uint64_t *first, size_t count, uint64_t *words);
static inline uint64_t object_read_word(const struct reading *reading, const _Atomic uint64_t *word)
{
    uint64_t value;

    object_read_words(reading, word, 1, &value);
    return value;
}
static inline bool object_reading_valid(const struct reading *reading)
{
    return object_read_valid(reading->object, reading->version) &&
           ((reading->version & 1) == 0 || undo_emptied(&reading->object->undo) == reading->emptied);
}
#endif
