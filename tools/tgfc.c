// SPDX-License-Identifier: Apache-2.0
// tgfc: the compiler, for build systems. main is the architecture: load, passes, code. Exit status 0; 1 for the user's
// mistakes; 2 for a bad command line or a bug of the compiler. Output is written whole or not at all.
#include "base/clock.h"
#include "base/version.h"
#include "codegen/codegen.h"
#include "ir/text.h"
#include "passes/pass.h"
#include "tools/common_compile.h"
#include "tools/common_draw.h"
#include "tools/common_machine.h"
#include "tools/common_output.h"
#include "tools/common_overlap.h"
#include "tools/common_places.h"
#include "tools/common_stats.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

typedef struct Flags {
    const char *output, *header, *strategy, *emit, *before, *after, *from_ir, *check_plan, *depfile, *name;
    bool check, stats, depend, version, passes, no_locations;
    OptionList defines;
    Machine machine;
} Flags;

// A file's name with make's quoting.
static void print_make_name(const char *name, FILE *out) {
    for (const char *p = name; *p; p++) {
        if (strchr(" #$\\", *p)) fputc(*p == '$' ? '$' : '\\', out);
        fputc(*p, out);
    }
}

static bool write_depfile(const Flags *f, const Compilation *c) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out) return false;
    print_make_name(f->output, out);
    if (f->header) fputs(" ", out), print_make_name(f->header, out);
    fputs(":", out);
    const char *const *files = f->from_ir ? &f->from_ir : c->front.files;
    int n = f->from_ir ? 1 : c->front.nfiles;
    for (int i = 0; i < n; i++) {
        fputs(" ", out);
        print_make_name(files[i], out);
    }
    fputs("\n", out);
    for (int i = 0; i < n; i++) {
        print_make_name(files[i], out);
        fputs(":\n", out);
    }
    fclose(out);
    char *name = f->depfile ? arena_printf(c->arena, "%s", f->depfile) : arena_printf(c->arena, "%s.d", f->output);
    bool ok = write_whole(name, text, size);
    free(text);
    return ok;
}

static int failed(const Status *s, const Compilation *c) {
    if (diag_errors(c->diag)) return compile_status(c);
    fprintf(stderr, "tgfc: %s: %s\n", status_name(s->code), s->message);
    return s->code == STATUS_INTERNAL ? 2 : 1;
}

static bool is_drawing(const char *emit) { return !strcmp(emit, "dot") || !strcmp(emit, "svg"); }

// The forward half alone, with the collectives: eval.
static void draw(const Unit *u, const char *kind, FILE *out) {
    Arena *a = arena_new();
    Picture *p = picture_of(unit_func(u, "eval"), a);
    if (!strcmp(kind, "dot")) {
        picture_print_dot(p, out);
    } else {
        picture_lay_out(p);
        picture_print_svg(p, out);
    }
    arena_free(a);
}

static int emit_text(const Flags *f, Compilation *c, const CodegenOptions *o) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out) return 2;
    Status s = status_ok();
    static const char *const kinds[] = {"kernels", "plan", "llvm", "asm"};
    if (!strcmp(f->emit, "ast")) frontend_print_ast(&c->front, out);
    else if (!strcmp(f->emit, "ir")) (f->no_locations ? unit_print_bare : unit_print)(c->unit, out);
    else if (is_drawing(f->emit)) draw(c->unit, f->emit, out);
    for (int i = 0; i < 4; i++)
        if (!strcmp(f->emit, kinds[i])) s = codegen_print(c->unit, o, (CodegenText)i, out);
    fclose(out);
    int rc = status_failed(&s) ? failed(&s, c) : 0;
    if (!rc && !write_whole(f->output ? f->output : "-", text, size)) rc = 1;
    free(text);
    return rc;
}

static int emit_object(const Flags *f, Compilation *c, const CodegenOptions *o) {
    CodegenObject object = {0};
    Status s = codegen_object(c->unit, o, &object);
    if (status_failed(&s)) return failed(&s, c);
    s = output_object(&object, f->output, f->header);
    if (status_failed(&s)) fprintf(stderr, "%s\n", s.message);
    codegen_object_free(&object);
    return status_failed(&s);
}

static int compile(const Flags *f, const CodegenOptions *machine, const char *path) {
    bool ast = !strcmp(f->emit, "ast"), ir = !strcmp(f->emit, "ir");
    CompileRequest request = {.path = path,
                              .from_ir = f->from_ir,
                              .defines = &f->defines,
                              .strategy = f->strategy,
                              .dump_before = f->before,
                              .dump = stdout};
    if (is_drawing(f->emit)) request.last = "clean"; // placed and resolved, not yet cut into tasks or fused
    if (ir && f->after) request.last = f->after;
    else request.dump_after = f->after;
    Compilation c;
    double began = now_seconds();
    int rc = 0;
    if (!compile_load(&request, &c) || (!ast && !compile_passes(&request, &c))) {
        rc = compile_status(&c);
    } else {
        CodegenOptions o = *machine;
        // What the object says of where it came from: the final IR, strategy included, and the compiler's version.
        o.folder = places_folder(c.unit);
        o.hash = places_hash(c.unit, o.folder, TGF_VERSION);
        o.use = f->stats;
        o.name = f->name;
        if (f->stats) {
            stats_print(c.unit, now_seconds() - began, stdout);
            Status s = overlap_print(c.unit, &o, stdout);
            if (status_failed(&s)) rc = failed(&s, &c);
        }
        if (!rc && !f->check && !(f->stats && !f->output && !strcmp(f->emit, "obj")))
            rc = !strcmp(f->emit, "obj") ? emit_object(f, &c, &o) : emit_text(f, &c, &o);
        if (!rc && !f->check && (f->depend || f->depfile) && !write_depfile(f, &c)) rc = 1;
    }
    compile_end(&c);
    return rc;
}

