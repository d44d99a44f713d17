/* What both objects are made of, in one piece: each file uses only those before it, which the compiler checks, and nothing of it
 * has a name that another object could see. */
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
