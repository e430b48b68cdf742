/* What all containers have in common: identity, mutex, version, undo log, and who owns what.
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
 * OWNERSHIP. A `ref` is a word in the heap that owns what it points to. It is an offset, with the kind of what lies
 * there in its low four bits (enum ref_kind), which says how it is released. Invariant: at each instant every block is
 * owned by exactly one ref, or free. An operation that needs blocks first takes them into the object's pending refs,
 * then moves them to their place with object_set(), so that pending ref and place change together. What it replaces
 * moves to a pending ref in the same way, and is released after the commit. So after a death, once the undo log is
 * rolled back, all that is pending is released. An object dies in the same step that takes its last share, unless it is
 * pinned (pin.h): then it lives on in heap.limbo.
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

/* What an object is: the bits of `magic` outside OBJECT_TAG. */
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

enum ref_kind {
    REF_BLOCK = 0,   /* a block without refs in it */
    REF_OBJECT = 1,  /* a share in an object: counted in object.refs */
    REF_TABLE = 2,   /* a block: word 0 says how many words follow that are refs; each is released, then the block */
    REF_CELLS = 3,   /* a block: word 0 says how many cells lie from byte 16 on; each is released, then the block */
    REF_ENTRIES = 4, /* a block: word 0 says how many entries lie from byte 16 on; each is released, then the block */
    /* A table like REF_TABLE, but only the table and the blocks that it refers to are freed: what lies in these belongs
     * to another table now, or still. */
    REF_TABLE_SHALLOW = 5
};
#define REF_MASK UINT64_C(15)

/* A value as it is stored. head: the mp_type in the low 8 bits, CELL_OWNS, and from bit 16 on the length of strings and
 * bytes, or the generation of a container. body: the bool, the integer, the float's bits, the bytes of a string of up
 * to 8; with CELL_OWNS a ref: to an object, or to the block that holds a longer string. A cell whose words are 0 is
 * empty. */
#define CELL_TYPE UINT64_C(0xff)
#define CELL_OWNS UINT64_C(0x100)
#define CELL_LENGTH_SHIFT 16

struct cell {
    _Atomic uint64_t head;
    _Atomic uint64_t body;
};

/* A dict's entry. The key's head and body are as in a cell, but strings of up to 16 bytes lie in body and rest. */
struct entry {
    /* Grows with each insertion; 0: no entry, whatever the other words hold. So it is the last word written, and the
     * first cleared, and always with its old value noted (undo.h). */
    _Atomic uint64_t sequence;
    _Atomic uint64_t key_head;
    _Atomic uint64_t key_body;
    _Atomic uint64_t key_rest;
    struct cell value;
};

/* A dict's words, in this order: positions used in the segments; entries; last sequence given; a count that grows each
 * time entries change their positions; pages of the index; slots in each page; index_page_mask() of the pages. */
enum { DICT_USED, DICT_LIVE, DICT_SEQUENCE, DICT_EPOCH, DICT_PAGES, DICT_SLOTS, DICT_MASK };
/* A list's words: the position of the first cell in use; how many are; where there is a gap between them, and more
 * about that: see list_table.h. */
enum { LIST_START, LIST_LENGTH, LIST_GAP, LIST_GAP_SIZE, LIST_STEP, LIST_LEFT, LIST_PHASE, LIST_WORDS };
/* A piece of memory's word (memory.c): 1 + its size in bytes; 0: it is not complete, and no process has its address.
 * root[0] is its block. */
enum { MEMORY_SIZE };
#define MEMORY_ALIGN UINT64_C(64)
/* The distance from the memory back to a word with the offset of its object. */
#define MEMORY_HEADER UINT64_C(16)

/* Where in a block the memory begins: an offset. */
static inline uint64_t memory_place(uint64_t block)
{
    return (block + MEMORY_HEADER + MEMORY_ALIGN - 1) / MEMORY_ALIGN * MEMORY_ALIGN;
}

#define OBJECT_CHECKED (UINT64_C(1) << 63)
#define OBJECT_INSIDE_SHIFT 40
#define OBJECT_INSIDE (UINT64_C(0x3ffff) << OBJECT_INSIDE_SHIFT)
#define OBJECT_PENDING 4
#define OBJECT_ROOTS 2

