/* CPU counts: the system's own, and quotas from control groups of both versions, on simulated file trees. */
#include <ftw.h>
#include <limits.h>
#include <mp.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cpu.h"

static char tree[64]; /* root of the simulated system */

static int make_tree(void **state)
{
    (void)state;
    strcpy(tree, "/tmp/libmp-test-XXXXXX");
    return mkdtemp(tree) != NULL ? 0 : -1;
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *place)
{
    (void)info, (void)type, (void)place;
    return remove(path);
}

static int remove_tree(void **state)
{
    (void)state;
    return nftw(tree, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* Writes a file of the tree, and makes the folders above it. */
static void put(const char *path, const char *text)
{
    char whole[512];
    FILE *file;

    snprintf(whole, sizeof whole, "%s/%s", tree, path);
    for (char *slash = strchr(whole + strlen(tree) + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(whole, 0700);
        *slash = '/';
    }
    file = fopen(whole, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int allowed(void)
{
    char proc[128];

    snprintf(proc, sizeof proc, "%s/proc", tree);
    return cgroup_cpus(proc, tree);
}

#define UNIFIED "30 20 0:26 / /cg rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
#define CPU_V1 "33 31 0:30 / /cg/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
#define OTHERS \
    "22 1 8:1 / / rw,relatime - ext4 /dev/root rw\n" \
    "31 20 0:29 / /cg rw - tmpfs tmpfs rw,mode=755\n" \
    "34 31 0:31 / /cg/cpuset rw - cgroup cgroup rw,cpuset\n" \
    "35 31 0:32 / /cg/cpuacct rw - cgroup cgroup rw,cpuacct\n"

static void v2_quota_is_rounded_up(void **state)
{
    (void)state;
    put("proc/cgroup", "0::/user/job\n");
    put("proc/mountinfo", OTHERS UNIFIED);
    put("cg/user/job/cpu.max", "250000 100000\n");
    assert_int_equal(allowed(), 3);
    put("cg/user/job/cpu.max", "200000 100000\n");
    assert_int_equal(allowed(), 2);
    put("cg/user/job/cpu.max", "1000 100000\n");
    assert_int_equal(allowed(), 1);
    put("cg/user/job/cpu.max", "max 100000\n");
    assert_int_equal(allowed(), INT_MAX);
}

static void v2_smallest_of_the_groups_above_counts(void **state)
{
    (void)state;
    put("proc/cgroup", "0::/user/job/step\n");
    put("proc/mountinfo", UNIFIED);
    put("cg/user/job/step/cpu.max", "800000 100000\n");
    put("cg/user/job/cpu.max", "max 100000\n");
    put("cg/user/cpu.max", "100000 50000\n");
    assert_int_equal(allowed(), 2);
    put("cg/cpu.max", "5000 5000\n");
    assert_int_equal(allowed(), 1);
    put("cpu.max", "1 1000000\n"); /* above the mount, so not a group */
    put("cg/cpu.max", "400000 100000\n");
    assert_int_equal(allowed(), 2);
}

static void v2_group_below_what_is_mounted(void **state)
{
    (void)state;
    put("proc/mountinfo", "30 20 0:26 /docker/abc /cg rw - cgroup2 cgroup2 rw\n");
    put("cg/job/cpu.max", "300000 100000\n");
    put("cg/cpu.max", "500000 100000\n");
    put("proc/cgroup", "0::/docker/abc/job\n");
    assert_int_equal(allowed(), 3);
    put("proc/cgroup", "0::/docker/abc\n");
    assert_int_equal(allowed(), 5);
    put("proc/cgroup", "0::/docker/abcdef\n"); /* not below the mount, but the mount's own quota applies */
    assert_int_equal(allowed(), 5);
    put("proc/cgroup", "0::/../other\n");
    assert_int_equal(allowed(), 5);
    put("proc/cgroup", "0::/\n");
    assert_int_equal(allowed(), 5);
}

static void v1_quota(void **state)
{
    (void)state;
    put("proc/cgroup", "5:cpuset:/elsewhere\n4:cpu,cpuacct:/a/b\n1:name=systemd:/init\n");
    put("proc/mountinfo", OTHERS CPU_V1);
    put("cg/cpu,cpuacct/a/b/cpu.cfs_quota_us", "150000\n");
    put("cg/cpu,cpuacct/a/b/cpu.cfs_period_us", "100000\n");
    assert_int_equal(allowed(), 2);
    put("cg/cpu,cpuacct/a/b/cpu.cfs_quota_us", "-1\n");
    assert_int_equal(allowed(), INT_MAX);
    put("cg/cpu,cpuacct/a/cpu.cfs_quota_us", "400000\n");
    put("cg/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n");
    assert_int_equal(allowed(), 4);
    put("cg/cpuset/elsewhere/cpu.cfs_quota_us", "1\n"); /* belongs to a hierarchy without CPU time */
    put("cg/cpuset/elsewhere/cpu.cfs_period_us", "1\n");
    assert_int_equal(allowed(), 4);
}

static void hybrid_takes_the_smaller(void **state)
{
    (void)state;
    put("proc/cgroup", "4:cpuacct,cpu:/a\n0::/u\n");
    put("proc/mountinfo", OTHERS CPU_V1 "38 31 0:38 / /cg/unified rw - cgroup2 cgroup2 rw\n");
    put("cg/cpu,cpuacct/a/cpu.cfs_quota_us", "300000\n");
    put("cg/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n");
    assert_int_equal(allowed(), 3);
    put("cg/unified/u/cpu.max", "200000 100000\n");
    assert_int_equal(allowed(), 2);
    put("cg/unified/u/cpu.max", "700000 100000\n");
    assert_int_equal(allowed(), 3);
}

static void missing_files_limit_nothing(void **state)
{
    (void)state;
    assert_int_equal(allowed(), INT_MAX);
    put("proc/cgroup", "4:cpu:/a\n0::/u\n");
    assert_int_equal(allowed(), INT_MAX);
    put("proc/mountinfo", UNIFIED CPU_V1);
    assert_int_equal(allowed(), INT_MAX);
    put("cg/cpu,cpuacct/a/cpu.cfs_quota_us", "100000\n");
    assert_int_equal(allowed(), INT_MAX); /* no period is set */
}

static void garbage_limits_nothing(void **state)
{
    static const char *const quotas[] = {"",         "\n",       "max", "100000",    "-5 100000",
                                         "100000 0", "0 100000", "x y", "100000 -1", "9223372036854775807 1"};
    static const char *const groups[] = {"",           "\n",      ":",        "::",     "0:", "0::", "0::relative\n",
                                         "nonsense\n", "4:cpu\n", "4:cpu:\n", ":::::\n"};
    static const char *const mounts[] = {"",
                                         "\n",
                                         " - \n",
                                         "- cgroup2",
                                         "30 20 0:26 / /cg rw - \n",
                                         "30 20 0:26 - cgroup2 cgroup2 rw\n",
                                         "30 20 0:26 / /cg rw cgroup2 cgroup2 rw\n"};

    (void)state;
    put("proc/mountinfo", UNIFIED CPU_V1);
    put("proc/cgroup", "0::/u\n");
    for (size_t i = 0; i < sizeof quotas / sizeof *quotas; i++) {
        put("cg/u/cpu.max", quotas[i]);
        assert_int_equal(allowed(), INT_MAX);
    }
    put("cg/u/cpu.max", "100000 100000\n");
    assert_int_equal(allowed(), 1);
    for (size_t i = 0; i < sizeof mounts / sizeof *mounts; i++) {
        put("proc/mountinfo", mounts[i]);
        assert_int_equal(allowed(), INT_MAX);
    }
    put("proc/mountinfo", UNIFIED CPU_V1);
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        put("proc/cgroup", groups[i]);
        assert_int_equal(allowed(), INT_MAX);
    }
}

static void paths_too_long_limit_nothing(void **state)
{
    static char text[3 * PATH_MAX];

    (void)state;
    memset(text, '/', sizeof text - 1);
    memcpy(text, "0::", 3);
    put("proc/cgroup", text);
    put("proc/mountinfo", UNIFIED);
    assert_int_equal(allowed(), INT_MAX);
}

static void lists_of_cpus(void **state)
{
    (void)state;
    assert_int_equal(cpu_list_count("0\n"), 1);
    assert_int_equal(cpu_list_count("0-3\n"), 4);
    assert_int_equal(cpu_list_count("0-3,8,10-11"), 7);
    assert_int_equal(cpu_list_count(""), 0);
    assert_int_equal(cpu_list_count("3-1"), 0);
    assert_int_equal(cpu_list_count("all"), 0);
    assert_int_equal(cpu_list_count("0-99999999999"), 0);
}

static int processors_listed(void)
{
    FILE *file = fopen("/proc/cpuinfo", "r");
    char line[4096];
    int count = 0;

    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL)
        count += strncmp(line, "processor", 9) == 0;
    fclose(file);
    return count;
}

static void counts_of_this_machine(void **state)
{
    (void)state;
    assert_true(mp_cpu_count() >= 1);
    assert_int_equal(mp_cpu_count(), processors_listed());
    assert_true(mp_usable_cpu_count() >= 1);
    assert_true(mp_usable_cpu_count() <= mp_cpu_count());
}

static void usable_count_follows_affinity(void **state)
{
    int online = mp_cpu_count();
    cpu_set_t before, one;
    size_t first = 0;

    (void)state;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    while (!CPU_ISSET(first, &before))
        first++;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_int_equal(mp_usable_cpu_count(), 1);
    assert_int_equal(mp_cpu_count(), online);
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
}

#define IN_TREE(test) cmocka_unit_test_setup_teardown(test, make_tree, remove_tree)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_TREE(v2_quota_is_rounded_up),
        IN_TREE(v2_smallest_of_the_groups_above_counts),
        IN_TREE(v2_group_below_what_is_mounted),
        IN_TREE(v1_quota),
        IN_TREE(hybrid_takes_the_smaller),
        IN_TREE(missing_files_limit_nothing),
        IN_TREE(garbage_limits_nothing),
        IN_TREE(paths_too_long_limit_nothing),
        cmocka_unit_test(lists_of_cpus),
        cmocka_unit_test(counts_of_this_machine),
        cmocka_unit_test(usable_count_follows_affinity),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
