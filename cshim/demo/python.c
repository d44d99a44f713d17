/* Stands for the interpreter of a virtual environment: opens what `import torch` opens, in the same order and with the
 * same flags, and tells what ld.so made of it. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SITE "lib/python3.12/site-packages"

/* Opens PREFIX/SITE/NAME; a failure is told as Python tells it. */
static void *open_in_site(const char *prefix, const char *name, int mode)
{
    char path[2 * PATH_MAX];
    snprintf(path, sizeof path, "%s/" SITE "/%s", prefix, name);
    void *object = dlopen(path, mode);
    if (!object) {
        fprintf(stderr, "ImportError: %s\n", dlerror());
    }
    return object;
}

/* Cuts the last component off a path. */
static int parent(char *path)
{
    char *slash = strrchr(path, '/');
    if (!slash) {
        return 0;
    }
    *slash = '\0';
    return 1;
}

/* Prints each file of that name that is mapped, once: the mappings of one file follow each other. */
static void print_mapped(const char *name)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[2 * PATH_MAX], last[2 * PATH_MAX] = "";
    size_t length = strlen(name);
    while (maps && fgets(line, sizeof line, maps)) {
        line[strcspn(line, "\n")] = '\0';
        const char *path = strchr(line, '/');
        size_t end = path ? strlen(path) : 0;
        if (end > length && path[end - length - 1] == '/' && !strcmp(path + end - length, name) && strcmp(path, last)) {
            printf("; %s from %s", name, path);
            strcpy(last, path);
        }
    }
    if (maps) {
        fclose(maps);
    }
}

int main(int argc, char **argv)
{
    if (argc != 3 || strcmp(argv[1], "-c") || strcmp(argv[2], "import torch")) {
        fprintf(stderr, "usage: %s -c 'import torch'\n", argv[0]);
        return 2;
    }
    char prefix[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", prefix, sizeof prefix - 1);
    if (length < 0) {
        perror("/proc/self/exe");
        return 2;
    }
    prefix[length] = '\0';
    if (!parent(prefix) || !parent(prefix)) {
        return 2;
    }
    if (!open_in_site(prefix, "torch/lib/libtorch_global_deps.so", RTLD_NOW | RTLD_GLOBAL)) {
        return 1;
    }
    void *extension = open_in_site(prefix, "torch/_C.cpython-312-" ARCH "-linux-gnu.so", RTLD_NOW);
    if (!extension) {
        return 1;
    }
    const char *(*init)(void) = (const char *(*)(void))dlsym(extension, "PyInit__C");
    const char *version = init ? init() : NULL;
    if (!version) {
        fprintf(stderr, "ImportError: torch._C does not work\n");
        return 1;
    }
    printf("torch %s imported", version);
    print_mapped("libnvJitLink.so.12");
    puts("");
    return 0;
}
