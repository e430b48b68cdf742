/* The layout of what unrelated programs share by a name: no structure or constant changes without HEAP_VERSION. */
#include <mp.h>
#include <setjmp.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "dict/dict_index.h"
#include "heap/heap.h"
#include "list/list_table.h"
#include "manager/memory.h"
#include "object/hold.h"
#include "object/object.h"
#include "object/stripes.h"
#include "sync/fair_queue.h"

struct part {
    const char *name;
    size_t offset, size;
};

struct structure {
    const char *name;
    size_t size;
    const struct part *parts;
    size_t count;
};

#define PART(type, member) \
    { \
#member, offsetof(type, member), sizeof(((type *)NULL)->member) \
    }

static const struct part heap[] = {
    PART(struct heap, magic),        PART(struct heap, version),
    PART(struct heap, kind),         PART(struct heap, layout),
    PART(struct heap, limit),        PART(struct heap, seed),
    PART(struct heap, checksum),     PART(struct heap, size),
    PART(struct heap, mutex),        PART(struct heap, undo),
    PART(struct heap, log),          PART(struct heap, root),
    PART(struct heap, used),         PART(struct heap, most),
    PART(struct heap, refilling),    PART(struct heap, keep),
    PART(struct heap, loose),        PART(struct heap, taken),
    PART(struct heap, objects),      PART(struct heap, made),
    PART(struct heap, spare),        PART(struct heap, dead),
    PART(struct heap, limbo),        PART(struct heap, under_construction),
    PART(struct heap, holders),      PART(struct heap, looked),
    PART(struct heap, holding),      PART(struct heap, owners),
    PART(struct heap, grown),        PART(struct heap, stripes),
    PART(struct heap, classes),      PART(struct heap, subclasses),
    PART(struct heap, first_free),   PART(struct heap, several_spaces),
    PART(struct heap, checking),     PART(struct heap, checker),
    PART(struct heap, checker_mark), PART(struct heap, pinned),
    PART(struct heap, unpinned),     PART(struct heap, pin),
};
static const struct part heap_pin[] = {PART(struct heap_pin, owner), PART(struct heap_pin, object)};
static const struct part undo[] = {
    PART(struct undo, state),
    PART(struct undo, log),
    PART(struct undo, more),
    PART(struct undo, more_capacity),
};
static const struct part undo_record[] = {PART(struct undo_record, offset), PART(struct undo_record, old)};
static const struct part object[] = {
    PART(struct object, magic),    PART(struct object, self),    PART(struct object, version),
    PART(struct object, root),     PART(struct object, word),    PART(struct object, striped),
    PART(struct object, refs),     PART(struct object, kept),    PART(struct object, holds),
    PART(struct object, next_all), PART(struct object, next),    PART(struct object, block),
    PART(struct object, mutex),    PART(struct object, waits),   PART(struct object, held),
    PART(struct object, met),      PART(struct object, stripes), PART(struct object, pending),
    PART(struct object, undo),
};
static const struct part fair_queue[] = {
    PART(struct fair_queue, now_serving),
    PART(struct fair_queue, next_ticket),
    PART(struct fair_queue, abandoned),
    PART(struct fair_queue, idle_since),
};
static const struct part cell[] = {PART(struct cell, head), PART(struct cell, body)};
static const struct part entry[] = {
    PART(struct entry, sequence), PART(struct entry, key.head), PART(struct entry, key.body),
    PART(struct entry, key.rest), PART(struct entry, value),
};
static const struct part stripes[] = {PART(struct stripes, next), PART(struct stripes, stripe)};
static const struct part holder[] = {
    PART(struct holder, next),  PART(struct holder, mark),    PART(struct holder, state),
    PART(struct holder, holds), PART(struct holder, reserve), PART(struct holder, trash),
};
static const struct part hold[] = {
    PART(struct hold, ref),  PART(struct hold, holder),   PART(struct hold, same),
    PART(struct hold, next), PART(struct hold, previous),
};

#define STRUCTURE(name) \
    { \
#name, sizeof(struct name), name, sizeof name / sizeof *name \
    }
static const struct structure structures[] = {
    STRUCTURE(heap),       STRUCTURE(heap_pin), STRUCTURE(undo),  STRUCTURE(undo_record),
    STRUCTURE(object),     STRUCTURE(cell),     STRUCTURE(entry), STRUCTURE(stripes),
    STRUCTURE(fair_queue), STRUCTURE(holder),   STRUCTURE(hold),
};

