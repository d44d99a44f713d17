/* The object that stands in production processes: the dlopen door, and the audit door. */
#include "base.c"

#include "objects.c"
#include "peek.c"
#include "seek.c"
#include "load.c"
#include "choose.c"
#include "entry.c"

#include "audit.c"
