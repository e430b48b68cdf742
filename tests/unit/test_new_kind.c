/* "How to add a shared type" (src/ARCHITECTURE.md), done for a small one: a ring, which keeps the last integers that
 * were pushed. All that a ring is stands in this file. The tables of kinds here take the place of those in
 * kinds.c, so the library has no line for it. */
#include <mp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/word.h"
#include "dict/dict_kind.h"
#include "list/list_kind.h"
#include "manager/memory.h"
#include "object/object_create.h"
#include "object/object_kind.h"
#include "object/object_lock.h"
#include "object/ref.h"
#include "primitives/lock.h"
#include "support.h"
#include "value/cell.h"

/* ---- the type ---- */

/* Step 1, without HEAP_VERSION and test_layout.c: the constant, and the meaning of the words. root[0] owns a REF_BLOCK
 * with the integers. So there is no step 2: a ring's items own nothing. */
#define OBJECT_RING UINT64_C(0x00006d70726e6700)
enum { RING_CAPACITY, RING_PUSHED, RING_WORDS };

typedef struct ring ring; /* a handle */

/* Step 3: what the library does with each kind. The checker calls this on whatever the memory holds. */
static bool ring_is_sound(const struct object *object)
{
    uint64_t ref = word_get(&object->root[0]), capacity = word_get(&object->word[RING_CAPACITY]);

    if (ref == 0)
        return capacity == 0 && word_get(&object->word[RING_PUSHED]) == 0;
    return (ref & REF_MASK) == REF_BLOCK && capacity > 0 &&
           capacity <= heap_block_size(object_heap(object), ref) / sizeof(uint64_t);
}

static const struct object_kind ring_kind = {
    .name = "ring",
    .kind = OBJECT_RING,
    .undo = true,
    .words = RING_WORDS,
    .roots = 1,
    .is_sound = ring_is_sound,
};

/* Step 4: the line in the table of kinds of objects. That of blocks has no line more. */
const struct object_kind *const object_kinds[] = {&dict_kind, &list_kind, &lock_kind, &memory_kind, &ring_kind, NULL};
const struct block_kind *const block_kinds[REF_MASK + 1] = {[REF_CELLS] = &cell_blocks, [REF_ENTRIES] = &entry_blocks};

/* Step 5: the functions. */
static _Atomic uint64_t *ring_place(const struct object *object, uint64_t number)
{
    return ref_block(object, word_get(&object->root[0])) + number % word_get(&object->word[RING_CAPACITY]);
}

/* A process that dies on the way leaves a ring that no process has a handle of. Its block is owned by pending[0] or by
 * root[0], and is freed with the manager. */
static int ring_create(mp_manager *manager, uint64_t capacity, ring **result)
{
    struct heap *heap = (struct heap *)manager;
    struct object *object;

    if (capacity == 0 || result == NULL)
        return MP_EINVAL;
    if (capacity > SIZE_MOST / sizeof(uint64_t))
        return MP_ENOMEM;
    int error = object_create(heap, OBJECT_RING, &object);
    if (error != 0)
        return error;
    void *handle = object_handle(object);
    error = heap_alloc(heap, capacity * sizeof(uint64_t), &object->pending[0]);
    if (error == 0)
        error = object_lock_alone(handle, OBJECT_RING);
    if (error != 0) {
        object_free(handle, OBJECT_RING);
        return error;
    }
    object_begin(object);
    object_set(object, &object->root[0], word_get(&object->pending[0]) | REF_BLOCK);
    object_set(object, &object->pending[0], 0);
    object_set(object, &object->word[RING_CAPACITY], capacity);
    object_commit(object);
    object_unlock(object);
    *result = handle;
    return 0;
}

static int ring_free(ring *handle)
{
    return object_free(handle, OBJECT_RING);
}

/* The first half of a push: a process that dies after it has pushed nothing. */
static void ring_begin_push(struct object *object, int64_t value)
{
    object_begin(object);
    object_set(object, ring_place(object, word_get(&object->word[RING_PUSHED])), (uint64_t)value);
}

static int ring_push(ring *handle, int64_t value)
{
    int error = object_lock_alone(handle, OBJECT_RING);

    if (error != 0)
        return error;
    struct object *object = object_of(handle);
    ring_begin_push(object, value);
    object_set(object, &object->word[RING_PUSHED], word_get(&object->word[RING_PUSHED]) + 1);
    object_commit(object);
    object_unlock(object);
    return 0;
}

/* Reads without the mutex (a seqlock). Meanwhile the ring may be freed, and its words be anything. So the offset is
 * checked before it is used, and what was read counts only if the reading is valid. */
static int ring_last(ring *handle, int64_t *value)
{
    struct reading reading = {.object = object_of(handle)};
    const struct object *object = reading.object;
    uint64_t pushed;
    unsigned tries = 0;

    do {
        if (!object_is(handle, OBJECT_RING))
            return MP_EINVAL;
        object_read_again(&reading, tries++);
        pushed = object_read_word(&reading, &object->word[RING_PUSHED]);
        uint64_t capacity = object_read_word(&reading, &object->word[RING_CAPACITY]);
        uint64_t block = object_read_word(&reading, &object->root[0]) & ~REF_MASK;
        uint64_t index = pushed == 0 || capacity == 0 ? 0 : (pushed - 1) % capacity;
        const _Atomic uint64_t *place = (_Atomic uint64_t *)heap_at(object_heap(object), block) + index;
        if (heap_holds_word(object_heap(object), place))
            *value = (int64_t)object_read_word(&reading, place);
    } while (!object_reading_valid(&reading));
    return pushed == 0 ? MP_EINDEX : 0;
}

