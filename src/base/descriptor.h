/* Descriptors of the library's own, which the program may close at any time. */
#ifndef DESCRIPTOR_H
#define DESCRIPTOR_H

#include <sys/stat.h>

/* A descriptor and the file it refers to: the program may have closed it and reused its number for another file. */
struct descriptor {
    int fd; /* -1: none */
    dev_t device;
    ino_t inode;
};

/* Records a descriptor that was just opened; none if fd is negative. */
struct descriptor descriptor_of(int fd);
/* Closes it, if it still leads to that file. */
void descriptor_close(struct descriptor *descriptor);
/* Moves a descriptor of the library's out of the way of the standard descriptors. The program may have closed those,
 * and would take this one for its own: its output would go there. Takes over `fd`. Returns a descriptor of the same
 * open file description that is 3 or more and close-on-exec; that is `fd` itself if it is 3 or more. MP_EAGAIN: there
 * is no descriptor left; fd is closed, and errno set. For a negative fd: MP_ESYSTEM, errno unchanged. */
int descriptor_move_up(int fd);

#endif
