/* What the tests of bad input share: calls that must be refused, and addresses that are no live handle of a kind. */
#ifndef BAD_INPUT_H
#define BAD_INPUT_H

#include <mp.h>

/* Out-parameters of refused calls: refuses() looks that no call has touched any of them. */
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

/* The call must return `code` and leave `out` as it is. What does not is named on stderr and counted in `failures`: so
 * it works in child processes too, and one run names all. */
#define REFUSES(call, code) refuses(call, code, #call, __FILE__, __LINE__)
void refuses(int got, int code, const char *call, const char *file, int line);
/* The same for any condition. */
#define HOLDS(condition) holds(condition, #condition, __FILE__, __LINE__)
void holds(bool condition, const char *text, const char *file, int line);
extern int failures;

/* A test of refusals; its setup and teardown: nothing has failed. */
#define REFUSAL(test) cmocka_unit_test_setup_teardown(test, begin_refusals, end_refusals)
int begin_refusals(void **state);
int end_refusals(void **state);
/* Runs a function in a forked process; what fails there is a failure here. */
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

/* Group setup and teardown: makes the stock; drops it and looks for leaks. */
int open_stock(void **state);
int close_stock(void **state);

enum kind { MANAGER, DICT, LIST, DICT_ITER, LIST_ITER, LOCK, PROCESS, POOL, RESULT, KINDS };

/* Calls visit() with each address that is no live handle of that kind, NULL excepted: live ones of other kinds, freed
 * ones, those of closed managers and freed pools, misaligned ones, zeroed memory, the inside of live ones; and, in the
 * worker of a pool, live ones that are younger than it. */
void each_bad_handle(enum kind kind, void (*visit)(void *handle));

#endif
