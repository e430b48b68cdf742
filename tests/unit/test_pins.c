/* Readers of containers while a stopped process holds the heap's mutex (src/object/pin.h): each call answers, what it
 * shows lives until it is given up, and all memory comes back in the end. */
#include <mp.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "heap/heap_check.h"
#include "object/hold.h"
#include "object/owner.h"
#include "object/pin.h"
#include "object/ref.h"
#include "support.h"

#define PATIENCE 60 /* seconds; then SIGALRM ends the test */

static mp_manager *manager;
static mp_dict *dict, *inner;
static mp_list *list;
static size_t used;   /* blocks in use while dict and list are empty */
static pid_t stopped; /* the process that has the heap's mutex */

static struct heap *heap(void)
{
    return (struct heap *)manager;
}

/* The number of objects, and of blocks in use other than those that hold the places of objects. (Bytes in use would
 * depend on which blocks are larger than needed.) */
static size_t used_now(void)
{
    mp_manager_info info;
    uint64_t blocks = 0;

    assert_int_equal(mp_manager_get_info(manager, &info), 0); /* gives back the holds of dead processes */
    assert_int_equal(heap_lock(heap()), 0);
    assert_int_equal(heap_check(heap(), NULL, &blocks), 0);
    for (uint64_t at = heap()->objects; at != 0;) {
        const struct object *object = heap_at(heap(), at);

        blocks += object_kind(object) != OBJECT_FREE;
        blocks -= object->self == object_first_of(object->block);
        at = object->next_all;
    }
    heap_unlock(heap());
    return blocks;
}

/* dict and list both show the dict "inner", {"mark": 7}. This process has given up its own hold of it. */
static void fill(void)
{
    mp_dict *made;

    assert_int_equal(mp_manager_dict(manager, &made), 0);
    assert_int_equal(mp_dict_set_int(made, "mark", 7), 0);
    assert_int_equal(mp_dict_set_dict(dict, "inner", made), 0);
    assert_int_equal(mp_list_append_dict(list, made), 0);
    assert_int_equal(mp_dict_free(made), 0);
    assert_int_equal(mp_dict_get_dict(dict, "inner", &inner), 0);
}

static void empty(void)
{
    assert_int_equal(mp_dict_clear(dict), 0);
    assert_int_equal(mp_list_clear(list), 0);
}

static int make(void **state)
{
    (void)state;
    alarm(PATIENCE);
    stopped = 0;
    if (mp_manager_create(&manager, NULL) != 0 || mp_manager_dict(manager, &dict) != 0 ||
        mp_manager_list(manager, &list) != 0)
        return -1;
    fill();
    empty();
    used = used_now();
    fill();
    return 0;
}

static void let_go(int signal_number)
{
    int status;

    kill(stopped, signal_number);
    assert_int_equal(waitpid(stopped, &status, 0), stopped);
    stopped = 0;
}

/* Checks that all memory has come back, and that the heap is sound. */
static int drop(void **state)
{
    (void)state;
    if (stopped != 0)
        let_go(SIGKILL);
    empty();
    assert_int_equal(mp_manager_check(manager), 0);
    assert_int_equal(used_now(), used);
    alarm(0);
    return mp_manager_free(manager);
}

/* Starts a process that takes the heap's mutex and is stopped. When it goes on, it releases the mutex and ends. */
static void keep_mutex(void)
{
    int status;

    stopped = fork();
    if (stopped == 0) {
        alarm(PATIENCE);
        heap_lock(heap());
        raise(SIGSTOP);
        heap_unlock(heap());
        _exit(0);
    }
    assert_int_equal(waitpid(stopped, &status, WUNTRACED), stopped);
    assert_true(WIFSTOPPED(status));
}

