// SPDX-License-Identifier: Apache-2.0
// Compiled kernels are kept: found again, made again when they or what decides them changed, by several processes at
// once, and nowhere where others could put something else. The compiler is a small library that counts its calls.
#define _GNU_SOURCE
#include "runtime/cuda_api.h"
#include "runtime/cuda_cache.h"
#include "runtime/file.h"
#include "tests/runtime/check.h"
#include <dirent.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
static char root[] = "/tmp/tgf-cuda-cache-XXXXXX", cache[64];

// Code is "code of ARCH: SOURCE"; a source with "error" in it does not compile.
static const char compiler[] =
    "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n"
    "typedef struct P { char source[256], code[400]; } P;\n"
    "const char *nvrtcGetErrorString(int r) { return r ? \"compilation\" : \"ok\"; }\n"
    "int nvrtcVersion(int *a, int *b) { const char *v = getenv(\"FAKE_VERSION\"); return *a = v ? atoi(v) : 13, *b = "
    "0; }\n"
    "int nvrtcGetNumSupportedArchs(int *n) { return *n = 0; }\n"
    "int nvrtcGetSupportedArchs(int *n) { return 0; }\n"
    "int nvrtcCreateProgram(P **p, const char *s, const char *n, int h, void *a, void *b) {\n"
    "  *p = calloc(1, sizeof **p); strncpy((*p)->source, s, 255); return 0; }\n"
    "int nvrtcDestroyProgram(P **p) { free(*p); *p = 0; return 0; }\n"
    "int nvrtcCompileProgram(P *p, int n, const char *const *o) {\n"
    "  FILE *f = fopen(getenv(\"FAKE_LOG\"), \"a\"); fprintf(f, \"x\"); fclose(f);\n"
    "  snprintf(p->code, 400, \"code of %s%s: %s\", o[0] + strlen(\"--gpu-architecture=\"), n > 1 ? o[n - 1] : \"\", "
    "p->source);\n"
    "  return strstr(p->source, \"error\") ? 6 : 0; }\n"
    "int nvrtcGetCUBINSize(P *p, size_t *n) { *n = strlen(p->code) + 1; return 0; }\n"
    "int nvrtcGetCUBIN(P *p, char *to) { strcpy(to, p->code); return 0; }\n"
    "int nvrtcGetPTXSize(P *p, size_t *n) { return *n = 0; }\n"
    "int nvrtcGetPTX(P *p, char *to) { return 0; }\n"
    "int nvrtcGetProgramLogSize(P *p, size_t *n) { *n = 64; return 0; }\n"
    "int nvrtcGetProgramLog(P *p, char *to) { strcpy(to, \"k(1): warning: w\\nk(2): error: no x\\n\"); return 0; }\n";

static void path_in(char *out, const char *name) { snprintf(out, 100, "%s/%s", root, name); }

static void make_compiler(void) {
    char source[100], library[100];
    path_in(source, "fake.c");
    path_in(library, "libnvrtc.so.13");
    CHECK_OK(file_write_whole(source, compiler, sizeof compiler - 1));
    char *arguments[] = {"cc", "-w", "-std=gnu11", "-shared", "-fPIC", "-o", library, source, NULL};
    pid_t child;
    int status = 1;
    CHECK(!posix_spawnp(&child, "cc", NULL, NULL, arguments, environ));
    waitpid(child, &status, 0);
    CHECK(!status);
}

static int compiled(void) { // how often since the last time
    char path[100];
    struct stat st;
    path_in(path, "log");
    int n = stat(path, &st) ? 0 : (int)st.st_size;
    unlink(path);
    return n;
}

static void get(const char *source, const char *options, const char *arch, const char *expected, bool found) {
    CudaText text = {source, strlen(source), options, arch};
    CudaCode image;
    CHECK_OK(cuda_code_make(&text, &image));
    CHECK(image.found == found);
    CHECK(image.data && image.bytes == strlen(expected) + 1 && !strcmp(image.data, expected));
    cuda_code_free(&image);
}

