// Writes down the Vulkan calls of an unmodified program: LD_PRELOAD=./vulkan_calls.so VULKAN_CALLS=FILE program
//
// One line a call, in the order in which the driver gets them: `dispatch X Y Z`, `submit`, `copy`, `pipeline`. The file
// is appended to, so that the program can write marks of its own between them. Shaders are written to FILE.1.spv,
// FILE.2.spv and so on, as the driver gets them.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#define FIRST_GLIBC "GLIBC_2.2.5"
#else
#define FIRST_GLIBC "GLIBC_2.17"
#endif

typedef void (*function)(void);
typedef function (*lookup)(void *, const char *);

static const char *path;
static FILE *calls;
static lookup real_of_instance, real_of_device;
static void (*real_dispatch)(void *, uint32_t, uint32_t, uint32_t);
static void (*real_indirect)(void *, uint64_t, uint64_t);
static int (*real_submit)(void *, uint32_t, const void *, uint64_t);
static void (*real_copy)(void *, uint64_t, uint64_t, uint32_t, const void *);
static int (*real_module)(void *, const void *, const void *, uint64_t *);
static int (*real_pipelines)(void *, uint64_t, uint32_t, const void *, const void *, uint64_t *);

static void dispatch(void *buffer, uint32_t x, uint32_t y, uint32_t z) {
    fprintf(calls, "dispatch %u %u %u\n", x, y, z);
    real_dispatch(buffer, x, y, z);
}
static void indirect(void *buffer, uint64_t arguments, uint64_t offset) {
    fprintf(calls, "dispatch indirect\n");
    real_indirect(buffer, arguments, offset);
}
static int submit(void *queue, uint32_t count, const void *infos, uint64_t fence) {
    fprintf(calls, "submit\n");
    return real_submit(queue, count, infos, fence);
}
static void copy(void *buffer, uint64_t from, uint64_t to, uint32_t count, const void *regions) {
    fprintf(calls, "copy\n");
    real_copy(buffer, from, to, count, regions);
}
static int module(void *device, const void *info, const void *allocator, uint64_t *made) {
    // VkShaderModuleCreateInfo, of which nothing else is read here.
    const struct { uint32_t type; const void *next; uint32_t flags; size_t bytes; const uint32_t *code; } *shader = info;
    static int count;
    char name[4096];
    snprintf(name, sizeof name, "%s.%d.spv", path, __sync_add_and_fetch(&count, 1));
    FILE *file = fopen(name, "wb");
    if (file) {
        fwrite(shader->code, 1, shader->bytes, file);
        fclose(file);
    }
    return real_module(device, info, allocator, made);
}
static int pipelines(void *device, uint64_t cache, uint32_t count, const void *infos, const void *allocator, uint64_t *made) {
    for (uint32_t i = 0; i < count; i++) fprintf(calls, "pipeline\n");
    return real_pipelines(device, cache, count, infos, allocator, made);
}

static function wrapped(const char *name, function found) {
    if (!found || !calls) return found;
#define WRAP(call, real, own) if (!strcmp(name, call)) { *(void **)&real = (void *)found; return (function)own; }
    WRAP("vkCmdDispatch", real_dispatch, dispatch)
    WRAP("vkCmdDispatchIndirect", real_indirect, indirect)
    WRAP("vkQueueSubmit", real_submit, submit)
    WRAP("vkCmdCopyBuffer", real_copy, copy)
    WRAP("vkCreateShaderModule", real_module, module)
    WRAP("vkCreateComputePipelines", real_pipelines, pipelines)
    return found;
}
static function of_device(void *device, const char *name) { return wrapped(name, real_of_device(device, name)); }
static function of_instance(void *instance, const char *name) {
    function found = real_of_instance(instance, name);
    if (found && !strcmp(name, "vkGetDeviceProcAddr")) {
        real_of_device = (lookup)found;
        return (function)of_device;
    }
    return wrapped(name, found);
}

// Programs find the loader's entry point by its name, and get this file's in its place.
void *dlsym(void *library, const char *name) {
    static void *(*real)(void *, const char *);
    if (!real) real = dlvsym(RTLD_NEXT, "dlsym", FIRST_GLIBC);
    void *found = real(library, name);
    Dl_info from;
    if (found && !strcmp(name, "vkGetInstanceProcAddr") && dladdr(found, &from) && from.dli_fname
        && strstr(from.dli_fname, "libvulkan.so")) {
        real_of_instance = (lookup)found;
        return (void *)of_instance;
    }
    return found;
}

__attribute__((constructor)) static void start(void) {
    path = getenv("VULKAN_CALLS");
    calls = path ? fopen(path, "a") : NULL;
    if (calls) setvbuf(calls, NULL, _IOLBF, BUFSIZ);
}
