/* Which addresses lie in a heap of this process, and what happens to handles in tasks that lead into none. */
#include <mp.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "heap/heap_file.h"
#include "heap/ranges.h"
#include "support.h"

enum { PLACES = 300, CHANGES = 20000, MANAGERS = 40, ROUNDS = 20 };
#define PLACE (UINT64_C(1) << 16) /* the least distance between two heaps */

/* ---- adding, removing, looking up ---- */

static char *area;
static uint64_t size_of[PLACES]; /* 0: no heap there */

static struct heap *heap_in(int place)
{
    return (struct heap *)(void *)(area + (uint64_t)place * PLACE);
}

static bool should_be_known(uint64_t offset)
{
    return offset % PLACE < size_of[offset / PLACE];
}

static void look_everywhere(void)
{
    for (uint64_t i = 0; i < PLACES; i++) {
        const uint64_t at[] = {0, 64, HEAP_FIRST_SIZE - 1, HEAP_FIRST_SIZE, PLACE - 1};

        for (size_t k = 0; k < sizeof at / sizeof *at; k++)
            assert_int_equal(range_known(area + i * PLACE + at[k]), should_be_known(i * PLACE + at[k]));
    }
    assert_false(range_known(NULL));
    assert_false(range_known(area - 1));
    assert_false(range_known(area + PLACES * PLACE));
    assert_false(range_known((void *)UINTPTR_MAX));
}

/* Adds a heap, grows it, or removes it. */
static void change(int place)
{
    struct heap *heap = heap_in(place);

    if (size_of[place] == 0) {
        atomic_store(&heap->size, size_of[place] = HEAP_FIRST_SIZE);
        assert_true(range_add(heap));
    } else if (size_of[place] < PLACE && random() % 2 == 0) {
        atomic_store(&heap->size, size_of[place] = PLACE);
    } else {
        range_remove(heap);
        size_of[place] = 0;
    }
}