/* Runs the function in another process. Returns how that ends. */
static int status_of(int (*function)(void))
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        alarm(PATIENCE);
        _exit(function());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static int elsewhere(int (*function)(void))
{
    int status = status_of(function);

    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int remove_inner(void)
{
    return mp_dict_clear(dict) != 0 || mp_list_clear(list) != 0 || mp_manager_check(manager) != 0;
}

/* ---- each way to read a container ---- */

/* Reads "inner" and looks into it; 0: all is right. give_up() gives up what is held then. */
struct way {
    const char *name;
    int (*read)(void);
};

static mp_value value;
static mp_dict_iter *dict_iter;
static mp_list_iter *list_iter;
static mp_dict *held;

static int look(mp_dict *found)
{
    int64_t mark = 0;
    int error = mp_dict_get_int(found, "mark", &mark);

    return error == 0 && mark != 7 ? MP_ECORRUPT : error;
}

static int give_up(void)
{
    int error = held != NULL ? mp_dict_free(held) : 0;

    mp_value_free(&value);
    mp_dict_iter_free(dict_iter);
    mp_list_iter_free(list_iter);
    dict_iter = NULL;
    list_iter = NULL;
    held = NULL;
    return error;
}

static int by_dict_get(void)
{
    int error = mp_dict_get(dict, mp_value_str("inner"), &value);

    return error == 0 ? look(value.as.dict) : error;
}

static int by_dict_get_default(void)
{
    int error = mp_dict_get_default(dict, mp_value_str("inner"), mp_value_none(), &value);

    return error == 0 ? look(value.as.dict) : error;
}

static int by_dict_get_many(void)
{
    mp_value key = mp_value_str("inner");
    size_t found = 0;
    int error = mp_dict_get_many(dict, &key, &value, 1, &found);

    return error == 0 ? look(value.as.dict) : error;
}

static int by_list_get(void)
{
    int error = mp_list_get(list, -1, &value);

    return error == 0 ? look(value.as.dict) : error;
}

static int by_dict_next(void)
{
    mp_value key, seen = mp_value_none();
    int error = mp_dict_iter_create(&dict_iter, dict);

    if (error == 0)
        error = mp_dict_next(dict_iter, &key, &seen);
    return error == 0 ? look(seen.as.dict) : error;
}

static int by_list_next(void)
{
    mp_value seen = mp_value_none();
    int error = mp_list_iter_create(&list_iter, list);

    if (error == 0)
        error = mp_list_next(list_iter, &seen);
    return error == 0 ? look(seen.as.dict) : error;
}

static int by_json(void)
{
    char *text = NULL;
    int error = mp_dict_json(dict, &text);

    if (error == 0 && strcmp(text, "{\"inner\": {\"mark\": 7}}") != 0)
        error = MP_ECORRUPT;
    free(text);
    return error;
}

static int by_contains(void)
{
    bool found = false;
    int error = mp_list_contains(list, mp_value_dict(inner), &found);

    return error == 0 && !found ? MP_ECORRUPT : error;
}

static int by_equal(void)
{
    bool equal = true;
    int error = mp_dict_equal(dict, inner, &equal);

    return error == 0 && equal ? MP_ECORRUPT : error;
}

/* Calls after which something is held. */
static const struct way ways[] = {
    {"mp_dict_get", by_dict_get},           {"mp_dict_get_default", by_dict_get_default},
    {"mp_dict_get_many", by_dict_get_many}, {"mp_list_get", by_list_get},
    {"mp_dict_next", by_dict_next},         {"mp_list_next", by_list_next},
};
/* Calls after which nothing is held. */
static const struct way others[] = {
    {"mp_dict_json", by_json}, {"mp_list_contains", by_contains}, {"mp_dict_equal", by_equal}};

static void each_answers(void **state)
{
    (void)state;
    keep_mutex();
    for (size_t i = 0; i < COUNT(ways); i++) {
        assert_int_equal(ways[i].read(), 0);
        assert_int_equal(give_up(), 0);
    }
    for (size_t i = 0; i < COUNT(others); i++)
        assert_int_equal(others[i].read(), 0);
}

static const struct way *way; /* for the other process */

static int read_once(void)
{
    return way->read() != 0 || give_up() != 0;
}

static int read_and_die(void)
{
    if (way->read() == 0)
        kill(getpid(), SIGKILL);
    return 1;
}

static void each_answers_in_a_process_that_holds_nothing(void **state)
{
    (void)state;
    keep_mutex();
    for (size_t i = 0; i < COUNT(ways); i++) {
        way = &ways[i];
        assert_int_equal(elsewhere(read_once), 0);
    }
}

/* ---- what a call shows lives ---- */

enum { AT_ONCE, CONVERTED, BESIDE_ANOTHER, GIVEN_UP_WITHOUT_MUTEX };

/* "inner" is read without the mutex, removed by another process, and given up in one of the ways. */
static void lives(const struct way *how, int way_out)
{
    keep_mutex();
    assert_int_equal(how->read(), 0);
    let_go(SIGCONT);
    assert_int_equal(elsewhere(remove_inner), 0);
    assert_int_equal(look(inner), 0);
    assert_int_equal(mp_manager_check(manager), 0);
    if (way_out == CONVERTED) {
        mp_dict *more;

        assert_int_equal(mp_manager_dict(manager, &more), 0);
        assert_int_equal(mp_dict_free(more), 0);
        assert_int_equal(look(inner), 0);
        assert_int_equal(mp_manager_check(manager), 0);
    }
    if (way_out == BESIDE_ANOTHER) {
        assert_int_equal(mp_dict_hold(inner), 0);
        held = inner;
    }
    if (way_out == GIVEN_UP_WITHOUT_MUTEX)
        keep_mutex();
    assert_int_equal(give_up(), 0);
    if (way_out == GIVEN_UP_WITHOUT_MUTEX)
        let_go(SIGCONT);
    used_now(); /* gives back what is left */
    assert_int_equal(look(inner), MP_EINVAL);
    assert_int_equal(used_now(), used);
    fill();
}

static void what_is_read_lives_until_it_is_given_up(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(ways); i++) {
        for (int way_out = AT_ONCE; way_out <= GIVEN_UP_WITHOUT_MUTEX; way_out++)
            lives(&ways[i], way_out);
    }
}

