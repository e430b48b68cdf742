/* A snapshot is taken under the object's mutex: that gives one consistent moment, and other threads wait while the
 * content is copied. A process that is stopped may keep the mutex, or a stripe. After PATIENCE_NS the snapshot is read
 * without the mutex, as one entry is (object.h). */
#include "value/snapshot.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "object/hold.h"
#include "object/object_kind.h"
#include "object/object_lock.h"
#include "value/value.h"

/* The number of reads without the mutex before the mutex is tried again, and the time to wait for stripes. */
#define MOST_TRIES 64
#define PATIENCE_NS (200 * MICROSECOND)

/* Takes a share in each container that is shown. The caller holds the object's mutex, so none of them ends
 * meanwhile. */
static int hold_containers(struct snapshot *snapshot)
{
    uint64_t count = 0;

    for (size_t i = 0; i < snapshot->count; i++)
        count += value_is_container(&snapshot->item[i].value);
    if (count == 0)
        return 0;
    int error = hold_table_begin(snapshot->heap, count, &snapshot->holds);
    for (size_t i = 0; error == 0 && i < snapshot->count; i++) {
        if (value_is_container(&snapshot->item[i].value))
            hold_table_add(&snapshot->holds, object_of(snapshot->item[i].value.as.dict));
    }
    return error;
}

int snapshot_make_items(struct snapshot *snapshot, uint64_t count)
{
    snapshot->count = 0;
    snapshot->item = count < SIZE_MAX / sizeof *snapshot->item ? calloc(count + 1, sizeof *snapshot->item) : NULL;
    return snapshot->item != NULL ? 0 : MP_ENOMEM;
}

static void free_items(struct snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->count; i++) {
        mp_value_free(&snapshot->item[i].key);
        mp_value_free(&snapshot->item[i].value);
    }
    free(snapshot->item);
    snapshot->item = NULL;
    snapshot->count = 0;
}

int snapshot_take_locked(struct object *object, uint64_t number, struct snapshot *snapshot)
{
    const struct object_kind *kind = object_kind_of(number);

    snapshot->heap = object_heap(object);
    snapshot->holds = (struct hold_table){snapshot->heap, 0, 0};
    int error = snapshot_make_items(snapshot, kind->count(object));
    if (error != 0)
        return error;
    error = kind->read(object, snapshot);
    if (error == 0)
        error = hold_containers(snapshot);
    if (error != 0)
        snapshot_free(snapshot);
    return error;
}

/* ---- without the mutex ---- */

void snapshot_add_to_sum(struct snapshot_attempt *attempt, const uint64_t *words, size_t count)
{
    for (size_t i = 0; i < count; i++)
        attempt->sum = (attempt->sum ^ words[i]) * UINT64_C(0x9e3779b97f4a7c15) + (attempt->sum >> 29);
}

/* Reads the content without the mutex. False: no read succeeded in MOST_TRIES.
 *
 * A reading that counts shows one moment, except for single words that a holder of their stripe stores without a change
 * of the version (stripes.h). The caller holds all stripes but those of processes that are stopped. So the content is
 * of one moment as soon as two reads in a row give the same sum of all words. */
static bool read_without(const void *handle, uint64_t kind, struct snapshot *snapshot, int *error)
{
    struct snapshot_attempt attempt = {.reading.object = object_of(handle), .snapshot = snapshot};
    uint64_t before = 0;

    for (unsigned tries = 0; tries < MOST_TRIES; tries++) {
        object_read_again(&attempt.reading, tries);
        if (!object_is(handle, kind)) {
            *error = MP_EINVAL;
            return true;
        }
        attempt.sum = 1;
        *error = object_kind_of(kind)->try_to_read(&attempt);
        bool counts = object_reading_valid(&attempt.reading);
        if (counts && (*error != 0 || attempt.sum == before))
            return true;
        before = counts ? attempt.sum : 0;
        free_items(snapshot);
    }
    return false;
}

/* Takes a snapshot without the mutex. The containers that are shown are alive at the moment when the reading counts, so
 * the pin (a hazard pointer) is set before that. MP_ETIMEOUT: no read counted, or there is no place for a pin. */
static int take_without(const void *handle, uint64_t kind, struct snapshot *snapshot)
{
    snapshot->heap = object_heap(object_of(handle));
    snapshot->item = NULL;
    snapshot->count = 0;
    int error = hold_table_pin(snapshot->heap, &snapshot->holds);
    if (error != 0)
        return error;
    struct stripes_taken stripes = stripes_take_free(object_of(handle), clock_now() + PATIENCE_NS);
    if (!read_without(handle, kind, snapshot, &error))
        error = MP_ETIMEOUT;
    stripes_give_back(&stripes);
    if (error != 0)
        snapshot_free(snapshot);
    return error;
}

int snapshot_take(const void *handle, uint64_t kind, struct snapshot *snapshot)
{
    struct object *object = object_of(handle);
    int error;

    if (!object_is(handle, kind))
        return MP_EINVAL;
    while ((error = object_lock_all_to_read(object, object_magic(handle, kind))) == MP_ETIMEOUT) {
        error = take_without(handle, kind, snapshot);
        if (error != MP_ETIMEOUT)
            return error;
    }
    if (error != 0)
        return error;
    error = snapshot_take_locked(object, kind, snapshot);
    object_unlock(object);
    return error;
}

void snapshot_free(struct snapshot *snapshot)
{
    free_items(snapshot);
    hold_table_end(&snapshot->holds);
}