// A plan's text, as --emit=plan prints it: does all that the runtime relies on hold?
static int check_plan(const char *path) {
    Arena *a = arena_new();
    size_t size;
    const char *text = read_whole(a, path, &size);
    Plan *plan;
    Status s = text ? plan_parse(a, strtable_new(a), text, size, &plan) : status_ok();
    if (status_failed(&s)) fprintf(stderr, "%s: %s: %s\n", path, status_name(s.code), s.message);
    arena_free(a);
    return !text || status_failed(&s);
}

static bool is_word(const char *text) {
    if (!isalpha((unsigned char)*text)) return false;
    while (isalnum((unsigned char)*text) || *text == '_') text++;
    return !*text;
}

int main(int argc, char **argv) {
    Flags f = {0};
    const Option options[] = {
        {"-o", "FILE", "the object (or text) to write; - is standard output", OPTION_TEXT, &f.output},
        {"--header", "FILE", "the object's C header", OPTION_TEXT, &f.header},
        {"--name", "NAME", "of the object's symbol and the header's functions (the model's)", OPTION_TEXT, &f.name},
        {"--strategy", "NAME", "lay the model out by this strategy (one rank)", OPTION_TEXT, &f.strategy},
        {"-D", "AXIS=N", "override an axis", OPTION_DEFINE, &f.defines},
        MACHINE_OPTIONS(&f.machine),
        {"--emit", "ast|ir|dot|svg|plan|kernels|llvm|asm|obj", "what to write (obj)", OPTION_TEXT, &f.emit},
        {"--after", "PASS", "with --emit=ir: stop behind this pass; else print the IR behind it", OPTION_TEXT,
         &f.after},
        {"--no-locations", NULL, "with --emit=ir: without the places in the source", OPTION_FLAG, &f.no_locations},
        {"--before", "PASS", "print the IR in front of this pass", OPTION_TEXT, &f.before},
        {"--from-ir", "FILE", "read IR text instead of a .tgf", OPTION_TEXT, &f.from_ir},
        {"--check-plan", "FILE", "read a plan's text and check it, nothing else", OPTION_TEXT, &f.check_plan},
        {"--check", NULL, "compile up to the kernels, write nothing", OPTION_FLAG, &f.check},
        {"--stats", NULL, "print memory, work and every collective", OPTION_FLAG, &f.stats},
        {"--passes", NULL, "list the passes", OPTION_FLAG, &f.passes},
        {"-MD", NULL, "also write a depfile, FILE.d", OPTION_FLAG, &f.depend},
        {"-MF", "FILE", "the depfile's name", OPTION_TEXT, &f.depfile},
        {"--version", NULL, "print the version", OPTION_FLAG, &f.version},
        {0},
    };
    const Command command = {"tgfc MODEL.tgf -o MODEL.o [--header MODEL.h] [options]",
                             "Compiles a model and its strategy to an object file that a C program links.", options, 0,
                             1};
    const char *path = NULL;
    int count;
    bool done;
    int rc = options_read(&command, argc, argv, &path, &count, &done);
    if (rc || done) return rc;
    if (f.version) return puts("tgfc " TGF_VERSION), 0;
    if (f.passes) return passes_list(stdout), 0;
    if (f.check_plan && argc == 3) return check_plan(f.check_plan);
    if (!f.emit) f.emit = "obj";
    static const char *const kinds[] = {"ast", "ir", "dot", "svg", "plan", "kernels", "llvm", "asm", "obj"};
    bool known = false;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) known |= !strcmp(f.emit, kinds[i]);
    const char *wrong = NULL;
    if (!known) wrong = "--emit is one of ast, ir, dot, svg, plan, kernels, llvm, asm, obj";
    else if ((f.after && !pass_known(f.after)) || (f.before && !pass_known(f.before)))
        wrong = "no such pass; --passes lists them";
    else if (f.check_plan) wrong = "--check-plan goes alone";
    else if (!path == !f.from_ir) wrong = path ? "give a .tgf or --from-ir, not both" : "no input file";
    else if (f.from_ir && (!strcmp(f.emit, "ast") || f.strategy || f.defines.n))
        wrong = "--from-ir takes no --emit=ast, --strategy or -D";
    else if (is_drawing(f.emit) && (f.from_ir || f.stats || f.after))
        wrong = "a picture takes no --from-ir, --stats or --after";
    else if (f.no_locations && strcmp(f.emit, "ir")) wrong = "--no-locations goes with --emit=ir";
    else if (!strcmp(f.emit, "obj") && !f.output && !f.check && !f.stats) wrong = "an object needs -o FILE";
    else if (f.name && (strcmp(f.emit, "obj") || !is_word(f.name)))
        wrong = "--name is a letter, then letters, digits and '_', and goes with --emit=obj";
    else if (f.header && strcmp(f.emit, "obj")) wrong = "--header goes with --emit=obj";
    else if ((f.depend || f.depfile) && !f.output) wrong = "-MD and -MF need -o FILE";
    if (wrong) {
        fprintf(stderr, "tgfc: %s; usage: %s\n", wrong, command.usage);
        return 2;
    }
    CodegenOptions machine = {0};
    if (!machine_read(&f.machine, "tgfc", &machine)) return 1;
    return compile(&f, &machine, path);
}
