/* How the pool's tasks are submitted, found and claimed, and how they survive deaths: slots.c, dispatch.c, worker.c,
 * recover.c and supervisor.c in src/pool.
 *
 * One atomic instruction of the code is one step here. A process that may be killed may be killed between any two
 * steps. These functions are mirrored, statement by statement:
 *
 * - Caller: slot_submit() (ring places are used again; on a full ring the model waits, where the code makes the ring
 *   grow), dispatch_wake_by_caller(), mp_pool_close()
 * - Worker: worker_run(), next_task(), find_task(), claim(), claim_from_batch(), take_tickets(), read_tickets(),
 *   claim_anywhere(), sleep_until_woken(), dispatch_wake(), task_finish(), and leaving a closed pool
 * - Supervisor: reap(), worker_was_reaped(), recover_worker(), settle_task(), dispatch_wake_all(), is_finished(),
 *   replacements_wanted(), replace_missing()
 *
 * The number of tickets that a worker takes (adapt_batch()) and the time that it spins are left open: any number, any
 * time. No process calls dispatch_resync(), which would hide a lost wake-up. Every task whose worker died is retried.
 *
 * Properties:
 *
 * - No task is lost: when the system is at rest, every task is done and all workers sleep. With -DCLOSING the caller
 *   closes the pool as soon as it has submitted: then every task is done once every process has ended. (Spin: no
 *   invalid end state, which means that no process is stuck at a statement without an end_ label; and the assertions
 *   where the supervisor leaves.)
 * - No task runs twice unless its worker died: the assertion where a task starts.
 * - No worker sleeps while there is work. A task may take so long that it ends only when every task has started (or the
 *   pool is closed), as long as one worker is left over for the others. If that worker sleeps, or is kept from looking,
 *   while a task is queued, everything is stuck: an invalid end state.
 *
 * -DVICTIM=w: only that worker is killed. For one death, VICTIM=0 and VICTIM=1 cover all cases.
 *
 * -DMUTANT_...: each breaks the protocol in one way, described in check_models.sh; the verifier must find them. */
#ifndef WORKERS
#define WORKERS 2
#endif
#ifndef TASKS
#define TASKS 3
#endif
#ifndef RING
#define RING 2
#endif
#ifndef BATCH
#define BATCH 2
#endif
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef SPURIOUS
#define SPURIOUS 1
#endif

/* The values of a task's word: these, or running in worker w. */
#define FREE 0
#define QUEUED 1
#define DONE 2
#define RUNNING(w) (3 + (w))
#define NONE 255

#define BIT(w) (1 << (w))
#define LOWEST(set) ((set) & 1 -> 0 : ((set) & 2 -> 1 : 2))
#define ALL_TASKS ((1 << TASKS) - 1)

/* From struct task, struct worker and struct pool. */
byte word[TASKS];
byte deaths_of[TASKS];
byte ring[RING], head, tail;
byte record_task[WORKERS], batch_next[WORKERS], batch_end[WORKERS];
byte batch[WORKERS * BATCH];
bit asleep[WORKERS];
byte sleeping, searching;
bit rescan, closed_state;

/* State of the kernel: the sets of workers that are blocked in futex_wait(), that are alive, that have ended and are
 * not yet reaped, that have left in an orderly way; the supervisor's bell. */
byte in_futex, alive, zombies, left_orderly;
bit bell;

/* For the properties only. */
byte runs[TASKS], started, finished, lasting;
byte deaths, spurious;

/* A worker may be killed here. Stands behind each of its stores. (A death behind a load equals one behind the store
 * before it.) */
#define MORTAL \
    if \
    :: mortal && deaths < DEATHS -> deaths++; goto died \
    :: true \
    fi

inline dispatch_wake()
{
    if
    :: atomic { sleeping == 0 -> skip }
    :: atomic { sleeping != 0 -> skip }
        if
        :: atomic { searching != 0 -> skip }
        :: atomic { searching == 0 -> skip }
            do
            :: atomic { sleeping == 0 -> break }
            :: atomic { sleeping != 0 -> k = LOWEST(sleeping) }
               /* set_remove() */
               atomic { ok = (sleeping >> k) & 1; sleeping = sleeping & ~BIT(k); MORTAL }
               if
               :: !ok
               :: else ->
                   atomic { searching = searching | BIT(k); MORTAL }
                   /* wake_worker() */
#ifdef MUTANT_LATE_WAKER
                   atomic { asleep[k] = 0; ok = 1; MORTAL }
#else
                   atomic { ok = asleep[k]; asleep[k] = 0; MORTAL }
#endif
                   atomic { in_futex = in_futex & ~BIT(k); if :: ok -> break :: else fi }
                   /* The worker has woken by itself, and may be at work already. */
                   atomic { searching = searching & ~BIT(k); MORTAL }
               fi
            od
        fi
    fi;
    k = 0; ok = 0
}

