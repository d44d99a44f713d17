/* The probe: loads one library and asks it what it is, so that what goes wrong goes wrong here.
 *
 * Takes the library and the questions from its arguments; gives lines of tab-separated fields on stdout, escaped as
 * docs/PLAN_FORMAT.md says, each written as soon as it is known. The last one is `end`: without it, the library ended
 * us. Built with the C library, unlike the shim: a program that is linked statically cannot load anything.
 *
 *   probe library PATH [CALL FUNCTION]...   loaded | not-loaded MESSAGE; said INDEX STATUS NUMBER... | absent INDEX; mapped PATH
 *   probe cuda PATH                         what the driver says of itself and of its devices
 *   probe nvml PATH                         what its management library says
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

enum { LINE = 16384, TEXT = 4096, DEVICES = 1024 };

static int answers = -1;

/* A line, written at once and whole: what follows may be the end of us. */
__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
    static char line[LINE];
    va_list list;
    va_start(list, format);
    const int length = vsnprintf(line, sizeof line - 1, format, list);
    va_end(list);
    if (length < 0)
        return;
    size_t left = (size_t)length < sizeof line - 1 ? (size_t)length : sizeof line - 2;
    line[left++] = '\n';
    for (const char *at = line; left > 0;) {
        const ssize_t written = write(answers, at, left);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            _exit(1);
        at += written;
        left -= (size_t)written;
    }
}

/* Text as one field: see src/host/escape.rs. What does not fit is cut off. */
static const char *field(const char *text)
{
    static char out[2][TEXT];
    static unsigned turn;
    char *to = out[turn++ % 2];
    char *const end = to + TEXT - 5, *const start = to;
    for (const unsigned char *from = (const unsigned char *)text; from && *from && to < end; from++) {
        if (*from == '\\' || *from == '\t' || *from == '\n') {
            *to++ = '\\';
            *to++ = *from == '\t' ? 't' : *from == '\n' ? 'n' : '\\';
        } else if (*from < 0x20 || *from >= 0x7f) {
            to += sprintf(to, "\\x%02x", *from);
        } else {
            *to++ = (char)*from;
        }
    }
    *to = '\0';
    return start;
}

/* A function that the library itself has, not one that it needs: dlsym(3) searches those too. */
static void *own(void *library, const char *name)
{
    void *function = dlsym(library, name), *loaded = NULL;
    struct link_map *map = NULL;
    Dl_info info;
    if (!function || dlinfo(library, RTLD_DI_LINKMAP, &map) || !dladdr1(function, &info, &loaded, RTLD_DL_LINKMAP))
        return NULL;
    return loaded == map ? function : NULL;
}

/* The calls that data/probes.tsv names. Numbers that are not set stay -1, which is no version. */
static void ask(const char *index, const char *call, void *function)
{
    union {
        void *address;
        size_t (*size)(void);
        int64_t (*out)(int *);
        int (*pair)(int *, int *);
        void (*triple)(int *, int *, int *);
        int (*property)(int, int *);
        const int *(*record)(void);
    } f = { .address = function };
    int n[3] = { -1, -1, -1 };
    if (!strcmp(call, "size")) {
        say("said\t%s\t0\t%zu", index, f.size());
    } else if (!strcmp(call, "out")) {
        /* cuFile returns two numbers in one register. */
        const int64_t status = f.out(n);
        say("said\t%s\t%d\t%d", index, (int)status, n[0]);
    } else if (!strcmp(call, "pair")) {
        const int status = f.pair(&n[0], &n[1]);
        say("said\t%s\t%d\t%d\t%d", index, status, n[0], n[1]);
    } else if (!strcmp(call, "triple")) {
        f.triple(&n[0], &n[1], &n[2]);
        say("said\t%s\t0\t%d\t%d\t%d", index, n[0], n[1], n[2]);
    } else if (!strcmp(call, "property")) {
        int status = 0;
        for (int which = 0; which < 3 && !status; which++)
            status = f.property(which, &n[which]);
        say("said\t%s\t%d\t%d\t%d\t%d", index, status, n[0], n[1], n[2]);
    } else if (!strcmp(call, "record")) {
        const int *record = f.record();
        say("said\t%s\t%d\t%d\t%d\t%d", index, !record, record ? record[0] : -1, record ? record[1] : -1,
            record ? record[2] : -1);
    }
}

