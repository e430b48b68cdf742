/* How containers are read without their mutex, and how they survive the death of a writer: object.h, object.c,
 * object_lock.h and object_reclaim.c in src/object, undo.h and undo.c in src/heap.
 *
 * The content is two words, which are equal in every whole state. These functions are mirrored, statement by statement:
 *
 * - Writer: object_lock() with object_repair() after MP_EOWNERDEAD, object_begin(), undo_set() for each word,
 *   undo_commit(), object_commit(), object_unlock(); undo_roll_back(). A writer may be killed behind any store, and may
 *   stop for ever at any.
 * - Reader: access_read() in src/value/access.h: object_read_again(), the loads, object_reading_valid(). While the
 *   version is odd, each load goes through the log: undo_read().
 *
 * WEAK MEMORY. Those of the writer's stores that readers look at wait in a buffer. They reach memory in any order, with
 * two exceptions: stores to the same word stay in order, and all stores before a release fence or release store come
 * before all that follow it. Loads between the reader's acquire load and acquire fence are done in any order. Only the
 * holder of the mutex has stores in the buffer. It is empty before another process has the mutex (unlocking releases;
 * what a dead process has executed reaches memory). The log is in the same memory: the words of its records, and its
 * state, which counts the records and how often the log was emptied.
 *
 * Properties:
 *
 * - A reader never accepts a mix: the assertion in Reader.
 * - A reader waits for no other process: if nothing is written during a try, that try counts. The assertion with
 *   `moved` in Reader.
 * - After a death the next holder of the mutex finds, or makes, a whole state: the assertion behind lock().
 * - No process is stuck: no invalid end state. */
#ifndef WRITERS
#define WRITERS 2
#endif
#ifndef CHANGES
#define CHANGES 2
#endif
#ifndef TRIES
#define TRIES 2
#endif
#ifndef DEATHS
#define DEATHS 2
#endif

#define A 0
#define B 1
#define VERSION 2
#define STATE 3  /* of the log: its records, and 4 for each time it was emptied */
#define RECORD 4 /* two records: the word, and 8 times its old value */
byte memory[6];
bit written; /* since the last look of the reader */
/* The log as the holder of the mutex knows it: it has written the log itself, or found the buffer empty. */
byte undo_count, undo_word[2], undo_old[2], emptied;
bit locked, owner_died;
byte deaths;

/* The store buffer. age[i] is the number of release points before store i. */
#define ROOM 10
byte stores, to[ROOM], what[ROOM], age[ROOM], now_age;

inline release()
{
    now_age++
}

inline store(w, value)
{
    atomic { to[stores] = w; what[stores] = value; age[stores] = now_age; stores++ }
}

/* Moves one of the waiting stores to memory: any store that no earlier one has to precede. */
proctype Memory()
{
    byte i, j;
    bit waits;

end_empty:
    do
    :: atomic {
           stores > 0 ->
           i = 0;
           do
#ifndef STRONG
           :: i + 1 < stores -> i++
#endif
           :: break
           od;
           j = 0;
           waits = 0;
           do
           :: j == i -> break
           :: else -> waits = waits || to[j] == to[i] || age[j] < age[i]; j++
           od;
           if
           :: waits
           :: else ->
               memory[to[i]] = what[i];
               written = 1;
               do
               :: i + 1 == stores -> break
               :: else -> to[i] = to[i + 1]; what[i] = what[i + 1]; age[i] = age[i + 1]; i++
               od;
               stores--;
               to[stores] = 0; what[stores] = 0; age[stores] = 0;
               if :: stores == 0 -> now_age = 0 :: else fi
           fi;
           i = 0; j = 0; waits = 0
       }
    od
}

#define MORTAL \
    if \
    :: deaths < DEATHS -> deaths++; goto died \
    :: true \
    fi

/* object_begin() */
inline begin()
{
    v = memory[VERSION];
    release();
    atomic { store(VERSION, v | 1); MORTAL }
    release()
}

/* undo_commit() */
inline empty_log()
{
#ifndef MUTANT_COMMIT_RELAXED
    release();
#endif
    atomic { undo_count = 0; emptied++; store(STATE, emptied * 4); MORTAL }
#ifndef MUTANT_COMMIT_RELAXED
    release()
#endif
}

/* The end of object_commit() */
inline commit()
{
    empty_log();
#ifndef MUTANT_COMMIT_RELAXED
    release();
#endif
    atomic { store(VERSION, (v | 1) + 1); MORTAL }
}