/* claim(), after the check that the task is queued. Goes to `yes_label` or to `no_label`. */
#ifdef MUTANT_CLAIM_BEFORE_RECORD
#define CLAIM(yes_label, no_label) \
    atomic { if :: word[n] == QUEUED -> word[n] = RUNNING(me); ok = 1 :: else fi; MORTAL } \
    atomic { record_task[me] = n; MORTAL; if :: ok -> ok = 0; goto yes_label :: else -> goto no_label fi }
#else
#define CLAIM(yes_label, no_label) \
    atomic { record_task[me] = n; MORTAL } \
    atomic { \
        if \
        :: word[n] == QUEUED -> word[n] = RUNNING(me); MORTAL; goto yes_label \
        :: else -> goto no_label \
        fi \
    }
#endif

/* Whether a batch has a task that waits to be claimed. The worker's own batch counts only if own is 1. */
inline batches_have_tasks(own)
{
    o = (own || me > 0 -> 0 : 1);
    do
    :: atomic { o >= WORKERS || yes -> break }
    :: atomic { o < WORKERS && !yes -> last = batch_end[o] }
       i = batch_next[o];
       do
       :: atomic { i >= last || yes -> break }
       :: atomic { i < last && !yes -> n = batch[o * BATCH + i] }
          atomic { yes = (word[n] == QUEUED); i++ }
       od;
       atomic { n = 0; i = 0; last = 0; o = (o + 1 == me && !own -> o + 2 : o + 1) }
    od;
    o = 0
}

inline is_time_to_look()
{
    h = head;
    atomic { yes = (h < tail); h = 0 }
#ifdef CLOSING
    if :: yes :: else -> yes = rescan fi;
    if :: yes :: else -> yes = closed_state fi
#else
    if :: yes :: else -> yes = rescan fi
#endif
}

