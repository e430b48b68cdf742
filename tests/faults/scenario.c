#include "scenario.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct part parts[] = {
    {"managers", part_managers, false},
    {"named", part_named, false},
    {"dict", part_dict, false},
    {"list", part_list, false},
    {"growth", part_growth, false},
    {"locks", part_locks, false},
    {"named_locks", part_named_locks, false},
    {"processes", part_processes, false},
    {"threads", part_threads, false},
    {"pool", part_pool, false},
    {"map", part_map, false},
    {"map_in_place", part_map_in_place, false},
    {"workers", part_workers, false},
    {"pool_ends", part_pool_ends, false},
    {"exit", part_exit, true},
};
const int part_count = sizeof parts / sizeof *parts;

static struct {
    mp_manager *manager;
    mp_dict *dict;
    char *before;
} watched;

void watch(mp_manager *manager, mp_dict *dict)
{
    free(watched.before);
    watched.before = NULL;
    watched.manager = manager;
    watched.dict = dict;
}

static char *content(void)
{
    char *text;
    int error = mp_dict_json(watched.dict, &text);

    if (error != 0)
        give_up(__FILE__, __LINE__, "mp_dict_json", "while nothing failed", error);
    return text;
}

void remember(void)
{
    if (watched.dict == NULL)
        return;
    fault_pause();
    free(watched.before);
    watched.before = content();
    fault_resume();
}

void give_up(const char *file, int line, const char *call, const char *what, int error)
{
    complain_at(file, line, "%s %s: %s", call, what, mp_strerror(error));
    _exit(1);
}

static bool is_allowed(int error, int allowed)
{
    const struct {
        int code, bit;
    } known[] = {
        {MP_ENOMEM, NOMEM}, {MP_EAGAIN, AGAIN}, {MP_ESYSTEM, SYSTEM}, {MP_EACCESS, ACCESS}, {MP_EEXIST, EXISTS}};

    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (known[i].code == error)
            return (allowed & known[i].bit) != 0;
    }
    return false;
}

void refused(const char *file, int line, const char *call, int error, int allowed)
{
    fault_pause();
    if (atomic_load(&control->failed) == 0)
        give_up(file, line, call, "failed though nothing was made to fail", error);
    if (!is_allowed(error, allowed))
        give_up(file, line, call, "failed with an error that is not documented", error);
    atomic_store(&control->noticed, 1);
    if (watched.dict != NULL) {
        int sound = mp_manager_check(watched.manager);
        if (sound != 0)
            give_up(file, line, call, "left the manager unsound", sound);
        char *now = content();
        if (strcmp(now, watched.before) != 0)
            give_up(file, line, call, "failed and changed the content", error);
        free(now);
    }
    fault_resume();
}

const char *run_name(const char *suffix)
{
    static char name[64];

    snprintf(name, sizeof name, "faults-%d-%s", (int)getppid(), suffix);
    return name;
}