/* mutex_lock(), and object_repair() */
inline lock()
{
    atomic { !locked && stores == 0 -> locked = 1; yes = owner_died; owner_died = 0 }
    if
    :: !yes
    :: else ->
#ifdef MUTANT_REPAIR_SHOWS_TOO_EARLY
        v = memory[VERSION];
        atomic { store(VERSION, (v | 1) + 1); MORTAL }
#else
        begin();
#endif
        left = undo_count;
        do
        :: left == 0 -> break
        :: else ->
            atomic { store(undo_word[left - 1], undo_old[left - 1]); left--; MORTAL }
#ifdef MUTANT_ROLL_BACK_SHRINKS
            release();
            atomic { undo_count = left; store(STATE, emptied * 4 + left); MORTAL }
#endif
        od;
        empty_log();
#ifndef MUTANT_REPAIR_SHOWS_TOO_EARLY
        commit();
#endif
        yes = 0;
        stores == 0
    fi;
    assert(memory[A] == memory[B]);
    assert(undo_count == 0 && !(memory[VERSION] & 1))
}

inline unlock()
{
    atomic { stores == 0 -> locked = 0 }
}

inline undo_set(w, value)
{
#ifdef MUTANT_STORE_BEFORE_RECORD
    atomic { old = memory[w]; store(w, value); MORTAL }
    atomic { undo_word[undo_count] = w; undo_old[undo_count] = old; undo_count++; old = 0; MORTAL }
    atomic { store(RECORD + undo_count - 1, w + 8 * undo_old[undo_count - 1]); release(); store(STATE, emptied * 4 + undo_count) }
#else
    atomic {
        undo_word[undo_count] = w;
        undo_old[undo_count] = memory[w];
        store(RECORD + undo_count, w + 8 * memory[w]);
        MORTAL
    }
#ifndef MUTANT_RECORD_UNORDERED
    release();
#endif
    atomic { undo_count++; store(STATE, emptied * 4 + undo_count); MORTAL }
#ifndef MUTANT_WORD_UNORDERED
    release();
#endif
    atomic { store(w, value); MORTAL }
#endif
}

proctype Writer(byte me)
{
    byte v, changes, new, old, left;
    bit yes;

    do
    :: changes == CHANGES -> break
    :: else ->
        changes++;
        lock();
        new = memory[A] + 1;
        begin();
        undo_set(A, new);
        undo_set(B, new);
        commit();
        v = 0; new = 0;
        unlock()
    od;
    goto end_done;
died:
    /* The kernel marks the mutex of a dead owner. Another process is started in its place. */
    atomic { owner_died = 1; locked = 0 }
end_done:
    skip
}

/* undo_read() of one word if the version is odd, else just the word. */
inline read_word(w, value)
{
#ifdef MUTANT_STATE_BEFORE_WORD
    n = memory[STATE];
    value = memory[w];
#else
    value = memory[w];
    n = memory[STATE];
#endif
#ifdef MUTANT_LOG_NOT_READ
    n = 0;
#endif
    if
    :: (v & 1) && (n & 3) > 1 -> r = memory[RECORD + 1]; if :: (r & 7) == w -> value = r / 8 :: else fi
    :: else
    fi;
    if
    :: (v & 1) && (n & 3) > 0 -> r = memory[RECORD]; if :: (r & 7) == w -> value = r / 8 :: else fi
    :: else
    fi;
    n = 0; r = 0
}

proctype Reader()
{
    byte v, s, a, b, again, still, tries, n, r, left;
    bit yes;

    do
    :: tries == TRIES -> break
    :: else ->
        tries++;
        atomic { written = 0; v = memory[VERSION] }
        s = memory[STATE] / 4;
#ifdef MUTANT_VERSION_READ_EARLY
        again = memory[VERSION];
        still = memory[STATE] / 4;
#endif
        if
        :: read_word(A, a); read_word(B, b)
#ifndef STRONG
        :: read_word(B, b); read_word(A, a)
#endif
        fi;
#ifndef MUTANT_VERSION_READ_EARLY
        if
        :: again = memory[VERSION]; still = memory[STATE] / 4
#ifndef STRONG
        :: still = memory[STATE] / 4; again = memory[VERSION]
#endif
        fi;
#endif
#ifdef MUTANT_VERSION_NOT_CHECKED
        again = v;
#endif
#ifdef MUTANT_LOG_NOT_CHECKED
        still = s;
#endif
        if
        :: again == v && (!(v & 1) || still == s) -> assert(a == b); goto end_done
        :: else -> assert(written)
        fi;
        again = 0; still = 0; a = 0; b = 0; v = 0; s = 0
    od;
    lock();
    a = memory[A];
    b = memory[B];
    assert(a == b);
    unlock();
    goto end_done;
died:
    atomic { owner_died = 1; locked = 0 }
end_done:
    skip
}

init {
    atomic {
        byte w;

        do
        :: w == WRITERS -> break
        :: else -> run Writer(w); w++
        od;
        run Reader();
        run Memory()
    }
}
