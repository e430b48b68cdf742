/* Dicts and lists used by several processes at once, some of which are killed. */
#include <mp.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "support.h"

enum { PROCESSES = 8, ROUNDS = 20000 };

struct shared {
    mp_manager *manager;
    mp_dict *dict;
    mp_list *list;
    mp_dict *updates[2]; /* for processes that are killed in the middle of an update */
};

static struct shared shared;

static int make(void **state)
{
    (void)state;
    return mp_manager_create(&shared.manager, NULL) != 0 || mp_manager_dict(shared.manager, &shared.dict) != 0 ||
           mp_manager_list(shared.manager, &shared.list) != 0;
}

static int drop(void **state)
{
    (void)state;
    return mp_manager_check(shared.manager) != 0 || mp_manager_free(shared.manager) != 0;
}

static void run_everywhere(mp_process_function *function)
{
    mp_process *process[PROCESSES];
    int code;

    for (int i = 0; i < PROCESSES; i++)
        assert_int_equal(mp_process_start(&process[i], function, &shared, NULL), 0);
    for (int i = 0; i < PROCESSES; i++) {
        assert_int_equal(mp_process_join(process[i], 120), 0);
        assert_int_equal(mp_process_exitcode(process[i], &code), 0);
        assert_int_equal(code, 0);
        assert_int_equal(mp_process_free(process[i]), 0);
    }
}

static int add_and_swap(void *arg)
{
    struct shared *s = arg;

    for (int i = 0; i < ROUNDS; i++) {
        int64_t value;

        if (mp_dict_add_int(s->dict, "sum", 1, NULL) != 0)
            return 1;
        do {
            if (mp_dict_get_int(s->dict, "swapped", &value) != 0)
                return 2;
        } while (mp_dict_compare_and_swap(s->dict, mp_value_str("swapped"), mp_value_int(value),
                                          mp_value_int(value + 1)) != 0);
    }
    return 0;
}

static void no_update_is_lost(void **state)
{
    int64_t value;
    (void)state;

    assert_int_equal(mp_dict_set_int(shared.dict, "swapped", 0), 0);
    run_everywhere(add_and_swap);
    assert_int_equal(mp_dict_get_int(shared.dict, "sum", &value), 0);
    assert_int_equal(value, PROCESSES * ROUNDS);
    assert_int_equal(mp_dict_get_int(shared.dict, "swapped", &value), 0);
    assert_int_equal(value, PROCESSES * ROUNDS);
}

static int pop_all(void *arg)
{
    struct shared *s = arg;
    mp_value value;
    int error;

    while ((error = mp_list_pop(s->list, rand() % 2 ? -1 : 0, &value)) == 0) {
        if (mp_dict_add(s->dict, mp_value_int(value.as.integer), 1, NULL) != 0)
            return 1;
    }
    return error == MP_EINDEX ? 0 : 2;
}

static int append_some(void *arg)
{
    struct shared *s = arg;

    for (int i = 0; i < ROUNDS / 10; i++) {
        if (mp_list_append_int(s->list, (int64_t)getpid() * ROUNDS + i) != 0)
            return 1;
    }
    return 0;
}

static void each_element_is_popped_once(void **state)
{
    mp_dict_iter *iter;
    mp_value key, value;
    size_t length;
    (void)state;

    run_everywhere(append_some);
    run_everywhere(pop_all);
    assert_int_equal(mp_dict_length(shared.dict, &length), 0);
    assert_int_equal(length, PROCESSES * (ROUNDS / 10));
    assert_int_equal(mp_dict_iter_create(&iter, shared.dict), 0);
    while (mp_dict_next(iter, &key, &value) == 0)
        assert_int_equal(value.as.integer, 1);
    mp_dict_iter_free(iter);
}

static int add_and_swap_in_list(void *arg)
{
    struct shared *s = arg;

    for (int i = 0; i < ROUNDS; i++) {
        int64_t value;

        if (mp_list_add_int(s->list, 0, 1, NULL) != 0)
            return 1;
        do {
            if (mp_list_get_int(s->list, -1, &value) != 0)
                return 2;
        } while (mp_list_compare_and_swap(s->list, -1, mp_value_int(value), mp_value_int(value + 1)) != 0);
    }
    return 0;
}

