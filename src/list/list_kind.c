#include "list/list_kind.h"

#include "list/list_check.h"
#include "list/list_snapshot.h"
#include "list/list_table.h"

const struct object_kind list_kind = {
    .name = "list",
    .kind = OBJECT_LIST,
    .type = MP_LIST,
    .words = LIST_WORDS,
    .roots = 1,
    .recover = list_repair,
    .is_sound = list_is_sound,
    .count = list_length_of,
    .read = list_read_all,
    .try_to_read = list_try_to_read_all,
};
