/* Managers: bad input. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "bad_input.h"

static void refuses_manager(void *handle)
{
    if (handle != NULL)
        REFUSES(mp_manager_free(handle), MP_EINVAL);
    REFUSES(mp_manager_dict(handle, &out.dict), MP_EINVAL);
    REFUSES(mp_manager_list(handle, &out.list), MP_EINVAL);
    REFUSES(mp_manager_root(handle, &out.dict), MP_EINVAL);
    REFUSES(mp_manager_get_info(handle, &out.info), MP_EINVAL);
    REFUSES(mp_manager_check(handle), MP_EINVAL);
    REFUSES(mp_manager_alloc(handle, 16, &out.pointer), MP_EINVAL);
    REFUSES(mp_manager_memory(handle, 4096, &out.pointer), MP_EINVAL);
}

static void handles_that_are_none(void **state)
{
    (void)state;
    HOLDS(mp_manager_free(NULL) == 0);
    refuses_manager(NULL);
    each_bad_handle(MANAGER, refuses_manager);
    HOLDS(mp_manager_check(stock.manager) == 0 && mp_manager_check(stock.other) == 0);
}

static void null_pointers(void **state)
{
    (void)state;
    REFUSES(mp_manager_create(NULL, NULL), MP_EINVAL);
    REFUSES(mp_manager_open(NULL, "x", NULL), MP_EINVAL);
    REFUSES(mp_manager_open(&out.manager, NULL, NULL), MP_EINVAL);
    REFUSES(mp_manager_open_or_create(NULL, "x", &out.flag, NULL), MP_EINVAL);
    REFUSES(mp_manager_open_or_create(&out.manager, NULL, &out.flag, NULL), MP_EINVAL);
    REFUSES(mp_manager_unlink(NULL), MP_EINVAL);
    REFUSES(mp_manager_dict(stock.manager, NULL), MP_EINVAL);
    REFUSES(mp_manager_list(stock.manager, NULL), MP_EINVAL);
    REFUSES(mp_manager_root(stock.manager, NULL), MP_EINVAL);
    REFUSES(mp_manager_get_info(stock.manager, NULL), MP_EINVAL);
}

static void refuses_memory(void *memory)
{
    REFUSES(mp_memory_size(memory, &out.size), MP_EINVAL);
    REFUSES(mp_memory_ref(memory, &out.integer), MP_EINVAL);
    REFUSES(mp_memory_ref(memory, NULL), MP_EINVAL);
    REFUSES(mp_memory_size(memory, NULL), MP_EINVAL);
    if (memory != NULL)
        REFUSES(mp_memory_free(memory), MP_EINVAL);
}

static int child_frees_memory(void *arg)
{
    HOLDS(mp_memory_free(arg) == 0);
    refuses_memory(arg);
    return 0;
}

static void memory_that_is_none(void **state)
{
    mp_manager *manager;
    static char own[256];
    char *memory, *of_closed;
    int64_t ref;
    (void)state;

    assert_int_equal(mp_manager_alloc(stock.manager, 256, (void **)&memory), 0);
    assert_int_equal(mp_memory_ref(memory, &ref), 0);
    assert_int_equal(mp_manager_create(&manager, NULL), 0);
    assert_int_equal(mp_manager_alloc(manager, 256, (void **)&of_closed), 0);
    assert_int_equal(mp_manager_free(manager), 0);
    HOLDS(mp_memory_free(NULL) == 0);
    void *bad[] = {NULL,        own,          own + 1,       &own[64],           of_closed,  memory + 1,
                   memory + 64, memory - 64,  stock.manager, stock.dict,         stock.list, stock.lock,
                   stock.pool,  stock.result, (void *)64,    (void *)UINTPTR_MAX};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refuses_memory(bad[i]);
    REFUSES(mp_manager_alloc(stock.manager, 1, NULL), MP_EINVAL);
    REFUSES(mp_manager_alloc(stock.manager, SIZE_MAX, &out.pointer), MP_ENOMEM);
    REFUSES(mp_manager_alloc(stock.manager, (size_t)1 << 40, &out.pointer), MP_ENOMEM);
    REFUSES(mp_manager_memory(stock.manager, ref, NULL), MP_EINVAL);
    REFUSES(mp_manager_memory(stock.other, ref + 64, &out.pointer), MP_EINVAL);
    const int64_t numbers[] = {0, -1, 1, INT64_MIN, INT64_MAX, ref + 1, ref - 1, ref + 64};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        REFUSES(mp_manager_memory(stock.manager, numbers[i], &out.pointer), MP_EINVAL);
    mp_process *process;
    assert_int_equal(mp_process_start(&process, child_frees_memory, memory, NULL), 0);
    assert_int_equal(mp_process_join(process, 60), 0);
    assert_int_equal(mp_process_free(process), 0);
    refuses_memory(memory);
    REFUSES(mp_manager_memory(stock.manager, ref, &out.pointer), MP_EINVAL);
    HOLDS(mp_manager_check(stock.manager) == 0);
}

static void names_that_are_none(void **state)
{
    char long_name[202];
    const char *const bad[] = {"", ".", "..", "/", "a/b", "/a", "a/", "../a", long_name};
    (void)state;

    memset(long_name, 'x', 201);
    long_name[201] = 0;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        REFUSES(mp_manager_create(&out.manager, &(mp_manager_options){.name = bad[i]}), MP_ENAME);
        REFUSES(mp_manager_open(&out.manager, bad[i], NULL), MP_ENAME);
        REFUSES(mp_manager_open_or_create(&out.manager, bad[i], &out.flag, NULL), MP_ENAME);
        REFUSES(mp_manager_unlink(bad[i]), MP_ENAME);
    }
    REFUSES(mp_manager_open_or_create(&out.manager, "x", &out.flag, &(mp_manager_options){.name = "x"}), MP_EINVAL);
    REFUSES(mp_manager_open(&out.manager, "x", &(mp_manager_options){0}), MP_EINVAL);
}

static void names_of_others(void **state)
{
    char name[64];
    mp_manager *manager, *again;
    mp_lock *lock;
    (void)state;

    snprintf(name, sizeof name, "bad-manager-%ld", (long)getpid());
    REFUSES(mp_manager_open(&out.manager, name, NULL), MP_ENOENT);
    assert_int_equal(mp_manager_create(&manager, &(mp_manager_options){.name = name}), 0);
    REFUSES(mp_manager_create(&out.manager, &(mp_manager_options){.name = name}), MP_EEXIST);
    REFUSES(mp_lock_create(&out.lock, &(mp_lock_options){.name = name}), MP_EKIND);
    REFUSES(mp_lock_open(&out.lock, name, NULL), MP_EKIND);
    REFUSES(mp_lock_unlink(name), MP_EKIND);
    assert_int_equal(mp_manager_open(&again, name, NULL), 0);
    assert_int_equal(mp_manager_free(manager), 0);
    REFUSES(mp_manager_free(manager), MP_EINVAL);
    assert_int_equal(mp_manager_free(again), 0);
    REFUSES(mp_manager_open(&out.manager, name, NULL), MP_ENOENT);
    assert_int_equal(mp_lock_create(&lock, &(mp_lock_options){.name = name}), 0);
    REFUSES(mp_manager_create(&out.manager, &(mp_manager_options){.name = name}), MP_EKIND);
    REFUSES(mp_manager_open(&out.manager, name, NULL), MP_EKIND);
    REFUSES(mp_manager_open_or_create(&out.manager, name, &out.flag, NULL), MP_EKIND);
    REFUSES(mp_manager_unlink(name), MP_EKIND);
    assert_int_equal(mp_lock_free(lock), 0);
    REFUSES(mp_manager_unlink(name), MP_ENOENT);
}

/* A limit is an upper bound: the heap always stays below it, and below the size that can be mapped at all. */
static void limits_of_any_size(void **state)
{
    const size_t limits[] = {1, 4096, SIZE_MAX, SIZE_MAX - 1, SIZE_MAX / 2 + 1};
    (void)state;

    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        mp_manager *manager;
        mp_manager_info info;
        mp_dict *dict;
        int error = mp_manager_create(&manager, &(mp_manager_options){.limit = limits[i]});

        if (error == MP_ENOMEM && limits[i] > 4096)
            continue; /* the system does not give so many addresses */
        HOLDS(error == 0);
        HOLDS(mp_manager_get_info(manager, &info) == 0 && info.size <= info.limit && info.limit <= (size_t)64 << 30);
        HOLDS(limits[i] > 65536 || info.limit == 65536);
        assert_int_equal(mp_manager_root(manager, &dict), 0);
        REFUSES(mp_dict_set_bytes(dict, "x", "x", (size_t)1 << 39), MP_ENOMEM);
        HOLDS(mp_manager_check(manager) == 0);
        assert_int_equal(mp_manager_free(manager), 0);
    }
}

