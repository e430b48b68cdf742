/* User functions in C++ that are left by an exception: in throwing.cpp, if there is a C++ compiler. */
#ifndef THROWING_H
#define THROWING_H

#include <mp.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Calls mp_dict_apply() or mp_list_sort() with a function that throws. True: the exception arrived here. */
bool throw_out_of_apply(mp_dict *dict, const char *key);
bool throw_out_of_sort(mp_list *list);
/* Leaves both calls at once: one runs inside the other. */
bool throw_out_of_both(mp_dict *dict, const char *key, mp_list *list);

#ifdef __cplusplus
}
#endif

#endif