/* A borrowed handle can be held twice, and given up twice, whichever process has converted the pins into holds
 * meanwhile. */
static void holding_twice(void **state)
{
    (void)state;
    keep_mutex();
    assert_int_equal(mp_dict_hold(inner), 0);
    assert_int_equal(mp_dict_hold(inner), 0);
    let_go(SIGCONT);
    assert_int_equal(elsewhere(remove_inner), 0);
    keep_mutex();
    assert_int_equal(mp_dict_hold(inner), 0); /* held a third time, by a pin, after its removal */
    let_go(SIGCONT);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(look(inner), 0);
        assert_int_equal(mp_dict_free(inner), 0);
    }
    assert_int_equal(mp_dict_free(inner), MP_EINVAL);
}

/* A hold that is given up while the mutex is taken is given back later, but certainly. */
static void given_up_later(void **state)
{
    (void)state;
    assert_int_equal(by_dict_get(), 0);
    keep_mutex();
    mp_value_free(&value);
    let_go(SIGCONT);
    empty();
    assert_int_equal(mp_dict_hold(dict), 0); /* done by any hold that gets the mutex */
    assert_int_equal(mp_dict_free(dict), 0);
    assert_int_equal(look(inner), MP_EINVAL);
    assert_int_equal(used_now(), used);
    fill();
    assert_int_equal(by_dict_get(), 0);
    keep_mutex();
    mp_value_free(&value);
    let_go(SIGCONT);
    empty();
    assert_int_equal(used_now(), used); /* or by a call that asks for the use */
    assert_int_equal(look(inner), MP_EINVAL);
}

/* A stale handle is recognised without the mutex, too. */
static void stale_handles(void **state)
{
    (void)state;
    empty();
    keep_mutex();
    assert_int_equal(mp_dict_hold(inner), MP_EINVAL);
    assert_int_equal(by_dict_get(), MP_EKEY);
    mp_value_free(&value);
}

/* ---- readers that die ---- */

static int hold_and_owe(void)
{
    if (by_dict_get() != 0)
        return 1;
    keep_mutex();
    mp_value_free(&value); /* has to be done later */
    kill(stopped, SIGKILL);
    waitpid(stopped, NULL, 0); /* it has this process's descriptors, and so its file lock */
    kill(getpid(), SIGKILL);
    return 1;
}

