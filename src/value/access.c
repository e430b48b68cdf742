#include "value/access.h"

static int find_word(const struct reading *reading, const void *number, struct words *words)
{
    words->head = object_read_word(reading, &reading->object->word[*(const int *)number]);
    words->body = 0;
    return 0;
}

int access_word(const void *handle, uint64_t kind, int word, uint64_t *value)
{
    const struct object *object = object_of(handle);
    struct words found;
    uint64_t version;

    if (!object_is(handle, kind))
        return MP_EINVAL;
    if (object_read_begin(object, &version) && object_is_fast(handle, kind)) {
        found.head = word_get(&object->word[word]);
        if (object_read_valid(object, version)) {
            *value = found.head;
            return 0;
        }
    }
    int error = access_words(handle, kind, find_word, &word, &found);
    if (error == 0)
        *value = found.head;
    return error;
}