static int files(char *out_path) { // in the cache; the last one's path
    int n = 0;
    char folder[100];
    snprintf(folder, sizeof folder, "%s/tgf", cache);
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        if (out_path) snprintf(out_path, 400, "%s/%.255s", folder, e->d_name);
        n++;
    }
    if (d) closedir(d);
    return n;
}

static void test_kept(void) {
    get("kernel a", NULL, "sm_90", "code of sm_90: kernel a", false);
    CHECK(compiled() == 1 && files(NULL) == 1);
    get("kernel a", NULL, "sm_90", "code of sm_90: kernel a", true);
    CHECK(compiled() == 0);
    get("kernel b", NULL, "sm_90", "code of sm_90: kernel b", false);
    get("kernel a", NULL, "sm_80", "code of sm_80: kernel a", false);
    get("kernel a", "-O1  --fast", "sm_80", "code of sm_80--fast: kernel a", false);
    get("kernel a", "-O1  --fast", "sm_80", "code of sm_80--fast: kernel a", true);
    CHECK(compiled() == 3 && files(NULL) == 4);
    char path[400];
    struct stat st;
    snprintf(path, sizeof path, "%s/tgf", cache);
    CHECK(!stat(path, &st) && (st.st_mode & 0777) == 0700);
    files(path);
    CHECK(!stat(path, &st) && (st.st_mode & 0777) == 0600);
}

static void remove_files(void) {
    char path[400];
    while (files(path)) unlink(path);
}

static void test_damage(void) {
    char path[400];
    struct stat st;
    remove_files();
    get("kernel d", NULL, "sm_90", "code of sm_90: kernel d", false);
    CHECK(files(path) == 1 && !stat(path, &st));
    for (off_t at = 0; at < st.st_size; at += 3) { // one wrong byte anywhere
        int file = open(path, O_RDWR);
        char byte = 0;
        CHECK(pread(file, &byte, 1, at) == 1);
        byte ^= 0x20;
        CHECK(pwrite(file, &byte, 1, at) == 1);
        close(file);
        get("kernel d", NULL, "sm_90", "code of sm_90: kernel d", false);
        get("kernel d", NULL, "sm_90", "code of sm_90: kernel d", true); // it was made again
    }
    for (off_t size = 0; size < st.st_size; size += 11) { // cut off anywhere
        CHECK(!truncate(path, size));
        get("kernel d", NULL, "sm_90", "code of sm_90: kernel d", false);
    }
    CHECK(!chmod(path, 0666)); // others may have written it
    get("kernel d", NULL, "sm_90", "code of sm_90: kernel d", false);
    CHECK(!unlink(path) && !symlink("/etc/passwd", path));
    get("kernel d", NULL, "sm_90", "code of sm_90: kernel d", false);
    get("kernel d", NULL, "sm_90", "code of sm_90: kernel d", true);
    CHECK(files(NULL) == 1);
    compiled();
}

static void test_errors(void) {
    CudaText text = {"an error", 8, NULL, "sm_90"};
    CudaCode image;
    CHECK_FAILS(cuda_code_make(&text, &image), STATUS_INVALID, "do not compile for sm_90: compilation: k(2): error");
    CHECK(!image.data);
    compiled();
}