static void die(int (*function)(void))
{
    int status = status_of(function);

    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void what_the_killed_had_read_comes_back(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(ways); i++) {
        keep_mutex();
        way = &ways[i];
        die(read_and_die);
        let_go(i % 2 == 0 ? SIGCONT : SIGKILL);
        empty();
        assert_int_equal(used_now(), used);
        assert_int_equal(look(inner), MP_EINVAL);
        fill();
    }
    die(hold_and_owe);
    empty();
    assert_int_equal(used_now(), used);
    fill();
}

/* A forked child keeps what its parent had read, after the parent is killed. */
static int go[2], answer[2];

/* Reports its pid, and later what it finds when it is told to look. */
static void look_later(void)
{
    pid_t own = getpid();
    char byte;

    close(go[1]);
    if (write(answer[1], &own, sizeof own) != sizeof own || read(go[0], &byte, 1) != 0)
        _exit(1);
    byte = (char)-look(inner);
    if (write(answer[1], &byte, 1) == 1)
        _exit(0);
}

static int read_fork_and_die(void)
{
    if (by_dict_get() != 0)
        return 1;
    if (fork() == 0)
        look_later();
    kill(getpid(), SIGKILL);
    return 1;
}

static void inherited_by_fork(void **state)
{
    pid_t child;
    char byte = 1;

    (void)state;
    assert_int_equal(pipe(go), 0);
    assert_int_equal(pipe(answer), 0);
    keep_mutex();
    die(read_fork_and_die);
    let_go(SIGCONT);
    assert_int_equal(read(answer[0], &child, sizeof child), sizeof child);
    assert_int_equal(elsewhere(remove_inner), 0);
    used_now(); /* gives back what is left */
    close(go[1]);
    assert_int_equal(read(answer[0], &byte, 1), 1);
    assert_int_equal(byte, 0);
    assert_true(wait_until(is_gone, &child, 10));
    assert_int_equal(used_now(), used);
    fill();
    close(go[0]);
    close(answer[0]);
    close(answer[1]);
}

/* ---- the places of pins ---- */

static void pin_all_places(void)
{
    for (int i = 0; i < HEAP_PINS; i++)
        assert_int_equal(mp_dict_hold(inner), 0);
}

static int hold_once_more(void)
{
    return mp_dict_hold(inner);
}

/* If no place is free, a reader waits for the mutex, and gets it. */
static void places_are_used_up(void **state)
{
    int status;

    (void)state;
    keep_mutex();
    pin_all_places();
    pid_t pid = fork();
    if (pid == 0) {
        alarm(PATIENCE);
        _exit(hold_once_more());
    }
    assert_true(wait_until(is_asleep, &pid, PATIENCE));
    let_go(SIGCONT);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(mp_dict_hold(inner), 0); /* all pins become holds */
    for (int i = 0; i <= HEAP_PINS; i++)
        assert_int_equal(mp_dict_free(inner), 0);
}

/* Nothing in the heap dies while all of it is pinned; everything is released afterwards. */
static void everything_is_pinned(void **state)
{
    struct owner *owner;

    (void)state;
    assert_int_equal(owner_begin(heap(), &owner), 0);
    int place = pin_begin(heap(), owner->mark, PIN_ALL);
    assert_true(place >= 0);
    for (int i = 0; i < 3000; i++) {
        empty();
        assert_int_equal(look(inner), 0);
        fill();
    }
    assert_int_equal(mp_manager_check(manager), 0);
    pin_end(heap(), place, owner->mark, PIN_ALL);
}

/* A process looks at a place to end its own pin there. A moment later the place may belong to another owner, for the
 * same object. */
