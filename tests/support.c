#include "support.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

void pause_us(long microseconds)
{
    nanosleep(&(struct timespec){microseconds / 1000000, microseconds % 1000000 * 1000}, NULL);
}

bool wait_until(bool (*cond)(void *), void *arg, double seconds)
{
    double end = now() + seconds;

    while (!cond(arg)) {
        if (now() > end)
            return false;
        pause_us(500);
    }
    return true;
}

static int count_names(const char *folder, const char *prefix, const char *part)
{
    DIR *directory = opendir(folder);
    struct dirent *entry;
    int count = 0;

    if (directory == NULL)
        return 0;
    while ((entry = readdir(directory)) != NULL)
        count += entry->d_name[0] != '.' && strncmp(entry->d_name, prefix, strlen(prefix)) == 0 &&
                 strstr(entry->d_name, part) != NULL;
    closedir(directory);
    return count;
}

bool reaches(_Atomic int *word, int number, double seconds)
{
    double end = now() + seconds;

    for (int looks = 0; atomic_load(word) < number; looks++) {
        if (now() > end)
            return false;
        if (looks < 1000)
            sched_yield();
        else
            pause_us(100);
    }
    return true;
}

bool is_set(void *flag)
{
    return atomic_load((atomic_int *)flag) != 0;
}

void *shared_memory(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    MUST(memory != MAP_FAILED);
    return memory;
}

void must_failed(const char *condition, const char *file, int line)
{
    dprintf(2, "%s:%d: not so in process %d: %s (errno %d)\n", file, line, (int)getpid(), condition, errno);
    _exit(99);
}

int count_descriptors(void)
{
    return count_names("/proc/self/fd", "", "");
}

int count_shared_files(void)
{
    char prefix[64], pid[32];

    snprintf(prefix, sizeof prefix, "libmp-%lu-", (unsigned long)geteuid());
    snprintf(pid, sizeof pid, "-%d", (int)getpid());
    return count_names("/dev/shm", prefix, pid);
}

pid_t parent_of(const char *pid)
{
    char path[300], line[512];
    int parent = -1; /* the fourth field */
    FILE *file;

    snprintf(path, sizeof path, "/proc/%s/stat", pid);
    file = fopen(path, "r");
    if (file == NULL)
        return -1;
    char *end = fgets(line, sizeof line, file) != NULL ? strrchr(line, ')') : NULL;
    if (end != NULL && sscanf(end + 1, " %*c %d", &parent) != 1)
        parent = -1;
    fclose(file);
    return parent;
}

int count_children(void)
{
    DIR *directory = opendir("/proc");
    struct dirent *entry;
    int count = 0;

    if (directory == NULL)
        return 0;
    while ((entry = readdir(directory)) != NULL) {
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' && parent_of(entry->d_name) == getpid())
            count++;
    }
    closedir(directory);
    return count;
}

bool nobody_left(void *unused)
{
    (void)unused;
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
    return count_children() == 0;
}

bool process_gone(pid_t pid)
{
    return kill(pid, 0) != 0 && errno == ESRCH;
}

char process_state(pid_t pid)
{
    char path[64], state;

    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return 'X';
    if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
        state = 'X';
    fclose(file);
    return state;
}

bool process_ended(pid_t pid)
{
    char state = process_state(pid);

    return state == 'X' || state == 'Z';
}

bool is_gone(void *pid)
{
    return process_gone(*(pid_t *)pid);
}

bool is_asleep(void *pid)
{
    return process_state(*(pid_t *)pid) == 'S';
}

int square(const void *arg, void *result)
{
    int x = *(const int *)arg;

    *(int *)result = x * x;
    return 0;
}

int do_nothing(void *unused)
{
    (void)unused;
    return 0;
}

int end_of(pid_t pid)
{
    int status;

    if (waitpid(pid, &status, 0) != pid)
        return INT_MIN;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

struct counts {
    int descriptors, children, shared_files;
};

static struct counts before;

static bool as_before(void *arg)
{
    (void)arg;
    return count_descriptors() <= before.descriptors && count_children() <= before.children &&
           count_shared_files() <= before.shared_files;
}

int leak_check_begin(void **state)
{
    (void)state;
    before = (struct counts){count_descriptors(), count_children(), count_shared_files()};
    return 0;
}

int leak_check_end(void **state)
{
    (void)state;
    if (wait_until(as_before, NULL, 5))
        return 0;
    fprintf(stderr, "leak: descriptors %d -> %d, children %d -> %d, shared files %d -> %d\n", before.descriptors,
            count_descriptors(), before.children, count_children(), before.shared_files, count_shared_files());
    return 1;
}
