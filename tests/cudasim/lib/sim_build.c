// SPDX-License-Identifier: Apache-2.0
#include "sim_build.h"
#include "sim_block.h"
#include <ctype.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static const char *skip_space(const char *p, const char *end) {
    while (p < end && isspace((unsigned char)*p)) p++;
    return p;
}
static const char *after_word(const char *p, const char *end, const char *word) {
    p = skip_space(p, end);
    size_t n = strlen(word);
    return (size_t)(end - p) >= n && !memcmp(p, word, n) ? p + n : NULL;
}

// `extern "C" __global__ void [__launch_bounds__(..)] NAME(`: one line of the table for each. False: not so written.
static bool write_table(FILE *out, const char *text, size_t bytes) {
    const char *end = text + bytes, *p = text, *q;
    fprintf(out, "\n#line 1 \"kernels\"\nextern \"C\" const SimKernel tgf_sim_kernels[] = {\n");
    while (p < end && (p = memmem(p, (size_t)(end - p), "extern \"C\"", 10))) {
        p += 10;
        if (!(q = after_word(p, end, "__global__"))) continue;
        if (!(q = after_word(q, end, "void"))) return false;
        const char *bounds = after_word(q, end, "__launch_bounds__"), *bounds_end = NULL;
        if (bounds) {
            bounds = after_word(bounds, end, "(");
            bounds_end = bounds ? memchr(bounds, ')', (size_t)(end - bounds)) : NULL;
            if (!bounds_end) return false;
            q = bounds_end + 1;
        }
        q = skip_space(q, end);
        const char *name = q;
        while (q < end && (isalnum((unsigned char)*q) || *q == '_')) q++;
        if (q == name || q == end) return false;
        fprintf(out, "SIM_KERNEL(%.*s, %.*s)\n", (int)(q - name), name, bounds ? (int)(bounds_end - bounds) : 4,
                bounds ? bounds : "1024");
        p = q;
    }
    fprintf(out, "{nullptr, 0, 0, nullptr, nullptr}};\n");
    return true;
}

static void read_log(const char *path, char *out, size_t size) {
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(out, 1, size - 1, f) : 0;
    out[n] = 0;
    if (f) fclose(f);
}

bool sim_build(const char *text, size_t bytes, const char *to, char *log, size_t log_bytes) {
    char source[SIM_PATH + 8], messages[SIM_PATH + 8], partial[SIM_PATH + 8];
    snprintf(source, sizeof source, "%s.cc", to);
    snprintf(messages, sizeof messages, "%s.log", to);
    snprintf(partial, sizeof partial, "%s.part", to);
    FILE *f = fopen(source, "w");
    bool written = f && fwrite(text, 1, bytes, f) == bytes && write_table(f, text, bytes);
    if (f && fclose(f)) written = false;
    if (!written) {
        snprintf(log, log_bytes,
                 "%s: cannot be written, or not all kernels are `extern \"C\" __global__ void "
                 "__launch_bounds__(T) NAME(..)`",
                 source);
        return false;
    }
    char *argv[] = {TGF_CUDASIM_CXX,
                    "-x",
                    "c++",
                    "-std=c++17",
                    "-Og",
                    "-w",
                    "-march=native",
                    "-ffp-contract=off",
                    "-fno-strict-aliasing",
                    "-fno-exceptions",
                    "-fno-rtti",
                    "-shared",
                    "-fPIC",
                    "-fno-gnu-unique", // kernels of two libraries may bear one name
                    "-DTGF_CUDASIM",
                    "-I" TGF_CUDASIM_INCLUDE,
                    "-o",
                    partial,
                    source,
                    "-lm",
                    NULL};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 2, messages, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    pid_t pid;
    int status = -1, failed = posix_spawn(&pid, argv[0], &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (failed) {
        snprintf(log, log_bytes, "%s: %s", argv[0], strerror(failed));
        return false;
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
    read_log(messages, log, log_bytes);
    unlink(messages);
    if (!getenv("TGF_CUDASIM_KEEP")) unlink(source);
    if (!WIFEXITED(status) || WEXITSTATUS(status)) return false;
    return !rename(partial, to);
}

bool sim_load(const char *path, SimLibrary *out, char *log, size_t log_bytes) {
    out->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!out->handle) {
        snprintf(log, log_bytes, "%s", dlerror());
        return false;
    }
    void (*bind)(const SimApi *);
    *(void **)&bind = dlsym(out->handle, "tgf_sim_bind");
    out->kernels = dlsym(out->handle, "tgf_sim_kernels");
    if (!bind || !out->kernels) {
        snprintf(log, log_bytes, "%s: no library of kernels", path);
        dlclose(out->handle);
        return false;
    }
    bind(&sim_api_table);
    return true;
}

void sim_unload(SimLibrary *l) {
    if (l->handle) dlclose(l->handle);
    *l = (SimLibrary){NULL, NULL};
}

const SimKernel *sim_kernel(const SimLibrary *l, const char *name) {
    for (const SimKernel *k = l->kernels; k && k->name; k++)
        if (!strcmp(k->name, name)) return k;
    return NULL;
}