static void another_owners_pin_is_left_alone(void **state)
{
    uint64_t object = object_of(inner)->self;
    const uint64_t owner[] = {UINT64_C(1) << OWNER_NUMBER_SHIFT | 1, UINT64_C(2) << OWNER_NUMBER_SHIFT | 1,
                              UINT64_C(32) << OWNER_NUMBER_SHIFT | 1};
    uint64_t found;

    (void)state;
    for (size_t mine = 0; mine < COUNT(owner); mine++) {
        for (size_t seen = 0; seen < COUNT(owner); seen++) {
            int place = pin_begin(heap(), owner[mine], object), at = 0;

            assert_false(pin_next(heap(), owner[mine], &at, &found)); /* not before the pin is confirmed */
            assert_false(pin_end_one(heap(), owner[mine], object));
            at = 0;
            pin_confirm(heap(), place, owner[mine], object);
            heap()->pin[place].owner = owner[seen];
            assert_int_equal(pin_next(heap(), owner[seen], &at, &found), mine == seen);
            assert_int_equal(pin_end_one(heap(), owner[seen], object), mine == seen);
            assert_int_equal(pin_is_set(heap(), object), mine != seen);
            heap()->pin[place].owner = owner[mine];
            pin_end(heap(), place, owner[mine], object); /* the pin was confirmed, or has been taken back */
            assert_int_equal(pin_end_any(heap(), object), mine != seen);
            assert_false(pin_is_set(heap(), object));
            heap()->pin[place].owner = 0; /* removes the pin of the other owner once more */
        }
    }
}

/* A signal handler forks a child in the middle of an operation. The child goes on where its parent does, so both take
 * the pin back. */
static void taken_back_twice(void **state)
{
    const uint64_t object[] = {object_of(inner)->self, PIN_ALL};
    const uint64_t mine = UINT64_C(1) << OWNER_NUMBER_SHIFT | 1;

    (void)state;
    for (size_t i = 0; i < COUNT(object); i++) {
        int place = pin_begin(heap(), mine, object[i]);

        pin_end(heap(), place, mine, object[i]);
        assert_false(pin_is_set(heap(), object_of(inner)->self));
        heap()->pin[place].owner = UINT64_C(2) << OWNER_NUMBER_SHIFT | 1;
        heap()->pin[place].object = PIN_ALL;
        pin_end(heap(), place, mine, object[i]);
        pin_confirm(heap(), place, mine, object[i]);
        assert_int_equal(heap()->pin[place].object, PIN_ALL);
        heap()->pin[place].object = 0;
        heap()->pin[place].owner = 0;
    }
}

/* Each level of nesting adds two snapshots that are shown at the same time. */
static void as_deep_as_can_be(void **state)
{
    mp_dict *outer[2];
    bool equal = false;

    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(mp_manager_dict(manager, &outer[i]), 0);
        for (int depth = 2; depth < MP_MAX_DEPTH; depth++) {
            mp_dict *next;

            assert_int_equal(mp_manager_dict(manager, &next), 0);
            assert_int_equal(mp_dict_set_dict(next, "inside", outer[i]), 0);
            assert_int_equal(mp_dict_free(outer[i]), 0);
            outer[i] = next;
        }
    }
    keep_mutex();
    assert_int_equal(mp_dict_equal(outer[0], outer[1], &equal), 0);
    assert_true(equal);
    let_go(SIGCONT);
    assert_int_equal(mp_dict_free(outer[0]), 0);
    assert_int_equal(mp_dict_free(outer[1]), 0);
}

static int free_inner(void)
{
    return mp_dict_free(inner);
}

/* A child may give up what its parent has pinned, just as it may give up what its parent holds. */
static void a_child_gives_it_up(void **state)
{
    (void)state;
    keep_mutex();
    assert_int_equal(mp_dict_hold(inner), 0);
    let_go(SIGCONT);
    assert_int_equal(elsewhere(free_inner), 0);
    assert_int_equal(mp_dict_free(inner), MP_EINVAL);
    assert_int_equal(look(inner), 0);
}

static int hold_owe_and_close(void)
{
    int error = by_dict_get();

    keep_mutex();
    mp_value_free(&value); /* has to be done later */
    error = error == 0 ? mp_manager_free(manager) : error;
    kill(stopped, SIGKILL);
    waitpid(stopped, NULL, 0);
    return error;
}

/* A process closes the manager before it could give back a hold: that hold comes back, too. */
static void owed_when_the_heap_is_closed(void **state)
{
    (void)state;
    assert_int_equal(elsewhere(hold_owe_and_close), 0);
    empty();
    assert_int_equal(used_now(), used);
    assert_int_equal(look(inner), MP_EINVAL);
}

/* ---- stopped at any instruction ---- */

