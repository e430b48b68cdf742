/* supervise PROGRAM ARGUMENT...: runs a test, and ends with its status. Kills all processes that a failed or crashed
 * test has left running: they would hold the test's output open, so that ctest waits for them, and leftovers.sh would
 * blame them on other tests. What a test that passed has left stays, for leftovers.sh to find. */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

#define PATIENCE 10000 /* milliseconds */

static volatile sig_atomic_t test;

static void hand_on(int number)
{
    if (test > 0)
        kill((pid_t)test, number);
}

static void kill_children(void)
{
    DIR *directory = opendir("/proc");
    struct dirent *entry;

    while (directory != NULL && (entry = readdir(directory)) != NULL) {
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' && parent_of(entry->d_name) == getpid())
            kill((pid_t)atoi(entry->d_name), SIGKILL);
    }
    if (directory != NULL)
        closedir(directory);
}

/* An orphan becomes a child of this process, so in the end all descendants are its children. */
static void end_all(void)
{
    for (int i = 0; i < PATIENCE; i++) {
        pid_t found;

        kill_children();
        while ((found = waitpid(-1, NULL, WNOHANG)) > 0)
            ;
        if (found < 0 && errno == ECHILD)
            return;
        pause_us(1000);
    }
}

static int end_as(int status)
{
    if (!WIFSIGNALED(status))
        return WEXITSTATUS(status);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    signal(WTERMSIG(status), SIG_DFL);
    raise(WTERMSIG(status));
    return 1;
}

int main(int argc, char **argv)
{
    int status = 0;
    pid_t ended;

    if (argc < 2)
        return 2;
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* sent when ctest is killed */
    signal(SIGINT, hand_on);
    signal(SIGTERM, hand_on);
    signal(SIGHUP, hand_on);
    test = fork();
    if (test == 0) {
        execvp(argv[1], argv + 1);
        perror(argv[1]);
        _exit(127);
    }
    do {
        ended = waitpid(-1, &status, 0);
    } while (ended != (pid_t)test && (ended > 0 || errno == EINTR));
    if (ended < 0)
        return 2;
    test = 0;
    if (status != 0)
        end_all();
    return end_as(status);
}
