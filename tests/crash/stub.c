#include "killer.h"
const struct family heap_family, lock_family, named_family, pool_family;
