/* How many CPUs there are, and how many of them this process may use.
 *
 * The quota of a control group binds all groups below it. So the smallest quota counts, of the process's own group and
 * all groups above it, up to the one where the hierarchy is mounted. /proc/self/cgroup tells the group in each
 * hierarchy ("0::/a/b" for version 2, "4:cpu,cpuacct:/a/b" for version 1, both on hybrid systems). /proc/self/mountinfo
 * tells where the hierarchy is mounted, and which of its groups is at the mount point (in a container often not its
 * root). What cannot be read or understood limits nothing.
 *
 * All is read anew each time, as affinity and quota may change. The one exception is cpus_usable_lately(). */
#include "base/cpu.h"

#include <errno.h>
#include <limits.h>
#include <mp.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cancelling.h"
#include "base/clock.h"

#define LATELY_NS SECOND

/* Paths, allocated as they are too large for small stacks. */
struct paths {
    char top[PATH_MAX], point[PATH_MAX], mount[PATH_MAX], folder[PATH_MAX], file[PATH_MAX + 64];
};

/* One hierarchy as /proc/self/cgroup names it. */
struct hierarchy {
    bool unified; /* version 2 */
    char *group;
    struct paths *paths;
};

static int smaller(int a, int b)
{
    return a < b ? a : b;
}

/* Reads the start of a small file as a string. False: cannot be read, or empty. */
static bool read_text(const char *path, char *text, size_t size)
{
    CANCELLING_FORBIDDEN;
    FILE *file = fopen(path, "re");

    if (file == NULL)
        return false;
    size_t length = fread(text, 1, size - 1, file);
    fclose(file);
    text[length] = '\0';
    return length > 0;
}

/* ---- quotas ---- */

static int quota_cpus(long long quota, long long period)
{
    long long cpus;

    if (quota <= 0 || period <= 0)
        return INT_MAX;
    cpus = quota / period + (quota % period != 0);
    return cpus < INT_MAX ? (int)cpus : INT_MAX;
}

static bool read_in_folder(struct paths *paths, const char *name, char *text, size_t size)
{
    snprintf(paths->file, sizeof paths->file, "%s/%s", paths->folder, name);
    return read_text(paths->file, text, size);
}

static bool read_number(struct paths *paths, const char *name, long long *number)
{
    char text[64], *end;

    if (!read_in_folder(paths, name, text, sizeof text))
        return false;
    *number = strtoll(text, &end, 10);
    return end != text;
}

/* How many CPUs the quota of the group in paths->folder allows. */
static int group_cpus(struct paths *paths, bool unified)
{
    char text[64];
    long long quota, period;

    if (!unified) {
        bool known = read_number(paths, "cpu.cfs_quota_us", &quota) && read_number(paths, "cpu.cfs_period_us", &period);

        return known ? quota_cpus(quota, period) : INT_MAX;
    }
    if (!read_in_folder(paths, "cpu.max", text, sizeof text) || sscanf(text, "%lld %lld", &quota, &period) != 2)
        return INT_MAX; /* also "max 100000" */
    return quota_cpus(quota, period);
}

/* How many CPUs are allowed by a group below the mount point in paths->mount and by all groups above it. */
static int chain_cpus(struct paths *paths, const char *group, bool unified)
{
    size_t shortest = strlen(paths->mount), length = strlen(group);
    int cpus = INT_MAX;

    if (shortest + length >= sizeof paths->folder)
        return INT_MAX;
    memcpy(paths->folder, paths->mount, shortest);
    memcpy(paths->folder + shortest, group, length + 1);
    for (;;) {
        cpus = smaller(cpus, group_cpus(paths, unified));
        char *slash = strrchr(paths->folder, '/');
        if (slash == NULL || slash < paths->folder + shortest)
            return cpus;
        *slash = '\0';
    }
}

/* ---- where the groups are ---- */

/* Whether a list that is separated by commas contains the word. */
static bool has_word(const char *list, const char *word)
{
    size_t length = strlen(word);

    for (const char *at = list; (at = strstr(at, word)) != NULL; at += length) {
        bool starts = at == list || at[-1] == ',';
        bool ends = strchr(",\n", at[length]) != NULL; /* finds the terminating NUL, too */

        if (starts && ends)
            return true;
    }
    return false;
}

/* The path of the group below a mount point at which the group `top` is. A group outside of `top` ("/../x" too) cannot
 * be seen there, but the mount's own quota binds it all the same: "". */
static const char *below(const char *group, const char *top)
{
    size_t length = strcmp(top, "/") == 0 ? 0 : strlen(top);
    const char *rest = group + length;

    if (strncmp(group, top, length) != 0 || (*rest != '/' && *rest != '\0') || strstr(rest, "/..") != NULL ||
        strcmp(rest, "/") == 0)
        return "";
    return rest;
}

/* How many CPUs the mount in a line of mountinfo allows: "36 25 0:31 /top /mount/point rw,nosuid shared:9 - cgroup
 * cgroup rw,cpu,cpuacct". INT_MAX: it is not a mount of the hierarchy. */
static int mount_cpus(const char *line, const struct hierarchy *hierarchy, const char *root)
{
    struct paths *paths = hierarchy->paths;
    char type[32], options[512];
    const char *rest = strstr(line, " - ");

    /* The widths are the sizes of the buffers, less one. */
    if (rest == NULL || sscanf(line, "%*s %*s %*s %4095s %4095s", paths->top, paths->point) != 2 ||
        sscanf(rest, " - %31s %*s %511s", type, options) != 2)
        return INT_MAX;
    if (hierarchy->unified ? strcmp(type, "cgroup2") != 0 : strcmp(type, "cgroup") != 0 || !has_word(options, "cpu"))
        return INT_MAX;
    if (snprintf(paths->mount, sizeof paths->mount, "%s%s", root, paths->point) >= (int)sizeof paths->mount)
        return INT_MAX;
    return chain_cpus(paths, below(hierarchy->group, paths->top), hierarchy->unified);
}

