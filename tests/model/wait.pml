/* How a caller waits for a result: on the word of a task, or of a map's chunk, with its bit TASK_WAITER.
 *
 * One atomic instruction of the code is one step here. These functions are mirrored, statement by statement:
 *
 * - Waiter: wait_for_word() in src/pool/task_wait.c with wait_for() in src/sync/wait.c, for two threads that wait for
 *   the same word; supervisor_check(), supervisor_was_reaped(), fail_slot() in src/pool/supervisor_link.c; job_fail()
 *   in src/pool/job.c
 * - Worker: task_claim(), run(), task_finish() in src/pool/dispatch.c and src/pool/worker.c. It may be killed between
 *   any two steps.
 * - Supervisor: settle_task() in src/pool/recover.c (settle_chunk() does the same for a chunk), then a new worker. It
 *   may be killed as well, and sooner or later its death kills the worker.
 *
 * A waiter may wake for no reason. After a time limit of 50 ms it checks the supervisor. In the model this limit passes
 * only once the supervisor is dead: a waiter that only the limit would wake while the supervisor lives is stuck here.
 *
 * Properties:
 *
 * - No caller waits for ever, and while the supervisor lives none waits longer than the task takes: no invalid end
 *   state.
 * - A waiter that stops waiting finds the outcome: the assertion where it has seen that the word says done. */
#ifndef DEATHS
#define DEATHS 2
#endif
#ifndef SPURIOUS
#define SPURIOUS 1
#endif
#define RETRIES 1

#define QUEUED 0
#define RUNNING 1
#define DONE 2
#define STATE(w) ((w) & 3)
#define WAITER 4
#define BIT(w) (1 << (w))

byte word;
bit status; /* the outcome has been written */
byte in_futex, deaths, spurious, task_deaths;
bit recorded, dead, supervisor_dead, supervisor_reaped, mutex;

#define MORTAL \
    if \
    :: deaths < DEATHS -> deaths++; goto died \
    :: supervisor_dead -> goto died \
    :: true \
    fi

inline task_finish(waiters)
{
#ifdef MUTANT_FINISH_IN_TWO_STEPS
    waiters = word & WAITER;
    word = DONE;
#else
    atomic { waiters = word & WAITER; word = DONE }
#endif
}

proctype Waiter(byte me)
{
    byte now, waiters;

again:
    atomic {
        now = word;
        if
        :: STATE(now) == DONE -> assert(status); goto end_done
        :: else
        fi
    }
    atomic {
        if
        :: now & WAITER
        :: !(now & WAITER) && word == now -> word = word | WAITER
        :: else -> goto again
        fi
    }
    /* futex_wait() */
    atomic {
        if
        :: word == (now | WAITER) -> in_futex = in_futex | BIT(me)
        :: else -> goto again
        fi
    }
    if
    :: atomic { !(in_futex & BIT(me)) -> goto again }
    :: atomic { (in_futex & BIT(me)) && spurious < SPURIOUS -> spurious++; in_futex = in_futex & ~BIT(me); goto again }
#ifndef MUTANT_SUPERVISOR_UNWATCHED
    :: atomic { (in_futex & BIT(me)) && supervisor_dead -> in_futex = in_futex & ~BIT(me) }
#endif
    fi;
    /* supervisor_check() */
    atomic { !mutex -> mutex = 1 }
    if
    :: supervisor_reaped
    :: else ->
        supervisor_reaped = 1;
        /* fail_slot(): the worker is dying, but may still reach its end */
        if
        :: STATE(word) == DONE
        :: else ->
            status = 1;
            task_finish(waiters);
            if :: waiters -> in_futex = 0 :: else fi
        fi
    fi;
    mutex = 0;
    goto again;
end_done:
    skip
}

proctype Worker()
{
    byte waiters;

end_born:
    if
    :: atomic { !dead && STATE(word) == QUEUED -> recorded = 1; MORTAL }
    fi;
    /* task_claim() */
    atomic {
        if
#ifdef MUTANT_CLAIM_DROPS_WAITER
        :: STATE(word) == QUEUED -> word = RUNNING
#else
        :: STATE(word) == QUEUED -> word = RUNNING | (word & WAITER)
#endif
        :: else -> goto end_born
        fi;
        MORTAL
    }
    atomic { status = 1; MORTAL }
    task_finish(waiters);
    atomic { MORTAL }
    if :: waiters -> in_futex = 0 :: else fi;
    atomic { waiters = 0; MORTAL; goto end_born }
died:
    atomic { waiters = 0; dead = 1; goto end_born }
}

proctype Supervisor()
{
    byte now;

end_poll:
    if
    :: atomic { dead -> skip }
    :: atomic { deaths < DEATHS -> deaths++; goto died }
    fi;
    /* settle_task() */
    now = word;
    if
    :: !recorded
    :: recorded && STATE(now) != RUNNING ->
        if
#ifndef MUTANT_DONE_WAKES_NOBODY
        :: STATE(now) == DONE -> in_futex = 0
#endif
        :: else
        fi
    :: else ->
        status = 0;
        if
        :: task_deaths < RETRIES ->
            task_deaths++;
            /* task_requeue() */
#ifdef MUTANT_REQUEUE_DROPS_WAITER
            word = QUEUED
#else
            atomic { word = QUEUED | (word & WAITER) }
#endif
        :: else ->
            status = 1;
            task_finish(now);
            if :: deaths < DEATHS -> deaths++; goto died :: true fi;
            if :: now -> in_futex = 0 :: else fi
        fi
    fi;
    /* replace_missing() */
    atomic { now = 0; recorded = 0; dead = 0; goto end_poll }
died:
    supervisor_dead = 1
}

init {
    atomic { run Waiter(0); run Waiter(1); run Worker(); run Supervisor() }
}