static void no_update_of_a_list_is_lost(void **state)
{
    int64_t value;
    (void)state;

    for (int i = 0; i < 2; i++)
        assert_int_equal(mp_list_append_int(shared.list, 0), 0);
    run_everywhere(add_and_swap_in_list);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(mp_list_get_int(shared.list, i, &value), 0);
        assert_int_equal(value, PROCESSES * ROUNDS);
    }
}

/* The first process stores a value. All others get that value, and none overwrites it. */
static int get_or_set(void *arg)
{
    struct shared *s = arg;

    for (int i = 0; i < ROUNDS / 10; i++) {
        mp_value value, again;

        if (mp_dict_setdefault(s->dict, mp_value_int(i), mp_value_int(getpid()), &value) != 0 ||
            mp_dict_get(s->dict, mp_value_int(i), &again) != 0)
            return 1;
        if (value.as.integer != again.as.integer)
            return 2;
        if (value.as.integer == getpid() && mp_list_append_int(s->list, i) != 0)
            return 3;
    }
    return 0;
}

static void get_or_set_agrees(void **state)
{
    size_t length;
    (void)state;

    run_everywhere(get_or_set);
    assert_int_equal(mp_dict_length(shared.dict, &length), 0);
    assert_int_equal(length, ROUNDS / 10);
    assert_int_equal(mp_list_length(shared.list, &length), 0);
    assert_int_equal(length, ROUNDS / 10);
}

/* Pops by key as long as there are keys, then pops the newest entry. */
static int pop_entries(void *arg)
{
    struct shared *s = arg;
    mp_value key, value;
    int error;

    for (int i = 0; i < ROUNDS / 2; i++) {
        error = mp_dict_pop(s->dict, mp_value_int(i), &value);
        if (error == 0 && mp_list_append(s->list, value) != 0)
            return 1;
        if (error != 0 && error != MP_EKEY)
            return 2;
    }
    while ((error = mp_dict_popitem(s->dict, &key, &value)) == 0) {
        if (mp_list_append(s->list, value) != 0)
            return 3;
    }
    return error == MP_EKEY ? 0 : 4;
}

static void each_entry_is_popped_once(void **state)
{
    int64_t value;
    size_t length;
    (void)state;

    for (int i = 0; i < ROUNDS; i++)
        assert_int_equal(mp_dict_set(shared.dict, mp_value_int(i), mp_value_int(i)), 0);
    run_everywhere(pop_entries);
    assert_int_equal(mp_dict_length(shared.dict, &length), 0);
    assert_int_equal(length, 0);
    assert_int_equal(mp_list_length(shared.list, &length), 0);
    assert_int_equal(length, ROUNDS);
    assert_int_equal(mp_list_sort(shared.list, NULL, NULL, false), 0);
    for (int i = 0; i < ROUNDS; i++) {
        assert_int_equal(mp_list_get_int(shared.list, i, &value), 0);
        assert_int_equal(value, i);
    }
}

static bool turn_is(struct shared *s, int64_t turn)
{
    const double end = now() + 60;
    int64_t value = -1;

    while (mp_dict_get_int(s->dict, "turn", &value) == 0 && value != turn) {
        if (now() > end)
            return false;
        sched_yield();
    }
    return value == turn;
}

enum { TURNS = 2000 };

/* One of two processes has the even turns. Everything that it did before it passed the turn on is visible to the
 * other. */
