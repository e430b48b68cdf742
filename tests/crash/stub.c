#include "killer.h"
const struct family pool_family;
