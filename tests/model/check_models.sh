#!/bin/sh
# Checks the Spin models in this folder: all, or those named. Needs spin and a C compiler (CC). Exits with 77 if there
# is no spin.
#
# For each model it runs first the configurations, none of which may show an error; then the mutants, each of which must
# show one. A search is exhaustive (some bytes for each state) or broad (three bits for each state). SECONDS_EACH limits
# each search (60; half of it for a broad search; 25 times as long for a mutant), MEGABYTES its memory (1000). If that
# is not enough, the report says so.
set -u
here=$(cd "$(dirname "$0")" && pwd)
command -v spin >/dev/null 2>&1 || { echo "spin is not installed"; exit 77; }
seconds=${SECONDS_EACH:-60}
megabytes=${MEGABYTES:-1000}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' INT TERM
failed=0
order= # search order, as a flag for pan.c

# search LIMIT MODEL exhaustive|broad FLAGS...: runs for at most LIMIT seconds; pan's report is in $scratch/out.
search() {
    limit=$1
    source=$here/$2.pml
    kind=$3
    shift 3
    case $kind in
    exhaustive) how="-DCOLLAPSE" bits=24 ;;
    broad) how="-DBITSTATE" bits=31 ;;
    esac
    rm -f "$scratch"/*
    # A model that does not compile must not count as one with an error found.
    (cd "$scratch" && spin -a "$@" "$source" >spin.log 2>&1 &&
        ${CC:-cc} -O2 -w -DSAFETY -DNOFAIR $how $order -DVECTORSZ=2048 -DMEMLIM="$megabytes" -o pan pan.c) ||
        { cat "$scratch/spin.log"; echo "$source: does not compile"; exit 1; }
    (cd "$scratch" && timeout -s INT "$limit" ./pan -m1000000 -w$bits >out 2>&1)
    states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' "$scratch/out")
    errors=$(sed -n 's/.*errors: \([0-9]*\).*/\1/p' "$scratch/out")
}

# Whether the search was complete.
complete() {
    ! grep -q -e 'Search not completed' -e 'Interrupted' -e 'max search depth too small' "$scratch/out"
}

must_hold() {
    case $2 in
    exhaustive) search "$seconds" "$@" ;;
    broad) search $((seconds / 2)) "$@" ;;
    esac
    if [ "${errors:-none}" != 0 ]; then
        echo "FAILED $*: errors: ${errors:-none}"
        tail -30 "$scratch/out"
        failed=1
    elif complete; then
        echo "holds $*: $states states, all"
    else
        echo "holds $*: $states states, as far as it got"
    fi
}

# A search ends when it finds the mutant, within seconds. A slow or busy machine takes longer.
must_fail() {
    search $((seconds * 25)) "$@"
    if [ "${errors:-0}" = 0 ]; then
        echo "FAILED $*: the mutant was not found in ${states:-no} states"
        failed=1
    else
        echo "caught $*: $states states, $(sed -n 's/^pan:1: \(.*\) (at.*/\1/p' "$scratch/out")"
    fi
}

