#include "throwing.h"

namespace
{

struct thrown {
};

int apply_throws(mp_value *value, bool, void *)
{
    *value = mp_value_int(999);
    throw thrown();
}

int compare_throws(const mp_value *, const mp_value *, void *)
{
    throw thrown();
}

int sort_inside(mp_value *value, bool, void *list)
{
    *value = mp_value_int(999);
    mp_list_sort(static_cast<mp_list *>(list), compare_throws, nullptr, false);
    return 0;
}

template <typename call> bool arrives(call function)
{
    try {
        function();
    } catch (const thrown &) {
        return true;
    }
    return false;
}

} // namespace

bool throw_out_of_apply(mp_dict *dict, const char *key)
{
    return arrives([=] { mp_dict_apply(dict, mp_value_str(key), apply_throws, nullptr); });
}

bool throw_out_of_sort(mp_list *list)
{
    return arrives([=] { mp_list_sort(list, compare_throws, nullptr, false); });
}

bool throw_out_of_both(mp_dict *dict, const char *key, mp_list *list)
{
    return arrives([=] { mp_dict_apply(dict, mp_value_str(key), sort_inside, list); });
}
