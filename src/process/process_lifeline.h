/* Daemons, and how they end with their parent.
 *
 * DAEMONS end with their parent however that ends: they are on a lifeline. A lifeline is a pair of connected sockets,
 * both of whose ends only the parent has open. When the parent is gone the kernel closes them, one before the other.
 * Each is set to send SIGKILL to the daemon when its peer is closed, so the end that is closed last does it. The daemon
 * has no descriptor for it: so the lifeline holds whatever program the daemon executes and whatever descriptors it
 * closes. The kernel checks the rights of the process that asked for the signal, not of the daemon: so the lifeline
 * holds whichever user the daemon becomes. The end of a thread, even of the main thread, does not matter. (The kernel's
 * own death signal is sent when the forking *thread* ends, and is lost when credentials change. It only serves if no
 * descriptors are left.) How a daemon gets on its lifeline:
 *
 *   1. The parent makes the pair, which may fail, and forks.
 *   2. The daemon, which has both ends open as well, names itself as the receiver of the signal.
 *   3. It closes both. If the parent has died before, the daemon is the last to have them open: the first close kills
 *      it. */
#ifndef PROCESS_LIFELINE_H
#define PROCESS_LIFELINE_H

#include "process/process_registry.h"

/* Ties a daemon that is to be forked to this process; does nothing for other children. If no lifeline can be made, the
 * death signal is enough for a daemon of the main thread, as long as that thread lives. The caller holds the mutex of
 * the registry. */
int process_lifeline_make(struct mp_process *process);
/* Which process with a lifeline this thread is about to fork. NULL: none any more. */
void process_lifeline_starting(struct mp_process *process);
/* In the child of any fork, before registry_after_fork(). */
void process_lifeline_after_fork(void);
/* Whether the parent lives: the children of a dead parent get another parent. Its pid differs, as that process existed
 * while the old parent did. */
bool process_parent_lives(pid_t parent);
/* Makes this process end with its parent: at once, and in the same way, if the parent has ended already. */
void process_lifeline_take(pid_t parent);
/* At the end of this process: ends its daemons, and waits for its other children. */
void process_lifeline_end(void);

#endif
