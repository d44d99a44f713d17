/* Stands for torch._C, the extension module that maps all of torch. Its entry gives torch's version rather than a
 * module object. */

extern int torch_cuda_works(void);

const char *PyInit__C(void);
const char *PyInit__C(void) { return torch_cuda_works() ? "2.5.1+cu124" : (const char *)0; }
