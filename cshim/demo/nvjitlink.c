/* Stands for libnvJitLink.so.12, which puts its release into the names of its functions: the library of
 * CUDA 12.MINOR has one of each for every release from 12.0 on. */

#define FUNCTION(name, minor)                                                                                  \
    int __nvJitLink##name##_12_##minor(void);                                                                  \
    int __nvJitLink##name##_12_##minor(void) { return 0; }
#define RELEASE(minor) FUNCTION(Create, minor) FUNCTION(Complete, minor) FUNCTION(Destroy, minor)

RELEASE(0)
RELEASE(1)
#if MINOR >= 4
RELEASE(2)
RELEASE(3)
RELEASE(4)
#endif
