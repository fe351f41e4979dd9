// SPDX-License-Identifier: Apache-2.0
// A schedule drawn as the papers draw it: a row a stage, a box an item with its microbatch's number, waiting in grey.
#include "passes/schedule_inside.h"
#include <math.h>

enum { LEFT = 70, RIGHT = 24, TOP = 40, ROW = 24, GAP = 3, BELOW = 84, BOX = 20, WIDEST = 16000, LEAST_WIDTH = 560 };

static const struct {
    int rgb;
    const char *name;
} looks[] = {[WORK_FORWARD] = {0x2f62c4, "forward"},
             [WORK_BACKWARD] = {0x2e8b4f, "backward"},
             [WORK_INPUT_GRAD] = {0x0e8f9c, "backward: input gradient"},
             [WORK_WEIGHT_GRAD] = {0xc06a12, "backward: weight gradient"}};

// Chunk `nth` of a stage's `of`: later ones lighter, and then with dark numbers.
static double lightness(int nth, int of) { return of > 1 ? 0.62 * nth / (of - 1) : 0; }
static int shade(int rgb, double light) {
    int out = 0;
    for (int shift = 16; shift >= 0; shift -= 8) {
        int part = rgb >> shift & 255;
        out |= (part + (int)lround((255 - part) * light)) << shift;
    }
    return out;
}

// 1, 2 or 5 times a power of ten: at most about `most` steps over `span`.
static double tick_step(double span, double most) {
    double raw = span / most, power = pow(10, floor(log10(raw))), m = raw / power;
    return power * (m <= 1 ? 1 : m <= 2 ? 2 : m <= 5 ? 5 : 10);
}

static void put_text(const char *text, FILE *out) {
    for (; *text; text++) {
        if (*text == '&') fputs("&amp;", out);
        else if (*text == '<') fputs("&lt;", out);
        else fputc(*text, out);
    }
}

typedef struct Picture {
    const Schedule *s;
    const ScheduleTime *t;
    int *nth; // by chunk: which of its stage's chunks
    int per_stage;
    double scale; // pixels a unit of time
    FILE *out;
} Picture;

static void put_styles(const Picture *p) {
    fputs("<style>text{font:12px sans-serif;fill:#222}.n{font-size:11px;text-anchor:middle}.e{text-anchor:end}"
          ".m{text-anchor:middle}.h{font-weight:bold}.bubble{fill:#dcdcdc}.tick{stroke:#888}rect{stroke:#fff;stroke-"
          "width:.6}",
          p->out);
    for (size_t kind = 0; kind < sizeof looks / sizeof *looks; kind++)
        for (int nth = 0; nth < p->per_stage; nth++)
            fprintf(p->out, ".%c%d{fill:#%06x}", work_letter((WorkKind)kind), nth,
                    shade(looks[kind].rgb, lightness(nth, p->per_stage)));
    for (int nth = 0; nth < p->per_stage; nth++)
        fprintf(p->out, ".t%d{fill:%s}", nth, lightness(nth, p->per_stage) < 0.4 ? "#fff" : "#111");
    fputs("</style>\n", p->out);
}

static void put_stage(const Picture *p, int stage) {
    const double top = TOP + stage * (ROW + GAP);
    fprintf(p->out, "<text class=\"e\" x=\"%d\" y=\"%g\">stage %d</text>\n", LEFT - 8, top + ROW - 8.0, stage);
    fprintf(p->out, "<rect class=\"bubble\" x=\"%d\" y=\"%g\" width=\"%g\" height=\"%d\"/>\n", LEFT, top,
            p->t->makespan * p->scale, ROW);
    for (int64_t k = 0; k < p->s->count[stage]; k++) {
        const WorkItem w = p->s->items[stage][k];
        const double x = LEFT + p->t->start[stage][k] * p->scale,
                     width = (p->t->end[stage][k] - p->t->start[stage][k]) * p->scale;
        char number[24];
        const int digits = snprintf(number, sizeof number, "%lld", (long long)w.microbatch);
        fprintf(p->out, "<rect class=\"%c%d\" x=\"%g\" y=\"%g\" width=\"%g\" height=\"%d\"/>", work_letter(w.kind),
                p->nth[w.chunk], x, top, width, ROW);
        if (width >= 6.2 * digits + 1)
            fprintf(p->out, "<text class=\"n t%d\" x=\"%g\" y=\"%g\">%s</text>", p->nth[w.chunk], x + width / 2,
                    top + ROW - 8.0, number);
        fputc('\n', p->out);
    }
}

