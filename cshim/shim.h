/* What the two doors share: the environment, the plan in force, what is said of its libraries. */
#ifndef CUDASHIM_SHIM_H
#define CUDASHIM_SHIM_H

#include <stdbool.h>

#include "plan.h"

/* What the dlopen door asks the loader for, to learn whether the audit door of this process acts: only that one answers. */
#define AUDIT_QUESTION "/cudashim: does the audit door act?"

/* Whether this is the instance that the loader audits with; set by la_version. */
extern bool shim_auditing;

/* CUDASHIM_TRACE: where the audit door writes what it sees; empty: nowhere. */
extern char shim_trace[4096];

/* The path that this program was started by, where it is known; once a plan was asked for. */
extern char shim_program[4096];

/* Whether this instance may have a plan to hand out, as far as its environment tells. */
bool shim_may_act(void);

/* Whether the kernel asks for secure execution; in doubt it does. */
bool shim_is_secure(void);

/* The plan in force for a call with this name, or NULL. `noload`: nothing will be loaded, so none is asked for. */
const struct plan *shim_plan_for(const char *name, bool noload);

/* Whether the plan's `absent` records hold for this process. */
bool shim_searched_alike(const struct plan *plan);

/* NULL if the file is the one that the plan was made for. Else it says so, and answers the name to ask for instead: one
 * that refuses the call, or `name` itself. */
const char *shim_changed(struct lib *lib, const char *name);

/* Says once that another copy is mapped. */
void shim_tell_other(struct lib *lib, const char *other);

/* Says what a name became, and answers it. */
const char *shim_told(const char *name, const char *answer, const char *why, const char *more);

#endif
