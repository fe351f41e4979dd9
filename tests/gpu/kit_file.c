// SPDX-License-Identifier: Apache-2.0
// kit_file: reading and writing kits; see kit.h.
#include "tests/gpu/kit.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void kit_put(FILE *out, const void *bytes, size_t size, const char *format, ...) {
    va_list args;
    va_start(args, format);
    fprintf(out, "%zu ", size);
    vfprintf(out, format, args);
    va_end(args);
    for (long at = ftell(out); at % KIT_ALIGN != KIT_ALIGN - 1; at++) fputc(' ', out);
    fputc('\n', out);
    fwrite(bytes, 1, size, out);
    fputc('\n', out);
}

void kit_put_text(FILE *out, const char *name, const char *format, ...) {
    char text[1000];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    kit_put(out, text, strlen(text), "%s", name);
}

void kit_put_image(FILE *out, const PlanCuda *code) {
    kit_put_text(out, "arch", "%s", code->arch);
    kit_put_text(out, "options", "%s", code->options);
    kit_put(out, code->cubin, code->cubin_bytes, "cubin");
}

void kit_put_module(FILE *out, const PlanModule *module) {
    kit_put(out, module->plan, module->plan_bytes, "plan");
    kit_put_text(out, "nkernels", "%d", module->nkernels);
    kit_put_image(out, module->cuda);
}

static Status read_all(const char *path, char **out_bytes, size_t *out_size) {
    FILE *f = fopen(path, "rb");
    if (!f) return status_errno("cannot read", path);
    long size = fseek(f, 0, SEEK_END) ? -1 : ftell(f);
    char *bytes = size < 0 ? NULL : aligned_alloc(KIT_ALIGN, ((size_t)size + KIT_ALIGN) / KIT_ALIGN * KIT_ALIGN);
    Status s = status_ok();
    if (!bytes) {
        s = status_make(STATUS_MEMORY, "no memory for '%s'", path);
    } else {
        rewind(f);
        if (fread(bytes, 1, (size_t)size, f) != (size_t)size) s = status_errno("cannot read", path);
        bytes[size] = 0;
    }
    fclose(f);
    if (status_failed(&s)) {
        free(bytes);
        return s;
    }
    *out_bytes = bytes;
    *out_size = (size_t)size;
    return s;
}

static bool is_case(const KitRecord *r) { return !strcmp(r->name, "case"); }

// Names and bytes end in zero bytes, in place of the newlines.
static Status parse(KitFile *file, size_t size, const char *path) {
    int room = 0;
    for (size_t at = 0; at < size;) {
        char *line = file->bytes + at, *name, *end = memchr(line, '\n', size - at);
        size_t bytes = end ? (size_t)strtoull(line, &name, 10) : 0;
        size_t begin = end ? (size_t)(end + 1 - file->bytes) : size;
        if (!end || name == line || *name != ' ' || bytes >= size - begin || file->bytes[begin + bytes] != '\n')
            return status_make(STATUS_CORRUPT, "'%s' is no kit: byte %zu", path, at);
        if (file->nrecords == room) {
            room = room ? 2 * room : 256;
            KitRecord *records = realloc(file->records, (size_t)room * sizeof *records);
            if (!records) return status_make(STATUS_MEMORY, "no memory for '%s'", path);
            file->records = records;
        }
        *end = 0;
        while (end[-1] == ' ') *--end = 0;
        file->bytes[begin + bytes] = 0;
        file->records[file->nrecords++] = (KitRecord){name + 1, file->bytes + begin, bytes};
        at = begin + bytes + 1;
    }
    for (int i = 0; i < file->nrecords; i++) file->ncases += is_case(&file->records[i]);
    file->cases = malloc((size_t)(file->ncases + 1) * sizeof *file->cases);
    if (!file->cases) return status_make(STATUS_MEMORY, "no memory for '%s'", path);
    for (int i = 0, n = 0; i < file->nrecords; i++)
        if (is_case(&file->records[i])) file->cases[n++] = i;
    return status_ok();
}

Status kit_read(const char *path, KitFile *out) {
    *out = (KitFile){0};
    size_t size = 0;
    STATUS_TRY(read_all(path, &out->bytes, &size));
    Status s = parse(out, size, path);
    if (status_failed(&s)) kit_free(out);
    return s;
}

void kit_free(KitFile *file) {
    free(file->bytes);
    free(file->records);
    free(file->cases);
    *file = (KitFile){0};
}

KitRecord kit_find(const KitFile *file, int number, const char *name) {
    int end = number + 1 < file->ncases ? file->cases[number + 1] : file->nrecords;
    for (int i = file->cases[number]; i < end; i++)
        if (!strcmp(file->records[i].name, name)) return file->records[i];
    return (KitRecord){0};
}

const char *kit_text(const KitFile *file, int number, const char *name) {
    KitRecord r = kit_find(file, number, name);
    return r.name ? r.bytes : "";
}

int kit_case(const KitFile *file, const char *name) {
    for (int i = 0; i < file->ncases; i++)
        if (!strcmp(kit_text(file, i, "case"), name)) return i;
    return -1;
}

Status kit_module(const KitFile *file, int number, PlanCuda *cuda, PlanModule *out) {
    KitRecord plan = kit_find(file, number, "plan"), cubin = kit_find(file, number, "cubin");
    if (!plan.name || !cubin.name)
        return status_make(STATUS_CORRUPT, "case '%s' has no module", kit_text(file, number, "case"));
    *cuda = (PlanCuda){.arch = kit_text(file, number, "arch"),
                       .cubin = cubin.bytes,
                       .cubin_bytes = cubin.size,
                       .options = kit_text(file, number, "options")};
    *out = (PlanModule){.abi = PLAN_ABI,
                        .plan = plan.bytes,
                        .plan_bytes = plan.size,
                        .nkernels = atoi(kit_text(file, number, "nkernels")),
                        .cuda = cuda};
    return status_ok();
}
