/* The parts of the CPU counts that tests call with made-up files. */
#ifndef CPU_H
#define CPU_H

/* How many CPUs a list such as "0-3,8" names; 0: it is not a list. */
int cpu_list_count(const char *list);
/* How many CPUs the quotas of a process's control groups allow, rounded up and at least 1; INT_MAX without a quota.
 * `proc` is the process's folder below /proc; `root` is put before the paths of mount points ("" for the system's
 * own). */
int cgroup_cpus(const char *proc, const char *root);

#endif
