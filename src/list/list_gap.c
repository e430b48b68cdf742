/* Cells move in changes of a few words, and no such change alters which elements the list holds. So the list is whole
 * for concurrent readers and after a death. */
#include "list/list_gap.h"

#include "base/clock.h"

/* How long a repair waits for stripes. */
#define REPAIR_PATIENCE_NS (200 * MICROSECOND)
/* The words that may change together with cells: start, length, and those of the gap. */
#define OTHER_WORDS 6
/* The most cells that move in one change across a gap at least as large as their number. Each changes two words in its
 * old place and two in its new one. */
#define MOVED_AT_ONCE ((UNDO_RECORDS - OTHER_WORDS) / 4)

static uint64_t word(const struct object *list, int number)
{
    return word_get(&list->word[number]);
}

static void set_word(struct object *list, int number, uint64_t value)
{
    if (word_get(&list->word[number]) != value)
        object_set(list, &list->word[number], value);
}

/* The cell at this distance behind the list's start. */
static struct cell *cell_behind_start(const struct object *list, uint64_t distance)
{
    return list_cell_at(object_heap(list), word_get(&list->root[0]), word(list, LIST_START) + distance);
}

static void set_cell(struct object *list, struct cell *cell, uint64_t head, uint64_t body)
{
    object_set(list, &cell->head, head);
    object_set(list, &cell->body, body);
}

static void copy_cell(struct object *list, uint64_t from, uint64_t to)
{
    struct cell *source = cell_behind_start(list, from);

    set_cell(list, cell_behind_start(list, to), word_get(&source->head), word_get(&source->body));
}

static void clear_cells(struct object *list, uint64_t from, uint64_t to)
{
    for (; from < to; from++)
        set_cell(list, cell_behind_start(list, from), 0, 0);
}

/* Notes a gap of that size before that index. At either end of the list there is no gap. Part of a change; the list is
 * settled. */
static void set_gap(struct object *list, uint64_t at, uint64_t size, uint64_t length)
{
    if (size > 0 && at == 0 && length > 0) {
        set_word(list, LIST_START, word(list, LIST_START) + size);
        size = 0;
    }
    if (at == length)
        size = 0;
    set_word(list, LIST_GAP, size > 0 ? 1 + at : 0);
    set_word(list, LIST_GAP_SIZE, size);
}

/* ---- moving it ---- */

/* The number of cells, up to `wanted`, that can cross a gap of this size in one change. In a gap smaller than that
 * number, many cells move to the old places of others, and only 2 * size more words change; no word changes twice. */
static uint64_t at_once(uint64_t size, uint64_t wanted)
{
    uint64_t most = size < MOVED_AT_ONCE ? (UNDO_RECORDS - OTHER_WORDS - 2 * size) / 2 : MOVED_AT_ONCE;

    return wanted < most ? wanted : most;
}

/* Moves `count` cells from behind the gap to before it. Part of a change. */
static void cross_down(struct object *list, uint64_t at, uint64_t size, uint64_t count)
{
    uint64_t end = at + size + count;

    for (uint64_t i = 0; i < count; i++)
        copy_cell(list, at + size + i, at + i);
    clear_cells(list, size < count ? end - size : end - count, end);
}

/* Moves `count` cells from before the gap to behind it. Part of a change. */
static void cross_up(struct object *list, uint64_t at, uint64_t size, uint64_t count)
{
    uint64_t begin = at - count;

    for (uint64_t i = count; i > 0; i--)
        copy_cell(list, begin + i - 1, begin + size + i - 1);
    clear_cells(list, begin, size < count ? begin + size : at);
}

int list_move_gap(struct object *list, uint64_t to)
{
    int error = stripes_hold_all(list); /* because indices will lead to other cells */

    while (error == 0 && word(list, LIST_GAP) != 0) {
        uint64_t at = word(list, LIST_GAP) - 1, size = word(list, LIST_GAP_SIZE), length = word(list, LIST_LENGTH);
        uint64_t count = at_once(size, at < to ? to - at : at - to);

        if (at == to && to != 0 && to != length)
            break;
        object_begin(list);
        if (at < to)
            cross_down(list, at, size, count);
        else
            cross_up(list, at, size, count);
        at = at < to ? at + count : at - count;
        if (at == to)
            set_gap(list, at, size, length);
        else
            set_word(list, LIST_GAP, 1 + at);
        object_commit(list);
        if (at == to)
            break;
    }
    return error;
}