static int take_turns(struct shared *s, int64_t first)
{
    for (int64_t turn = first; turn < TURNS; turn += 2) {
        char expected[64], text[64] = "";
        mp_list *inner;
        size_t length;
        int64_t last = -1;

        if (!turn_is(s, turn))
            return 1;
        snprintf(expected, sizeof expected, "a text of more than eight bytes, turn %d", (int)turn - 1);
        if (turn > 0 && (mp_dict_get_str(s->dict, "text", text, sizeof text, NULL) != 0 || strcmp(text, expected) != 0))
            return 2;
        if (mp_list_length(s->list, &length) != 0 || length != (size_t)turn)
            return 3;
        if (turn > 0 && (mp_list_get_int(s->list, -1, &last) != 0 || last != turn - 1))
            return 4;
        /* In the nested list as well. */
        if (mp_dict_get_list(s->dict, "inner", &inner) != 0 || mp_list_get_int(inner, 0, &last) != 0 || last != turn)
            return 5;
        snprintf(text, sizeof text, "a text of more than eight bytes, turn %d", (int)turn);
        if (mp_dict_set_str(s->dict, "text", text) != 0 || mp_list_append_int(s->list, turn) != 0 ||
            mp_list_add_int(inner, 0, 1, NULL) != 0 || mp_dict_set_int(s->dict, "turn", turn + 1) != 0)
            return 6;
    }
    return 0;
}

static int take_odd_turns(void *arg)
{
    return take_turns(arg, 1);
}

static void changes_are_seen_at_once(void **state)
{
    mp_process *process;
    mp_list *inner;
    int code;
    (void)state;

    assert_int_equal(mp_manager_list(shared.manager, &inner), 0);
    assert_int_equal(mp_list_append_int(inner, 0), 0);
    assert_int_equal(mp_dict_set_list(shared.dict, "inner", inner), 0);
    assert_int_equal(mp_list_free(inner), 0);
    assert_int_equal(mp_dict_set_int(shared.dict, "turn", 0), 0);
    assert_int_equal(mp_process_start(&process, take_odd_turns, &shared, NULL), 0);
    assert_int_equal(take_turns(&shared, 0), 0);
    assert_int_equal(mp_process_join(process, 120), 0);
    assert_int_equal(mp_process_exitcode(process, &code), 0);
    assert_int_equal(code, 0);
    assert_int_equal(mp_process_free(process), 0);
}

enum { STABLE = 500, CHURN = 3000 };

/* Entries with keys from STABLE on come and go, now and then in bulk, so that the other entries are moved. */
static int churn(struct shared *s)
{
    for (int i = 0; i < 20; i++) {
        for (int k = 0; k < CHURN; k++) {
            if (mp_dict_set(s->dict, mp_value_int(STABLE + rand() % CHURN), mp_value_str("of more than eight bytes")) !=
                0)
                return 1;
        }
        for (int k = 0; k < CHURN; k++)
            mp_dict_remove(s->dict, mp_value_int(STABLE + k));
    }
    return mp_dict_add_int(s->dict, "done", 1, NULL) == 0 ? 0 : 2;
}

static int iterate_all(struct shared *s)
{
    mp_dict_iter *iter = NULL;
    mp_value key, value;
    int64_t next = 0;
    int error = mp_dict_iter_create(&iter, s->dict);
    bool seen[CHURN] = {false};

    while (error == 0 && (error = mp_dict_next(iter, &key, &value)) == 0) {
        if (key.type != MP_INT)
            continue;
        if (key.as.integer < STABLE) { /* each of them, in order */
            if (key.as.integer != next++ || value.type != MP_INT || value.as.integer != -key.as.integer)
                return 3;
            continue;
        }
        if (key.as.integer >= STABLE + CHURN || value.type != MP_STR ||
            strcmp(value.as.str, "of more than eight bytes") != 0)
            return 4;
        /* An entry that was removed and added again is newer than the iterator. */
        if (seen[key.as.integer - STABLE])
            return 5;
        seen[key.as.integer - STABLE] = true;
    }
    mp_dict_iter_free(iter);
    return error == MP_ESTOP && next == STABLE ? 0 : 6;
}

static int iterate_or_churn(void *arg)
{
    struct shared *s = arg;
    int64_t done = 0;
    int error = 0;

    srand((unsigned)getpid());
    if (mp_dict_add_int(s->dict, "roles", 1, &done) != 0)
        return 7;
    if (done % 2 == 0)
        return churn(s);
    for (done = 0; error == 0 && done < PROCESSES / 2; mp_dict_get_int(s->dict, "done", &done))
        error = iterate_all(s);
    return error;
}