/* Where a process stops: after it has published a pin; after it has found that no pin keeps an object without shares
 * alive. */
static bool stop_after_pin, stop_before_death;

int __real_pin_begin(struct heap *heap, uint64_t owner, uint64_t object);
int __wrap_pin_begin(struct heap *heap, uint64_t owner, uint64_t object);
bool __real_pin_is_set(struct heap *heap, uint64_t object);
bool __wrap_pin_is_set(struct heap *heap, uint64_t object);

int __wrap_pin_begin(struct heap *heap, uint64_t owner, uint64_t object)
{
    int place = __real_pin_begin(heap, owner, object);

    if (stop_after_pin)
        raise(SIGSTOP);
    return place;
}

bool __wrap_pin_is_set(struct heap *heap, uint64_t object)
{
    bool set = __real_pin_is_set(heap, object);

    if (stop_before_death && ((struct object *)heap_at(heap, object))->refs == 0)
        raise(SIGSTOP);
    return set;
}

static pid_t start_and_stop(int (*function)(void))
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        alarm(PATIENCE);
        _exit(function());
    }
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    assert_true(WIFSTOPPED(status) || status == 0);
    return WIFSTOPPED(status) ? pid : 0;
}

/* Gives up the last share in inner, and puts another dict in its place. */
static int replace_inner(void)
{
    mp_dict *made;

    stop_before_death = true;
    int error = mp_list_clear(list);
    stop_before_death = false;
    if (error == 0)
        error = mp_manager_dict(manager, &made);
    if (error == 0)
        error = mp_dict_set_dict(dict, "another", made);
    return error != 0 || object_of(made) != object_of(inner) || mp_dict_free(made) != 0;
}

/* 0: tracing is not allowed here, or all is right. */
static int hold_stale_inner(void)
{
    stop_after_pin = true;
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
        return 0;
    return mp_dict_hold(inner) == MP_EINVAL ? 0 : 1;
}

static int pins_now(void)
{
    int pins = 0;

    for (int i = 0; i < HEAP_PINS; i++)
        pins += heap()->pin[i].object != 0;
    return pins;
}

/* Steps one instruction. */
static void step(pid_t pid)
{
    int status;

    assert_int_equal(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSTOPPED(status));
}

/* A reader is stopped that many instructions after it has published its pin, while another process gives up the last
 * share. Another dict is in the place when the reader goes on. False: the reader had already taken its pin back. */
static bool hold_beside(int instructions)
{
    assert_int_equal(mp_dict_remove_key(dict, "inner"), 0);
    stopped = start_and_stop(replace_inner);
    assert_true(stopped != 0);
    pid_t reads = start_and_stop(hold_stale_inner);
    if (reads == 0)
        skip();
    for (int i = 0; i < instructions && pins_now() != 0; i++)
        step(reads);
    bool more = pins_now() != 0;
    kill(stopped, SIGCONT);
    assert_int_equal(end_of(stopped), 0);
    stopped = 0;
    assert_int_equal(ptrace(PTRACE_DETACH, reads, NULL, NULL), 0);
    assert_int_equal(end_of(reads), 0);
    empty();
    assert_int_equal(used_now(), used);
    fill();
    return more;
}

static void a_stale_handle_pins_nothing(void **state)
{
    int instructions = 0;

    (void)state;
    /* Under a sanitizer there are thousands of instructions, so the steps grow. */
    while (hold_beside(instructions))
        instructions += 1 + instructions / 100 * 10;
    assert_true(instructions > 5);
}

/* ---- damage ---- */

static struct holder *holder(void)
{
    return owner_find(heap())->holder;
}

static struct hold_table table;

/* Puts a share in inner into a word that must not hold one. */
static void put_share(_Atomic uint64_t *word)
{
    *word = object_of(inner)->self | REF_OBJECT;
    object_of(inner)->refs++;
}

static void reserve_is_a_share(void)
{
    holder()->trash = holder()->reserve;
    put_share(&holder()->reserve);
}

static void trash_is_a_share(void)
{
    put_share(&holder()->trash);
}

static void holding_is_a_share(void)
{
    put_share(&heap()->holding);
}