static void freed_and_used(void **state)
{
    mp_manager *manager;
    mp_dict *root, *dict;
    mp_list *list;
    (void)state;

    assert_int_equal(mp_manager_create(&manager, NULL), 0);
    assert_int_equal(mp_manager_root(manager, &root), 0);
    assert_int_equal(mp_manager_dict(manager, &dict), 0);
    assert_int_equal(mp_manager_list(manager, &list), 0);
    REFUSES(mp_dict_free(root), MP_EINVAL);
    assert_int_equal(mp_manager_free(manager), 0);
    refuses_manager(manager);
    REFUSES(mp_dict_set_int(root, "x", 1), MP_EINVAL);
    REFUSES(mp_dict_free(dict), MP_EINVAL);
    REFUSES(mp_list_free(list), MP_EINVAL);
}

static mp_manager *closing;

static int close_the_other(mp_value *value, bool present, void *arg)
{
    (void)value;
    (void)present;
    (void)arg;
    REFUSES(mp_manager_free(stock.manager), MP_EBUSY);
    HOLDS(mp_manager_free(closing) == 0);
    return 1;
}

static int apply_inside(mp_value *value, bool present, void *arg)
{
    mp_dict *root = arg;
    (void)value;
    (void)present;

    HOLDS(mp_dict_apply(root, mp_value_int(1), close_the_other, NULL) == 1);
    REFUSES(mp_manager_free(stock.manager), MP_EBUSY);
    return 1;
}

