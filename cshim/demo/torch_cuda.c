/* Stands for libtorch_python.so, which needs libcusparse.so.12 and does not know of libnvJitLink.so.12. */

extern int cusparseSpMMOp(void);

int torch_cuda_works(void);
int torch_cuda_works(void) { return cusparseSpMMOp() == 0; }
