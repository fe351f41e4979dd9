// SPDX-License-Identifier: Apache-2.0
#include "chart.h"
#include <math.h>
#include <stdio.h>

enum { WIDTH = 1080, HEIGHT = 640, LEFT = 84, RIGHT = 40, TOP = 96, BOTTOM = 74 };
static const char INK[] = "#111827";

typedef struct Frame { // logarithms to 10 of what the axes span
    double x0, x1, y0, y1;
} Frame;

static double at_x(const Frame *f, double flops) {
    return LEFT + (log10(flops) - f->x0) / (f->x1 - f->x0) * (WIDTH - LEFT - RIGHT);
}
static double at_y(const Frame *f, double loss) {
    return HEIGHT - BOTTOM - (log10(loss) - f->y0) / (f->y1 - f->y0) * (HEIGHT - TOP - BOTTOM);
}

static Frame frame_of(const Run *runs, int nruns) {
    Frame f = {INFINITY, -INFINITY, INFINITY, -INFINITY};
    for (int i = 0; i < nruns; i++)
        for (int k = 0; k < runs[i].npoints; k++) {
            double x = log10(runs[i].points[k].flops), y = log10(runs[i].points[k].loss);
            f.x0 = fmin(f.x0, x), f.x1 = fmax(f.x1, x), f.y0 = fmin(f.y0, y), f.y1 = fmax(f.y1, y);
        }
    double dx = 0.03 * (f.x1 - f.x0), dy = 0.05 * (f.y1 - f.y0);
    return (Frame){f.x0 - dx, f.x1 + 4 * dx, f.y0 - dy, f.y1 + dy};
}

// From violet over green to amber: size.
static const char *colour_of(int i, int n, char out[8]) {
    static const int stops[4][3] = {{0x5b, 0x21, 0xb6}, {0x25, 0x63, 0xeb}, {0x0d, 0x94, 0x88}, {0xd9, 0x77, 0x06}};
    double t = n > 1 ? 3.0 * i / (n - 1) : 0;
    int k = t >= 3 ? 2 : (int)t, c[3];
    for (int j = 0; j < 3; j++) c[j] = (int)(stops[k][j] + (t - k) * (stops[k + 1][j] - stops[k][j]));
    snprintf(out, 8, "#%02x%02x%02x", (unsigned)c[0] & 255, (unsigned)c[1] & 255, (unsigned)c[2] & 255);
    return out;
}

static void put_power(FILE *f, int e) { fprintf(f, "10<tspan dy='-6' font-size='10'>%d</tspan>", e); }

