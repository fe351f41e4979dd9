// SPDX-License-Identifier: Apache-2.0
// What the loading of NVIDIA's libraries says when they are absent, too old, or unable; with small libraries of our own
// in their place. Each case is a process: a library is loaded once.
#define _GNU_SOURCE
#include "runtime/cuda_api.h"
#include "tests/runtime/check.h"
#include <pthread.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
static char folder[] = "/tmp/tgf-cuda-api-XXXXXX";

#define NAME_OF(result, name, symbol, parameters) #symbol,
static const char *const cuda_names[] = {CUDA_SYMBOLS(NAME_OF)}, *const nccl_names[] = {NCCL_SYMBOLS(NAME_OF)};

// All functions answer `answer`, except `but`, which is left out.
static void make_library(const char *file, const char *const *names, size_t n, const char *but, int answer,
                         const char *more) {
    char source[100], library[100];
    snprintf(source, sizeof source, "%s/fake.c", folder);
    snprintf(library, sizeof library, "%s/%s", folder, file);
    FILE *f = fopen(source, "w");
    CHECK(f);
    for (size_t i = 0; f && i < n; i++) {
        char defined[80];
        snprintf(defined, sizeof defined, "%s(", names[i]);
        if ((!but || strcmp(names[i], but)) && !strstr(more, defined))
            fprintf(f, "int %s() { return %d; }\n", names[i], answer);
    }
    if (f) {
        fprintf(f, "%s\n", more);
        fclose(f);
    }
    char *arguments[] = {"cc", "-w", "-std=gnu11", "-shared", "-fPIC", "-o", library, source, NULL};
    pid_t child;
    int status = 1;
    CHECK(!posix_spawnp(&child, "cc", NULL, NULL, arguments, environ));
    waitpid(child, &status, 0);
    CHECK(!status);
}
#define FAKE(file, names, but, answer, more) make_library(file, names, sizeof names / sizeof *names, but, answer, more)

typedef void CaseFn(void);
static void in_process(CaseFn *f) {
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        check_failures = 0;
        f();
        fflush(stdout);
        _exit(check_failures != 0);
    }
    int status = 1;
    waitpid(child, &status, 0);
    CHECK(!status);
}

static void case_absent(void) {
    const CudaApi *cuda;
    const NvrtcApi *nvrtc;
    const NcclApi *nccl;
    const CublasApi *cublas;
    setenv("TGF_CUDA_LIBRARIES", "/nonexistent", 1);
    CHECK_FAILS(cuda_api(&cuda), STATUS_UNSUPPORTED,
                "no CUDA driver on this machine: libcuda.so.1 is not found in /nonexistent");
    CHECK(!cuda);
    CHECK_FAILS(cuda_api(&cuda), STATUS_UNSUPPORTED, "no CUDA driver"); // and again
    CHECK_FAILS(nvrtc_api(&nvrtc), STATUS_UNSUPPORTED, "no compiler of CUDA C on this machine: libnvrtc.so.13");
    CHECK_FAILS(nccl_api(&nccl), STATUS_UNSUPPORTED, "no NCCL on this machine: libnccl.so.2");
    CHECK_FAILS(cublas_api(&cublas), STATUS_UNSUPPORTED, "no cuBLASLt on this machine: libcublasLt.so.13");
}

static void case_old(void) {
    const CudaApi *cuda;
    const NcclApi *nccl;
    FAKE("libcuda.so.1", cuda_names, "cuStreamWriteValue32_v2", 0, "");
    FAKE("libnccl.so.2", nccl_names, "ncclCommSplit", 0, "");
    CHECK_FAILS(cuda_api(&cuda), STATUS_UNSUPPORTED, "has no cuStreamWriteValue32_v2");
    CHECK_FAILS(nccl_api(&nccl), STATUS_UNSUPPORTED, "has no ncclCommSplit");
}

static void case_old_version(void) {
    const NcclApi *nccl;
    FAKE("libnccl.so.2", nccl_names, NULL, 0, "int ncclGetVersion(int *v) { return *v = 21400, 0; }");
    CHECK_FAILS(nccl_api(&nccl), STATUS_UNSUPPORTED, "is version 21400, not 2.18 or newer");
}