/* NULL, with a line why, where it cannot be loaded. */
static void *load(const char *path)
{
    /* Lazily: a library that lacks a symbol of another can still say what it is. */
    void *library = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
    if (library)
        say("loaded");
    else
        say("not-loaded\t%s", field(dlerror()));
    return library;
}

/* What it needs, and what it opened to answer. */
static int tell_mapped(struct dl_phdr_info *info, size_t size, void *unused)
{
    (void)size, (void)unused;
    if (info->dlpi_name && info->dlpi_name[0] == '/')
        say("mapped\t%s", field(info->dlpi_name));
    return 0;
}

static void ask_library(const char *path, char **questions)
{
    void *library = load(path);
    if (!library)
        return;
    for (unsigned index = 0; questions[0] && questions[1]; index++, questions += 2) {
        void *function = own(library, questions[1]);
        char number[16];
        snprintf(number, sizeof number, "%u", index);
        if (function)
            ask(number, questions[0], function);
        else
            say("absent\t%s", number);
    }
    dl_iterate_phdr(tell_mapped, NULL);
}

/* cuda.h: status, device, name, value. Versioned names are those that the header maps the plain ones to. */
static void ask_cuda(const char *path)
{
    void *library = load(path);
    if (!library)
        return;
    int (*version)(int *), (*init)(unsigned), (*count)(int *), (*get)(int *, int), (*name)(char *, int, int),
        (*attribute)(int *, int, int), (*memory)(size_t *, int), (*uuid)(unsigned char *, int),
        (*error)(int, const char **);
    *(void **)&version = dlsym(library, "cuDriverGetVersion");
    *(void **)&init = dlsym(library, "cuInit");
    *(void **)&count = dlsym(library, "cuDeviceGetCount");
    *(void **)&get = dlsym(library, "cuDeviceGet");
    *(void **)&name = dlsym(library, "cuDeviceGetName");
    *(void **)&attribute = dlsym(library, "cuDeviceGetAttribute");
    *(void **)&memory = dlsym(library, "cuDeviceTotalMem_v2");
    *(void **)&uuid = dlsym(library, "cuDeviceGetUuid");
    *(void **)&error = dlsym(library, "cuGetErrorName");
    int number = -1;
    if (version && !version(&number))
        say("version\t%d", number);
    if (!init)
        return;
    const int status = init(0);
    const char *called = NULL;
    if (error)
        error(status, &called);
    say("init\t%d\t%s", status, field(called));
    int devices = 0;
    if (status || !count || count(&devices))
        return;
    say("count\t%d", devices);
    for (int at = 0; at < devices && at < DEVICES; at++) {
        enum { MAJOR = 75, MINOR = 76 }; /* CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_… */
        char text[256] = "";
        unsigned char id[16];
        size_t bytes = 0;
        int device = at, major = 0, minor = 0;
        if (get && get(&device, at))
            continue;
        if (name && !name(text, sizeof text - 1, device))
            say("name\t%d\t%s", at, field(text));
        if (attribute && !attribute(&major, MAJOR, device) && !attribute(&minor, MINOR, device))
            say("capability\t%d\t%d\t%d", at, major, minor);
        if (memory && !memory(&bytes, device))
            say("memory\t%d\t%zu", at, bytes);
        if (uuid && !uuid(id, device))
            say("uuid\t%d\tGPU-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", at, id[0], id[1],
                id[2], id[3], id[4], id[5], id[6], id[7], id[8], id[9], id[10], id[11], id[12], id[13], id[14], id[15]);
    }
}

/* A function under the newest of its names. */
static void *newest(void *library, const char *versioned, const char *plain)
{
    void *function = dlsym(library, versioned);
    return function ? function : dlsym(library, plain);
}

