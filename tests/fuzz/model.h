/* The model that the differential fuzzer compares the library with: dicts and lists as plain arrays, searched from the
 * front. Nothing here uses the library. A container refers to another by its number. */
#ifndef MODEL_H
#define MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum model_type { M_NONE, M_BOOL, M_INT, M_FLOAT, M_STR, M_BYTES, M_CONTAINER };

struct model_value {
    enum model_type type;
    int64_t integer; /* bool, int; the number of a container */
    double real;
    const char *text; /* from a fixed stock; never released */
    size_t size;
};

struct model_pair {
    struct model_value key, value;
};

/* A list uses the values only. */
struct model {
    struct model_pair *pair;
    size_t count, capacity;
};

/* Like Python's ==, but containers are compared by number. */
bool model_same(const struct model_value *a, const struct model_value *b);
/* The index of a key, or the number of entries if there is none. */
size_t model_find_key(const struct model *dict, const struct model_value *key);
/* The index of the first equal value from `from` on, or the number of elements if there is none. */
size_t model_find_value(const struct model *list, const struct model_value *value, size_t from);
void model_insert(struct model *model, size_t at, struct model_value key, struct model_value value);
void model_delete(struct model *model, size_t at);
/* d[key] = value. An existing key keeps its place and its own type. */
void model_set(struct model *dict, struct model_value key, struct model_value value);

#endif