proctype Worker(byte me)
{
    byte n, i, last, want, h, t, k, o, task;
    bit self_searching, closed, ok, yes;
#ifdef VICTIM
    bit mortal = (me == VICTIM);
#else
    bit mortal = 1;
#endif

born:
end_none:
    atomic { (alive & BIT(me)) -> MORTAL }
    /* worker_run() */
look:
    /* next_task() */
    closed = closed_state;
own:
    /* claim_from_batch(self.record) */
    atomic {
        if
        :: batch_next[me] == batch_end[me] -> n = 0; goto rescanning
        :: else -> n = batch[me * BATCH + batch_next[me]]; batch_next[me]++; MORTAL
        fi
    }
    atomic { if :: word[n] != QUEUED -> goto own :: else fi }
    CLAIM(found, own);
rescanning:
    /* claim_anywhere() */
    atomic { if :: !rescan -> goto tickets :: else fi }
    atomic { if :: rescan -> rescan = 0; MORTAL :: else -> goto tickets fi }
visit:
    atomic { if :: word[n] == QUEUED :: else -> goto visit_next fi }
    CLAIM(visit_found, visit_next);
visit_next:
    atomic { n++; if :: n == TASKS -> n = 0; goto tickets :: else -> goto visit fi }
visit_found:
    atomic { rescan = 1; MORTAL }
#ifndef MUTANT_RESCAN_WAKES_NOBODY
    dispatch_wake();
#endif
    goto found;
tickets:
    /* take_tickets() */
    h = head;
    atomic {
        t = tail;
        if
        :: h >= t -> h = 0; t = 0; n = 0; goto others
        :: else -> want = 1; do :: want < BATCH -> want++ :: break od
        fi
    }
tickets_again:
    atomic { last = (t - h < want -> t - h : want); i = 0 }
#ifdef MUTANT_HEAD_BEFORE_PLACES
    atomic { ok = (head == h); k = h; if :: ok -> head = h + last :: else -> h = head fi; MORTAL }
#endif
    /* read_tickets() */
    do
    :: atomic { i == last -> i = 0; break }
    :: atomic {
           i < last ->
#ifdef MUTANT_HEAD_BEFORE_PLACES
           batch[me * BATCH + i] = ring[(k + i) % RING];
#else
           batch[me * BATCH + i] = ring[(h + i) % RING];
#endif
           i++;
           MORTAL
       }
    od;
    atomic {
#ifndef MUTANT_HEAD_BEFORE_PLACES
        ok = (head == h);
        if :: ok -> head = h + last; MORTAL :: else -> h = head fi;
#endif
        if
        :: ok -> h = 0; t = 0; want = 0; k = 0
        :: else -> last = 0; if :: h >= t -> h = 0; t = 0; want = 0; goto others :: else -> goto tickets_again fi
        fi
    }
    atomic { ok = 0; batch_next[me] = 0; MORTAL }
    atomic { batch_end[me] = last; MORTAL; if :: last > 1 -> last = 0 :: else -> last = 0; goto own fi }
#ifndef MUTANT_BATCH_WAKES_NOBODY
    dispatch_wake();
#endif
    goto own;
others:
    atomic { o = 0; if :: o == me -> o++ :: else fi }
other:
    atomic { if :: o >= WORKERS -> o = 0; n = 0; goto none :: else -> last = batch_end[o] fi }
    /* claim_from_batch(other) */
    i = batch_next[o];
other_next:
    atomic {
        if
        :: i >= last -> i = 0; last = 0; n = 0; o = (o + 1 == me -> o + 2 : o + 1); goto other
        :: else -> n = batch[o * BATCH + i]; i++
        fi
    }
    atomic { if :: word[n] != QUEUED -> goto other_next :: else fi }
    CLAIM(found, other_next);
none:
    /* next_task() finds none; start_searching() */
    atomic {
        if
        :: closed -> n = 0; goto leave
        :: !closed && self_searching
        :: else -> searching = searching | BIT(me); self_searching = 1; MORTAL
        fi
    }
    /* spin() */
    atomic { if :: (head < tail) || rescan || closed_state -> goto look :: true fi }
    /* sleep_until_woken() */
    atomic { searching = searching & ~BIT(me); self_searching = 0; MORTAL }
    atomic { asleep[me] = 1; MORTAL }
#ifndef MUTANT_LOOK_BEFORE_SLEEPING_SET
    atomic { sleeping = sleeping | BIT(me); MORTAL }
#endif
    is_time_to_look();
#ifndef MUTANT_BATCHES_UNSEEN
    if :: yes :: else -> batches_have_tasks(0) fi;
#endif
#ifdef MUTANT_LOOK_BEFORE_SLEEPING_SET
    atomic { sleeping = sleeping | BIT(me); MORTAL }
#endif
    atomic { if :: yes -> yes = 0; goto awake :: else fi }
sleep:
    atomic { if :: asleep[me] == 0 -> goto awake :: else fi }
    /* futex_wait() */
    atomic { if :: asleep[me] == 1 -> in_futex = in_futex | BIT(me) :: else -> goto awake fi }
end_asleep:
    if
    :: atomic { (in_futex & BIT(me)) == 0 -> goto sleep }
    :: atomic { (in_futex & BIT(me)) && mortal && deaths < DEATHS -> deaths++; goto died }
    :: atomic { (in_futex & BIT(me)) && spurious < SPURIOUS -> spurious++; in_futex = in_futex & ~BIT(me); goto sleep }
    fi;
awake:
    atomic { sleeping = sleeping & ~BIT(me); MORTAL }
    atomic { searching = searching | BIT(me); self_searching = 1; MORTAL }
    atomic { asleep[me] = 0; MORTAL; goto look }
found:
    atomic {
        i = 0; last = 0; o = 0;
        if
        :: !self_searching -> goto running
        :: else -> task = n; searching = searching & ~BIT(me); self_searching = 0; MORTAL
        fi
    }
    is_time_to_look();
#ifndef MUTANT_BATCHES_DO_NOT_COUNT
    if :: yes :: else -> batches_have_tasks(1) fi;
#endif
    if
    :: yes -> yes = 0; dispatch_wake()
    :: else
    fi;
    atomic { n = task; task = 0 }
running:
    /* run(): the task is short, or lasts as long as it may */
    atomic {
        assert(runs[n] <= deaths_of[n]);
        runs[n]++;
        started = started | BIT(n);
        if
        :: MORTAL; goto ran
        :: (WORKERS == 2 -> lasting == 0 : (lasting & (lasting - 1)) == 0) -> lasting = lasting | BIT(me)
        fi
    }
    if
    :: atomic { started == ALL_TASKS || closed_state -> lasting = lasting & ~BIT(me) }
    :: atomic { mortal && deaths < DEATHS -> deaths++; goto died }
    fi;
ran:
    /* task_finish() */
    atomic { word[n] = DONE; finished = finished | BIT(n); n = 0; MORTAL; goto look }
leave:
    atomic {
        alive = alive & ~BIT(me); left_orderly = left_orderly | BIT(me); zombies = zombies | BIT(me);
        goto reset
    }
died:
    atomic {
        alive = alive & ~BIT(me);
        zombies = zombies | BIT(me);
        in_futex = in_futex & ~BIT(me);
        lasting = lasting & ~BIT(me);
        goto reset
    }
reset:
    atomic {
        n = 0; i = 0; last = 0; want = 0; h = 0; t = 0; k = 0; o = 0; task = 0;
        self_searching = 0; closed = 0; ok = 0; yes = 0;
        goto born
    }
}

