/* What the calling process sets for itself: blocked signals, signals at the end of another process, its title. */
#ifndef THIS_PROCESS_H
#define THIS_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

/* Sets which signals the calling thread blocks: bit s - 1 for signal s. Returns the mask before. It runs in each forked
 * child, and twice in each start of one, so it costs as little as possible. */
uint64_t signals_set(uint64_t mask);
#define SIGNALS_ALL (~(UINT64_C(7) << 31)) /* except those that C libraries reserve for themselves */
/* Makes the calling process get `signal` when the thread that forked it ends. */
void death_signal(int signal);
/* Whether death_signal() still holds: the system forgets it when the process changes its user or group. */
bool death_signal_holds(int signal);
/* Prepares the read end of a pipe, or an end of a socket pair, to send `signal` when the last descriptor of the other
 * end is closed. No process receives the signal before hangup_signal_take(). MP_ENOMEM. */
int hangup_signal_prepare(int fd, int signal);
/* Makes the calling process get that signal, whatever program it executes later, and as whatever user. It may close its
 * descriptor then, as long as another process has that end open. The setting belongs to the open file description: only
 * one process gets the signal. All that needs memory is done before, by hangup_signal_prepare(). */
int hangup_signal_take(int fd);
/* True in the thread that the process started with. */
bool on_main_thread(void);
/* Sets the name of the calling process for ps and top, which show 15 bytes of it. */
void process_title(const char *name);

#endif
