/* Many processes work on one dict, one list and several locks. Every few milliseconds a random one is killed (storm
 * "kill") or stopped for a while (storm "stop"), and another takes its place. At the end all sums are exact.
 *
 * LEDGERS. Each place in which a process works has a page of plain shared memory, which the library does not know. Per
 * operation the process writes there:
 *
 * 1. before: the operation, and the values before and after it;
 * 2. when the call has returned: that it has returned;
 * 3. then: the values after it as the present values.
 *
 * Each of these is one store, or can be repeated. So the parent reads in the page of a dead process whether an
 * operation was in flight. The shared containers themselves show whether that operation happened. If its call had
 * returned, it must have. */
#include <mp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "storm.h"
#include "support.h"

enum { PLACES = 6, BANKS = 4, LOCKS = 3, TEXT = 3000, QUEUE = 5000, PHASE = 4096, TICKETS = 1 << 22, DEADLINE = 10 };

enum operation { NOTHING, TRANSFER, COUNT, APPEND, POP, GUARDED, TEXT_SET, READ, OPERATIONS };

struct ledger {
    _Atomic int operation; /* the one in flight */
    _Atomic int returned;
    int which;                       /* bank or lock */
    int64_t before, after;           /* the number of its own that the operation changes */
    int64_t bank_before, bank_after; /* the sum of all its transfers to that bank */
    int64_t ticket;
    /* The totals of all operations that have returned. */
    int64_t own, count, appended, popped, text, bank[BANKS], guarded[LOCKS];
    uint64_t operations;
    double longest; /* of all calls, in seconds, while no process was stopped on purpose */
};

/* Plain memory that a lock guards. Invariant outside the lock: the sum equals the sum of the parts. */
struct guarded {
    int64_t sum, part[PLACES];
};

struct shared {
    _Alignas(4096) struct ledger ledger[PLACES + 1]; /* the last is the parent's */
    struct guarded guarded[LOCKS];
    _Atomic uint64_t stops;                  /* counts every stop and every continue */
    _Atomic int stopped;                     /* number of processes that are stopped on purpose now */
    unsigned char appended[PLACES][TICKETS]; /* 1: the append returned; 2: it may have happened */
    uint32_t popped[PLACES][TICKETS];        /* 0, or the id of the pop that took it */
};

static struct shared *shared;
static mp_manager *manager;
static mp_dict *dict;
static mp_list *list;
static mp_lock *lock[LOCKS];
static mp_process *process[PLACES];
static uint64_t kills, stops, lost_pops, happened, not_happened;

/* ---- one operation ---- */

static char *key_of(char *key, const char *what, int number)
{
    snprintf(key, 32, "%s %d", what, number);
    return key;
}

static void begin(struct ledger *ledger, int operation, int64_t before, int64_t after)
{
    ledger->before = before;
    ledger->after = after;
    atomic_store(&ledger->returned, 0);
    atomic_store(&ledger->operation, operation);
}

static int64_t *changed_by(struct ledger *ledger, int operation)
{
    switch (operation) {
    case TRANSFER:
        return &ledger->own;
    case COUNT:
        return &ledger->count;
    case APPEND:
        return &ledger->appended;
    case POP:
        return &ledger->popped;
    case GUARDED:
        return &ledger->guarded[ledger->which];
    case TEXT_SET:
        return &ledger->text;
    default:
        return NULL;
    }
}

/* Updates the totals with the operation in flight. May be repeated. */
static void settle(struct ledger *ledger, int place)
{
    int operation = atomic_load(&ledger->operation);
    int64_t *word = changed_by(ledger, operation);

    if (operation == TRANSFER)
        ledger->bank[ledger->which] = ledger->bank_after;
    if (operation == APPEND && place < PLACES)
        shared->appended[place][ledger->before] = 1;
    if (operation == POP && ledger->ticket >= 0) {
        uint32_t *popped = &shared->popped[ledger->ticket / TICKETS][ledger->ticket % TICKETS];
        uint32_t id = (uint32_t)place << 28 | (uint32_t)(ledger->after & 0xfffffff);

        PROMISE(*popped == 0 || *popped == id, ledger->ticket); /* each ticket is popped once */
        *popped = id;
    }
    if (word != NULL)
        *word = ledger->after;
    atomic_store(&ledger->operation, NOTHING);
}

static void transfer(struct ledger *ledger, int place)
{
    int64_t amount = (int64_t)storm_random(100) + 1;
    bool give = storm_random(2) != 0;
    char own[32], bank[32];

    ledger->which = (int)storm_random(BANKS);
    ledger->bank_before = ledger->bank[ledger->which];
    ledger->bank_after = ledger->bank_before + (give ? amount : -amount);
    key_of(own, "account", place);
    key_of(bank, "bank", ledger->which);
    begin(ledger, TRANSFER, ledger->own, ledger->own - (give ? amount : -amount));
    int error = mp_dict_transfer_int(dict, give ? own : bank, give ? bank : own, amount);
    PROMISE(error == 0, error);
}

