/* The step-by-step killer. See crash_killer.c. */
#ifndef KILLER_H
#define KILLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One line of a table: the preparation, and what the victim does. */
struct operation {
    const char *name;
    void (*prepare)(void);
    void (*operate)(void);
    void (*also)(void); /* another operation whose outcome is also right when the victim dies; NULL: none */
    const void *scene;  /* further data for the family */
};

/* The choice of points and recoveries, from the command line. */
struct plan {
    size_t points;     /* the most points to kill at, per operation */
    size_t recoveries; /* the most recoveries to kill, per operation */
    long point;        /* only this point; -1: as above */
    long recovery;     /* and only this point of the recovery; -1: as above */
    bool stop;         /* the victim is stopped there, not killed, and others read meanwhile */
    bool reuse;        /* it is stopped there; others go on, free and use memory again; then it is killed */
    bool dirty;        /* free memory is not zeros */
};

struct tally {
    size_t points, killed, stepped, recoveries, waiters, failures;
    double longest; /* call of a reader beside a stopped victim, in seconds */
    char call[80];
};

/* A family of operations, and how they are run. */
struct family {
    const struct operation *operation;
    size_t count;
    void (*run)(const struct operation *operation, const struct plan *plan, struct tally *tally);
};

extern const struct family dict_family, list_family, hold_family, heap_family, lock_family, named_family, memory_family,
    pool_family;

/* Item number i when at most `most` of `total` items are chosen: evenly spread, with the first and the last. */
static inline size_t chosen(size_t i, size_t most, size_t total)
{
    return total <= most ? i : most < 2 ? total / 2 : i * (total - 1) / (most - 1);
}

/* Prints what went wrong, and how to repeat it. */
void failed(struct tally *tally, const struct operation *operation, size_t point, long recovery, uint64_t pc,
            const char *what);

struct heap;
/* Makes sure that the heap has free memory, and fills all of it with 0x4a. */
void make_room_dirty(struct heap *heap);

#endif
