/* White-box tests of the shared heap: the allocator, its growth, and its state after the death of a process. */
#include <mp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "heap/heap.h"
#include "heap/heap_check.h"
#include "heap/heap_create.h"
#include "heap/heap_file.h"
#include "object/hold.h"
#include "object/object_check.h"
#include "object/object_create.h"
#include "object/ref.h"
#include "support.h"

enum { SLOTS = 500 };

static struct heap *heap;
static _Atomic uint64_t *slots; /* in a block of the heap that root owns */

static int make_limited(size_t limit)
{
    if (heap_create(&heap, HEAP_POOL, NULL, limit) != 0 || heap_alloc(heap, SLOTS * 8, &heap->root) != 0)
        return 1;
    slots = heap_at(heap, heap->root);
    for (int i = 0; i < SLOTS; i++)
        slots[i] = 0;
    return 0;
}

static int make(void **state)
{
    (void)state;
    return make_limited(0);
}

static int drop(void **state)
{
    (void)state;
    return heap_close(heap);
}

/* Checks that the heap is sound, and that every block in it is in a slot. */
static void assert_sound(void)
{
    uint64_t expected = 1, found = 0;

    for (int i = 0; i < SLOTS; i++)
        expected += slots[i] != 0;
    assert_int_equal(heap_lock(heap), 0);
    uint64_t *starts = calloc(heap->size / 1024 + 1, sizeof *starts);
    int error = heap_check(heap, starts, &found);
    heap_unlock(heap);
    assert_int_equal(error, 0);
    assert_int_equal(found, expected);
    for (int i = 0; i < SLOTS; i++)
        assert_true(slots[i] == 0 || heap_bit_clear(starts, slots[i]));
    free(starts);
}

static size_t random_size(void)
{
    switch (rand() % 10) {
    case 0:
        return (size_t)(rand() % 300000);
    case 1:
    case 2:
        return (size_t)(rand() % 5000);
    default:
        return (size_t)(rand() % 200);
    }
}

static void blocks_do_not_overlap_and_come_back(void **state)
{
    size_t size[SLOTS];
    uint64_t used = heap->used;
    (void)state;

    srand(1);
    for (int step = 0; step < 30000; step++) {
        int i = rand() % SLOTS;

        if (slots[i] == 0) {
            size[i] = random_size();
            assert_int_equal(heap_alloc(heap, size[i], &slots[i]), 0);
            assert_int_equal(slots[i] % 16, 0);
            assert_true(heap_block_size(heap, slots[i]) >= size[i]);
            memset(heap_at(heap, slots[i]), i & 0xff, size[i]);
        } else {
            unsigned char *byte = heap_at(heap, slots[i]);

            for (size_t k = 0; k < size[i]; k++)
                assert_true(byte[k] == (i & 0xff));
            heap_free(heap, &slots[i]);
            assert_int_equal(slots[i], 0);
        }
        if (step % 500 == 0)
            assert_sound();
    }
    for (int i = 0; i < SLOTS; i++)
        heap_free(heap, &slots[i]);
    assert_int_equal(heap->used, used);
    assert_sound();
}

static void churn_does_not_grow_the_heap(void **state)
{
    uint64_t size = 0;
    (void)state;

    srand(2);
    for (int round = 0; round < 200; round++) {
        for (int i = 0; i < SLOTS; i++)
            assert_int_equal(heap_alloc(heap, (size_t)(i * 97 % 9000), &slots[i]), 0);
        for (int k = 0; k < SLOTS; k++)
            heap_free(heap, &slots[(k * 7) % SLOTS]);
        if (round == 0)
            size = heap->size;
    }
    assert_int_equal(heap->size, size);
}

static void a_full_heap_is_an_error(void **state)
{
    struct heap *large = heap;
    int i = 0, error = 0;
    (void)state;

    assert_int_equal(make_limited(1 << 20), 0);
    for (; i < SLOTS && error == 0; i++)
        error = heap_alloc(heap, 10000, &slots[i]);
    assert_int_equal(error, MP_ENOMEM);
    assert_int_equal(slots[i - 1], 0);
    assert_in_range(i, 90, 110);
    assert_int_equal(heap_alloc(heap, UINT64_MAX, &slots[i]), MP_ENOMEM);
    assert_sound();
    heap_free(heap, &slots[0]);
    assert_int_equal(heap_alloc(heap, 10000, &slots[0]), 0);
    assert_int_equal(heap_close(heap), 0);
    heap = large;
}