static const uint64_t constants[] = {
    HEAP_MANAGER, HEAP_LOCK,     HEAP_CLASSES, HEAP_SUBCLASSES, HEAP_PINS,         UNDO_RECORDS,
    UNDO_COUNT,   OBJECT_DICT,   OBJECT_LIST,  OBJECT_LOCK,     OBJECT_MEMORY,     OBJECT_DEAD,
    OBJECT_FREE,  OBJECT_SPENT,  OBJECT_TAG,   REF_BLOCK,       REF_OBJECT,        REF_TABLE,
    REF_CELLS,    REF_ENTRIES,   REF_MASK,     CELL_TYPE,       CELL_OWNS,         CELL_LENGTH_SHIFT,
    DICT_USED,    DICT_LIVE,     DICT_EPOCH,   DICT_SEQUENCE,   DICT_PAGES,        DICT_SLOTS,
    DICT_MASK,    LIST_START,    LIST_LENGTH,  LIST_GAP,        LIST_GAP_SIZE,     LIST_STEP,
    LIST_LEFT,    LIST_PHASE,    KEPT_HANDLE,  KEPT_LIMBO,      REF_TABLE_SHALLOW, OBJECT_PENDING,
    OBJECT_ROOTS, OBJECT_STRIDE, MEMORY_SIZE,  MEMORY_ALIGN,    MEMORY_HEADER,     MP_NONE,
    MP_BOOL,      MP_INT,        MP_FLOAT,     MP_STR,          MP_BYTES,          MP_DICT,
    MP_LIST,
};

/* FNV-1a. Names do not count: to give a member another name changes no layout. */
static void mix(uint64_t *sum, uint64_t number)
{
    for (int i = 0; i < 8; i++)
        *sum = (*sum ^ (number >> 8 * i & 0xff)) * UINT64_C(0x100000001b3);
}

static uint64_t fingerprint(void)
{
    uint64_t sum = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < sizeof structures / sizeof *structures; i++) {
        mix(&sum, structures[i].size);
        for (size_t j = 0; j < structures[i].count; j++) {
            mix(&sum, structures[i].parts[j].offset);
            mix(&sum, structures[i].parts[j].size);
        }
    }
    for (size_t i = 0; i < sizeof constants / sizeof *constants; i++)
        mix(&sum, constants[i]);
    return sum;
}

/* A member that is not listed would be a gap of 8 bytes or more, unless what comes next begins a cache line. */
static void every_member_is_listed(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof structures / sizeof *structures; i++) {
        const struct structure *structure = &structures[i];
        size_t end = 0;

        for (size_t j = 0; j <= structure->count; j++) {
            size_t next = j < structure->count ? structure->parts[j].offset : structure->size;

            if (next < end || (next - end >= 8 && next % 64 != 0))
                fail_msg("struct %s: bytes %zu to %zu, before %s", structure->name, end, next,
                         j < structure->count ? structure->parts[j].name : "the end");
            end = j < structure->count ? next + structure->parts[j].size : next;
        }
    }
}

/* When this fails, the layout has changed: count HEAP_VERSION up, and add a line. A line that was released stays as it
 * is. */
static const struct {
    unsigned version;
    uint64_t fingerprint;
} layouts[] = {
    {11, UINT64_C(0xf630669dc84ed5c9)},
};

static void a_layout_has_a_version_of_its_own(void **state)
{
    size_t last = sizeof layouts / sizeof *layouts - 1;

    (void)state;
#if !defined(__x86_64__) || !defined(__GLIBC__)
    skip(); /* mutexes have other sizes there */
#endif
    for (size_t i = 1; i <= last; i++)
        assert_true(layouts[i].version > layouts[i - 1].version);
    if (layouts[last].version != HEAP_VERSION || layouts[last].fingerprint != fingerprint())
        fail_msg("HEAP_VERSION is %d, the layout %#llx; the last line has %u, %#llx", HEAP_VERSION,
                 (unsigned long long)fingerprint(), layouts[last].version,
                 (unsigned long long)layouts[last].fingerprint);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_member_is_listed),
        cmocka_unit_test(a_layout_has_a_version_of_its_own),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