/* ---- its tests ---- */

enum { CAPACITY = 10 };

static mp_manager *manager;
static ring *the_ring;

static int setup(void **state)
{
    (void)state;
    alarm(100);
    return mp_manager_create(&manager, NULL) != 0 || ring_create(manager, CAPACITY, &the_ring) != 0;
}

static int teardown(void **state)
{
    (void)state;
    int error = mp_manager_check(manager);
    mp_manager_free(manager);
    alarm(0);
    return error;
}

static int64_t last(void)
{
    int64_t value = -1;

    assert_int_equal(ring_last(the_ring, &value), 0);
    return value;
}

static void it_keeps_what_was_pushed(void **state)
{
    int64_t value;
    (void)state;

    assert_int_equal(ring_last(the_ring, &value), MP_EINDEX);
    for (int i = 0; i < 3 * CAPACITY; i++) {
        assert_int_equal(ring_push(the_ring, i), 0);
        assert_int_equal(last(), i);
    }
    assert_int_equal(mp_manager_check(manager), 0);
}

static void handles_are_checked_as_those_of_all_kinds(void **state)
{
    int64_t value;
    mp_dict *dict;
    (void)state;

    assert_int_equal(mp_manager_dict(manager, &dict), 0);
    assert_int_equal(ring_push((ring *)dict, 1), MP_EINVAL);
    assert_int_equal(mp_dict_clear((mp_dict *)the_ring), MP_EINVAL);
    assert_int_equal(ring_free(the_ring), 0);
    assert_int_equal(ring_push(the_ring, 1), MP_EINVAL);
    assert_int_equal(ring_last(the_ring, &value), MP_EINVAL);
    assert_int_equal(ring_free(the_ring), MP_EINVAL);
}

/* What a process does that is killed at a certain step. */
static void in_killed_child(void (*begin)(struct object *object))
{
    pid_t pid = fork();

    if (pid == 0) {
        MUST(object_lock_alone(the_ring, OBJECT_RING) == 0);
        begin(object_of(the_ring));
        kill(getpid(), SIGKILL);
    }
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void hold_it(struct object *object)
{
    (void)object;
}

static void push_half(struct object *object)
{
    ring_begin_push(object, 2);
}

static void push_and_keep_it(struct object *object)
{
    ring_begin_push(object, 3);
    object_set(object, &object->word[RING_PUSHED], word_get(&object->word[RING_PUSHED]) + 1);
    object_commit(object);
}

static void a_death_leaves_it_before_or_after_the_push(void **state)
{
    static const struct {
        void (*begin)(struct object *object);
        int64_t last;
    } deaths[] = {{hold_it, 1}, {push_half, 1}, {push_and_keep_it, 3}};
    (void)state;

    for (size_t i = 0; i < sizeof deaths / sizeof *deaths; i++) {
        assert_int_equal(ring_push(the_ring, 1), 0);
        in_killed_child(deaths[i].begin);
        assert_int_equal(last(), deaths[i].last); /* while the log still names words */
        assert_int_equal(mp_manager_check(manager), 0);
        assert_int_equal(last(), deaths[i].last);
    }
}

static void push_many(struct object *object)
{
    object_unlock(object);
    for (int i = 1; i <= 10000; i++)
        MUST(ring_push(the_ring, i) == 0);
    _exit(0);
}

static void processes_push_at_the_same_time(void **state)
{
    pid_t pids[4];
    (void)state;

    for (int i = 0; i < 4; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            MUST(object_lock_alone(the_ring, OBJECT_RING) == 0);
            push_many(object_of(the_ring));
        }
    }
    for (int i = 0; i < 4; i++) {
        int status;

        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
    assert_int_equal(word_get(&object_of(the_ring)->word[RING_PUSHED]), 4 * 10000);
}

static void the_checker_finds_what_is_wrong(void **state)
{
    struct object *object = object_of(the_ring);
    _Atomic uint64_t *const words[] = {&object->word[RING_CAPACITY], &object->word[RING_WORDS], &object->root[1]};
    (void)state;

    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        uint64_t old = word_get(words[i]);

        word_put(words[i], UINT64_C(1) << 40);
        assert_int_equal(mp_manager_check(manager), MP_ECORRUPT);
        word_put(words[i], old);
        assert_int_equal(mp_manager_check(manager), 0);
    }
}

static void memory_is_given_back(void **state)
{
    ring *large;
    (void)state;

    for (int i = 0; i < 2000; i++) {
        assert_int_equal(ring_create(manager, 1 << 20, &large), 0);
        assert_int_equal(ring_free(large), 0);
    }
    assert_int_equal(ring_create(manager, UINT64_C(1) << 50, &large), MP_ENOMEM);
    assert_int_equal(ring_create(manager, UINT64_MAX, &large), MP_ENOMEM);
    assert_int_equal(ring_create(manager, 0, &large), MP_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_keeps_what_was_pushed, setup, teardown),
        cmocka_unit_test_setup_teardown(handles_are_checked_as_those_of_all_kinds, setup, teardown),
        cmocka_unit_test_setup_teardown(a_death_leaves_it_before_or_after_the_push, setup, teardown),
        cmocka_unit_test_setup_teardown(processes_push_at_the_same_time, setup, teardown),
        cmocka_unit_test_setup_teardown(the_checker_finds_what_is_wrong, setup, teardown),
        cmocka_unit_test_setup_teardown(memory_is_given_back, setup, teardown),
    };

    return cmocka_run_group_tests(tests, leak_check_begin, leak_check_end);
}
