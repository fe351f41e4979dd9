// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "runtime/cuda_cache.h"
#include "runtime/cuda_api.h"
#include "runtime/file.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void cuda_code_free(CudaCode *image) {
    free(image->memory);
    *image = (CudaCode){0};
}

// ---- the compiler ---------------------------------------------------------------------------------------------------
enum { MAX_OPTIONS = 32 };

static Status compile_failed(const NvrtcApi *api, NvrtcProgram program, NvrtcResult r, const char *arch) {
    size_t bytes = 0;
    char *log = NULL;
    if (api->nvrtcGetProgramLogSize(program, &bytes) == NVRTC_OK && bytes > 1 && (log = calloc(1, bytes + 1)))
        api->nvrtcGetProgramLog(program, log);
    const char *error = log ? strstr(log, "error") : NULL;
    while (error && error > log && error[-1] != '\n') error--;
    Status s =
        status_make(STATUS_INVALID, "the kernels do not compile for %s: %s: %.380s", arch, api->nvrtcGetErrorString(r),
                    error ? error
                    : log ? log
                          : "");
    free(log);
    return s;
}

static Status compile_program(const NvrtcApi *api, NvrtcProgram program, const CudaText *text, CudaCode *out_image) {
    char arch[64], *words = strdup(text->options ? text->options : ""), *rest = NULL;
    const char *options[MAX_OPTIONS + 1];
    int n = 0;
    if (!words) return status_make(STATUS_MEMORY, "no memory for the compiler's options");
    snprintf(arch, sizeof arch, "--gpu-architecture=%.40s", text->arch);
    options[n++] = arch;
    for (char *w = strtok_r(words, " ", &rest); w && n <= MAX_OPTIONS; w = strtok_r(NULL, " ", &rest)) options[n++] = w;
    NvrtcResult r = api->nvrtcCompileProgram(program, n, options);
    free(words);
    if (r != NVRTC_OK) return compile_failed(api, program, r, text->arch);
    size_t bytes = 0;
    STATUS_TRY(nvrtc_status(api, api->nvrtcGetCUBINSize(program, &bytes), "nvrtcGetCUBINSize"));
    if (!(out_image->memory = malloc(bytes + !bytes)))
        return status_make(STATUS_MEMORY, "no memory for %zu bytes of kernels", bytes);
    out_image->data = out_image->memory;
    out_image->bytes = bytes;
    return nvrtc_status(api, api->nvrtcGetCUBIN(program, out_image->data), "nvrtcGetCUBIN");
}

Status cuda_compile(const CudaText *text, CudaCode *out_image) {
    *out_image = (CudaCode){0};
    const NvrtcApi *api;
    STATUS_TRY(nvrtc_api(&api));
    char *source = malloc(text->source_bytes + 1);
    if (!source) return status_make(STATUS_MEMORY, "no memory for %zu bytes of source", text->source_bytes);
    memcpy(source, text->source, text->source_bytes);
    source[text->source_bytes] = 0;
    NvrtcProgram program = NULL;
    Status s =
        nvrtc_status(api, api->nvrtcCreateProgram(&program, source, "kernels.cu", 0, NULL, NULL), "nvrtcCreateProgram");
    if (!status_failed(&s)) s = compile_program(api, program, text, out_image);
    if (program) api->nvrtcDestroyProgram(&program);
    free(source);
    if (status_failed(&s)) cuda_code_free(out_image);
    return s;
}

// ---- the folder -----------------------------------------------------------------------------------------------------
// *out_folder: a descriptor, or -1 where none can be had, which is no failure.
static Status open_folder(int *out_folder) {
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char parent[1024], path[1040];
    *out_folder = -1;
    int n = cache && *cache == '/' ? snprintf(parent, sizeof parent, "%s", cache)
            : home && *home == '/' ? snprintf(parent, sizeof parent, "%s/.cache", home)
                                   : -1;
    if (n < 0 || (size_t)n >= sizeof parent) return status_ok();
    snprintf(path, sizeof path, "%s/tgf", parent);
    if (mkdir(path, 0700) && errno == ENOENT) {
        Status s = file_make_folders(parent);
        if (status_failed(&s) || mkdir(path, 0700)) {
            if (errno != EEXIST) return status_ok();
        }
    }
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (folder < 0 && (errno == ELOOP || errno == ENOTDIR))
        return status_make(STATUS_INVALID, "%s, where compiled kernels are kept, is not a folder", path);
    if (folder < 0) return status_ok();
    struct stat st;
    if (fstat(folder, &st) || st.st_uid != geteuid()) {
        close(folder);
        return status_make(STATUS_INVALID,
                           "%s, where compiled kernels are kept, belongs to another user: set XDG_CACHE_HOME to a "
                           "folder of your own",
                           path);
    }
    if ((st.st_mode & 0777) != 0700) fchmod(folder, 0700);
    *out_folder = folder;
    return status_ok();
}

