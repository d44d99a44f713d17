/* What a program may ask the preload object, if it is there: declare these weak and test them for NULL. */
#ifndef CUDASHIM_H
#define CUDASHIM_H

#ifdef __cplusplus
extern "C" {
#endif

/* The marker by which a tool knows the object; its value changes when the meaning of a function below does. */
extern const unsigned cudashim_abi;

/* The path of the plan in force, or NULL if none is. Reads the plan that CUDASHIM_PLAN names if no dlopen has
 * done so yet; never asks for one. The string lives as long as the process. */
const char *cudashim_plan(void);

/* The path that the plan chose for a soname (or for a name that it makes an alias), or NULL. Says nothing of
 * whether the file is mapped, or is still the file the plan was made for. The string lives as long as the process. */
const char *cudashim_path(const char *soname);

#ifdef __cplusplus
}
#endif

#endif
