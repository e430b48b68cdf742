/* Shared by the parts of the differential fuzzer. An operation writes three lines: the operation with its arguments;
 * the outcome in the library; the outcome in the model. A line is a sequence of words, each followed by a space:
 * numbers, error codes, values. */
#ifndef DIFFERENTIAL_H
#define DIFFERENTIAL_H

#include <mp.h>

#include "model.h"

enum { CONTAINERS = 8, DICTS = 4 };

struct line {
    char *text;
    size_t size, capacity;
};

extern void *handle[CONTAINERS]; /* dicts, then lists. One may hold only those of higher numbers: no cycles */
extern struct model model[CONTAINERS];

void put(struct line *line, const char *format, ...) __attribute__((format(printf, 2, 3)));
void put_model(struct line *line, const struct model_value *value);
/* Like put_model(), for a value from the library, which is released. */
void put_value(struct line *line, mp_value *value);
/* Writes what a list made by the library holds, and releases the list. Writes nothing if `error` is not 0. */
void put_new_list(struct line *line, int error, mp_list *list);
void put_contents(struct line *line, const struct model *from, bool dict);
void put_dict(struct line *line, mp_dict *dict);

mp_value to_library(const struct model_value *value);

uint64_t below(uint64_t limit);
struct model_value random_key(void);
struct model_value random_value(int container);
/* Whether others work on the same container: then only operations on single keys have a predictable outcome. */
bool is_shared(void);

void dict_operation(int container, struct line *asked, struct line *real, struct line *expected);
void list_operation(int container, struct line *asked, struct line *real, struct line *expected);

#endif