static void count(struct ledger *ledger, int place)
{
    int64_t now_is;
    char key[32];

    begin(ledger, COUNT, ledger->count, ledger->count + 1);
    int error = mp_dict_add_int(dict, key_of(key, "count", place), 1, &now_is);
    PROMISE(error == 0, error);
    PROMISE(now_is == ledger->after, now_is);
}

static void append(struct ledger *ledger, int place)
{
    begin(ledger, APPEND, ledger->appended, ledger->appended + 1);
    mp_value ticket = mp_value_int((int64_t)place * TICKETS + ledger->before);
    int error = storm_random(4) == 0 ? mp_list_insert(list, 0, ticket) : mp_list_append(list, ticket);
    PROMISE(error == 0, error);
}

static void pop(struct ledger *ledger)
{
    mp_value value;

    ledger->ticket = -1;
    begin(ledger, POP, ledger->popped, ledger->popped + 1);
    int error = mp_list_pop(list, storm_random(4) == 0 ? -1 : 0, &value);
    PROMISE(error == 0 || error == MP_EINDEX, error);
    if (error == 0) {
        PROMISE(value.type == MP_INT && value.as.integer >= 0, value.type);
        ledger->ticket = value.as.integer;
    }
}

static void queue(struct ledger *ledger, int place)
{
    size_t length;
    int error = mp_list_length(list, &length);

    PROMISE(error == 0, error);
    /* Phases with mostly appends and phases with mostly pops take turns, so that segments come and go. */
    uint32_t appending = ledger->appended / PHASE % 2 == 0 ? 3 : 2;
    if (storm_random(5) < appending && length < QUEUE && ledger->appended < TICKETS)
        append(ledger, place);
    else
        pop(ledger);
}

static void guard(struct ledger *ledger, int place)
{
    struct guarded *guarded;
    int64_t sum = 0;

    ledger->which = (int)storm_random(LOCKS);
    guarded = &shared->guarded[ledger->which];
    begin(ledger, GUARDED, ledger->guarded[ledger->which], ledger->guarded[ledger->which] + 1);
    int error = mp_lock_acquire(lock[ledger->which], MP_FOREVER);
    PROMISE(error == 0 || error == MP_EOWNERDEAD, error);
    for (int i = 0; i < PLACES; i++)
        sum += guarded->part[i];
    if (error == MP_EOWNERDEAD)
        guarded->sum = sum;
    PROMISE(guarded->sum == sum, guarded->sum - sum); /* no other process is in here, or has died unnoticed */
    ++*(volatile int64_t *)&guarded->part[place];
    ++*(volatile int64_t *)&guarded->sum;
    error = mp_lock_release(lock[ledger->which]);
    PROMISE(error == 0, error);
}

static void set_text(struct ledger *ledger, int place)
{
    static char text[TEXT + 1];
    char key[32];
    int64_t length = 1 + (int64_t)storm_random(TEXT);

    if (length == ledger->text)
        return;
    memset(text, 'a' + (int)(length % 26), (size_t)length);
    text[length] = 0;
    begin(ledger, TEXT_SET, ledger->text, length);
    int error = mp_dict_set_str(dict, key_of(key, "text", place), text);
    PROMISE(error == 0, error);
}

/* The length of a place's text. The text must be whole. */
static int64_t read_text(int place)
{
    char text[TEXT + 1], key[32];
    size_t length;
    int error = mp_dict_get_str(dict, key_of(key, "text", place), text, sizeof text, &length);

    PROMISE(error == 0, error);
    for (size_t i = 0; i < length; i++)
        PROMISE(text[i] == 'a' + (int)(length % 26), i);
    return (int64_t)length;
}

static void operate(struct ledger *ledger, int place)
{
    switch (1 + storm_random(OPERATIONS - 1)) {
    case TRANSFER:
        transfer(ledger, place);
        break;
    case COUNT:
        count(ledger, place);
        break;
    case APPEND:
    case POP:
        queue(ledger, place);
        break;
    case GUARDED:
        guard(ledger, place);
        break;
    case TEXT_SET:
        set_text(ledger, place);
        break;
    default:
        read_text((int)storm_random(PLACES));
        break;
    }
}

static int work(void *arg)
{
    int place = (int)(intptr_t)arg;
    struct ledger *ledger = &shared->ledger[place];

    storm_seed((uint64_t)getpid() * 1000 + ledger->operations);
    while (place < PLACES) { /* until killed */
        uint64_t stops_before = atomic_load(&shared->stops);
        bool quiet = atomic_load(&shared->stopped) == 0;
        double start = now();

        operate(ledger, place);
        atomic_store(&ledger->returned, 1);
        double took = now() - start;
        if (took > ledger->longest && quiet && stops_before == atomic_load(&shared->stops))
            ledger->longest = took;
        settle(ledger, place);
        ledger->operations++;
    }
    return 0;
}