check_dispatch() {
    small="-DBATCH=1 -DSPURIOUS=0"
    # shellcheck disable=SC2086
    {
        must_hold dispatch exhaustive -DTASKS=1 -DBATCH=1 -DDEATHS=0 -DSPURIOUS=1
        must_hold dispatch exhaustive -DTASKS=1 $small -DDEATHS=1 -DVICTIM=0
        must_hold dispatch exhaustive -DTASKS=1 $small -DDEATHS=1 -DVICTIM=1
        must_hold dispatch exhaustive -DTASKS=2 $small -DDEATHS=0 -DRING=1
        must_hold dispatch exhaustive -DTASKS=1 $small -DDEATHS=0 -DCLOSING
        must_hold dispatch broad -DTASKS=2 -DBATCH=2 -DDEATHS=1 -DSPURIOUS=0
        must_hold dispatch broad -DTASKS=3 -DBATCH=2 -DDEATHS=1 -DSPURIOUS=1
        must_hold dispatch broad -DTASKS=2 -DBATCH=2 -DDEATHS=1 -DSPURIOUS=0 -DCLOSING
        must_hold dispatch broad -DWORKERS=3 -DTASKS=3 -DBATCH=2 -DDEATHS=1 -DSPURIOUS=0

        # The sleeper looks for work before it joins the set of sleepers.
        must_fail dispatch broad -DMUTANT_LOOK_BEFORE_SLEEPING_SET -DTASKS=1 $small -DDEATHS=0
        # The record is written after the claim.
        must_fail dispatch broad -DMUTANT_CLAIM_BEFORE_RECORD -DTASKS=1 $small -DDEATHS=1
        # After a death no worker looks at all tasks.
        must_fail dispatch broad -DMUTANT_DEATH_WITHOUT_RESCAN -DTASKS=1 $small -DDEATHS=1
        # The head is moved before the ring's places are read.
        must_fail dispatch broad -DMUTANT_HEAD_BEFORE_PLACES -DTASKS=2 $small -DDEATHS=0 -DRING=1
        # A worker that takes several tickets wakes no other.
        must_fail dispatch broad -DMUTANT_BATCH_WAKES_NOBODY -DTASKS=2 -DBATCH=2 -DDEATHS=0 -DSPURIOUS=0
        # The last look before sleep leaves out tasks that others have taken into their batches.
        must_fail dispatch broad -DMUTANT_BATCHES_UNSEEN -DTASKS=2 -DBATCH=2 -DDEATHS=0 -DSPURIOUS=0
        # A waker does not notice that its sleeper has woken by itself.
        must_fail dispatch broad -DMUTANT_LATE_WAKER -DTASKS=2 $small -DDEATHS=0
        # A worker that stops searching ignores tasks in batches.
        order=-DREVERSE
        must_fail dispatch broad -DMUTANT_BATCHES_DO_NOT_COUNT -DTASKS=2 -DBATCH=2 -DDEATHS=0 -DSPURIOUS=0
        order=
        # A worker that finds a task by a rescan wakes no other.
        must_fail dispatch broad -DMUTANT_RESCAN_WAKES_NOBODY -DTASKS=2 -DBATCH=2 -DDEATHS=1 -DSPURIOUS=0
    }
}

check_read() {
    small="-DTRIES=1 -DCHANGES=1 -DDEATHS=1"
    # shellcheck disable=SC2086
    {
        must_hold read exhaustive $small -DWRITERS=1
        must_hold read exhaustive $small
        must_hold read exhaustive -DTRIES=1 -DCHANGES=2 -DDEATHS=0 -DWRITERS=1
        must_hold read broad
        must_hold read broad -DSTRONG
        must_hold read broad -DDEATHS=3 -DCHANGES=1 -DWRITERS=3
        for mutant in COMMIT_RELAXED VERSION_NOT_CHECKED VERSION_READ_EARLY STORE_BEFORE_RECORD STATE_BEFORE_WORD \
            WORD_UNORDERED LOG_NOT_READ LOG_NOT_CHECKED ROLL_BACK_SHRINKS; do
            must_fail read exhaustive -DMUTANT_$mutant $small
        done
        must_fail read exhaustive -DMUTANT_RECORD_UNORDERED -DTRIES=1 -DCHANGES=2 -DDEATHS=0 -DWRITERS=1
        order=-DREVERSE
        must_fail read exhaustive -DMUTANT_REPAIR_SHOWS_TOO_EARLY $small
        order=
    }
}

check_wait() {
    must_hold wait exhaustive
    must_hold wait exhaustive -DDEATHS=3 -DSPURIOUS=2
    for mutant in FINISH_IN_TWO_STEPS CLAIM_DROPS_WAITER REQUEUE_DROPS_WAITER DONE_WAKES_NOBODY SUPERVISOR_UNWATCHED; do
        must_fail wait exhaustive -DMUTANT_$mutant
    done
}

[ $# -gt 0 ] || set -- dispatch read wait
for model; do
    check_"$model"
done
exit $failed
