#include "base/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <mp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cancelling.h"
#include "base/clock.h"

/* The kernel does not reuse a pid within this time. Longer than a clock tick, the unit of the times at which processes
 * begin. */
#define BELIEF_NS (20 * MILLISECOND)

/* A file, as a line of /proc/<n>/maps names it from the device on. */
struct mapped_file {
    unsigned major_number, minor_number;
    unsigned long inode;
};

/* Searches the lines of a process's maps file: for the mapping that contains `address`, whose file is stored; or, with
 * a NULL address, for a mapping of *file. 1: found; 0: not there; MP_ESYSTEM: cannot be read. */
static int find_mapping(const char *path, const void *address, struct mapped_file *file)
{
    CANCELLING_FORBIDDEN;
    FILE *maps = fopen(path, "re");
    char *line = NULL;
    size_t size = 0;
    int found = 0;

    if (maps == NULL)
        return MP_ESYSTEM;
    while (found == 0 && getline(&line, &size, maps) > 0) {
        struct mapped_file here;
        unsigned long from, to;

        if (sscanf(line, "%lx-%lx %*s %*s %x:%x %lu", &from, &to, &here.major_number, &here.minor_number,
                   &here.inode) != 5)
            continue;
        if (address == NULL)
            found = here.major_number == file->major_number && here.minor_number == file->minor_number &&
                    here.inode == file->inode;
        else
            found = (uintptr_t)address >= from && (uintptr_t)address < to;
        if (found != 0)
            *file = here;
    }
    if (found == 0 && !feof(maps))
        found = MP_ESYSTEM; /* it may be among the lines that were not read */
    free(line);
    fclose(maps);
    return found;
}

bool thread_shares(pid_t thread, const void *address)
{
    struct mapped_file file;
    char path[40];

    if (kill(thread, 0) != 0 && errno == ESRCH)
        return false;
    snprintf(path, sizeof path, "/proc/%d/maps", (int)thread);
    return find_mapping("/proc/self/maps", address, &file) != 1 || find_mapping(path, NULL, &file) != 0;
}

/* Reads the start of a file in /proc, as a string. False: cannot be read, or empty. */
static bool read_text(const char *path, char *text, size_t size)
{
    CANCELLING_FORBIDDEN;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return false;
    ssize_t got = read(fd, text, size - 1);
    close(fd);
    text[got > 0 ? got : 0] = '\0';
    return got > 0;
}

/* When a process began, in ticks since the system was started: the 22nd word of /proc/<n>/stat. The second word is the
 * program's name in brackets, and may contain anything, so the search begins at the last closing bracket. *state: the
 * third word. */
static bool read_beginning(pid_t pid, unsigned long long *ticks, char *state)
{
    char path[40], text[1024];

    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (!read_text(path, text, sizeof text))
        return false;
    const char *at = strrchr(text, ')');
    *state = at != NULL && at[1] == ' ' ? at[2] : '\0';
    for (int word = 2; word < 22 && at != NULL; word++)
        at = strchr(at + 1, ' ');
    return at != NULL && sscanf(at, "%llu", ticks) == 1;
}

bool thread_began(pid_t thread, uint64_t *ticks, bool *ended)
{
    unsigned long long began;
    char state;

    if (!read_beginning(thread, &began, &state))
        return false;
    *ticks = began;
    *ended = state == 'Z' || state == 'X';
    return true;
}

uint64_t process_tick(void)
{
    long each = sysconf(_SC_CLK_TCK);

    return (uint64_t)SECOND / (uint64_t)(each > 0 ? each : 100);
}

bool process_namespaces(uint64_t inode[2])
{
    struct stat file;

    if (stat("/proc/self/ns/pid", &file) != 0)
        return false;
    inode[0] = file.st_ino;
    inode[1] = stat("/proc/self/ns/time", &file) == 0 ? file.st_ino : 0; /* since 5.6 */
    return true;
}

/* The line NSpid has the process's number in each PID namespace from that of /proc to its own: a single one if they are
 * the same. */
bool process_table_is_own(void)
{
    char text[4096];
    const char *at = read_text("/proc/self/status", text, sizeof text) ? strstr(text, "\nNSpid:") : NULL;
    int first, second;

    return at != NULL && sscanf(at + 7, "%d%*[ \t]%d", &first, &second) == 1;
}

/* False: the process of that number began after `moment` (of clock_boot()), give or take a clock tick, usually a
 * hundredth of a second. True also when the system does not tell. */
static bool process_began_by(pid_t pid, int64_t moment)
{
    long each = sysconf(_SC_CLK_TCK);
    unsigned long long ticks;
    char state;

    return each <= 0 || moment < 0 || !read_beginning(pid, &ticks, &state) ||
           ticks <= (unsigned long long)moment / (unsigned long long)(SECOND / each);
}

bool pid_is_believed(pid_t pid, struct pid_belief *belief)
{
    int64_t now = clock_boot();

    if (now - belief->believed < BELIEF_NS)
        return true;
    if (!process_began_by(pid, belief->began))
        return false;
    belief->believed = now;
    return true;
}