/* ---- what a dead process leaves ---- */

static int64_t read_number(const char *what, int number)
{
    char key[32];
    int64_t value;
    int error = mp_dict_get_int(dict, key_of(key, what, number), &value);

    PROMISE(error == 0, error);
    return value;
}

/* The number that the operation in flight changes, as the containers show it. */
static int64_t actual(struct ledger *ledger, int operation, int place)
{
    switch (operation) {
    case TRANSFER:
        return read_number("account", place);
    case COUNT:
        return read_number("count", place);
    case GUARDED:
        return shared->guarded[ledger->which].part[place];
    default:
        return read_text(place);
    }
}

/* Whether an append or a pop in flight happened cannot be seen any more, because others work on the list. */
static void settle_queue(struct ledger *ledger, int operation, int place)
{
    if (atomic_load(&ledger->returned) != 0) {
        settle(ledger, place);
        return;
    }
    if (operation == APPEND) {
        shared->appended[place][ledger->before] = 2;
        ledger->appended = ledger->after;
    } else {
        if (ledger->ticket >= 0)
            settle(ledger, place);
        else
            lost_pops++;
        ledger->popped = ledger->after;
    }
    atomic_store(&ledger->operation, NOTHING);
}

static void look_into(int place)
{
    struct ledger *ledger = &shared->ledger[place];
    int operation = atomic_load(&ledger->operation);

    if (operation == NOTHING)
        return;
    if (operation == APPEND || operation == POP) {
        settle_queue(ledger, operation, place);
        return;
    }
    int64_t is = actual(ledger, operation, place);
    PROMISE(is == ledger->before || is == ledger->after, is);
    if (is == ledger->after) {
        happened++;
        settle(ledger, place);
        return;
    }
    PROMISE(atomic_load(&ledger->returned) == 0, operation); /* a call that returned must have happened */
    not_happened++;
    atomic_store(&ledger->operation, NOTHING);
}

/* ---- the storm ---- */

static void start(int place)
{
    int error = mp_process_start(&process[place], work, (void *)(intptr_t)place,
                                 &(mp_process_options){.daemon = MP_DAEMON_YES});

    PROMISE(error == 0, error);
}

static void end(int place)
{
    int code;

    PROMISE(mp_process_kill(process[place]) == 0, place);
    PROMISE(mp_process_join(process[place], 60) == 0, place);
    PROMISE(mp_process_exitcode(process[place], &code) == 0 && code == -SIGKILL, code);
    PROMISE(mp_process_free(process[place]) == 0, place);
    look_into(place);
    kills++;
}

static void stop_for_a_while(int place)
{
    pid_t pid;

    PROMISE(mp_process_pid(process[place], &pid) == 0, place);
    atomic_store(&shared->stopped, 1);
    atomic_fetch_add(&shared->stops, 1);
    kill(pid, SIGSTOP);
    pause_us((long)storm_random(8000));
    if (storm_random(4) == 0) {
        end(place);
        start(place);
    } else {
        kill(pid, SIGCONT);
    }
    stops++;
    atomic_store(&shared->stopped, 0);
    atomic_fetch_add(&shared->stops, 1);
}

static void rage(uint64_t until, bool with_stops)
{
    for (int i = 0; i < PLACES; i++)
        start(i);
    while (kills + (with_stops ? stops : 0) < until) {
        int victim = (int)storm_random(PLACES);

        pause_us((long)storm_random(4000));
        if (with_stops && storm_random(2) == 0) {
            stop_for_a_while(victim);
        } else {
            end(victim);
            start(victim);
        }
    }
    for (int i = 0; i < PLACES; i++)
        end(i);
}

/* Called when no process works: takes all tickets left and makes all texts alike, so that the use of memory can be
 * compared. */
static void calm_down(mp_manager_info *info)
{
    struct ledger *ledger = &shared->ledger[PLACES];
    char key[32];

    do {
        pop(ledger);
        settle(ledger, PLACES);
    } while (ledger->ticket >= 0);
    for (int i = 0; i < PLACES; i++) {
        PROMISE(mp_dict_set_str(dict, key_of(key, "text", i), "b") == 0, i);
        shared->ledger[i].text = 1;
    }
    PROMISE(mp_list_clear(list) == 0, 0);
    int error = mp_manager_check(manager);
    PROMISE(error == 0, error);
    PROMISE(mp_manager_get_info(manager, info) == 0, 0);
}

