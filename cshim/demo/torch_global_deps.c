/* Stands for libtorch_global_deps.so, which has no code either: `import torch` opens it before anything else. */

extern int torch_global_deps;
int torch_global_deps = 1;