static void carving_is_a_share(void)
{
    put_share(&heap()->under_construction);
}

static void carving_is_small(void)
{
    heap_alloc(heap(), 24, &heap()->under_construction);
}

static void holding_is_small(void)
{
    heap_alloc(heap(), 24, &heap()->holding);
}

static _Atomic uint64_t *words_of_table(void)
{
    return heap_at(heap(), ((struct hold *)heap_at(heap(), table.hold))->ref & ~REF_MASK);
}

static void table_has_a_block(void)
{
    words_of_table()[1] = 0;
    heap_alloc(heap(), 24, &words_of_table()[1]);
    words_of_table()[0] = 1;
}

static void table_has_nothing(void)
{
    words_of_table()[1] = 0;
    words_of_table()[0] = 1;
}

/* Puts the reserve in place of the first hold in dict. */
static void chain_leads_to_reserve(void)
{
    struct hold *first = heap_at(heap(), object_of(dict)->holds), *reserve = heap_at(heap(), holder()->reserve);

    *reserve = (struct hold){.ref = first->ref, .same = first->same};
    object_of(dict)->holds = holder()->reserve;
}

static void claims_go_unseen(void)
{
    heap()->unpinned = heap()->pinned + 1;
}

static void count_of_claims_ends(void)
{
    heap()->pinned = UINT64_MAX;
}

static _Atomic uint64_t *ref_of_table(void)
{
    return &((struct hold *)heap_at(heap(), table.hold))->ref;
}

/* This is no damage: the maker of the table was killed just before it was complete. The block is as small as
 * possible. */
static void table_is_not_one_yet(void)
{
    while (heap_block_size(heap(), *ref_of_table() & ~REF_MASK) > 24)
        hold_table_begin(heap(), 1, &table);
    *ref_of_table() &= ~REF_MASK;
}

static const struct damage {
    const char *name;
    void (*make)(void);
    int found;
} damages[] = {
    {"the reserve is a share", reserve_is_a_share, MP_ECORRUPT},
    {"the trash is a share", trash_is_a_share, MP_ECORRUPT},
    {"holding is a share", holding_is_a_share, MP_ECORRUPT},
    {"holding is small", holding_is_small, MP_ECORRUPT},
    {"under_construction is a share", carving_is_a_share, MP_ECORRUPT},
    {"under_construction is small", carving_is_small, MP_ECORRUPT},
    {"a table has a block", table_has_a_block, MP_ECORRUPT},
    {"a table has nothing", table_has_nothing, MP_ECORRUPT},
    {"a chain leads to the reserve", chain_leads_to_reserve, MP_ECORRUPT},
    {"claims go unseen", claims_go_unseen, MP_ECORRUPT},
    {"the count of claims ends", count_of_claims_ends, MP_ECORRUPT},
    {"a table is not one yet", table_is_not_one_yet, 0},
};

/* Runs in a heap of its own, which nothing uses afterwards. */
static const struct damage *damage;

static int check_damaged(void)
{
    if (mp_manager_create(&manager, NULL) != 0 || mp_manager_dict(manager, &dict) != 0 ||
        mp_manager_list(manager, &list) != 0)
        return 1;
    fill();
    if (hold_table_begin(heap(), 1, &table) != 0 || table.hold == 0 || mp_dict_hold(inner) != 0 ||
        holder()->reserve == 0)
        return 1;
    damage->make();
    return mp_manager_check(manager) != damage->found;
}

static void damage_is_found(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(damages); i++) {
        damage = &damages[i];
        if (elsewhere(check_damaged) != 0)
            fail_msg("%s", damage->name);
    }
}

/* ---- all at once ---- */

enum { THREADS = 3, ROUNDS = 3000 };

static void *read_all_the_time(void *arg)
{
    (void)arg;
    for (int i = 0; i < ROUNDS; i++) {
        mp_value mine;
        int error = i % 2 ? mp_dict_get(dict, mp_value_str("inner"), &mine) : mp_list_get(list, 0, &mine);

        if (error == 0 && look(mine.as.dict) != 0)
            return dict;
        if (error == 0)
            mp_value_free(&mine);
        else if (error != MP_EKEY && error != MP_EINDEX)
            return dict;
    }
    return NULL;
}

