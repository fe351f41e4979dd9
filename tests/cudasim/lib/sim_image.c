// SPDX-License-Identifier: Apache-2.0
// Libraries lie in a folder of this process, removed at its end, or in TGF_CUDASIM_CACHE, which stays; named by a hash
// of the text and of what it is compiled against.
#include "sim_image.h"
#include "sim_world.h"
#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char folder[SIM_PATH];
static bool is_own;
static pid_t owner;
static int number;

enum { MOST_LIBRARIES = 4096 };
static struct {
    uint64_t hash;
    SimLibrary library;
} loaded[MOST_LIBRARIES];
static int nloaded;

__attribute__((destructor)) static void remove_folder(void) {
    DIR *d = is_own && owner == getpid() ? opendir(folder) : NULL;
    if (!d) return;
    for (struct dirent *e; (e = readdir(d));) {
        char path[SIM_PATH + 300];
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        if (e->d_name[0] != '.') unlink(path);
    }
    closedir(d);
    rmdir(folder);
}

static bool folder_make(void) {
    const char *given = getenv("TGF_CUDASIM_CACHE"), *place = getenv("TMPDIR");
    pthread_mutex_lock(&lock);
    if (!*folder || (is_own && owner != getpid())) {
        is_own = !given || !*given;
        owner = getpid();
        if (is_own) {
            snprintf(folder, sizeof folder, "%s/cudasim-XXXXXX", place && *place ? place : "/tmp");
            if (!mkdtemp(folder)) *folder = 0;
        } else {
            snprintf(folder, sizeof folder, "%s", given);
            mkdir(folder, 0700);
        }
    }
    pthread_mutex_unlock(&lock);
    return *folder;
}

static uint64_t hash_bytes(uint64_t h, const void *data, size_t bytes) { // FNV-1a, then mixed
    const unsigned char *p = data;
    for (size_t i = 0; i < bytes; i++) h = (h ^ p[i]) * 0x100000001b3u;
    return h ^ h >> 29;
}

static char *read_all(const char *path, size_t head, size_t *out_bytes) { // `head` bytes are left free in front
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    fseek(f, 0, SEEK_END);
    long n = ftell(f);
    rewind(f);
    char *p = n < 0 ? NULL : malloc(head + (size_t)n + 1);
    if (p && fread(p + head, 1, (size_t)n, f) != (size_t)n) free(p), p = NULL;
    fclose(f);
    *out_bytes = (size_t)n;
    return p;
}

static uint64_t hash_text(const char *text, size_t bytes) {
    static const char *const headers[] = {"cudasim_device.h", "device_sm90.h", "lib/sim_api.h"};
    uint64_t h = hash_bytes(0xcbf29ce484222325u, text, bytes);
    for (int i = 0; i < 3; i++) {
        char path[SIM_PATH];
        size_t n = 0;
        snprintf(path, sizeof path, TGF_CUDASIM_INCLUDE "/%s", headers[i]);
        char *header = read_all(path, 0, &n);
        if (header) h = hash_bytes(h, header, n);
        free(header);
    }
    return hash_bytes(h, TGF_CUDASIM_CXX, strlen(TGF_CUDASIM_CXX));
}

static char *with_head(char *p, size_t bytes, const char *kind, const char *arch, size_t *out_bytes) {
    char head[SIM_IMAGE_HEAD + 1];
    int n = snprintf(head, sizeof head, "cudasim %s %s ", kind, arch);
    snprintf(head + n, sizeof head - (size_t)n, "%*zu\n", SIM_IMAGE_HEAD - 1 - n, bytes);
    memcpy(p, head, SIM_IMAGE_HEAD);
    *out_bytes = SIM_IMAGE_HEAD + bytes;
    return p;
}

static char *compile(const char *text, size_t bytes, const char *arch, size_t *out_bytes, char *log, size_t log_bytes) {
    char path[SIM_PATH + 40], made[SIM_PATH + 60];
    size_t n = 0;
    *log = 0;
    if (!folder_make()) {
        snprintf(log, log_bytes, "no folder for compiled kernels can be made");
        return NULL;
    }
    snprintf(path, sizeof path, "%s/%016llx.so", folder, (unsigned long long)hash_text(text, bytes));
    if (access(path, R_OK)) {
        pthread_mutex_lock(&lock);
        snprintf(made, sizeof made, "%s/%d-%d.so", folder, (int)getpid(), number++);
        pthread_mutex_unlock(&lock);
        if (!sim_build(text, bytes, made, log, log_bytes) || rename(made, path)) return NULL;
    }
    char *p = read_all(path, SIM_IMAGE_HEAD, &n);
    return p ? with_head(p, n, "cubin", arch, out_bytes) : NULL;
}