static void check_banks(void)
{
    int64_t total = 0;

    for (int i = 0; i < PLACES; i++) {
        PROMISE(read_number("account", i) == shared->ledger[i].own, i);
        PROMISE(read_number("count", i) == shared->ledger[i].count, i);
        total += shared->ledger[i].own;
    }
    for (int b = 0; b < BANKS; b++) {
        int64_t given = 0;

        for (int i = 0; i < PLACES; i++)
            given += shared->ledger[i].bank[b];
        PROMISE(read_number("bank", b) == given, read_number("bank", b) - given);
        total += given;
    }
    PROMISE(total == 0, total);
}

static void check_locks(void)
{
    for (int k = 0; k < LOCKS; k++) {
        int error = mp_lock_acquire(lock[k], 10);

        PROMISE(error == 0 || error == MP_EOWNERDEAD, error);
        for (int i = 0; i < PLACES; i++)
            PROMISE(shared->guarded[k].part[i] == shared->ledger[i].guarded[k], i);
        PROMISE(mp_lock_release(lock[k]) == 0, k);
    }
}

/* Every ticket whose append returned was popped once, except that each killed pop may have taken one along. */
static void check_tickets(void)
{
    uint64_t missing = 0, tickets = 0;

    for (int i = 0; i < PLACES; i++) {
        for (int64_t k = 0; k < shared->ledger[i].appended; k++) {
            PROMISE(shared->appended[i][k] != 0, k);
            missing += shared->appended[i][k] == 1 && shared->popped[i][k] == 0;
            tickets++;
        }
        for (int64_t k = shared->ledger[i].appended; k < TICKETS && k < shared->ledger[i].appended + 1000; k++)
            PROMISE(shared->popped[i][k] == 0, k);
    }
    PROMISE(missing <= lost_pops, missing - lost_pops);
    printf("  %llu tickets, %llu taken along by %llu pops that were killed\n", (unsigned long long)tickets,
           (unsigned long long)missing, (unsigned long long)lost_pops);
}

static void set_up(void)
{
    char key[32];

    shared = shared_memory(sizeof *shared);
    PROMISE(mp_manager_create(&manager, NULL) == 0, 0);
    PROMISE(mp_manager_dict(manager, &dict) == 0, 0);
    PROMISE(mp_manager_list(manager, &list) == 0, 0);
    for (int i = 0; i < LOCKS; i++)
        PROMISE(mp_lock_create(&lock[i], NULL) == 0, i);
    for (int i = 0; i < BANKS; i++)
        PROMISE(mp_dict_set_int(dict, key_of(key, "bank", i), 0) == 0, i);
    for (int i = 0; i < PLACES; i++) {
        PROMISE(mp_dict_set_int(dict, key_of(key, "account", i), 0) == 0, i);
        PROMISE(mp_dict_set_int(dict, key_of(key, "count", i), 0) == 0, i);
        PROMISE(mp_dict_set_str(dict, key_of(key, "text", i), "b") == 0, i);
        shared->ledger[i].text = 1;
    }
}

static void tell(double seconds, const mp_manager_info *before, const mp_manager_info *after)
{
    uint64_t operations = 0;
    double longest = 0;

    for (int i = 0; i < PLACES; i++) {
        operations += shared->ledger[i].operations;
        longest = shared->ledger[i].longest > longest ? shared->ledger[i].longest : longest;
    }
    printf("  %llu kills and %llu stops survived in %.1f s, %llu operations returned; of those in flight %llu had "
           "happened and %llu "
           "had not\n",
           (unsigned long long)kills, (unsigned long long)stops, seconds, (unsigned long long)operations,
           (unsigned long long)happened, (unsigned long long)not_happened);
    printf("  longest wait %.3f s (promised: 1 s)\n", longest);
    printf("  bytes leaked %lld; heap's file %zu -> %zu bytes\n", (long long)after->used - (long long)before->used,
           before->size, after->size);
    PROMISE(longest < DEADLINE, longest * 1000);
    PROMISE(after->used <= before->used, after->used - before->used);
    PROMISE(after->size <= before->size * 2, after->size);
}

int main(int argc, char **argv)
{
    struct storm_options options = storm_parse(argc, argv);
    bool with_stops = strcmp(options.storm, "stop") == 0;
    uint64_t until = options.kills != 0 ? options.kills : 1500;
    mp_manager_info before, after;

    set_up();
    double begun = now();
    rage(until / 5, with_stops);
    calm_down(&before);
    rage(until, with_stops);
    calm_down(&after);
    check_banks();
    check_locks();
    check_tickets();
    tell(now() - begun, &before, &after);
    for (int i = 0; i < LOCKS; i++)
        PROMISE(mp_lock_free(lock[i]) == 0, i);
    PROMISE(mp_manager_free(manager) == 0, 0);
    return 0;
}