static void a_file_size_limit_is_an_error_and_no_signal(void **state)
{
    struct rlimit old, low;
    (void)state;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    low = old;
    low.rlim_cur = 1 << 20;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
    int error = heap_alloc(heap, 4 << 20, &slots[0]);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(error, MP_ENOMEM);
    assert_sound();
    assert_int_equal(heap_alloc(heap, 4 << 20, &slots[0]), 0);
}

/* Runs in a child, because the lower limit cannot be raised again for existing mappings. */
static int create_with_little_address_space(void)
{
    struct rlimit low = {UINT64_C(2) << 30, UINT64_C(2) << 30};
    struct heap *small;

    if (setrlimit(RLIMIT_AS, &low) != 0 || heap_create(&small, HEAP_POOL, NULL, 0) != 0)
        return 1;
    return small->limit < low.rlim_cur && heap_close(small) == 0 ? 0 : 2;
}

static void little_address_space_means_a_smaller_heap(void **state)
{
    int status;
    (void)state;

    heap_close(heap);
    pid_t pid = fork();
    if (pid == 0)
        _exit(create_with_little_address_space());
    waitpid(pid, &status, 0);
    /* A sanitizer's own mappings exceed the limit. */
    assert_true(status == 0 || WEXITSTATUS(status) == 1);
    assert_int_equal(make_limited(0), 0);
}

static uint64_t resident(void)
{
    char path[64];
    struct stat file;

    /* The heap's descriptor is the newest one of this process. */
    for (int fd = 1023; fd > 2; fd--) {
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        if (stat(path, &file) == 0 && file.st_size == (off_t)heap->size)
            return (uint64_t)file.st_blocks * 512;
    }
    return 0;
}

static void much_free_memory_goes_back_to_the_system(void **state)
{
    const size_t size = (size_t)100 << 20;
    (void)state;

    for (int i = 0; i < 3; i++) {
        assert_int_equal(heap_alloc(heap, size, &slots[0]), 0);
        memset(heap_at(heap, slots[0]), 1, size);
        assert_true(resident() >= size);
        atomic_store(&heap->taken, 0); /* as if the last use of freed memory was long ago */
        heap_free(heap, &slots[0]);
        assert_true(resident() < size / 4);
        assert_sound();
    }
}

/* Memory that is allocated again at once after it was freed is kept, up to a limit. */
static void what_is_taken_again_and_again_is_kept(void **state)
{
    const size_t size = (size_t)100 << 20;
    (void)state;

    for (int i = 0; i < 5; i++) {
        assert_int_equal(heap_alloc(heap, size, &slots[0]), 0);
        heap_free(heap, &slots[0]);
        assert_true(i == 0 ? resident() < size / 4 : resident() >= size);
        assert_sound();
    }
    for (int i = 0; i < 3; i++) {
        for (int k = 0; k < 9; k++)
            assert_int_equal(heap_alloc(heap, size, &slots[k]), 0);
        for (int k = 0; k < 9; k++)
            heap_free(heap, &slots[k]);
        assert_true(resident() <= (size_t)600 << 20);
        assert_sound();
    }
    assert_int_equal(heap_alloc(heap, size, &slots[0]), 0);
    atomic_store(&heap->taken, 0);
    heap_free(heap, &slots[0]);
    assert_true(resident() < size / 4);
}

/* Small blocks from a hole: many pages at a time get their memory back, but not before they are needed. */
static void much_at_once_comes_back_from_a_hole(void **state)
{
    const size_t size = (size_t)100 << 20;
    uint64_t steps = 0, last;
    (void)state;

    assert_int_equal(heap_alloc(heap, size, &slots[0]), 0);
    atomic_store(&heap->taken, 0);
    heap_free(heap, &slots[0]);
    last = resident();
    assert_true(last < size / 4);
    for (int i = 0; i < SLOTS; i++) {
        assert_int_equal(heap_alloc(heap, 20000, &slots[i]), 0);
        memset(heap_at(heap, slots[i]), 1, 20000);
        steps += resident() != last;
        last = resident();
    }
    assert_in_range(steps, 1, SLOTS * 20000 / 65536);
    assert_true(last < size / 2);
    assert_sound();
    for (int i = 0; i < SLOTS; i += 2)
        heap_free(heap, &slots[i]);
    assert_sound();
    for (int i = 0; i < SLOTS; i++)
        heap_free(heap, &slots[i]);
    assert_sound();
}