/* nvml.h */
static void ask_nvml(const char *path)
{
    void *library = load(path);
    if (!library)
        return;
    int (*init)(void), (*driver)(char *, unsigned), (*cuda)(int *), (*count)(unsigned *), (*get)(unsigned, void **),
        (*name)(void *, char *, unsigned), (*uuid)(void *, char *, unsigned), (*capability)(void *, int *, int *),
        (*memory)(void *, unsigned long long *);
    const char *(*error)(int);
    *(void **)&init = newest(library, "nvmlInit_v2", "nvmlInit");
    *(void **)&driver = dlsym(library, "nvmlSystemGetDriverVersion");
    *(void **)&cuda = newest(library, "nvmlSystemGetCudaDriverVersion_v2", "nvmlSystemGetCudaDriverVersion");
    *(void **)&count = newest(library, "nvmlDeviceGetCount_v2", "nvmlDeviceGetCount");
    *(void **)&get = newest(library, "nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetHandleByIndex");
    *(void **)&name = dlsym(library, "nvmlDeviceGetName");
    *(void **)&uuid = dlsym(library, "nvmlDeviceGetUUID");
    *(void **)&capability = dlsym(library, "nvmlDeviceGetCudaComputeCapability");
    *(void **)&memory = dlsym(library, "nvmlDeviceGetMemoryInfo");
    *(void **)&error = dlsym(library, "nvmlErrorString");
    if (!init)
        return;
    const int status = init();
    say("init\t%d\t%s", status, field(error ? error(status) : NULL));
    char text[256] = "";
    int number = -1;
    unsigned devices = 0;
    if (driver && !driver(text, sizeof text - 1))
        say("driver\t%s", field(text));
    if (cuda && !cuda(&number))
        say("version\t%d", number);
    if (status || !count || !get || count(&devices))
        return;
    say("count\t%u", devices);
    for (unsigned at = 0; at < devices && at < DEVICES; at++) {
        void *device = NULL;
        unsigned long long bytes[3] = { 0 }; /* total, free, used */
        int major = 0, minor = 0;
        if (get(at, &device))
            continue;
        memset(text, 0, sizeof text);
        if (name && !name(device, text, sizeof text - 1))
            say("name\t%u\t%s", at, field(text));
        if (capability && !capability(device, &major, &minor))
            say("capability\t%u\t%d\t%d", at, major, minor);
        if (memory && !memory(device, bytes))
            say("memory\t%u\t%llu", at, bytes[0]);
        memset(text, 0, sizeof text);
        if (uuid && !uuid(device, text, sizeof text - 1))
            say("uuid\t%u\t%s", at, field(text));
    }
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    /* Who started us waits for us: if that is gone, so are we. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    /* No core dump. core(5): a limit of 0 still starts the program that a pipe in core_pattern names, 1 does not. */
    struct rlimit core = { 1, 1 };
    if (setrlimit(RLIMIT_CORE, &core)) {
        core.rlim_cur = core.rlim_max = 0;
        setrlimit(RLIMIT_CORE, &core);
    }
    /* What a library prints is not an answer. */
    answers = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 64);
    const int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (answers < 0 || nowhere < 0 || dup2(nowhere, STDOUT_FILENO) < 0 || dup2(nowhere, STDERR_FILENO) < 0)
        return 2;
    if (!strcmp(argv[1], "library")) {
        /* A function that calls itself for ever is at its end sooner: CUPTI 13.2, where no driver is found. */
        const struct rlimit stack = { 1 << 20, 1 << 20 };
        setrlimit(RLIMIT_STACK, &stack);
        ask_library(argv[2], argv + 3);
    } else if (!strcmp(argv[1], "cuda"))
        ask_cuda(argv[2]);
    else if (!strcmp(argv[1], "nvml"))
        ask_nvml(argv[2]);
    else
        return 2;
    say("end");
    /* Without the destructors: they have nothing to say. */
    _exit(0);
}
