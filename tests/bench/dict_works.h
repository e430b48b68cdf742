/* The works of dicts, the same for each system: a million keys of 16 bytes with 8-byte integers as values, reached in
 * random order. A program describes its system as a struct store and calls dict_works() with it.
 *
 * Each system is used as its own manual advises for this use, with what makes it fast and keeps each operation atomic
 * for the others; its program says how. No store has to survive a crash of the machine. */
#ifndef DICT_WORKS_H
#define DICT_WORKS_H

#include "bench.h"

#define KEY_LENGTH 16 /* bytes of a key; a NUL follows */
#define KEY_SIZE (KEY_LENGTH + 1)

#ifdef __cplusplus
extern "C" {
#endif

/* One store of one system; what it is made of is the program's own. NULL: it cannot do that, and the works are left
 * out. Functions that fail end the program. */
struct store {
    const char *system;
    bool threads; /* lives in the memory of one process: what others do by processes it does by threads */
    bool alone;   /* cannot be shared at all: only works of one process */
    size_t part;  /* slow: does one operation where others do so many */
    size_t most;  /* entries that sweeps put in at the most */
    bool grows;   /* fast enough to grow to ten million entries in a work, and some memory moves when it does */

    void (*make)(size_t entries); /* an empty store, that will hold so many at the most */
    void (*end)(void);
    void (*enter)(void); /* what a process does that was forked after make(), before it uses the store */
    void (*leave)(void);
    void (*set)(const char *key, int64_t value);
    int64_t (*get)(const char *key); /* of a key that is there */
    void (*add)(const char *key, int64_t delta);
    size_t (*iterate)(void); /* looks at each key and value; the number of entries */
    size_t (*memory)(void);  /* bytes in use, for entries and to manage them */
    void (*fill)(size_t first,
                 size_t count); /* inserts keys number `first` and following with their numbers, many in one step */
};

void dict_works(const struct store *store);

/* Writes key number `number`: random, but the same for each system. */
void dict_key(size_t number, char key[KEY_SIZE]);

#ifdef __cplusplus
}
#endif

#endif
