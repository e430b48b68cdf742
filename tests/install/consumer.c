/* An independent program that uses the installed library. */
#include <mp.h>
#include <string.h>

static int add_one(void *arg)
{
    return mp_dict_add_int(arg, "count", 1, NULL);
}

int main(void)
{
    mp_manager *manager;
    mp_dict *dict;
    mp_process *process;
    int64_t count;

    if (mp_manager_create(&manager, NULL) != 0 || mp_manager_dict(manager, &dict) != 0 ||
        mp_process_start(&process, add_one, dict, NULL) != 0 || mp_process_join(process, MP_FOREVER) != 0)
        return 1;
    return mp_dict_get_int(dict, "count", &count) == 0 && count == 1 && strcmp(mp_version(), VERSION) == 0 ? 0 : 2;
}