char *image_cubin(const char *text, size_t bytes, const char *arch, size_t *out_bytes, char *log, size_t log_bytes) {
    static const char hopper[] = "#define TGF_CUDASIM_SM90\n#line 1\n"; // device_sm90.h
    if (!strstr(arch, "_90a")) return compile(text, bytes, arch, out_bytes, log, log_bytes);
    char *all = malloc(sizeof hopper - 1 + bytes), *made = NULL;
    if (!all) return NULL;
    memcpy(all, hopper, sizeof hopper - 1);
    memcpy(all + sizeof hopper - 1, text, bytes);
    made = compile(all, sizeof hopper - 1 + bytes, arch, out_bytes, log, log_bytes);
    free(all);
    return made;
}

char *image_ptx(const char *text, size_t bytes, const char *arch, size_t *out_bytes) {
    char *p = malloc(SIM_IMAGE_HEAD + bytes + 1);
    if (!p) return NULL;
    memcpy(p + SIM_IMAGE_HEAD, text, bytes);
    p[SIM_IMAGE_HEAD + bytes] = 0; // as PTX ends
    with_head(p, bytes, "ptx", arch, out_bytes);
    ++*out_bytes;
    return p;
}

// Does code for `arch` run on a device of compute capability sm / 10?
static bool fits(const char *arch, bool is_cubin, int sm) {
    const char *digits = strchr(arch, '_');
    int of = digits ? atoi(digits + 1) : 0;
    bool specific = arch[strlen(arch) - 1] == 'a';
    if (!of) return false;
    if (specific) return of == sm;
    return is_cubin ? of / 10 == sm / 10 && of <= sm : of <= sm;
}

static int load_library(const char *bytes, size_t n, const SimLibrary **out, char *log, size_t log_bytes) {
    uint64_t h = hash_bytes(0xcbf29ce484222325u, bytes, n);
    char path[SIM_PATH + 60];
    pthread_mutex_lock(&lock);
    int i = 0, bad = SIM_OK;
    while (i < nloaded && loaded[i].hash != h) i++;
    if (i == MOST_LIBRARIES) bad = SIM_OUT_OF_MEMORY;
    else if (i == nloaded) {
        snprintf(path, sizeof path, "%s/load-%d-%d.so", folder, (int)getpid(), number++);
        FILE *f = fopen(path, "wb");
        bool ok = f && fwrite(bytes, 1, n, f) == n;
        if (f && fclose(f)) ok = false;
        if (!ok || !sim_load(path, &loaded[i].library, log, log_bytes)) bad = SIM_INVALID_IMAGE;
        else loaded[nloaded++].hash = h;
        // The file stays: an inode that came free while its library is loaded would make dlopen take a later one for it.
        if (bad) unlink(path);
    }
    *out = bad ? NULL : &loaded[i].library;
    pthread_mutex_unlock(&lock);
    return bad;
}

int image_load(const void *image, int sm, const SimLibrary **out, char *log, size_t log_bytes) {
    char kind[8], arch[24];
    size_t n = 0;
    const char *text = image;
    *log = 0;
    if (!strncmp(text, "\177ELF", 4)) {
        snprintf(log, log_bytes, "a real cubin; the simulation runs what its own nvrtc made");
        return SIM_NO_BINARY;
    }
    if (strncmp(text, "cudasim ", 8) || sscanf(text, "cudasim %7s %23s %zu", kind, arch, &n) != 3) {
        snprintf(log, log_bytes, "not an image of the simulation");
        return SIM_INVALID_IMAGE;
    }
    bool is_cubin = !strcmp(kind, "cubin");
    if (!fits(arch, is_cubin, sm)) {
        snprintf(log, log_bytes, "made for %s, the device is sm_%d", arch, sm);
        return SIM_NO_BINARY;
    }
    if (!folder_make()) return SIM_OUT_OF_MEMORY;
    if (is_cubin) return load_library(text + SIM_IMAGE_HEAD, n, out, log, log_bytes);
    size_t bytes = 0;
    char *cubin = image_cubin(text + SIM_IMAGE_HEAD, n, arch, &bytes, log, log_bytes);
    if (!cubin) return SIM_INVALID_PTX;
    int bad = load_library(cubin + SIM_IMAGE_HEAD, bytes - SIM_IMAGE_HEAD, out, log, log_bytes);
    free(cubin);
    return bad;
}