// ---- a file: head, key, image ---------------------------------------------------------------------------------------
typedef struct Head {
    char magic[16];
    uint64_t key_bytes, image_bytes, image_hash, key_hash;
} Head;
static const char magic[16] = "tgf kernels 1\n";

static uint64_t hash_bytes(uint64_t h, const char *p, size_t n) {
    for (size_t i = 0; i < n; i++) {
        h = (h ^ (unsigned char)p[i]) * 0x100000001b3u; // FNV-1a, and mixed
        h ^= h >> 29;
    }
    return h;
}

// Everything that decides the image, as one string.
static char *make_key(const CudaText *text, const NvrtcApi *api, size_t *out_bytes) {
    const char *options = text->options ? text->options : "";
    size_t room = strlen(options) + strlen(text->arch) + text->source_bytes + 64;
    char *key = malloc(room);
    if (!key) return NULL;
    size_t n = (size_t)snprintf(key, room, "%s\n%s\nnvrtc %d.%d\n", text->arch, options, api->major, api->minor);
    memcpy(key + n, text->source, text->source_bytes);
    *out_bytes = n + text->source_bytes;
    return key;
}

static bool read_all(int file, char *to, size_t n) {
    for (size_t done = 0; done < n;) {
        ssize_t got = read(file, to + done, n - done);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        done += (size_t)got;
    }
    return true;
}

static bool write_all(int file, const void *from, size_t n) {
    for (size_t done = 0; done < n;) {
        ssize_t put = write(file, (const char *)from + done, n - done);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) return false;
        done += (size_t)put;
    }
    return true;
}

// False: not there, damaged, not ours, or of another source with the same hash.
static bool load_file(int folder, const char *name, const char *key, size_t key_bytes, CudaCode *out_image) {
    int file = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (file < 0) return false;
    struct stat st;
    bool good = !fstat(file, &st) && S_ISREG(st.st_mode) && st.st_uid == geteuid() && !(st.st_mode & 022) &&
                st.st_size > (off_t)sizeof(Head) && (out_image->memory = malloc((size_t)st.st_size)) &&
                read_all(file, out_image->memory, (size_t)st.st_size);
    close(file);
    Head h;
    if (good) {
        memcpy(&h, out_image->memory, sizeof h);
        char *kept = (char *)out_image->memory + sizeof h;
        uint64_t rest = (uint64_t)st.st_size - sizeof h;
        good = !memcmp(h.magic, magic, sizeof magic) && h.key_bytes == key_bytes && key_bytes < rest &&
               h.image_bytes == rest - key_bytes && !memcmp(kept, key, key_bytes) &&
               h.image_hash == hash_bytes(h.key_hash, kept + key_bytes, h.image_bytes);
        out_image->data = kept + key_bytes;
        out_image->bytes = (size_t)h.image_bytes;
    }
    if (!good) cuda_code_free(out_image);
    out_image->found = good;
    return good;
}

// A cache that cannot be written costs time, nothing else: no failure is told.
static void save_file(int folder, const char *name, uint64_t hash, const char *key, size_t key_bytes,
                      const CudaCode *image) {
    static _Atomic unsigned counter;
    char temporary[96];
    snprintf(temporary, sizeof temporary, ".%s.%ld.%u", name, (long)getpid(), counter++);
    int file = openat(folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (file < 0) return;
    Head h = {.key_bytes = key_bytes, .image_bytes = image->bytes, .key_hash = hash};
    memcpy(h.magic, magic, sizeof magic);
    h.image_hash = hash_bytes(hash, image->data, image->bytes);
    bool good = write_all(file, &h, sizeof h) && write_all(file, key, key_bytes) &&
                write_all(file, image->data, image->bytes) && !fsync(file);
    if (close(file)) good = false;
    if (!good || renameat(folder, temporary, folder, name)) unlinkat(folder, temporary, 0);
}

Status cuda_code_make(const CudaText *text, CudaCode *out_image) {
    *out_image = (CudaCode){0};
    const NvrtcApi *api;
    STATUS_TRY(nvrtc_api(&api));
    size_t key_bytes = 0;
    int folder = -1;
    char name[64], *key = make_key(text, api, &key_bytes);
    if (!key) return status_make(STATUS_MEMORY, "no memory for %zu bytes of source", text->source_bytes);
    uint64_t h = hash_bytes(0xcbf29ce484222325u, key, key_bytes);
    snprintf(name, sizeof name, "cuda-%016llx%016llx", (unsigned long long)h,
             (unsigned long long)hash_bytes(h ^ 0x9e3779b97f4a7c15u, key, key_bytes));
    Status s = open_folder(&folder);
    if (!status_failed(&s) && (folder < 0 || !load_file(folder, name, key, key_bytes, out_image))) {
        s = cuda_compile(text, out_image);
        if (!status_failed(&s) && folder >= 0) save_file(folder, name, h, key, key_bytes, out_image);
    }
    if (folder >= 0) close(folder);
    free(key);
    return s;
}
