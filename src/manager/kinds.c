/* The table of kinds (object_kind.h). */
#include "dict/dict_kind.h"
#include "list/list_kind.h"
#include "manager/memory.h"
#include "primitives/lock.h"

const struct object_kind *const object_kinds[] = {&dict_kind, &list_kind, &lock_kind, &memory_kind, NULL};
