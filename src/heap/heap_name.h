/* The names of heaps, and the files under them: see heap_name.c. */
#ifndef HEAP_NAME_H
#define HEAP_NAME_H

#include <stdbool.h>
#include <sys/types.h>

#include "heap/heap.h"

/* A name that this process has a share in. All zero: an anonymous heap's. */
struct heap_name {
    char *path;      /* NULL: none */
    char *temporary; /* of a file that had to be made under a name: that name, until it is published; NULL: none */
    void *share;     /* the mapping that holds the share in the file's lock; NULL: given up */
    bool published;  /* others can find it */
    dev_t device;
    ino_t inode;
};

/* Makes a file for a heap of that name, which nobody finds before heap_name_publish(). The descriptor, or an error. */
int heap_name_create(struct heap_name *name, const char *text);
/* Lets others find it. MP_EEXIST when somebody has a heap of that kind and name; MP_EKIND: of another kind, or the file
 * of somebody else's. */
int heap_name_publish(struct heap_name *name, int fd, enum heap_kind kind);
/* Opens what a name leads to, with a share in its lock. The descriptor, or an error. */
int heap_name_open(struct heap_name *name, const char *text);
/* Gives the share up; the last one to do so removes the name. Takes no memory, so it works at the end of the process as
 * well. Waits for a process that is finding out whether the name is stale, at most 0.2 s. Without a share it does
 * nothing. */
void heap_name_leave(struct heap_name *name);
/* The same, and releases what the structure holds. */
void heap_name_free(struct heap_name *name);
/* Opens the file under the name once more, if the name still leads to it. The descriptor, or an error. */
int heap_name_reopen(const struct heap_name *name);
/* Removes a name that leads to a heap of that kind. */
int heap_name_unlink(const char *text, enum heap_kind kind);

#endif
