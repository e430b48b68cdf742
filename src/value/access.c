#include "value/access.h"

static int find_word(const struct reading *reading, const void *number, struct words *words)
{
    words->head = object_read_word(reading, &reading->object->word[*(const int *)number]);
    words->body = 0;
    return 0;
}

int access_word_slow(const void *handle, uint64_t kind, int word, uint64_t *value)
{
    struct words found;
    int error = access_words(handle, kind, find_word, &word, &found);

    if (error == 0)
        *value = found.head;
    return error;
}
