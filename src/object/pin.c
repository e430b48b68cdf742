/* The places are words in the heap's header. A process claims a place by a compare-and-swap of its owner, so nothing
 * has to be repaired after a death: the place stays claimed by an owner that is dead, until hold_look() drops it.
 *
 * In the usual case no process scans the places. heap.pinned counts the claims. heap.unpinned is the value that
 * heap.pinned had when a process last began a scan that found no place claimed. While the two are equal, no place is in
 * use. Invariant: a place is claimed before its claim is counted. So a thread that has read the count sees the place.
 *
 * A place may be given up, and claimed by another owner for the same object, between two looks of a thread that is
 * about to end a pin of its own there (ABA). So the word of the object names the owner as well: one compare-and-swap of
 * that word tells both. */
#include "object/pin.h"

#include "base/word.h"
#include "object/owner.h"

/* Objects are aligned to 64 bytes, and offsets have 48 bits. The other bits hold the low bits of the owner's number,
 * and UNCONFIRMED. */
#define TAG UINT64_C(0xffff00000000003e)
/* Set in a place until the pin is confirmed. */
#define UNCONFIRMED UINT64_C(1)

/* The word of a confirmed pin of the owner's in that object. */
static uint64_t word_of(uint64_t owner, uint64_t object)
{
    uint64_t number = owner >> OWNER_NUMBER_SHIFT;

    return object | (number & 31) << 1 | number >> 5 << 48;
}

int pin_begin(struct heap *heap, uint64_t owner, uint64_t object)
{
    /* Different owners begin at different places, so that they seldom meet. */
    for (uint64_t i = 0; i < HEAP_PINS; i++) {
        int place = (int)((i + owner % 61) % HEAP_PINS);
        struct heap_pin *pin = &heap->pin[place];
        uint64_t free = 0;

        if (word_get(&pin->owner) != 0 || !atomic_compare_exchange_strong(&pin->owner, &free, owner))
            continue;
        atomic_store(&pin->object, word_of(owner, object) | UNCONFIRMED);
        atomic_fetch_add(&heap->pinned, 1);
        atomic_thread_fence(memory_order_seq_cst);
        return place;
    }
    return -1;
}

void pin_confirm(struct heap *heap, int place, uint64_t owner, uint64_t object)
{
    uint64_t expected = word_of(owner, object) | UNCONFIRMED;

    if (word_get(&heap->pin[place].owner) == owner)
        atomic_compare_exchange_strong(&heap->pin[place].object, &expected, word_of(owner, object));
}

void pin_end(struct heap *heap, int place, uint64_t owner, uint64_t object)
{
    uint64_t expected = word_of(owner, object) | UNCONFIRMED;

    if (word_get(&heap->pin[place].owner) == owner &&
        atomic_compare_exchange_strong(&heap->pin[place].object, &expected, 0))
        atomic_store(&heap->pin[place].owner, 0);
}

/* The thread whose compare-and-swap clears the word is the one that frees the place. */
static bool pin_end_at(struct heap_pin *pin, uint64_t owner, uint64_t object)
{
    uint64_t expected = word_of(owner, object);

    if (!atomic_compare_exchange_strong(&pin->object, &expected, 0))
        return false;
    atomic_store(&pin->owner, 0);
    return true;
}

bool pin_end_one(struct heap *heap, uint64_t owner, uint64_t object)
{
    for (int i = 0; i < HEAP_PINS; i++) {
        if (word_get(&heap->pin[i].owner) == owner && pin_end_at(&heap->pin[i], owner, object))
            return true;
    }
    return false;
}

bool pin_next(const struct heap *heap, uint64_t owner, int *place, uint64_t *object)
{
    for (; *place < HEAP_PINS; ++*place) {
        const struct heap_pin *pin = &heap->pin[*place];

        uint64_t word = atomic_load(&pin->object);

        *object = word & ~(TAG | UNCONFIRMED);
        if (word_get(&pin->owner) == owner && *object != 0 && word == word_of(owner, *object))
            return true;
    }
    return false;
}

bool pin_is_set(struct heap *heap, uint64_t object)
{
    bool used = false;

    atomic_thread_fence(memory_order_seq_cst);
    uint64_t claims = atomic_load(&heap->pinned);
    if (claims == word_get(&heap->unpinned))
        return false;
    for (int i = 0; i < HEAP_PINS; i++) {
        uint64_t found = atomic_load(&heap->pin[i].object);

        if ((found & ~(TAG | UNCONFIRMED)) == object || found == PIN_ALL)
            return true;
        used = used || atomic_load(&heap->pin[i].owner) != 0;
    }
    if (!used)
        atomic_store(&heap->unpinned, claims);
    return false;
}

bool pin_end_any(struct heap *heap, uint64_t object)
{
    for (int i = 0; i < HEAP_PINS; i++) {
        uint64_t owner = word_get(&heap->pin[i].owner);

        if (owner != 0 && pin_end_at(&heap->pin[i], owner, object))
            return true;
    }
    return false;
}

bool pin_check(const struct heap *heap)
{
    uint64_t unpinned = word_get(&heap->unpinned), pinned = atomic_load(&heap->pinned);

    return unpinned <= pinned && pinned <= UINT64_MAX / 2;
}

uint64_t pin_owner(const struct heap *heap, int place)
{
    return word_get(&heap->pin[place].owner);
}

void pin_drop(struct heap *heap, int place, uint64_t owner)
{
    if (word_get(&heap->pin[place].owner) != owner)
        return;
    atomic_store(&heap->pin[place].object, 0);
    atomic_store(&heap->pin[place].owner, 0);
}
