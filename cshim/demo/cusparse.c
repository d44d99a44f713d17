/* Stands for the libcusparse.so.12 of CUDA 12.4: links kernels at run time, through the nvJitLink of its own release. */

extern int __nvJitLinkComplete_12_4(void);

int cusparseSpMMOp(void);
int cusparseSpMMOp(void) { return __nvJitLinkComplete_12_4(); }
