/* The scene of dicts and lists: a manager with some of each. */
#ifndef CONTAINERS_H
#define CONTAINERS_H

#include <mp.h>

#include "heap_killer.h"

struct containers {
    mp_manager *manager;
    mp_dict *dict, *other;
    mp_list *list, *more;
};

extern struct containers scene;
extern const struct scene containers_scene;

/* For an operation of a test that must not fail. */
#define OK(call) must((call), #call)
void must(int error, const char *call);
/* Makes objects until no spare object is left: the next object that is made needs new places. */
void use_up_places(void);
/* stops.c: reads all that the scene holds, as a process beside a stopped writer does. */
void read_containers(void);
/* A string of `length` characters. */
const char *text_of(size_t length);

#endif
