// SPDX-License-Identifier: Apache-2.0
// kit_model: one rank of a model as a GPU module and, to compare a step with, as objects for CPUs.
#include "codegen/codegen.h"
#include "tests/gpu/kit_make.h"
#include "tools/common_compile.h"
#include "tools/common_stats.h"
#include "tools/tgf_verify.h"
#include <string.h>

static const double TF32_UNITS = 1 << 13; // roundings of tf32 in those of f32

// A strategy of one rank, behind the file's own.
static const char *strategy_text(const char *precision) {
    if (!strcmp(precision, "bf16")) return "strategy kit {\n    precision bf16\n}\n";
    if (!strcmp(precision, "f16")) return "strategy kit {\n    precision f16\n}\n";
    if (!strcmp(precision, "tf32")) return "strategy kit {\n    precision f32  dot = tf32\n}\n";
    return "strategy kit {\n}\n";
}

static bool load(const KitModel *m, const OptionList *defines, bool keep, bool perturb, const char *precision,
                 Compilation *out) {
    CompileRequest request = {.path = m->path,
                              .defines = defines,
                              .strategy = "kit",
                              .extra = strategy_text(precision),
                              .keep_gradients = keep,
                              .perturb = perturb};
    return compile_load(&request, out) && compile_passes(&request, out);
}

static int report(const KitModel *m, const Status *s) {
    fprintf(stderr, "%s: %s: %s\n", m->name, status_name(s->code), s->message);
    return 1;
}

static int put_object(const KitModel *m, const OptionList *defines, bool perturb, const char *path) {
    const char *precision = strcmp(m->precision, "tf32") ? m->precision : "f32"; // tf32 is a GPU's own
    Compilation c;
    int rc = load(m, defines, true, perturb, precision, &c) ? 0 : compile_status(&c);
    CodegenObject object = {0};
    Status s = rc ? status_ok() : codegen_object(c.unit, &(CodegenOptions){.mcpu = "x86-64-v3"}, &object);
    if (status_failed(&s)) rc = report(m, &s);
    if (!rc && !write_whole(path, object.bytes, object.size)) rc = 1;
    codegen_object_free(&object);
    compile_end(&c);
    return rc;
}

static double tokens_of(const Plan *p) {
    for (int i = 0; i < p->nleaves; i++)
        if (p->leaves[i].kind == PLAN_INPUT && p->leaves[i].dtype == PLAN_I32 && p->leaves[i].rank)
            return (double)leaf_elements(&p->leaves[i]);
    return 0;
}

static int put_module(FILE *out, const KitModel *m, const OptionList *defines) {
    Compilation c;
    int rc = load(m, defines, m->cpu != NULL, false, m->precision, &c) ? 0 : compile_status(&c);
    CodegenJit *jit = NULL;
    Status s = rc ? status_ok() : codegen_jit(c.unit, &(CodegenOptions){.cuda = m->arch}, &jit);
    if (status_failed(&s)) rc = report(m, &s);
    if (!rc) {
        const Plan *plan = codegen_jit_plan(jit);
        double tf32 = strcmp(m->precision, "tf32") ? 1 : TF32_UNITS;
        kit_put_text(out, "case", "%s", m->name);
        kit_put_text(out, "dtype", "%s", m->precision);
        kit_put_text(out, "tolerance", "%.17g", tf32 * verify_tolerance(c.unit, "train"));
        kit_put_text(out, "tokens", "%.0f", tokens_of(plan));
        kit_put_text(out, "flops", "%.17g", func_flops(c.unit, "train"));
        kit_put_text(out, "parameters", "%.0f", unit_parameters(c.unit));
        kit_put_module(out, codegen_jit_module(jit));
        printf("%s: %d kernels, image of %zu bytes, slab of %.2f GB\n", m->name, plan->nkernels,
               codegen_jit_module(jit)->cuda->cubin_bytes, (double)plan->slab_bytes / 1e9);
    }
    codegen_jit_free(jit);
    compile_end(&c);
    return rc;
}

int kit_model(FILE *out, const KitModel *m) {
    OptionList defines = {0};
    for (int i = 0; i < m->ndefines; i++) defines.at[defines.n++] = m->defines[i];
    int rc = put_module(out, m, &defines);
    if (rc || !m->cpu) return rc;
    const char *slash = strrchr(m->cpu, '/');
    kit_put_text(out, "cpu", "%s", slash ? slash + 1 : m->cpu);
    rc = put_object(m, &defines, false, m->cpu);
    if (rc || !strcmp(m->precision, "f32") || !strcmp(m->precision, "tf32")) return rc;
    char moved[4096];
    snprintf(moved, sizeof moved, "%s.moved", m->cpu);
    kit_put_text(out, "moved", "%s.moved", slash ? slash + 1 : m->cpu);
    return put_object(m, &defines, true, moved);
}
