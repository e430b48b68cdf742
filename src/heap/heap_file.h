/* The heaps that this process has open: their files, descriptors and mappings. */
#ifndef HEAP_FILE_H
#define HEAP_FILE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "heap/heap_layout.h"
#include "heap/heap_name.h"

#define HEAP_ON_VALGRIND (UINT64_C(1) << 26) /* the most to map there */

/* Maps *length bytes of the file; with `shrink`, fewer where the system does not give so many addresses, and stores how
 * many. From then on the heap is open. Takes over fd and what `name` owns, also when it fails. */
int heap_file_map(struct heap **heap, int fd, struct heap_name *name, uint64_t *length, bool shrink);
/* Lets other programs open a named heap. MP_EEXIST: there is one of that name already. Does nothing to an anonymous
 * heap. */
int heap_publish(struct heap *heap);
/* Closes the heap in this process. The addresses that were in use in it read as zeros from now on, until they are
 * reused (heap_retired.h). The last process that closes a named heap removes the name. */
int heap_close(struct heap *heap);
/* Gives up this process's shares in all names. Called at the end of the process, which may still use its heaps. */
void heap_leave_names(void);
/* The heap of that kind, open in this process, whose mapping contains the address; NULL: none. *serial (unless NULL):
 * its number among all heaps that this process, and those it was forked from, have opened. */
struct heap *heap_around(const void *address, enum heap_kind kind, uint64_t *serial);
/* The file under a heap that this process has open. */
struct heap_file {
    uint64_t serial; /* as above */
    uint64_t length; /* bytes mapped */
    dev_t device;
    ino_t inode;
    int fd; /* this process's, as long as the heap is open */
};
/* Whether a descriptor with this status leads to that file: the program may have closed the library's descriptor and
 * opened something else under its number. */
static inline bool heap_file_is(const struct heap_file *file, const struct stat *status)
{
    return status->st_dev == file->device && status->st_ino == file->inode;
}
/* Like heap_around(), but stores all that is known of the file. */
struct heap *heap_find(const void *address, enum heap_kind kind, struct heap_file *file);
/* Maps the file of a heap that another process has open under the descriptor file->fd; at `near`, if that is free. The
 * caller unmaps the mapping and closes the descriptor (close-on-exec). It is no open heap of this process, and has no
 * share in the name. NULL:
 * - this process may not look into the other one,
 * - it lacks descriptors, mappings or addresses, or
 * - the file is gone. */
void *heap_borrow(pid_t process, const struct heap_file *file, void *near, int *fd);
/* Has the function called after each heap_close() in this process, with no lock held. There is one function, the last
 * one that was given. */
void heap_when_closed(void (*function)(uint64_t serial));
/* Calls visit() with each heap that this process has open, until visit() returns true. No heap is opened or closed
 * meanwhile, and visit() must not do so either. */
typedef bool heap_visitor(const struct heap *heap, void *context);
void heap_each_open(heap_visitor *visit, void *context);
/* 0; or MP_EINVAL: it is not the address of a heap of that kind that this process has open. */
int heap_check_handle(const struct heap *heap, enum heap_kind kind);
/* Opens the heap's file once more, with an open file description of its own, close-on-exec. -1: failed. */
int heap_reopen(const struct heap *heap);
/* Closes such a descriptor, if it still leads to the heap's file: the program may have closed it and opened another
 * file under its number. */
void heap_close_reopened(const struct heap *heap, int fd);
/* Stores in *locked whether that byte of the heap's file is locked through an open file description other than the one
 * that all processes share. False: the system does not tell. */
bool heap_byte_locked(const struct heap *heap, uint64_t byte, bool *locked);

/* Reserves bytes [from, to) of the heap's file for good. MP_ENOMEM, MP_ESYSTEM (this process has lost the file). */
int heap_file_reserve(const struct heap *heap, uint64_t from, uint64_t to);
/* Gives the whole pages in [from, to) back to the system. */
void heap_file_punch(const struct heap *heap, uint64_t from, uint64_t to);
/* Whether a process that touches a page that was given back can count on a new one: not in a file system with a size of
 * its own. */
bool heap_file_holes_are_safe(const struct heap *heap);

#endif