/* In a file system of limited size, only blocks with values, which readers read from the file, are punched. */
static void where_memory_is_limited_only_values_go_back(void **state)
{
    const size_t size = (size_t)100 << 20;
    struct heap *anonymous = heap;
    (void)state;

    assert_int_equal(heap_create(&heap, HEAP_POOL, "test-heap-holes", 0), 0);
    assert_int_equal(heap_alloc(heap, SLOTS * 8, &heap->root), 0);
    slots = heap_at(heap, heap->root);
    for (int i = 0; i < SLOTS; i++)
        slots[i] = 0;
    for (int value = 0; value < 2; value++) {
        assert_int_equal((value ? heap_alloc_value : heap_alloc)(heap, size, &slots[0]), 0);
        memset(heap_at(heap, slots[0]), 1, size);
        atomic_store(&heap->taken, 0);
        heap_free(heap, &slots[0]);
        assert_true(value ? resident() < size / 4 : resident() >= size);
        assert_sound();
    }
    assert_int_equal(heap_close(heap), 0);
    heap = anonymous;
}

static _Noreturn void alloc_and_free_for_ever(void)
{
    srand((unsigned)getpid());
    for (;;) {
        int i = rand() % SLOTS;

        if (slots[i] == 0)
            heap_alloc(heap, random_size(), &slots[i]);
        else
            heap_free(heap, &slots[i]);
    }
}

static void a_killed_process_leaves_it_sound(void **state)
{
    (void)state;
    srand(4);
    for (int i = 0; i < 300; i++) {
        pid_t pid = fork();

        if (pid == 0)
            alloc_and_free_for_ever();
        pause_us(rand() % 3000);
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        heap_recover(heap);
        assert_sound();
    }
}

static void objects_come_and_go(void **state)
{
    struct object *a, *b;
    struct heap *own;
    (void)state;

    assert_int_equal(heap_create(&own, HEAP_MANAGER, NULL, 0), 0);
    assert_int_equal(object_create_held(own, OBJECT_DICT, &a), 0);
    assert_int_equal(object_create_in(own, OBJECT_LIST, &a->pending[0], &b), 0);
    void *old = object_handle(b);
    assert_int_equal(b->refs, 1);
    assert_int_equal(object_retain(old, OBJECT_DICT, &a->pending[1]), MP_EINVAL);
    assert_int_equal(object_retain(old, OBJECT_LIST, &a->pending[1]), 0);
    assert_int_equal(b->refs, 2);
    ref_release(own, &a->pending[0]);
    assert_int_equal(hold_take(old, OBJECT_LIST), 0);
    ref_release(own, &a->pending[1]);
    assert_true(object_is(old, OBJECT_LIST));
    assert_int_equal(object_check_heap(own, NULL), 0);
    assert_int_equal(hold_give(old, OBJECT_LIST), 0);
    assert_false(object_is(old, OBJECT_LIST));
    assert_int_equal(hold_give_any(old, OBJECT_LIST), MP_EINVAL);
    struct object *again;
    assert_int_equal(object_create_held(own, OBJECT_LIST, &again), 0);
    assert_ptr_equal(again, b);
    assert_ptr_not_equal(object_handle(again), old);
    assert_false(object_is(old, OBJECT_LIST));
    assert_int_equal(hold_take(old, OBJECT_LIST), MP_EINVAL);
    assert_int_equal(hold_give(object_handle(again), OBJECT_LIST), 0);
    assert_int_equal(hold_give(object_handle(a), OBJECT_DICT), 0);
    assert_int_equal(object_check_heap(own, NULL), 0);
    hold_leave(own);
    assert_int_equal(heap_close(own), 0);
    assert_false(object_is(a, OBJECT_DICT));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(blocks_do_not_overlap_and_come_back),
        TEST(churn_does_not_grow_the_heap),
        TEST(a_full_heap_is_an_error),
        TEST(a_file_size_limit_is_an_error_and_no_signal),
        TEST(little_address_space_means_a_smaller_heap),
        TEST(much_free_memory_goes_back_to_the_system),
        TEST(what_is_taken_again_and_again_is_kept),
        TEST(much_at_once_comes_back_from_a_hole),
        TEST(where_memory_is_limited_only_values_go_back),
        TEST(a_killed_process_leaves_it_sound),
        TEST(objects_come_and_go),
    };

    return cmocka_run_group_tests(tests, leak_check_begin, leak_check_end);
}