static void iteration_meets_each_that_stays_once(void **state)
{
    (void)state;
    for (int i = 0; i < STABLE; i++) {
        /* Short-lived entries in between, so that the stable ones are not adjacent at first. */
        assert_int_equal(mp_dict_set(shared.dict, mp_value_int(i), mp_value_int(-i)), 0);
        for (int k = 0; k < 5; k++)
            assert_int_equal(
                mp_dict_set(shared.dict, mp_value_int(STABLE + 5 * i + k), mp_value_str("of more than eight bytes")),
                0);
    }
    run_everywhere(iterate_or_churn);
}

/* Both entries always have the same value, and "from" and "to" the same sum: in each copy, each list of values, each
 * comparison. */
static int look_at_moments(struct shared *s)
{
    for (int i = 0; i < 300; i++) {
        int64_t a = 0, b = 0, from = 0, to = 0;
        mp_dict *copy;
        mp_list *values;
        bool equal;

        if (mp_dict_copy(s->dict, &copy) != 0 || mp_dict_get_int(copy, "a", &a) != 0 ||
            mp_dict_get_int(copy, "b", &b) != 0 || mp_dict_get_int(copy, "from", &from) != 0 ||
            mp_dict_get_int(copy, "to", &to) != 0 || a != b || from + to != 0)
            return 1;
        if (mp_dict_equal(copy, copy, &equal) != 0 || !equal || mp_dict_free(copy) != 0)
            return 2;
        if (mp_dict_values(s->dict, &values) != 0 || mp_list_get_int(values, 0, &a) != 0 ||
            mp_list_get_int(values, 1, &b) != 0 || mp_list_get_int(values, 2, &from) != 0 ||
            mp_list_get_int(values, 3, &to) != 0 || a != b || from + to != 0 || mp_list_free(values) != 0)
            return 3;
    }
    return mp_dict_set_bool(s->dict, "stop", true) == 0 ? 0 : 4;
}

static int look_or_update(void *arg)
{
    struct shared *s = arg;
    mp_dict *both;
    int64_t role;
    bool stop = false;

    if (mp_list_add_int(s->list, 0, 1, &role) != 0 || mp_manager_dict(s->manager, &both) != 0)
        return 5;
    if (role == 1)
        return mp_dict_free(both) != 0 ? 6 : look_at_moments(s);
    for (int64_t i = role; mp_dict_get_bool(s->dict, "stop", &stop) == 0 && !stop; i += 2) {
        mp_dict_set_int(both, "b", i);
        mp_dict_set_int(both, "a", i);
        if (mp_dict_update(s->dict, both) != 0 || mp_dict_transfer_int(s->dict, "from", "to", i) != 0)
            return 7;
    }
    return mp_dict_free(both) == 0 ? 0 : 8;
}

static void copies_and_updates_are_of_one_moment(void **state)
{
    (void)state;
    for (const char *name = "a\0b\0"; *name != 0; name += 2)
        assert_int_equal(mp_dict_set_int(shared.dict, name, 0), 0);
    assert_int_equal(mp_dict_transfer_int(shared.dict, "from", "to", 1), 0);
    assert_int_equal(mp_dict_set_bool(shared.dict, "stop", false), 0);
    assert_int_equal(mp_list_append_int(shared.list, 0), 0);
    run_everywhere(look_or_update);
}

/* A reader sees the complete value of one writer, whatever the writers do. */
static int read_or_write(void *arg)
{
    struct shared *s = arg;
    bool writer = getpid() % 2 == 0;
    char text[64], key[16];

    srand((unsigned)getpid());
    for (int i = 0; i < ROUNDS; i++) {
        size_t length;

        snprintf(key, sizeof key, "%d", rand() % 50);
        if (writer) {
            size_t size = (size_t)(rand() % 40);

            memset(text, 'a' + rand() % 26, size);
            text[size] = 0;
            if (rand() % 5 == 0)
                mp_dict_remove_key(s->dict, key);
            else if (mp_dict_set_str(s->dict, key, text) != 0)
                return 1;
            continue;
        }
        int error = mp_dict_get_str(s->dict, key, text, sizeof text, &length);
        if (error == MP_EKEY)
            continue;
        if (error != 0 || strlen(text) != length || (length > 0 && strspn(text, (char[]){text[0], 0}) != length))
            return 2;
    }
    return 0;
}