static void in_a_process_of_its_own(void (*function)(void))
{
    fflush(stdout);
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        function();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void *map_area(void)
{
    return mmap(NULL, PLACES * PLACE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

static void change_and_look(void)
{
    srandom(1);
    for (int i = 0; i < CHANGES; i++) {
        change((int)(random() % PLACES));
        if (i % 100 == 0)
            look_everywhere();
    }
}

static void heaps_come_and_go(void **state)
{
    (void)state;
    area = map_area();
    assert_ptr_not_equal(area, MAP_FAILED);
    ranges_begin();
    change_and_look();
    for (int i = 0; i < PLACES; i++) {
        if (size_of[i] != 0)
            range_remove(heap_in(i));
        size_of[i] = 0;
    }
    look_everywhere();
    munmap(area, PLACES * PLACE);
}

static atomic_bool stop;
static atomic_int wrong;

/* Even places have a heap all the time, the first odd place never has one. */
static void *look_all_the_time(void *arg)
{
    (void)arg;
    while (!atomic_load(&stop)) {
        for (int i = 0; i < PLACES; i += 2) {
            if (!range_known((char *)heap_in(i) + 64))
                atomic_fetch_add(&wrong, 1);
        }
        if (range_known(heap_in(1)))
            atomic_fetch_add(&wrong, 1);
    }
    return NULL;
}

static void look_beside_changes(void)
{
    pthread_t thread[2];

    ranges_begin();
    for (int i = 0; i < PLACES; i += 2)
        change(i);
    for (int i = 0; i < 2; i++)
        MUST(pthread_create(&thread[i], NULL, look_all_the_time, NULL) == 0);
    for (int i = 0; i < CHANGES; i++)
        change((int)(random() % (PLACES / 2 - 1)) * 2 + 3);
    atomic_store(&stop, true);
    for (int i = 0; i < 2; i++)
        pthread_join(thread[i], NULL);
    MUST(atomic_load(&wrong) == 0);
}

static void found_while_others_come_and_go(void **state)
{
    (void)state;
    area = map_area();
    assert_ptr_not_equal(area, MAP_FAILED);
    in_a_process_of_its_own(look_beside_changes);
    munmap(area, PLACES * PLACE);
}

/* ---- in tasks ---- */

struct given {
    mp_dict *dict[MANAGERS];
    mp_list *list;
};

/* Adds one in each container. */
static int count_in_all(const void *arg, void *result)
{
    const struct given *given = arg;
    int64_t value;
    (void)result;

    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < MANAGERS; i++) {
            if (mp_dict_add_int(given->dict[i], "count", 1, NULL) != 0)
                return 1 + i;
            if (mp_dict_get_int(given->dict[i], "count", &value) != 0)
                return 100 + i;
        }
    }
    return 0;
}

static void many_older_managers(void **state)
{
    mp_manager *manager[MANAGERS];
    struct given given = {{NULL}, NULL};
    mp_pool *pool;
    int64_t value;
    (void)state;

    for (int i = 0; i < MANAGERS; i++)
        assert_int_equal(mp_manager_create(&manager[i], &(mp_manager_options){.limit = (size_t)1 << 20}), 0);
    assert_int_equal(mp_pool_create(&pool, 2, NULL), 0);
    for (int i = 0; i < MANAGERS; i++)
        assert_int_equal(mp_manager_dict(manager[i], &given.dict[i]), 0);
    for (int i = 0; i < 10; i++)
        assert_int_equal(mp_pool_apply(pool, count_in_all, &given, sizeof given, NULL, 0), 0);
    for (int i = 0; i < MANAGERS; i++) {
        assert_int_equal(mp_dict_get_int(given.dict[i], "count", &value), 0);
        assert_int_equal(value, 10 * ROUNDS);
    }
    assert_int_equal(mp_pool_free(pool), 0);
    for (int i = 0; i < MANAGERS; i++) {
        assert_int_equal(mp_manager_check(manager[i]), 0);
        assert_int_equal(mp_manager_free(manager[i]), 0);
    }
}

static int sum_list(const void *arg, void *result)
{
    mp_list *const *list = arg;

    return mp_list_get_int(*list, -1, result);
}

/* A list in the part by which the file has grown since the worker was made. */
static void older_managers_that_have_grown(void **state)
{
    mp_manager *manager;
    mp_list *list, *last;
    mp_pool *pool;
    int64_t sum;
    (void)state;

    assert_int_equal(mp_manager_create(&manager, NULL), 0);
    assert_int_equal(mp_pool_create(&pool, 1, NULL), 0);
    assert_int_equal(mp_manager_list(manager, &list), 0);
    for (int i = 0; i < ROUNDS; i++) {
        for (int k = 0; k < 500; k++) {
            mp_value text =
                mp_value_str("so long that it takes a block of its own, which makes the heap larger with each");

            assert_int_equal(mp_list_append(list, text), 0);
        }
        assert_int_equal(mp_manager_list(manager, &last), 0);
        assert_int_equal(mp_list_append_int(last, i), 0);
        assert_int_equal(mp_pool_apply(pool, sum_list, &last, sizeof last, &sum, sizeof sum), 0);
        assert_int_equal(sum, i);
    }
    assert_int_equal(mp_pool_free(pool), 0);
    assert_int_equal(mp_manager_check(manager), 0);
    assert_int_equal(mp_manager_free(manager), 0);
}

static mp_manager *own;

/* Returns a dict of the worker's own manager, or receives that of another worker. */
static int give(const void *arg, void *result)
{
    mp_dict *dict;
    (void)arg;

    if (own == NULL && mp_manager_create(&own, NULL) != 0)
        return 1;
    if (mp_manager_dict(own, &dict) != 0 || mp_dict_set_int(dict, "a", 1) != 0)
        return 2;
    memcpy(result, &dict, sizeof dict);
    return 0;
}

static int take(const void *arg, void *result)
{
    mp_dict *const *dict = arg;
    int64_t value;
    (void)result;

    return mp_dict_get_int(*dict, "a", &value);
}

static void containers_of_other_workers(void **state)
{
    mp_pool *giving, *taking;
    mp_dict *dict;
    (void)state;

    assert_int_equal(mp_pool_create(&giving, 1, NULL), 0);
    assert_int_equal(mp_pool_create(&taking, 1, NULL), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(mp_pool_apply(giving, give, NULL, 0, &dict, sizeof dict), 0);
        assert_int_equal(mp_pool_apply(giving, take, &dict, sizeof dict, NULL, 0), 0);
        assert_int_equal(mp_pool_apply(taking, take, &dict, sizeof dict, NULL, 0), MP_EINVAL);
    }
    assert_int_equal(mp_pool_free(giving), 0);
    assert_int_equal(mp_pool_free(taking), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_older_managers),
        cmocka_unit_test(older_managers_that_have_grown),
        cmocka_unit_test(containers_of_other_workers),
        cmocka_unit_test(heaps_come_and_go),
        cmocka_unit_test(found_while_others_come_and_go),
    };

    return cmocka_run_group_tests(tests, leak_check_begin, leak_check_end);
}