enum kept {
    KEPT_NOT,
    KEPT_HANDLE, /* a lock or memory that has not been freed */
    KEPT_LIMBO   /* in heap.limbo: it was pinned when the last share was given up */
};

/* Every dict and list has undo.log: from the change that makes the object a dict or list until it is reclaimed. */
struct object {
    /* What readers without the mutex look at. */
    _Atomic uint64_t magic;
    uint64_t self; /* the offset of this object; written once */
    _Atomic uint64_t version;
    /* The content: root[0] a REF_TABLE (the directory, segments.h) of blocks (segments), REF_ENTRIES in a dict,
     * REF_CELLS in a list; root[1] in a dict a REF_TABLE of REF_BLOCKs (its index). word[DICT_...], word[LIST_...]. 0
     * while empty. Cells outside a list's range, and in its gap, are empty, and so own nothing. */
    _Atomic uint64_t root[OBJECT_ROOTS];
    union {
        _Atomic uint64_t word[7]; /* zeroed when it is made */
        struct fair_queue queue;  /* a lock's; may hold anything when the lock is made: see object_check.c */
    };
    _Atomic uint64_t
        striped; /* 1: its stripes are in use (stripes.h). Set under the mutex, cleared when the object is reclaimed */

    /* Guarded by the heap's mutex, as are changes of magic. */
    _Atomic uint64_t refs;     /* refs of kind REF_OBJECT to it */
    _Atomic uint64_t kept;     /* enum kept: why it may live without a share */
    _Atomic uint64_t holds;    /* chain of the holds of processes in a dict or list (hold.h); each is one of refs */
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

/* ---- life ---- */

/* Makes an object that is owned only by a handle of its own: for locks and memory. All its words are zero, except that
 * those of a lock may hold anything. */
int object_create(struct heap *heap, uint64_t kind, struct object **object);
/* Like object_create(), but owned by *slot (a pending ref of another object, or a word of the heap's header): the
 * object goes away when the owner of *slot does. */
int object_create_in(struct heap *heap, uint64_t kind, _Atomic uint64_t *slot, struct object **object);
/* Like object_create(), but owned by a hold of the calling process: see hold.h. */
int object_create_held(struct heap *heap, uint64_t kind, struct object **object);
/* Stores a share in the object in *slot, in one step. MP_EINVAL when the handle is not one of a live object of that
 * kind. */
int object_retain(const void *handle, uint64_t kind, _Atomic uint64_t *slot);
/* Gives up the handle that object_create() made. MP_EINVAL when it was given up before. */
int object_free(const void *handle, uint64_t kind);
/* Within a change of the heap's: takes a share from an object. With its last share the object dies, or enters
 * heap.limbo if it is pinned. */
void object_lose_share(struct heap *heap, struct object *object);

/* ---- locking ---- */

/* `magic` below is object_magic() of the handle.
 *
 * The fast path of locking: takes the mutex if it is free, and the object live and not striped. False: the caller takes
 * the slow path, with *number, which is what pthread_mutex_trylock() returned. If that is 0, the mutex is held. */
static inline bool object_lock_fast(struct object *object, uint64_t magic, int *number)
{
    *number = pthread_mutex_trylock(&object->mutex);
    return *number == 0 && atomic_load_explicit(&object->magic, memory_order_relaxed) == magic &&
           atomic_load_explicit(&object->striped, memory_order_relaxed) == 0;
}
int object_lock_slow(struct object *object, uint64_t magic, int number);
int object_lock_alone_slow(struct object *object, uint64_t magic, int number);
/* Takes the mutex of a live object of that kind, and its stripes, and repairs what a dead predecessor left. MP_EINVAL,
 * MP_EDEADLK. */
static inline int object_lock(const void *handle, uint64_t kind)
{
    struct object *object = object_of(handle);
    uint64_t magic = object_magic(handle, kind);
    int number;

    if (!object_is(handle, kind))
        return MP_EINVAL;
    return object_lock_fast(object, magic, &number) ? 0 : object_lock_slow(object, magic, number);
}
/* Like object_lock(), but without the stripes: other threads may still replace single words in place. */
static inline int object_lock_alone(const void *handle, uint64_t kind)
{
    struct object *object = object_of(handle);
    uint64_t magic = object_magic(handle, kind);
    int number;

    if (!object_is(handle, kind))
        return MP_EINVAL;
    return object_lock_fast(object, magic, &number) ? 0 : object_lock_alone_slow(object, magic, number);
}
/* Called by a thread that has waited for a while for the object's mutex or one of its stripes. If their holder has
 * executed another program from inside a function of the program's (callback.c), marks them as those of a dead
 * owner. */
void object_look_for_holder(struct object *object);
/* What object_lock() does after MP_EOWNERDEAD: brings the object back to a whole state, and makes its mutex usable.
 * MP_ECORRUPT: its undo log is damaged. The mutex is unlocked unrepaired, and all later calls get MP_ECORRUPT, too. */
int object_repair(struct object *object);
/* object_repair() in two steps, for the checker, which looks at everything in between. The heap's own log is rolled
 * back already. The first step rolls the object's unfinished change back (false: the undo log is damaged). The second
 * releases what was pending, and makes the mutex usable. */
bool object_roll_back_dead(struct object *object);
void object_finish_repair(struct object *object);
/* Reclaims dead objects, and those in heap.limbo that are not pinned any more. Does not wait for an object that another
 * process has locked: that process calls this when it unlocks the object. While another process keeps the heap's mutex,
 * all are left to later calls, also in the middle of one. Only for an object that a dead process had locked it waits
 * for the heap's mutex. */
void object_reclaim_dead(struct heap *heap);
/* Also unlocks the stripes that are held. */
void object_unlock_striped(struct object *object);
/* Unlocks the object. Then reclaims dead objects, if there are any. */
static inline void object_unlock(struct object *object)
{
    struct heap *heap = object_heap(object);

    MP_ASSERT(undo_count(&object->undo) == 0);
    if (atomic_load_explicit(&object->striped, memory_order_relaxed) != 0)
        object_unlock_striped(object);
    else
        mutex_unlock(&object->mutex);
    if (atomic_load_explicit(&heap->dead, memory_order_relaxed) != 0)
        object_reclaim_dead(heap);
}

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
/* Like object_lock_alone(), but waits only for a moment: MP_ETIMEOUT. The caller unlocks with mutex_unlock(). */
int object_lock_to_read(struct object *object, uint64_t magic);
/* Like object_lock(), but waits only for a moment: MP_ETIMEOUT. */
int object_lock_all_to_read(struct object *object, uint64_t magic);

/* Releases what *ref owns, whatever kind it is, and stores 0 there. If the process dies at any point of this, another
 * can do it again. Under the mutex of the object that the ref lies in. False: heap_lock() failed on the way; what is
 * left is still owned by *ref. */
bool ref_release(struct heap *heap, _Atomic uint64_t *ref);
/* Releases all pending refs. */
void object_release_pending(struct object *object);

/* The block that a ref of the object owns. */
static inline _Atomic uint64_t *ref_block(const struct object *object, uint64_t ref)
{
    return heap_at(object_heap(object), ref & ~REF_MASK);
}

/* The object that a pending ref owns. */
static inline struct object *object_pending(const struct object *object, int i)
{
    return heap_at(object_heap(object), atomic_load_explicit(&object->pending[i], memory_order_relaxed) & ~REF_MASK);
}

/* The heap's root, in a heap that was just opened: 0, or MP_ECORRUPT when it cannot be an object of that kind. */
int object_root(struct heap *heap, uint64_t kind, struct object **root);

/* The checker: every block of the heap belongs to exactly one ref that can be reached from an object, counts of shares
 * are right, free lists are sound, contents are what dict.c and list.c can work with. Whatever the memory holds, it
 * neither crashes nor hangs. 0, MP_ECORRUPT, MP_ENOMEM, MP_EDEADLK (this thread is inside), MP_ETIMEOUT (could not stop
 * all others). `extra`, when given, is called to name refs outside objects: it calls mark(context, ref) for each. */
typedef void object_marker(void *context, uint64_t ref);
int object_check_heap(struct heap *heap, void (*extra)(struct heap *heap, object_marker *mark, void *context));

#endif