static void readers_never_see_halves(void **state)
{
    (void)state;
    run_everywhere(read_or_write);
}

/* Changes everything, all the time, until killed. */
static int work_until_killed(void *arg)
{
    struct shared *s = arg;
    char key[64], text[128];

    srand((unsigned)getpid());
    while (s->dict != NULL) {
        int n = rand() % 100;

        if (n < 20)
            mp_dict_update(s->dict, s->updates[n % 2]);
        snprintf(key, sizeof key, n % 2 ? "%d" : "a key of more than sixteen bytes %d", n);
        memset(text, 'x', sizeof text);
        text[rand() % 127] = 0;
        switch (rand() % 12) {
        case 0:
        case 1:
        case 2:
            mp_dict_set_str(s->dict, key, text);
            break;
        case 3:
            mp_dict_remove_key(s->dict, key);
            break;
        case 4:
            mp_dict_set_list(s->dict, key, s->list);
            break;
        case 5:
            mp_dict_move(s->dict, mp_value_str(key), mp_value_str("a place to move things to"));
            break;
        case 6:
            mp_list_append_str(s->list, text);
            break;
        case 7:
            mp_list_pop(s->list, rand() % 3 - 1, NULL);
            break;
        case 8:
            mp_list_insert(s->list, 2, mp_value_str(text));
            break;
        case 9:
            mp_dict_transfer_int(s->dict, "from", "to", 1);
            break;
        case 10:
            mp_list_delete_slice(s->list, 50, MP_END, 1);
            break;
        default:
            if (rand() % 50 == 0)
                mp_dict_clear(s->dict);
            mp_list_reverse(s->list);
            break;
        }
    }
    return 0;
}

enum { UPDATED = 20 };

static void make_updates(void)
{
    for (int i = 0; i < 2; i++) {
        assert_int_equal(mp_manager_dict(shared.manager, &shared.updates[i]), 0);
        for (int k = 0; k < UPDATED; k++)
            assert_int_equal(mp_dict_set(shared.updates[i], mp_value_float(k + 0.5), mp_value_int(i)), 0);
    }
}

/* Since the last clear(), all entries come from the same update, or there are none. */
static void assert_whole_updates(void)
{
    mp_value first, other;
    int error = mp_dict_get(shared.dict, mp_value_float(0.5), &first);

    for (int k = 1; k < UPDATED; k++) {
        assert_int_equal(mp_dict_get(shared.dict, mp_value_float(k + 0.5), &other), error);
        if (error == 0)
            assert_int_equal(other.as.integer, first.as.integer);
    }
}

static void a_killed_writer_leaves_all_whole(void **state)
{
    (void)state;
    make_updates();
    srand(11);
    for (int i = 0; i < 300; i++) {
        mp_process *process[2];
        int64_t from = 0, to = 0;

        for (int j = 0; j < 2; j++)
            assert_int_equal(mp_process_start(&process[j], work_until_killed, &shared, NULL), 0);
        pause_us(rand() % 4000);
        for (int j = 0; j < 2; j++) {
            assert_int_equal(mp_process_kill(process[j]), 0);
            assert_int_equal(mp_process_join(process[j], 60), 0);
            assert_int_equal(mp_process_free(process[j]), 0);
        }
        assert_int_equal(mp_manager_check(shared.manager), 0);
        /* Both changes or neither, since the last clear(). */
        mp_dict_get_int(shared.dict, "from", &from);
        mp_dict_get_int(shared.dict, "to", &to);
        assert_int_equal(from + to, 0);
        assert_whole_updates();
        assert_int_equal(mp_dict_set_int(shared.dict, "still", i), 0);
    }
}

