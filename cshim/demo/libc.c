/* Stands for the C library while python.c is linked, with the names it takes and none of their versions: a program that
 * is linked against the build machine's own asks for that one's version of dlopen, and does not start with an older. */

void *stderr;

#define HAS(name) void name(void) { }

HAS(__libc_start_main)
HAS(dlerror)
HAS(dlopen)
HAS(dlsym)
HAS(fclose)
HAS(fgets)
HAS(fopen)
HAS(fprintf)
HAS(perror)
HAS(printf)
HAS(puts)
HAS(readlink)
HAS(snprintf)
HAS(strcmp)
HAS(strcpy)
HAS(strcspn)
HAS(strchr)
HAS(strlen)
HAS(strrchr)