/* Moves the gap to an index, or to the nearer end of the list, where it stops being a gap: whichever moves fewer
 * cells. */
static int place_gap(struct object *list, uint64_t to)
{
    uint64_t gap = word(list, LIST_GAP), length = word(list, LIST_LENGTH);

    if (gap == 0)
        return 0;
    uint64_t at = gap - 1, nearer = at < length - at ? at : length - at, way = at < to ? to - at : at - to;
    if (nearer < way)
        to = at == nearer ? 0 : length;
    return list_move_gap(list, to);
}

/* ---- what is under way ---- */

/* Moves kept cells, which lie between removed ones, down across the gap. */
static void move_kept(struct object *list, uint64_t at, uint64_t size, uint64_t phase)
{
    uint64_t count = size == 0 ? phase : at_once(size, phase);

    object_begin(list);
    if (size > 0)
        cross_down(list, at, size, count);
    set_word(list, LIST_GAP, 1 + at + count);
    set_word(list, LIST_PHASE, phase - count);
    object_commit(list);
}

/* Makes some of the removed cells behind the gap part of it. Ends with the first one that owns something, as pending
 * ref 2 has room for one. */
static void move_removed(struct object *list, uint64_t at, uint64_t size)
{
    uint64_t step = word(list, LIST_STEP), left = word(list, LIST_LEFT), count = 0;
    uint64_t most = step > 1 ? 1 : left < MOVED_AT_ONCE ? left : MOVED_AT_ONCE;
    bool owns = false;

    object_begin(list);
    while (!owns && count < most) {
        struct cell *cell = cell_behind_start(list, at + size + count++);

        owns = (word_get(&cell->head) & CELL_OWNS) != 0;
        if (owns)
            object_set(list, &list->pending[2], word_get(&cell->body));
        set_cell(list, cell, 0, 0);
    }
    set_word(list, LIST_GAP_SIZE, size + count);
    set_word(list, LIST_LEFT, left - count);
    set_word(list, LIST_PHASE, left > count ? step - 1 : 0);
    object_commit(list);
    ref_release(object_heap(list), &list->pending[2]);
}

static void go_on_removing(struct object *list)
{
    uint64_t at = word(list, LIST_GAP) - 1, size = word(list, LIST_GAP_SIZE), phase = word(list, LIST_PHASE);

    if (word(list, LIST_LEFT) == 0) {
        object_begin(list);
        set_word(list, LIST_STEP, 0);
        set_gap(list, at, size, word(list, LIST_LENGTH));
        object_commit(list);
    } else if (phase > 0) {
        move_kept(list, at, size, phase);
    } else {
        move_removed(list, at, size);
    }
}

static void go_on_turning(struct object *list)
{
    uint64_t done = word(list, LIST_LEFT), length = word(list, LIST_LENGTH), half = length / 2;

    object_begin(list);
    for (int i = 0; i < MOVED_AT_ONCE && done < half; i++, done++) {
        struct cell *low = cell_behind_start(list, done), *high = cell_behind_start(list, length - 1 - done);
        uint64_t head = word_get(&low->head), body = word_get(&low->body);

        set_cell(list, low, word_get(&high->head), word_get(&high->body));
        set_cell(list, high, head, body);
    }
    set_word(list, LIST_LEFT, done < half ? done : 0);
    if (done == half) {
        set_word(list, LIST_STEP, 0);
        set_word(list, LIST_GAP, 0);
    }
    object_commit(list);
}

int list_settle_now(struct object *list)
{
    int error = stripes_hold_all(list);

    while (error == 0 && word(list, LIST_STEP) != 0) {
        if (word(list, LIST_STEP) == LIST_TURN)
            go_on_turning(list);
        else
            go_on_removing(list);
    }
    return error;
}

void list_repair(struct object *list)
{
    if (word(list, LIST_STEP) == 0)
        return;
    stripes_forget(list);
    /* A process that is stopped may hold a stripe. Then the next process that changes the list finishes it. */
    if (stripes_hold_all_until(list, clock_now() + REPAIR_PATIENCE_NS) != 0)
        return;
    list_settle(list);
    if (word_get(&list->striped) != 0)
        stripes_release(list);
}

