/* The step-by-step killer. See crash_killer.c. */
#ifndef KILLER_H
#define KILLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One line of a table: what is there before, and what the victim does to it. */
struct operation {
    const char *name;
    void (*prepare)(void);
    void (*operate)(void);
    void (*also)(void); /* another operation whose outcome is right as well when the victim dies; NULL: none */
    const void *scene;  /* what else its family wants to know */
};

/* What is asked for. */
struct plan {
    size_t points;     /* to kill at, at the most, per operation */
    size_t recoveries; /* recoveries to kill, at the most, per operation */
    long point;        /* just this one; -1: as above */
    long recovery;     /* and this point of the recovery; -1: as above */
    bool stop;         /* the victim is stopped there, not killed, and others read meanwhile */
    bool reuse;        /* it is stopped there; others go on, free and use again, and then it is killed */
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

/* Which of `total` to take when at most `most` are wanted: number i of the choice. Evenly spread, first and last
 * included. */
static inline size_t chosen(size_t i, size_t most, size_t total)
{
    return total <= most ? i : most < 2 ? total / 2 : i * (total - 1) / (most - 1);
}

/* Says what went wrong, and how to see it again. */
void failed(struct tally *tally, const struct operation *operation, size_t point, long recovery, uint64_t pc,
            const char *what);

struct heap;
/* Takes care that there is free memory in the heap, and that all of it is full of 0x4a. */
void make_room_dirty(struct heap *heap);

#endif
