/* Functions of the user's in C++, which are left by an exception: in throwing.cpp, where there is a compiler of that
 * language. */
#ifndef THROWING_H
#define THROWING_H

#include <mp.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Calls mp_dict_apply() or mp_list_sort(); the function throws. True: the exception has arrived here. */
bool throw_out_of_apply(mp_dict *dict, const char *key);
bool throw_out_of_sort(mp_list *list);
/* Out of both at once: the one runs inside the other. */
bool throw_out_of_both(mp_dict *dict, const char *key, mp_list *list);

#ifdef __cplusplus
}
#endif

#endif