static void case_no_gpu(void) {
    const CudaApi *cuda;
    FAKE("libcuda.so.1", cuda_names, NULL, 0, "int cuInit() { return 100; }");
    CHECK_FAILS(cuda_api(&cuda), STATUS_UNSUPPORTED, "no GPU on this machine");
}

static void case_broken_driver(void) {
    const CudaApi *cuda;
    FAKE("libcuda.so.1", cuda_names, NULL, 0,
         "int cuInit() { return 803; }\n"
         "int cuGetErrorName(int e, const char **s) { return *s = \"CUDA_ERROR_X\", 0; }\n"
         "int cuGetErrorString(int e, const char **s) { return *s = e == 803 ? \"driver and kernel differ\" : \"\", 0; "
         "}");
    CHECK_FAILS(cuda_api(&cuda), STATUS_UNSUPPORTED,
                "the CUDA driver does not start: driver and kernel differ (CUDA_ERROR_X)");
}

static void case_damaged(void) {
    const CudaApi *cuda;
    char path[100];
    snprintf(path, sizeof path, "%s/libcuda.so.1", folder);
    FILE *f = fopen(path, "w");
    CHECK(f && fputs("no library\n", f) >= 0 && !fclose(f));
    CHECK_FAILS(cuda_api(&cuda), STATUS_UNSUPPORTED, "libcuda.so.1 is not found in"); // and why it cannot be loaded
    CHECK_FAILS(cuda_api(&cuda), STATUS_UNSUPPORTED, "libcuda.so.1:");
}

static void *ask(void *out) {
    Status s = cuda_api(out);
    return status_failed(&s) ? (void *)1 : NULL;
}
static void case_loaded(void) {
    enum { THREADS = 8 };
    pthread_t threads[THREADS];
    const CudaApi *api[THREADS] = {NULL};
    FAKE("libcuda.so.1", cuda_names, NULL, 0,
         "static int times; int cuInit() { return times++ ? 999 : 0; }\n"
         "int cuDeviceGetCount(int *n) { return *n = 2, 0; }\n"
         "int cuGetErrorName(int e, const char **s) { return *s = \"CUDA_ERROR_ILLEGAL_ADDRESS\", 0; }\n"
         "int cuGetErrorString(int e, const char **s) { return *s = \"an illegal address\", 0; }\n");
    for (int i = 0; i < THREADS; i++) CHECK(!pthread_create(&threads[i], NULL, ask, &api[i]));
    for (int i = 0; i < THREADS; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        CHECK(!failed && api[i] && api[i] == api[0]);
    }
    if (check_failures) return;
    CHECK_FAILS(cuda_status(api[0], 700, "kernel 'dot.3'"), STATUS_INTERNAL,
                "kernel 'dot.3': an illegal address (CUDA_ERROR_ILLEGAL_ADDRESS)");
    CHECK_FAILS(cuda_status(api[0], CU_ERROR_OUT_OF_MEMORY, "x"), STATUS_MEMORY, "x: ");
    CHECK(strstr(api[0]->path, "libcuda.so.1"));
}

// The real ones, where they are: everything the tables name exists.
static void case_real(void) {
    const NvrtcApi *nvrtc;
    const NcclApi *nccl;
    const CublasApi *cublas;
    unsetenv("TGF_CUDA_LIBRARIES");
    Status s[] = {nvrtc_api(&nvrtc), nccl_api(&nccl), cublas_api(&cublas)};
    for (size_t i = 0; i < sizeof s / sizeof *s; i++)
        if (strstr(s[i].message, "is not found")) printf("skipped: %s\n", s[i].message);
        else CHECK_OK(s[i]);
}

int main(void) {
    CHECK(mkdtemp(folder));
    setenv("TGF_CUDA_LIBRARIES", folder, 1);
    CaseFn *const cases[] = {case_absent,        case_old,    case_old_version, case_no_gpu,
                             case_broken_driver, case_loaded, case_damaged,     case_real};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) in_process(cases[i]);
    const char *const files[] = {"libcuda.so.1", "libnccl.so.2", "fake.c"};
    for (size_t i = 0; i < 3; i++) {
        char path[100];
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        unlink(path);
    }
    rmdir(folder);
    return check_report("cuda_api");
}