/* A file's lines, each ended by a NUL. */
struct lines {
    char *first, *end; /* NULL: it cannot be read */
};

static struct lines read_lines(struct paths *paths, const char *folder, const char *name)
{
    CANCELLING_FORBIDDEN;
    struct lines lines = {NULL, NULL};
    size_t size = 0;

    snprintf(paths->file, sizeof paths->file, "%s/%s", folder, name);
    FILE *file = fopen(paths->file, "re");
    if (file == NULL)
        return lines;
    ssize_t length = getdelim(&lines.first, &size, '\0', file); /* there is no NUL in it */
    fclose(file);
    if (length > 0)
        lines.end = lines.first + length;
    for (char *at = lines.first; length > 0 && (at = strchr(at, '\n')) != NULL;)
        *at++ = '\0';
    return lines;
}

static int hierarchy_cpus(const struct hierarchy *hierarchy, const struct lines *mounts, const char *root)
{
    int cpus = INT_MAX;

    for (const char *line = mounts->first; line < mounts->end; line += strlen(line) + 1)
        cpus = smaller(cpus, mount_cpus(line, hierarchy, root));
    return cpus;
}

/* Parses a line of cgroup, such as "4:cpu,cpuacct:/a/b", and cuts it up. False: it is of a hierarchy that says nothing
 * about CPUs, or of none. */
static bool parse_group(char *line, struct hierarchy *hierarchy)
{
    char *controllers = strchr(line, ':');
    char *group = controllers != NULL ? strchr(controllers + 1, ':') : NULL;

    if (group == NULL || group[1] != '/')
        return false;
    *group++ = '\0';
    group[strcspn(group, "\n")] = '\0';
    hierarchy->unified = strcmp(line, "0:") == 0;
    hierarchy->group = group;
    return hierarchy->unified || has_word(controllers + 1, "cpu");
}

int cgroup_cpus(const char *proc, const char *root)
{
    struct hierarchy hierarchy = {.paths = malloc(sizeof *hierarchy.paths)};
    int cpus = INT_MAX;

    if (hierarchy.paths == NULL)
        return INT_MAX;
    struct lines groups = read_lines(hierarchy.paths, proc, "cgroup");
    struct lines mounts = read_lines(hierarchy.paths, proc, "mountinfo");
    for (char *line = groups.first, *next; line < groups.end; line = next) {
        next = line + strlen(line) + 1;
        if (parse_group(line, &hierarchy))
            cpus = smaller(cpus, hierarchy_cpus(&hierarchy, &mounts, root));
    }
    free(groups.first);
    free(mounts.first);
    free(hierarchy.paths);
    return cpus;
}

/* ---- the counts ---- */

int cpu_list_count(const char *list)
{
    int count = 0;

    while (*list >= '0' && *list <= '9') {
        char *end;
        long first = strtol(list, &end, 10), last = first;

        if (*end == '-')
            last = strtol(end + 1, &end, 10);
        if (last < first || last > 1 << 20)
            return 0;
        count += (int)(last - first + 1);
        list = *end == ',' ? end + 1 : end;
    }
    return *list == '\0' || *list == '\n' ? count : 0;
}

int cpus_online(void)
{
    CANCELLING_FORBIDDEN;
    char list[1024];
    int count = 0;

    /* Some C libraries answer _SC_NPROCESSORS_ONLN with the affinity. */
    if (read_text("/sys/devices/system/cpu/online", list, sizeof list))
        count = cpu_list_count(list);
    if (count <= 0)
        count = (int)sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 ? count : 1;
}

/* How many CPUs the affinity mask has. INT_MAX: the system does not tell. */
static int affinity_cpus(void)
{
    int count = 0;

    /* The system refuses a set smaller than its own, and does not tell the size of that. */
    for (size_t room = CPU_SETSIZE; count == 0 && room <= 1 << 20; room *= 2) {
        cpu_set_t *set = CPU_ALLOC(room);

        if (set == NULL)
            break;
        if (sched_getaffinity(0, CPU_ALLOC_SIZE(room), set) == 0)
            count = CPU_COUNT_S(CPU_ALLOC_SIZE(room), set);
        else if (errno != EINVAL)
            room = 1 << 20;
        CPU_FREE(set);
    }
    return count > 0 ? count : INT_MAX;
}

int cpus_usable(void)
{
    int count = smaller(affinity_cpus(), cgroup_cpus("/proc/self", ""));

    return count < INT_MAX ? count : cpus_online();
}

int cpus_usable_lately(void)
{
    static _Atomic int64_t read_at;
    static _Atomic int quota;
    int64_t now = clock_now();

    if (atomic_load(&read_at) == 0 || now - atomic_load(&read_at) >= LATELY_NS) {
        atomic_store(&quota, cgroup_cpus("/proc/self", ""));
        atomic_store(&read_at, now);
    }
    int count = smaller(affinity_cpus(), atomic_load(&quota));

    return count < INT_MAX ? count : cpus_online();
}

int mp_cpu_count(void)
{
    return cpus_online();
}

int mp_usable_cpu_count(void)
{
    return cpus_usable();
}

uint32_t cpu_now(void)
{
    return (uint32_t)(sched_getcpu() + 1);
}
