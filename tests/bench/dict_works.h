/* The works of dicts, the same for each system: a million keys of 16 bytes with 8-byte integers as values, reached in
 * random order. A program describes its system as a struct store and calls dict_works() with it.
 *
 * Each system is used as its own manual advises for this use, with the settings that make it fast and keep each
 * operation atomic for the others; its program says how. No store has to survive a crash of the machine. */
#ifndef DICT_WORKS_H
#define DICT_WORKS_H

#include "bench.h"

#define KEY_LENGTH 16 /* bytes of a key; a NUL follows */
#define KEY_SIZE (KEY_LENGTH + 1)

#ifdef __cplusplus
extern "C" {
#endif

/* One store of one system. The program decides what it consists of. A function that is NULL is not supported, and its
 * works are left out. Functions that fail end the program. */
struct store {
    const char *system;
    bool threads; /* lives in the memory of one process: its works use threads instead of processes */
    bool alone;   /* cannot be shared at all: only works of one process */
    size_t part;  /* slow: does one operation where others do that many */
    size_t most;  /* the most entries that sweeps insert */
    bool grows;   /* fast enough to grow to ten million entries in a work, and moves memory when it grows */

    void (*make)(size_t entries); /* an empty store, for at most that many entries */
    void (*end)(void);
    void (*enter)(void); /* called in a process that was forked after make(), before it uses the store */
    void (*leave)(void);
    void (*set)(const char *key, int64_t value);
    int64_t (*get)(const char *key); /* of an existing key */
    void (*add)(const char *key, int64_t delta);
    size_t (*iterate)(void); /* reads each key and value; returns the number of entries */
    size_t (*memory)(void);  /* bytes in use, for entries and their management */
    void (*fill)(size_t first,
                 size_t count); /* inserts the keys from number `first` on, with their numbers, many in one step */
};

void dict_works(const struct store *store);

/* Writes key number `number`: random, but the same for each system. */
void dict_key(size_t number, char key[KEY_SIZE]);

#ifdef __cplusplus
}
#endif

#endif