static void test_folder(void) {
    char path[100], elsewhere[100];
    CudaText text = {"kernel f", 8, NULL, "sm_90"};
    CudaCode image;
    remove_files();
    snprintf(path, sizeof path, "%s/tgf", cache);
    CHECK(!chmod(path, 0755)); // tightened
    get("kernel f", NULL, "sm_90", "code of sm_90: kernel f", false);
    struct stat st;
    CHECK(!stat(path, &st) && (st.st_mode & 0777) == 0700);
    if (!geteuid()) { // only root can give a folder away
        CHECK(!chown(path, 1, (gid_t)-1));
        CHECK_FAILS(cuda_code_make(&text, &image), STATUS_INVALID, "belongs to another user");
        CHECK(!chown(path, 0, (gid_t)-1));
    }
    remove_files();
    CHECK(!rmdir(path));
    path_in(elsewhere, "elsewhere");
    CHECK(!mkdir(elsewhere, 0777) && !symlink(elsewhere, path));
    CHECK_FAILS(cuda_code_make(&text, &image), STATUS_INVALID, "is not a folder");
    CHECK(!unlink(path) && !rmdir(elsewhere));
    // Nowhere to keep anything: compiled each time.
    compiled();
    setenv("XDG_CACHE_HOME", "relative", 1);
    unsetenv("HOME");
    for (int i = 0; i < 2; i++) get("kernel f", NULL, "sm_90", "code of sm_90: kernel f", false);
    setenv("XDG_CACHE_HOME", "/proc/no", 1);
    get("kernel f", NULL, "sm_90", "code of sm_90: kernel f", false);
    CHECK(compiled() == 3);
    setenv("HOME", cache, 1); // and below the home
    unsetenv("XDG_CACHE_HOME");
    get("kernel f", NULL, "sm_90", "code of sm_90: kernel f", false);
    get("kernel f", NULL, "sm_90", "code of sm_90: kernel f", true);
    snprintf(path, sizeof path, "%s/.cache/tgf", cache);
    CHECK(!stat(path, &st) && (st.st_mode & 0777) == 0700);
    setenv("XDG_CACHE_HOME", cache, 1);
}

static void test_writers(void) {
    enum { WRITERS = 8, TIMES = 50 };
    pid_t child[WRITERS];
    fflush(stdout);
    for (int k = 0; k < WRITERS; k++) {
        if ((child[k] = fork())) continue;
        check_failures = 0;
        for (int i = 0; i < TIMES; i++) {
            char source[40], code[80], path[400];
            snprintf(source, sizeof source, "kernel %d", i % 3);
            snprintf(code, sizeof code, "code of sm_90: kernel %d", i % 3);
            CudaText text = {source, strlen(source), NULL, "sm_90"};
            CudaCode image;
            CHECK_OK(cuda_code_make(&text, &image));
            CHECK(image.data && !strcmp(image.data, code));
            cuda_code_free(&image);
            if (i % 7 == k % 7 && files(path)) unlink(path);
        }
        _exit(check_failures != 0);
    }
    for (int k = 0; k < WRITERS; k++) {
        int status = 1;
        waitpid(child[k], &status, 0);
        CHECK(!status);
    }
    for (int i = 0; i < 3; i++) {
        char source[40], code[80];
        snprintf(source, sizeof source, "kernel %d", i);
        snprintf(code, sizeof code, "code of sm_90: kernel %d", i);
        CudaText text = {source, strlen(source), NULL, "sm_90"};
        CudaCode image;
        CHECK_OK(cuda_code_make(&text, &image));
        CHECK(image.data && !strcmp(image.data, code));
        cuda_code_free(&image);
    }
    compiled();
}

int main(void) {
    CHECK(mkdtemp(root));
    snprintf(cache, sizeof cache, "%s/cache", root);
    char path[100];
    path_in(path, "log");
    setenv("FAKE_LOG", path, 1);
    setenv("TGF_CUDA_LIBRARIES", root, 1);
    setenv("XDG_CACHE_HOME", cache, 1);
    make_compiler();
    if (!check_failures) {
        test_kept();
        test_damage();
        test_errors();
        test_folder();
        test_writers();
    }
    char *arguments[] = {"rm", "-rf", root, NULL};
    pid_t child;
    if (!posix_spawnp(&child, "rm", NULL, NULL, arguments, environ)) waitpid(child, NULL, 0);
    return check_report("cuda_cache");
}
