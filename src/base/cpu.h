/* The CPU that a thread runs on, and how many CPUs there are. */
#ifndef CPU_H
#define CPU_H

#include <stdint.h>

/* The CPU that this thread runs on, plus 1; 0: not known. It may run on another one a moment later. */
uint32_t cpu_now(void);
/* For short spins. */
static inline void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* At least 1. */
int cpus_online(void);
int cpus_usable(void);
/* Like cpus_usable(), with quotas that may be a second old: good enough to decide whether spinning pays. */
int cpus_usable_lately(void);

/* The parts that tests call with made-up files. */
/* How many CPUs a list such as "0-3,8" names; 0: it is not a list. */
int cpu_list_count(const char *list);
/* How many CPUs the quotas of a process's control groups allow, rounded up and at least 1; INT_MAX without a quota.
 * `proc` is the process's folder below /proc; `root` is put before the paths of mount points ("" for the system's
 * own). */
int cgroup_cpus(const char *proc, const char *root);

#endif