static void put_axis(const Picture *p, double y, const char *unit) {
    const double end = p->t->makespan, step = end > 0 ? tick_step(end, end * p->scale / 60 + 1) : 1;
    fprintf(p->out, "<path class=\"tick\" fill=\"none\" d=\"M%d %gH%g", LEFT, y, LEFT + end * p->scale);
    for (double at = 0; at <= end * (1 + 1e-9); at += step) fprintf(p->out, "M%g %gv5", LEFT + at * p->scale, y);
    fputs("\"/>\n", p->out);
    for (double at = 0; at <= end * (1 + 1e-9); at += step)
        fprintf(p->out, "<text class=\"m\" x=\"%g\" y=\"%g\">%g</text>\n", LEFT + at * p->scale, y + 18, at);
    fprintf(p->out, "<text x=\"%d\" y=\"%g\">time: ", LEFT, y + 36);
    put_text(unit, p->out);
    fputs("</text>\n", p->out);
}

static void put_legend(const Picture *p, double y) {
    static const WorkKind whole[] = {WORK_FORWARD, WORK_BACKWARD},
                          halves[] = {WORK_FORWARD, WORK_INPUT_GRAD, WORK_WEIGHT_GRAD};
    const int swatches = p->per_stage < 6 ? p->per_stage : 6;
    double x = LEFT;
    for (int k = 0; k < (p->s->halves ? 3 : 2); k++) {
        const WorkKind kind = p->s->halves ? halves[k] : whole[k];
        for (int nth = 0; nth < swatches; nth++, x += 14)
            fprintf(p->out, "<rect class=\"key %c%d\" x=\"%g\" y=\"%g\" width=\"14\" height=\"14\"/>",
                    work_letter(kind), nth, x, y);
        const char *name = looks[kind].name;
        fprintf(p->out, "<text x=\"%g\" y=\"%g\">%s</text>\n", x + 4, y + 12, name);
        int length = 0;
        while (name[length]) length++;
        x += 16 + 6.4 * length;
    }
    fprintf(p->out, "<rect class=\"key bubble\" x=\"%g\" y=\"%g\" width=\"14\" height=\"14\"/>", x, y);
    fprintf(p->out, "<text x=\"%g\" y=\"%g\">waiting</text>\n", x + 18, y + 12);
    if (p->per_stage > 1)
        fprintf(p->out, "<text x=\"%g\" y=\"%g\">(lighter: later chunk%s of a stage)</text>\n", x + 76, y + 12,
                p->per_stage > 2 ? "s" : "");
}

void schedule_svg(const Schedule *s, const ScheduleTime *t, const char *unit, Arena *scratch, FILE *out) {
    Picture p = {.s = s, .t = t, .per_stage = s->chunks / s->stages, .out = out};
    p.nth = NEW_ARRAY(scratch, int, s->chunks);
    int *seen = NEW_ARRAY(scratch, int, s->stages);
    for (int c = 0; c < s->chunks; c++) p.nth[c] = seen[s->place[c]]++;
    // The shortest item is as wide as a number needs, unless the whole gets too wide.
    double shortest = t->makespan;
    for (int i = 0; i < s->stages; i++)
        for (int64_t k = 0; k < s->count[i]; k++) {
            const double length = t->end[i][k] - t->start[i][k];
            if (length > 0 && length < shortest) shortest = length;
        }
    p.scale = t->makespan > 0 ? fmin(BOX / shortest, WIDEST / t->makespan) : 1;
    const double rows = TOP + s->stages * (ROW + GAP), least = s->halves ? LEAST_WIDTH + 260 : LEAST_WIDTH,
                 width = fmax(LEFT + t->makespan * p.scale + RIGHT, least), height = rows + BELOW;
    fprintf(out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" viewBox=\"0 0 %.0f %.0f\">\n"
            "<!-- SPDX-License-Identifier: Apache-2.0 -->\n",
            width, height, width, height);
    put_styles(&p);
    fputs("<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n", out);
    fprintf(out,
            "<text x=\"%d\" class=\"h\" y=\"24\">%s: %d stages, %d chunk%s a stage, %lld microbatches; waiting "
            "%.1f%% of the time</text>\n",
            LEFT, schedule_name(s->name), s->stages, p.per_stage, p.per_stage > 1 ? "s" : "",
            (long long)s->microbatches, t->makespan > 0 ? 100 * (1 - t->ideal / t->makespan) : 0);
    for (int i = 0; i < s->stages; i++) put_stage(&p, i);
    put_axis(&p, rows + 3, unit);
    put_legend(&p, rows + 56);
    fputs("</svg>\n", out);
}
