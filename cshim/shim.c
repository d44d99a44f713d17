/* The object that stands in production processes, in one piece: each file uses only those before it, which the compiler checks,
 * and nothing of it has a name that another object could see. That of the tracer has the audit door alone (trace/trace.c). */
#include "text.c"
#include "sys.c"
#include "image.c"
#include "log.c"
#include "gate.c"
#include "identity.c"
#include "notes.c"
#include "ask.c"
#include "names.c"
#include "plan.c"
#include "said.c"
#ifndef AUDIT_ALONE
#include "objects.c"
#include "peek.c"
#include "seek.c"
#include "load.c"
#include "choose.c"
#include "entry.c"
#endif
#include "audit.c"