inline dispatch_wake_all(w)
{
    w = 0;
    do
    :: atomic { w == WORKERS -> w = 0; break }
    :: atomic { w < WORKERS -> sleeping = sleeping & ~BIT(w) }
       asleep[w] = 0;
       atomic { in_futex = in_futex & ~BIT(w); w++ }
    od
}

proctype Caller()
{
    byte n, k;
    bit ok;
    bit mortal = 0;

    do
    :: n == TASKS -> break
    :: else ->
        tail - head < RING;
        word[n] = QUEUED;
        ring[tail % RING] = n;
        tail++;
        dispatch_wake();
        n++
    od;
    n = 0;
#ifdef CLOSING
    closed_state = 1;
    dispatch_wake_all(n);
    bell = 1;
#else
    finished == ALL_TASKS;
#endif
    goto end_closed;
died:
    assert(false);
end_closed:
    skip
}

/* worker_was_reaped(), recover_worker() and settle_task(). */
inline reclaim()
{
    atomic {
        zombies = zombies & ~BIT(w);
        orderly = (left_orderly >> w) & 1;
        left_orderly = left_orderly & ~BIT(w);
        n = record_task[w];
        if
        :: n == NONE || word[n] != RUNNING(w)
        :: else -> deaths_of[n]++; word[n] = QUEUED
        fi;
        n = 0
    }
    asleep[w] = 0;
    searching = searching & ~BIT(w);
    atomic { sleeping = sleeping & ~BIT(w); reclaimed = reclaimed | BIT(w) }
    if
    :: atomic { orderly -> orderly = 0 }
    :: atomic {
           !orderly ->
           lost = 1;
#ifndef MUTANT_DEATH_WITHOUT_RESCAN
           rescan = 1
#endif
       }
       dispatch_wake_all(n)
    fi
}

proctype Supervisor()
{
    byte w, n, reclaimed;
    bit lost, orderly, state, yes;

end_poll:
    do
    :: /* keep(): poll(); reap() */
       atomic { zombies != 0 || bell -> bell = 0; w = 0 }
       do
       :: atomic { w == WORKERS -> w = 0; break }
       :: atomic { w < WORKERS && !(zombies & BIT(w)) -> w++ }
       :: atomic { w < WORKERS && (zombies & BIT(w)) -> skip }
          reclaim();
          w++
       od;
#ifdef CLOSING
       state = closed_state;
       /* is_finished() */
       do
       :: atomic { n == TASKS || yes -> n = 0; break }
       :: atomic { n < TASKS && !yes -> yes = (word[n] == QUEUED); n++ }
       od;
       if
       :: state && reclaimed == BIT(WORKERS) - 1 && !yes -> break
       :: else
       fi;
       /* replacements_wanted() */
       atomic {
           if
           :: !state
           :: state && (lost || reclaimed == BIT(WORKERS) - 1) && yes
           :: else -> goto not_wanted
           fi
       }
       if
       :: state && reclaimed == BIT(WORKERS) - 1 -> rescan = 1
       :: else
       fi;
#endif
       /* replace_missing() */
       do
       :: atomic { w == WORKERS -> w = 0; lost = 0; break }
       :: atomic { w < WORKERS && !(reclaimed & BIT(w)) -> w++ }
       :: atomic {
              w < WORKERS && (reclaimed & BIT(w)) ->
              record_task[w] = NONE; batch_next[w] = 0; batch_end[w] = 0; asleep[w] = 0;
              n = 0; do :: n < BATCH -> batch[w * BATCH + n] = 0; n++ :: else -> break od; n = 0;
              reclaimed = reclaimed & ~BIT(w);
              alive = alive | BIT(w);
              w++
          }
       od;
not_wanted:
       atomic { state = 0; yes = 0 }
    od;
    atomic {
        n = 0;
        do
        :: n == TASKS -> break
        :: else -> assert(word[n] == DONE); assert(runs[n] > 0); n++
        od
    }
}

init {
    atomic {
        byte w;

        do
        :: w == WORKERS -> break
        :: else -> record_task[w] = NONE; alive = alive | BIT(w); run Worker(w); w++
        od;
        run Supervisor();
        run Caller()
    }
}