int list_turn(struct object *list)
{
    MP_ASSERT(list_is_settled(list));
    int error = list_move_gap(list, word(list, LIST_LENGTH));

    if (error != 0 || word(list, LIST_LENGTH) < 2)
        return error;
    object_begin(list);
    object_set(list, &list->word[LIST_GAP], 1);
    object_set(list, &list->word[LIST_STEP], LIST_TURN);
    object_commit(list);
    return list_settle_now(list);
}

/* ---- taking elements out ---- */

int list_take_out(struct object *list, uint64_t at)
{
    MP_ASSERT(list_is_settled(list));
    uint64_t length = word(list, LIST_LENGTH), gap = word(list, LIST_GAP), size, from = at;
    bool end = (at == 0 && gap != 1) || at == length - 1;
    int error = end ? 0 : place_gap(list, gap != 0 && at < gap - 1 ? at + 1 : at);

    if (error != 0)
        return error;
    struct cell *cell = list_cell(list, at);
    gap = word(list, LIST_GAP);
    size = word(list, LIST_GAP_SIZE);
    object_begin(list);
    if (word_get(&cell->head) & CELL_OWNS)
        object_set(list, &list->pending[0], word_get(&cell->body));
    set_cell(list, cell, 0, 0);
    if (!end) {
        size++;
    } else if (at == 0 && length > 1) {
        set_word(list, LIST_START, word(list, LIST_START) + 1);
        from = gap - 2;
    } else {
        from = gap - 1 < length - 1 ? gap - 1 : length - 1;
    }
    object_set(list, &list->word[LIST_LENGTH], length - 1);
    set_gap(list, size > 0 ? from : length - 1, size, length - 1);
    if (length == 1 && word(list, LIST_START) < SEGMENT)
        set_word(list, LIST_START, 0);
    object_commit(list);
    return 0;
}

void list_cut_begin(struct object *list, uint64_t first, uint64_t step, uint64_t count)
{
    set_word(list, LIST_GAP, 1 + first);
    set_word(list, LIST_STEP, step);
    set_word(list, LIST_LEFT, count);
}

int list_cut(struct object *list, uint64_t first, uint64_t step, uint64_t count)
{
    MP_ASSERT(list_is_settled(list));
    int error = place_gap(list, first);

    if (error != 0)
        return error;
    object_begin(list);
    list_cut_begin(list, first, step, count);
    object_set(list, &list->word[LIST_LENGTH], word(list, LIST_LENGTH) - count);
    object_commit(list);
    return list_settle_now(list);
}

/* ---- making room ---- */

uint64_t list_room_in_front(const struct object *list)
{
    uint64_t start = word(list, LIST_START), room = start % SEGMENT;
    const _Atomic uint64_t *table = heap_at(object_heap(list), word_get(&list->root[0]) & ~REF_MASK);

    return start >= SEGMENT && word_get(&table[start / SEGMENT]) != 0 ? room + SEGMENT : room;
}

void list_begin_gap(struct object *list, bool front, uint64_t size)
{
    object_begin(list);
    if (front)
        object_set(list, &list->word[LIST_START], word(list, LIST_START) - size);
    object_set(list, &list->word[LIST_GAP], 1 + (front ? 0 : word(list, LIST_LENGTH)));
    object_set(list, &list->word[LIST_GAP_SIZE], size);
    object_commit(list);
}

int list_gather_room(struct object *list, uint64_t count)
{
    uint64_t length = word(list, LIST_LENGTH);

    if (word_get(&list->root[0]) == 0)
        return MP_ENOMEM;
    int error = list_move_gap(list, length);
    uint64_t start = word(list, LIST_START), room = list_room_in_front(list), capacity = segments_capacity(list);
    if (error != 0 || start + length + count <= capacity)
        return error;
    if (length == 0 || start + length + count > capacity + room)
        return MP_ENOMEM;
    error = stripes_hold_all(list);
    if (error != 0)
        return error;
    list_begin_gap(list, true, room);
    return list_move_gap(list, length);
}

int list_open_front(struct object *list)
{
    int error = list_gather_room(list, 1);

    if (error != 0)
        return error;
    list_begin_gap(list, false, 1);
    return list_move_gap(list, 0);
}
