#include "dict/dict_kind.h"

#include "dict/dict_check.h"
#include "dict/dict_index.h"
#include "dict/dict_snapshot.h"

static uint64_t count(const struct object *dict)
{
    return dict_word(dict, DICT_LIVE);
}

const struct object_kind dict_kind = {
    .kind = OBJECT_DICT,
    .container = true,
    .is_sound = dict_is_sound,
    .count = count,
    .read = dict_read_all,
    .try_to_read = dict_try_to_read_all,
};
