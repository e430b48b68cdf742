/* The fixture of tests of containers: a manager with an empty dict and an empty list. Each test must leave a sound
 * heap. */
#ifndef MANAGER_FIXTURE_H
#define MANAGER_FIXTURE_H

#include <mp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static mp_manager *manager;
static mp_dict *dict;
static mp_list *list;

static inline int make_manager(void **state)
{
    (void)state;
    return mp_manager_create(&manager, NULL) != 0 || mp_manager_dict(manager, &dict) != 0 ||
           mp_manager_list(manager, &list) != 0;
}

static inline int drop_manager(void **state)
{
    (void)state;
    return mp_manager_check(manager) != 0 || mp_manager_free(manager) != 0;
}

/* A test that needs nothing else. */
#define MANAGED(test) cmocka_unit_test_setup_teardown(test, make_manager, drop_manager)

/* The bytes that are in use in the manager. */
static inline size_t used(void)
{
    mp_manager_info info;

    assert_int_equal(mp_manager_get_info(manager, &info), 0);
    return info.used;
}

/* Joins and frees a process. Its exit code. */
static inline int exit_code(mp_process *process)
{
    int code;

    assert_int_equal(mp_process_join(process, 250), 0);
    assert_int_equal(mp_process_exitcode(process, &code), 0);
    assert_int_equal(mp_process_free(process), 0);
    return code;
}

#endif