/* A callback runs inside containers of some managers. A manager without such a container can be closed from inside the
 * callback. */
static void freed_from_inside_apply(void **state)
{
    mp_dict *root;
    (void)state;

    assert_int_equal(mp_manager_create(&closing, NULL), 0);
    assert_int_equal(mp_manager_root(stock.other, &root), 0);
    HOLDS(mp_dict_apply(stock.dict, mp_value_int(1), apply_inside, root) == 1);
    REFUSES(mp_manager_free(closing), MP_EINVAL);
    HOLDS(mp_manager_check(stock.manager) == 0 && mp_manager_check(stock.other) == 0);
}

static int child_frees(void *arg)
{
    (void)arg;
    HOLDS(mp_manager_free(stock.manager) == 0);
    refuses_manager(stock.manager);
    REFUSES(mp_dict_set_int(stock.dict, "a", 2), MP_EINVAL);
    return 0;
}

static void a_child_closes_for_itself_alone(void **state)
{
    int64_t value = 0;
    (void)state;

    in_child(child_frees);
    HOLDS(mp_dict_get_int(stock.dict, "a", &value) == 0 && value == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        REFUSAL(handles_that_are_none), REFUSAL(null_pointers),           REFUSAL(memory_that_is_none),
        REFUSAL(names_that_are_none),   REFUSAL(names_of_others),         REFUSAL(limits_of_any_size),
        REFUSAL(freed_and_used),        REFUSAL(freed_from_inside_apply), REFUSAL(a_child_closes_for_itself_alone),
    };

    return cmocka_run_group_tests(tests, open_stock, close_stock);
}
