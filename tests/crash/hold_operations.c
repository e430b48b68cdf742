/* Ways to hold a container, and processes that die while they use them: holds, pins, and what snapshots hold. dict["c"]
 * and list[-1] are the dict `other`, which has no other holder. */
#include "containers.h"
#include "object/hold.h"
#include "object/owner.h"
#include "object/pin.h"

static struct heap *heap(void)
{
    return (struct heap *)scene.manager;
}

static void run(const struct operation *operation, const struct plan *plan, struct tally *tally)
{
    heap_killer_run(&containers_scene, operation, plan, tally);
}

/* ---- preparations ---- */

static void shared(void)
{
    OK(mp_dict_set_str(scene.other, "text", text_of(100)));
    OK(mp_dict_set_dict(scene.dict, "c", scene.other));
    OK(mp_list_append_dict(scene.list, scene.other));
    OK(mp_dict_free(scene.other));
}

static void in_the_dict(void)
{
    shared();
    OK(mp_list_delete(scene.list, -1));
}

/* ---- operations ---- */

/* Pins the dict the way hold_take() does when it cannot get the heap's mutex. */
static void pin_other(void)
{
    struct owner *owner;

    OK(owner_begin(heap(), &owner));
    int place = pin_begin(heap(), owner->mark, object_of(scene.other)->self);
    OK(place < 0 ? MP_ETIMEOUT : 0);
    atomic_fetch_add(&owner->pins, 1);
    pin_confirm(heap(), place, owner->mark, object_of(scene.other)->self);
}

static void drop_other(void)
{
    OK(mp_dict_remove_key(scene.dict, "c"));
}

static void take(void)
{
    OK(mp_dict_hold(scene.other));
}

static void take_and_give(void)
{
    mp_value value;

    OK(mp_dict_get(scene.dict, mp_value_str("c"), &value));
    mp_value_free(&value);
}

static void take_drop_give(void)
{
    take();
    drop_other();
    OK(mp_dict_free(scene.other));
}

static void pin(void)
{
    pin_other();
    OK(mp_dict_free(scene.other));
}

static void settle(void)
{
    pin_other();
    pin_other();
    OK(mp_dict_hold(scene.dict));
    OK(mp_dict_free(scene.dict));
}

static void pin_drop_give(void)
{
    pin_other();
    drop_other();
    OK(mp_dict_free(scene.other));
}

static void pin_drop_settle(void)
{
    pin_other();
    drop_other();
    take();
    OK(mp_dict_free(scene.other));
    OK(mp_dict_free(scene.other));
}

static void pin_drop_store(void)
{
    pin_other();
    drop_other();
    OK(mp_list_append_dict(scene.list, scene.other));
    OK(mp_dict_free(scene.other));
}

static void pin_all(void)
{
    struct hold_table table;

    OK(hold_table_pin(heap(), &table));
    drop_other();
    hold_table_end(&table);
}

static void snapshot(void)
{
    bool found = false;

    OK(mp_list_contains(scene.list, mp_value_str("not there"), &found));
}

static const struct operation operations[] = {
    {"hold.take", shared, take, NULL, NULL},
    {"hold.take_and_give", shared, take_and_give, NULL, NULL},
    {"hold.take_drop_give", in_the_dict, take_drop_give, NULL, NULL},
    {"hold.pin", shared, pin, NULL, NULL},
    {"hold.settle", shared, settle, NULL, NULL},
    {"hold.pin_drop_give", in_the_dict, pin_drop_give, NULL, NULL},
    {"hold.pin_drop_settle", in_the_dict, pin_drop_settle, NULL, NULL},
    {"hold.pin_drop_store", in_the_dict, pin_drop_store, drop_other, NULL},
    {"hold.pin_all", in_the_dict, pin_all, NULL, NULL},
    {"hold.snapshot", shared, snapshot, NULL, NULL},
};

const struct family hold_family = {operations, sizeof operations / sizeof *operations, run};
