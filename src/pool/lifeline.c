#include "pool/lifeline.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/descriptor.h"
#include "base/this_process.h"

/* This process's own. */
static struct {
    pid_t supervisor; /* its pid: in the supervisor and in its workers */
    int pipe[2];      /* in the supervisor both ends, in a worker one read end of its own; -1: none */
    dev_t device;
    ino_t inode;
} self;

void lifeline_make(void)
{
    struct stat file;

    self.supervisor = getpid();
    self.pipe[0] = self.pipe[1] = -1;
    if (pipe2(self.pipe, O_CLOEXEC) != 0)
        return;
    for (int i = 0; i < 2; i++)
        self.pipe[i] = descriptor_move_up(self.pipe[i]);
    if (self.pipe[0] >= 0 && self.pipe[1] >= 0 && fstat(self.pipe[0], &file) == 0) {
        self.device = file.st_dev;
        self.inode = file.st_ino;
        return;
    }
    close_end(&self.pipe[0]);
    close_end(&self.pipe[1]);
}

/* The read end is opened anew, not inherited: each open file description has one receiver of its signal. */
void lifeline_take(void)
{
    char path[40];

    close_end(&self.pipe[1]);
    if (self.pipe[0] < 0)
        return;
    snprintf(path, sizeof path, "/proc/self/fd/%d", self.pipe[0]);
    int fd = descriptor_move_up(open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    close_end(&self.pipe[0]);
    if (fd < 0)
        return;
    self.pipe[0] = fd;
    if (hangup_signal_prepare(fd, SIGKILL) != 0 || hangup_signal_take(fd) != 0)
        close_end(&self.pipe[0]);
}

/* Whether the descriptor still leads to the pipe: a task may have closed it and opened something else. */
static bool has_pipe(void)
{
    struct stat file;

    return self.pipe[0] >= 0 && fstat(self.pipe[0], &file) == 0 && file.st_dev == self.device &&
           file.st_ino == self.inode;
}

void lifeline_renew(void)
{
    if (death_signal_holds(SIGKILL)) /* credentials are unchanged, so the pipe's signal holds too */
        return;
    death_signal(SIGKILL);
    if (has_pipe())
        hangup_signal_take(self.pipe[0]); /* with the rights of the current user */
    pid_t parent = getppid();
    if (parent >= 0 && parent != self.supervisor) /* the call may be refused */
        _exit(1);
}
