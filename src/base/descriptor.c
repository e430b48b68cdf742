#include "base/descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <mp.h>
#include <stddef.h>
#include <unistd.h>

#include "base/cancelling.h"
#include "base/error.h"

struct descriptor descriptor_of(int fd)
{
    struct descriptor descriptor = {.fd = fd < 0 ? -1 : fd};
    struct stat file;

    if (fd >= 0 && fstat(fd, &file) == 0) {
        descriptor.device = file.st_dev;
        descriptor.inode = file.st_ino;
    }
    return descriptor;
}

void descriptor_close(struct descriptor *descriptor)
{
    struct stat file;

    if (descriptor->fd < 0)
        return;
    CANCELLING_FORBIDDEN;
    /* If fstat() is refused, or was when the descriptor was opened, it most likely still is ours. */
    if (fstat(descriptor->fd, &file) != 0
            ? errno != EBADF
            : descriptor->inode == 0 || (file.st_dev == descriptor->device && file.st_ino == descriptor->inode))
        close(descriptor->fd);
    descriptor->fd = -1;
}

int descriptor_move_up(int fd)
{
    if (fd < 0)
        return MP_ESYSTEM;
    if (fd > STDERR_FILENO) {
        int flags = fcntl(fd, F_GETFD);

        if (flags >= 0 && (flags & FD_CLOEXEC) == 0)
            fcntl(fd, F_SETFD, flags | FD_CLOEXEC);
        return fd;
    }
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    int number = errno;
    close(fd);
    errno = number;
    if (moved >= 0)
        return moved;
    /* EINVAL: RLIMIT_NOFILE does not allow a descriptor that high. */
    return number == EINVAL ? MP_EAGAIN : system_error(number);
}
