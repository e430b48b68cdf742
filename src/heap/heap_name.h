/* The names of heaps, and the files under them: see heap_name.c. */
#ifndef HEAP_NAME_H
#define HEAP_NAME_H

#include <stdbool.h>
#include <sys/types.h>

#include "heap/heap_layout.h"

/* A name that this process has a share in. All zero for an anonymous heap. */
struct heap_name {
    char *path;      /* NULL: none */
    char *temporary; /* the name under which the file had to be made, until it is published; NULL: none */
    void *share;     /* the mapping that holds the share (a shared flock); NULL: given up */
    bool published;  /* other processes can find it */
    dev_t device;
    ino_t inode;
};

/* Makes a file for a heap of that name. No process finds it before heap_name_publish(). The descriptor, or an error. */
int heap_name_create(struct heap_name *name, const char *text);
/* Lets other processes find it. MP_EEXIST: there is a heap of that kind and name. MP_EKIND: there is a heap of another
 * kind, or another file. */
int heap_name_publish(struct heap_name *name, int fd, enum heap_kind kind);
/* Opens the file that a name leads to, and takes a share in it. The descriptor, or an error. */
int heap_name_open(struct heap_name *name, const char *text);
/* Gives up the share; the last process to do so removes the name. Allocates no memory, so it also works at the end of
 * the process. If another process is finding out whether the name is stale, waits for that, at most 0.2 s. Does nothing
 * without a share. */
void heap_name_leave(struct heap_name *name);
/* Like heap_name_leave(), and releases what the structure owns. */
void heap_name_free(struct heap_name *name);
/* Opens the file under the name once more, if the name still leads to it. The descriptor, or an error. */
int heap_name_reopen(const struct heap_name *name);
/* Removes a name that leads to a heap of that kind. Processes that have the heap open keep it. */
int heap_unlink(enum heap_kind kind, const char *name);

#endif