/* Takes the mutex for a while, again and again. */
static void keep_again_and_again(void)
{
    for (;;) {
        int64_t until = clock_now() + 1000000;

        heap_lock(heap());
        while (clock_now() < until)
            ;
        heap_unlock(heap());
    }
}

static void replace_all_the_time(void)
{
    for (;;) {
        mp_dict *made;

        if (mp_manager_dict(manager, &made) == 0) {
            mp_dict_set_int(made, "mark", 7);
            mp_dict_set_dict(dict, "inner", made);
            mp_list_set(list, 0, mp_value_dict(made));
            mp_dict_free(made);
        }
    }
}

static pid_t start(void (*function)(void))
{
    pid_t pid = fork();

    if (pid == 0) {
        alarm(PATIENCE);
        function();
    }
    return pid;
}

static void pins_become_holds_beside_replacements(void **state)
{
    pthread_t thread[THREADS];
    void *problem;

    (void)state;
    pid_t keeps = start(keep_again_and_again), replaces = start(replace_all_the_time);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, read_all_the_time, NULL), 0);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(thread[i], &problem), 0);
        assert_null(problem);
    }
    kill(keeps, SIGKILL);
    kill(replaces, SIGKILL);
    assert_int_equal(waitpid(keeps, NULL, 0), keeps);
    assert_int_equal(waitpid(replaces, NULL, 0), replaces);
}

/* ---- stopped while a large container is released ---- */

/* Starts a process that takes the heap's mutex as soon as a container is dead, and is stopped with it. */
static void keep_mutex_of_a_release(void)
{
    stopped = fork();
    if (stopped == 0) {
        alarm(PATIENCE);
        while (atomic_load(&heap()->dead) == 0)
            ;
        heap_lock(heap());
        raise(SIGSTOP);
        heap_unlock(heap());
        _exit(0);
    }
}

/* Gives up the last hold on a list of many strings. True: the other process was stopped before all were released. */
static bool release_beside_a_stopped_process(void)
{
    mp_value last;
    mp_list *many;
    int status;

    assert_int_equal(mp_manager_list(manager, &many), 0);
    for (int i = 0; i < 100000; i++)
        assert_int_equal(mp_list_append_str(many, "a string that is too long for a cell"), 0);
    assert_int_equal(mp_dict_set_list(dict, "many", many), 0);
    assert_int_equal(mp_list_free(many), 0);
    assert_int_equal(mp_dict_get(dict, mp_value_str("many"), &last), 0);
    assert_int_equal(mp_dict_remove_key(dict, "many"), 0);
    keep_mutex_of_a_release();
    mp_value_free(&last);
    bool left = atomic_load(&heap()->dead) != 0;
    assert_int_equal(waitpid(stopped, &status, WUNTRACED), stopped);
    assert_true(WIFSTOPPED(status));
    let_go(SIGCONT);
    return left;
}

static void a_release_waits_for_nobody(void **state)
{
    bool met = false;

    (void)state;
    for (int rounds = 0; !met && rounds < 50; rounds++)
        met = release_beside_a_stopped_process();
    assert_true(met);
}

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(each_answers),
                                       TEST(each_answers_in_a_process_that_holds_nothing),
                                       TEST(what_is_read_lives_until_it_is_given_up),
                                       TEST(holding_twice),
                                       TEST(given_up_later),
                                       TEST(stale_handles),
                                       TEST(what_the_killed_had_read_comes_back),
                                       TEST(inherited_by_fork),
                                       TEST(places_are_used_up),
                                       TEST(everything_is_pinned),
                                       TEST(another_owners_pin_is_left_alone),
                                       TEST(taken_back_twice),
                                       TEST(as_deep_as_can_be),
                                       TEST(a_child_gives_it_up),
                                       TEST(owed_when_the_heap_is_closed),
                                       TEST(a_stale_handle_pins_nothing),
                                       TEST(damage_is_found),
                                       TEST(pins_become_holds_beside_replacements),
                                       TEST(a_release_waits_for_nobody)};

    return cmocka_run_group_tests(tests, leak_check_begin, leak_check_end);
}
