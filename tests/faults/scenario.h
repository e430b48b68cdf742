/* The scenario: everything the library can do, in parts. Each part is run in a process of its own. When a call fails,
 * the part checks that the error is a documented one and that nothing has changed. Then it repeats the call, which must
 * succeed. */
#ifndef SCENARIO_H
#define SCENARIO_H

#include <mp.h>
#include <stdbool.h>

#include "control.h"
#include "storm.h"

struct part {
    const char *name;
    void (*run)(void);
    bool goes_on; /* the part includes the end of its process */
};

extern const struct part parts[];
extern const int part_count;

/* The errors that a call may give. */
enum {
    NOTHING = 0,
    NOMEM = 1, /* MP_ENOMEM */
    AGAIN = 2, /* MP_EAGAIN */
    SYSTEM = 4,
    ACCESS = 8,
    EXISTS = 16,
};

#define TRY(call, allowed) TRY_CODE(0, call, allowed)
/* Like TRY(), for a call that has to return `code` instead of 0. */
#define TRY_CODE(code, call, allowed) \
    do { \
        remember(); \
        int result_ = (call); \
        if (result_ != (code)) { \
            refused(__FILE__, __LINE__, #call, result_, allowed); \
            result_ = (call); \
            if (result_ != (code)) \
                give_up(__FILE__, __LINE__, #call, "again", result_); \
        } \
    } while (0)
#define CHECK(condition) \
    do { \
        if (!(condition)) \
            give_up(__FILE__, __LINE__, #condition, "is not so", 0); \
    } while (0)

/* From here on every failed call is checked: it must not have changed the dict. NULL: no longer. */
void watch(mp_manager *manager, mp_dict *dict);
void remember(void);
void refused(const char *file, int line, const char *call, int error, int allowed);
_Noreturn void give_up(const char *file, int line, const char *call, const char *what, int error);
/* A name for this run's named objects. */
const char *run_name(const char *suffix);

void part_managers(void);
void part_named(void);
void part_dict(void);
void part_list(void);
void part_growth(void);
void part_locks(void);
void part_named_locks(void);
void part_processes(void);
void part_threads(void);
void part_pool(void);
void part_map(void);
void part_map_in_place(void);
void part_workers(void);
void part_pool_ends(void);
void part_exit(void);

#endif