static void put_x_axis(FILE *f, const Frame *w) {
    for (int e = (int)floor(w->x0); e <= (int)ceil(w->x1); e++)
        for (int m = 1; m < 10; m++) {
            double flops = m * pow(10, e), x = at_x(w, flops);
            if (log10(flops) < w->x0 || log10(flops) > w->x1) continue;
            fprintf(f, "<line x1='%.1f' y1='%d' x2='%.1f' y2='%d' class='%s'/>", x, m == 1 ? TOP : HEIGHT - BOTTOM - 4,
                    x, HEIGHT - BOTTOM, m == 1 ? "grid" : "axis");
            if (m > 1) continue;
            fprintf(f, "<text x='%.1f' y='%d' class='tick' text-anchor='middle'>", x, HEIGHT - BOTTOM + 22);
            put_power(f, e);
            fputs("</text>\n", f);
        }
    fprintf(f, "\n<text x='%d' y='%d' class='label' text-anchor='middle'>training compute (FLOPs)</text>\n",
            (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 20);
}

static void put_y_axis(FILE *f, const Frame *w) {
    static const double ticks[] = {1, 1.2, 1.4, 1.6, 1.8, 2, 2.2, 2.4, 2.6, 2.8, 3, 3.5, 4, 5, 6};
    for (unsigned i = 0; i < sizeof ticks / sizeof *ticks; i++) {
        double y = at_y(w, ticks[i]);
        if (log10(ticks[i]) < w->y0 || log10(ticks[i]) > w->y1) continue;
        fprintf(f, "<line x1='%d' y1='%.1f' x2='%d' y2='%.1f' class='grid'/>", LEFT, y, WIDTH - RIGHT, y);
        fprintf(f, "<text x='%d' y='%.1f' class='tick' text-anchor='end'>%.1f</text>\n", LEFT - 10, y + 4, ticks[i]);
    }
    fprintf(f, "<line x1='%d' y1='%d' x2='%d' y2='%d' class='axis'/>\n", LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT,
            HEIGHT - BOTTOM);
    fprintf(f,
            "<text transform='translate(26 %d) rotate(-90)' class='label' text-anchor='middle'>"
            "held-out loss (nats a byte)</text>\n",
            (TOP + HEIGHT - BOTTOM) / 2);
}

static void put_run(FILE *f, const Frame *w, const Run *r, const char *colour) {
    fprintf(f, "<g fill='%s'>\n<polyline stroke='%s' stroke-width='2' points='", colour, colour);
    for (int k = 0; k < r->npoints; k++)
        fprintf(f, "%.1f,%.1f ", at_x(w, r->points[k].flops), at_y(w, r->points[k].loss));
    fputs("'/>\n", f);
    for (int k = 0; k < r->npoints; k++) {
        const Point *p = &r->points[k];
        fprintf(f,
                "<circle cx='%.2f' cy='%.2f' r='%s'><title>width %lld, step %lld: %.6g FLOPs, loss %.6f"
                "</title></circle>\n",
                at_x(w, p->flops), at_y(w, p->loss), p->frontier ? "3.4" : "2", (long long)r->width, (long long)p->step,
                p->flops, p->loss);
    }
    fputs("</g>\n", f);
}

// Its parameters, where it ends; above all lines.
static void put_label(FILE *f, const Frame *w, const Run *r, const char *colour) {
    const Point *last = &r->points[r->npoints - 1];
    fprintf(f, "<text x='%.1f' y='%.1f' class='run' fill='%s'>%.0fk</text>\n", at_x(w, last->flops) + 9,
            at_y(w, last->loss) - 5, colour, (double)r->parameters / 1e3);
}

// In the order of compute; each point's loss is below the one before.
static void put_frontier(FILE *f, const Frame *w, const Run *runs, int nruns) {
    fprintf(f, "<polyline stroke='%s' stroke-width='9' stroke-opacity='0.13' points='", INK);
    for (double done = 0;;) {
        const Point *next = NULL;
        for (int i = 0; i < nruns; i++)
            for (int k = 0; k < runs[i].npoints; k++) {
                const Point *p = &runs[i].points[k];
                if (p->frontier && p->flops > done && (!next || p->flops < next->flops)) next = p;
            }
        if (!next) break;
        fprintf(f, "%.1f,%.1f ", at_x(w, next->flops), at_y(w, next->loss));
        done = next->flops;
    }
    fputs("'><title>frontier</title></polyline>\n", f);
}

static void put_law(FILE *f, const Frame *w, const Law *law) {
    double from = pow(10, w->x0), to = pow(10, w->x1), top = pow(10, w->y1), bottom = pow(10, w->y0);
    if (!(law->b > 0)) return;
    if (law_loss(law, from) > top) from = pow(law->a / top, 1 / law->b);
    if (law_loss(law, to) < bottom) to = pow(law->a / bottom, 1 / law->b);
    fprintf(f,
            "<line x1='%.1f' y1='%.1f' x2='%.1f' y2='%.1f' stroke='%s' stroke-width='1.6' stroke-dasharray='7 5'>"
            "<title>loss = %.6g * FLOPs^-%.6f</title></line>\n",
            at_x(w, from), at_y(w, law_loss(law, from)), at_x(w, to), at_y(w, law_loss(law, to)), INK, law->a, law->b);
}

static void put_legend(FILE *f, const Law *law) {
    int x = WIDTH - RIGHT - 346, y = TOP + 22;
    fprintf(f, "<rect x='%d' y='%d' width='346' height='84' rx='6' fill='#ffffff' stroke='#e5e7eb'/>\n", x, y - 18);
    fprintf(f, "<line x1='%d' y1='%d' x2='%d' y2='%d' stroke='%s' stroke-width='1.6' stroke-dasharray='7 5'/>", x + 14,
            y + 4, x + 50, y + 4, INK);
    fprintf(f,
            "<text x='%d' y='%d' class='key'>L = %.3g C<tspan dy='-6' font-size='11'>\xe2\x88\x92%.3f</tspan>"
            "<tspan dy='6'>, fitted to the frontier</tspan></text>\n",
            x + 62, y + 9, law->a, law->b);
    fprintf(f, "<line x1='%d' y1='%d' x2='%d' y2='%d' stroke='%s' stroke-width='9' stroke-opacity='0.13'/>", x + 14,
            y + 28, x + 50, y + 28, INK);
    fprintf(f, "<text x='%d' y='%d' class='key'>frontier: the least loss for its compute</text>\n", x + 62, y + 33);
    fprintf(f, "<circle cx='%d' cy='%d' r='3.4' fill='#2563eb'/>", x + 32, y + 51);
    fprintf(f, "<text x='%d' y='%d' class='key'>a run's evaluations, with its parameters</text>\n", x + 62, y + 56);
}

static void put_chart(FILE *f, const Run *runs, int nruns, const Law *law) {
    Frame w = frame_of(runs, nruns);
    fprintf(f,
            "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 %d %d' width='%d' height='%d' "
            "font-family='system-ui, Helvetica, Arial, sans-serif'>\n",
            WIDTH, HEIGHT, WIDTH, HEIGHT);
    fputs("<style>.grid{stroke:#e5e7eb}.axis{stroke:#6b7280}.tick{font-size:13px;fill:#4b5563}"
          ".label{font-size:15px;fill:#374151}.run{font-size:13px;font-weight:600;stroke:#ffffff;stroke-width:4px;"
          "paint-order:stroke}.key{font-size:14px;fill:#374151}"
          "polyline{fill:none;stroke-linejoin:round}</style>\n",
          f);
    fprintf(f, "<rect width='%d' height='%d' fill='#ffffff'/>\n", WIDTH, HEIGHT);
    fprintf(f, "<text x='%d' y='40' font-size='22' font-weight='600' fill='%s'>Loss against compute</text>\n", LEFT,
            INK);
    fprintf(f,
            "<text x='%d' y='66' class='label'>Decoders over bytes: %d to %d layers, %lld to %lld wide; built, "
            "compiled and "
            "trained by one C program</text>\n",
            LEFT, runs[0].layers, runs[nruns - 1].layers, (long long)runs[0].width, (long long)runs[nruns - 1].width);
    put_x_axis(f, &w);
    put_y_axis(f, &w);
    put_frontier(f, &w, runs, nruns);
    char colour[8];
    for (int i = 0; i < nruns; i++) put_run(f, &w, &runs[i], colour_of(i, nruns, colour));
    put_law(f, &w, law);
    for (int i = 0; i < nruns; i++) put_label(f, &w, &runs[i], colour_of(i, nruns, colour));
    put_legend(f, law);
    fputs("</svg>\n", f);
}

int chart_write(const char *path, const Run *runs, int nruns, const Law *law) {
    FILE *f = fopen(path, "w");
    if (!f) return -1;
    put_chart(f, runs, nruns, law);
    return fclose(f);
}