enum { MANY = 3000, LOOKS = 3000 };

static int change_without_end(void *arg)
{
    struct shared *s = arg;
    char text[2000];

    memset(text, 'B', sizeof text);
    text[sizeof text - 1] = 0;
    for (size_t round = 0; s->dict != NULL; round++) {
        mp_dict_update(s->dict, s->updates[0]);
        mp_list_extend(s->list, s->list);
        mp_list_delete_slice(s->list, MANY, MP_END, 1);
        mp_dict_clear(s->dict);
        for (int i = 0; i < 20; i++)
            mp_dict_set_str(s->updates[1], "text", i % 2 ? text : text + 1900);
    }
    return 0;
}

static void look_at_lengths(void)
{
    size_t length;

    assert_int_equal(mp_dict_length(shared.dict, &length), 0);
    assert_true(length == 0 || length == MANY);
    assert_int_equal(mp_list_length(shared.list, &length), 0);
    assert_true(length == MANY || length == 2 * MANY);
}

/* A call writes to the buffer only if it succeeds. */
static void look_at_text(void)
{
    char buffer[1000];
    size_t length;

    memset(buffer, '#', sizeof buffer);
    int error = mp_dict_get_str(shared.updates[1], "text", buffer, sizeof buffer, &length);
    if (error == MP_EKEY)
        return;
    assert_true(error == 0 ? length == 99 : error == MP_ETOOSMALL && length == 1999);
    for (size_t i = 0; error != 0 && i < sizeof buffer; i++)
        assert_int_equal(buffer[i], '#');
    assert_true(error != 0 || strspn(buffer, "B") == 99);
}

/* The writer runs, is stopped somewhere and killed there, again and again. Other processes find the state before or
 * after its change. */
static void readers_do_not_mind_what_becomes_of_writers(void **state)
{
    (void)state;
    make_updates();
    assert_int_equal(mp_dict_clear(shared.updates[0]), 0);
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(mp_dict_set(shared.updates[0], mp_value_int(i), mp_value_int(i)), 0);
        assert_int_equal(mp_list_append_int(shared.list, i), 0);
    }
    srand(13);
    for (int round = 0; round < 40; round++) {
        mp_process *process;
        double longest = 0;
        int status;
        pid_t pid;

        assert_int_equal(mp_process_start(&process, change_without_end, &shared, NULL), 0);
        for (int i = 0; i < LOOKS / 10; i++) {
            look_at_lengths();
            look_at_text();
        }
        pause_us(rand() % 3000);
        assert_int_equal(mp_process_pid(process, &pid), 0);
        assert_int_equal(kill(pid, SIGSTOP), 0);
        assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
        for (int dead = 0; dead < 2; dead++) {
            for (int i = 0; i < 20; i++) {
                double begin = now();

                look_at_lengths();
                look_at_text();
                longest = now() - begin > longest ? now() - begin : longest;
            }
            assert_true(longest < 2);
            if (!dead) {
                assert_int_equal(mp_process_kill(process), 0);
                assert_int_equal(mp_process_join(process, 60), 0);
            }
        }
        assert_int_equal(mp_process_free(process), 0);
        /* Removes what the dead writer has not cleared, or has appended. */
        assert_int_equal(mp_dict_clear(shared.dict), 0);
        assert_int_equal(mp_list_delete_slice(shared.list, MANY, MP_END, 1), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(no_update_is_lost),
        TEST(each_element_is_popped_once),
        TEST(no_update_of_a_list_is_lost),
        TEST(get_or_set_agrees),
        TEST(each_entry_is_popped_once),
        TEST(changes_are_seen_at_once),
        TEST(iteration_meets_each_that_stays_once),
        TEST(copies_and_updates_are_of_one_moment),
        TEST(readers_never_see_halves),
        TEST(a_killed_writer_leaves_all_whole),
        TEST(readers_do_not_mind_what_becomes_of_writers),
    };

    return cmocka_run_group_tests(tests, leak_check_begin, leak_check_end);
}
