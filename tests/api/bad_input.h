/* Shared by the tests of bad input: calls that must be refused, and addresses that are not a live handle of a kind. */
#ifndef BAD_INPUT_H
#define BAD_INPUT_H

#include <mp.h>

/* Out-parameters of refused calls. refuses() checks that no call has touched any of them. */
struct out {
    bool flag;
    int code;
    pid_t pid;
    int64_t integer;
    double real;
    size_t size;
    char text[64];
    void *pointer;
    mp_value value, key;
    mp_manager *manager;
    mp_dict *dict;
    mp_list *list;
    mp_dict_iter *dict_iter;
    mp_list_iter *list_iter;
    mp_lock *lock;
    mp_process *process;
    mp_pool *pool;
    mp_result *result;
    mp_manager_info info;
};
extern struct out out;

/* The call must return `code` and leave `out` as it is. A call that does not is named on stderr and counted in
 * `failures`. So this works in child processes too, and one run names all failures. */
#define REFUSES(call, code) refuses(call, code, #call, __FILE__, __LINE__)
void refuses(int got, int code, const char *call, const char *file, int line);
/* Like REFUSES(), for any condition. */
#define HOLDS(condition) holds(condition, #condition, __FILE__, __LINE__)
void holds(bool condition, const char *text, const char *file, int line);
extern int failures;

/* A test of refusals, with setup and teardown, which require that nothing has failed. */
#define REFUSAL(test) cmocka_unit_test_setup_teardown(test, begin_refusals, end_refusals)
int begin_refusals(void **state);
int end_refusals(void **state);
/* Runs a function in a forked process. A failure there is a failure here. */
void in_child(mp_process_function *function);

/* A live handle of each kind. */
struct stock {
    mp_manager *manager, *other;
    mp_dict *dict, *foreign_dict; /* dict: {"a": 1, "s": "text"}; the foreign ones belong to `other` */
    mp_list *list, *foreign_list; /* list: [1, "text"] */
    mp_dict_iter *dict_iter;
    mp_list_iter *list_iter;
    mp_lock *lock;
    mp_process *process; /* waits until it is killed */
    mp_pool *pool;
    mp_result *result; /* of a task that has ended, 4 bytes */
};
extern struct stock stock;

/* Group setup and teardown: make the stock; free it and check for leaks. */
int open_stock(void **state);
int close_stock(void **state);

enum kind { MANAGER, DICT, LIST, DICT_ITER, LIST_ITER, LOCK, PROCESS, POOL, RESULT, KINDS };

/* Calls visit() with each address except NULL that is not a live handle of that kind: live handles of other kinds,
 * freed handles, handles of closed managers and freed pools, misaligned addresses, zeroed memory, the inside of live
 * objects. In the worker of a pool, also live handles that are younger than the worker. */
void each_bad_handle(enum kind kind, void (*visit)(void *handle));

#endif
