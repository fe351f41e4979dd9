// SPDX-License-Identifier: Apache-2.0
#include "runtime/curve.h"
#include "runtime/file.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 880, HEIGHT = 500, LEFT = 72, RIGHT = 28, TOP = 76, BOTTOM = 58 };
static const char TRAIN[] = "#2563eb", HELD_OUT[] = "#dc2626";

typedef struct Frame {
    double x0, x1, y0, y1; // of the axes; x as drawn (logarithm taken)
    bool log_steps;
    double x_first; // smallest step, for the logarithm
} Frame;

static double place_x(const Frame *f, double step) {
    double x = f->log_steps ? log10(step < f->x_first ? f->x_first : step) : step;
    return LEFT + (x - f->x0) / (f->x1 - f->x0) * (WIDTH - LEFT - RIGHT);
}
static double place_y(const Frame *f, double loss) {
    double part = (loss - f->y0) / (f->y1 - f->y0);
    part = part < 0 ? 0 : part > 1 ? 1 : part;
    return HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM);
}

static bool is_good(const CurvePoint *p) { return isfinite(p->step) && isfinite(p->loss); }

// 1, 2 or 5 times a power of ten: about `wanted` steps over `span`.
static double nice_step(double span, int wanted) {
    double raw = span / wanted, power = pow(10, floor(log10(raw))), m = raw / power;
    return power * (m < 1.5 ? 1 : m < 3.5 ? 2 : m < 7.5 ? 5 : 10);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// The frame holds every point but the highest few in a thousand, so that a spike does not flatten the rest; what lies
// above is drawn on the edge.
static Frame frame_of(const Curve *c) {
    Frame f = {.x0 = 0, .x1 = 1, .y0 = 0, .y1 = 1, .log_steps = c->log_steps, .x_first = 1};
    int n = 0, all = c->ntrain + c->nheld_out;
    double *losses = malloc(sizeof *losses * (size_t)(all + 1)), least = INFINITY, most = -INFINITY;
    for (int i = 0; i < all && losses; i++) {
        const CurvePoint *p = i < c->ntrain ? &c->train[i] : &c->held_out[i - c->ntrain];
        if (!is_good(p)) continue;
        losses[n++] = p->loss;
        if (p->step < least) least = p->step;
        if (p->step > most) most = p->step;
    }
    if (!n) {
        free(losses);
        return f;
    }
    qsort(losses, (size_t)n, sizeof *losses, by_value);
    double low = losses[0], high = losses[n - 1];
    if (n > 100 && high > 2 * losses[n - 2 - n / 200]) high = losses[n - 2 - n / 200];
    free(losses);
    if (high - low < 1e-9 * (fabs(high) + 1e-9)) high = low + (fabs(low) > 0 ? 0.1 * fabs(low) : 1);
    double step = nice_step(high - low, 6);
    f.y0 = floor(low / step) * step;
    f.y1 = ceil(high / step) * step;
    f.x_first = least > 1 ? least : 1;
    f.x0 = f.log_steps ? log10(f.x_first) : least;
    f.x1 = f.log_steps ? log10(most > f.x_first ? most : f.x_first * 10) : most;
    if (f.x1 <= f.x0) f.x1 = f.x0 + 1;
    return f;
}

static void put_text(FILE *out, const char *s) {
    for (; *s; s++) {
        if (*s == '<') fputs("&lt;", out);
        else if (*s == '>') fputs("&gt;", out);
        else if (*s == '&') fputs("&amp;", out);
        else if ((unsigned char)*s >= 32) fputc(*s, out);
    }
}

static void put_tick_x(FILE *out, const Frame *f, double step) {
    double x = place_x(f, step);
    fprintf(out, "<line x1='%.1f' y1='%d' x2='%.1f' y2='%d' class='grid'/>", x, TOP, x, HEIGHT - BOTTOM);
    fprintf(out, "<text x='%.1f' y='%d' class='tick' text-anchor='middle'>", x, HEIGHT - BOTTOM + 20);
    if (step >= 1e6) fprintf(out, "%.10gM", step / 1e6);
    else if (step >= 1e4) fprintf(out, "%.10gk", step / 1e3);
    else fprintf(out, "%.10g", step);
    fputs("</text>\n", out);
}

static void put_axes(FILE *out, const Frame *f) {
    double dy = nice_step(f->y1 - f->y0, 6);
    for (int i = 0; i < 20 && f->y0 + i * dy <= f->y1 + dy * 1e-6; i++) {
        double loss = f->y0 + i * dy, y = place_y(f, loss);
        if (fabs(loss) < dy * 1e-6) loss = 0;
        fprintf(out, "<line x1='%d' y1='%.1f' x2='%d' y2='%.1f' class='grid'/>", LEFT, y, WIDTH - RIGHT, y);
        fprintf(out, "<text x='%d' y='%.1f' class='tick' text-anchor='end'>%.*f</text>\n", LEFT - 9, y + 4,
                dy < 0.01  ? 4
                : dy < 0.1 ? 2
                : dy < 1   ? 1
                           : 0,
                loss);
    }
    if (f->log_steps) {
        bool short_range = f->x1 - f->x0 < 2.5;
        for (int e = (int)floor(f->x0); e <= (int)ceil(f->x1); e++)
            for (int m = 1; m < 10; m += m == 1 ? 1 : 3) {
                double step = m * pow(10, e), x = log10(step);
                if ((m == 1 || (short_range && m != 8)) && x >= f->x0 - 1e-9 && x <= f->x1 + 1e-9)
                    put_tick_x(out, f, step);
            }
    } else {
        double dx = nice_step(f->x1 - f->x0, 8);
        if (dx < 1) dx = 1;
        for (double x = ceil(f->x0 / dx) * dx; x <= f->x1 * (1 + 1e-9); x += dx) put_tick_x(out, f, x);
    }
    fprintf(out, "<line x1='%d' y1='%d' x2='%d' y2='%d' class='axis'/>\n", LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT,
            HEIGHT - BOTTOM);
    fprintf(out, "<text x='%d' y='%d' class='label' text-anchor='middle'>step</text>\n", (LEFT + WIDTH - RIGHT) / 2,
            HEIGHT - 14);
    fprintf(out,
            "<text transform='translate(20 %d) rotate(-90)' class='label' text-anchor='middle'>loss (nats)</text>\n",
            (TOP + HEIGHT - BOTTOM) / 2);
}

// At most one point a column of the picture: the mean of what falls there.
static void put_line(FILE *out, const Frame *f, const CurvePoint *points, int n, const char *style) {
    fputs("<polyline points='", out);
    for (int i = 0; i < n;) {
        if (!is_good(&points[i])) {
            i++;
            continue;
        }
        double x = place_x(f, points[i].step), column = floor(x), loss = 0, at = 0;
        int count = 0;
        for (; i < n && (!is_good(&points[i]) || floor(place_x(f, points[i].step)) == column); i++)
            if (is_good(&points[i])) {
                loss += points[i].loss;
                at += place_x(f, points[i].step);
                count++;
            }
        fprintf(out, "%.1f,%.1f ", at / count, place_y(f, loss / count));
    }
    fprintf(out, "' %s/>\n", style);
}

// The mean around each point, without the highest and lowest tenth; the window grows with the step, as losses fall ever
// more slowly, up to a fiftieth of the run.
static CurvePoint *smoothed(const CurvePoint *points, int n) {
    enum { REACH = 100 };
    double window[2 * REACH + 1];
    CurvePoint *out = malloc(sizeof *out * (size_t)(n + 1));
    for (int i = 0; i < n && out; i++) {
        int reach = i / 8 < n / 100 ? i / 8 : n / 100, count = 0;
        if (reach > REACH) reach = REACH;
        out[i] = points[i];
        for (int k = i - reach; k <= i + reach && k < n; k++)
            if (is_good(&points[k])) window[count++] = points[k].loss;
        if (!count) continue;
        qsort(window, (size_t)count, sizeof *window, by_value);
        double sum = 0;
        for (int k = count / 10; k < count - count / 10; k++) sum += window[k];
        out[i].loss = sum / (count - 2 * (count / 10));
    }
    return out;
}

static const CurvePoint *last_good(const CurvePoint *points, int n) {
    while (n > 0 && !is_good(&points[n - 1])) n--;
    return n > 0 ? &points[n - 1] : NULL;
}

static void put_legend(FILE *out, const char *name, const CurvePoint *last, const char *colour, int x) {
    if (!last) return;
    fprintf(out, "<line x1='%d' y1='58' x2='%d' y2='58' stroke='%s' stroke-width='2.5'/>", x, x + 22, colour);
    fprintf(out, "<text x='%d' y='62' class='tick'>%s <tspan class='value'>%.4f</tspan></text>\n", x + 29, name,
            last->loss);
}

static void put_curve(FILE *out, const Curve *c, const CurvePoint *smooth) {
    Frame f = frame_of(c);
    fprintf(out,
            "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 %d %d' width='%d' height='%d' "
            "font-family='system-ui, Helvetica, Arial, sans-serif'>\n",
            WIDTH, HEIGHT, WIDTH, HEIGHT);
    fputs(
        "<style>.grid{stroke:#e5e7eb}.axis{stroke:#6b7280}.tick{font-size:12px;fill:#4b5563}"
        ".label{font-size:13px;fill:#374151}.value{font-weight:600}polyline{fill:none;stroke-linejoin:round}</style>\n",
        out);
    fprintf(out, "<rect width='%d' height='%d' fill='#ffffff'/>\n", WIDTH, HEIGHT);
    fprintf(out, "<text x='%d' y='30' font-size='17' font-weight='600' fill='#111827'>", LEFT);
    put_text(out, c->title);
    fputs("</text>\n", out);
    if (c->subtitle) {
        fprintf(out, "<text x='%d' y='30' class='tick' text-anchor='end'>", WIDTH - RIGHT);
        put_text(out, c->subtitle);
        fputs("</text>\n", out);
    }
    put_axes(out, &f);
    char style[128];
    snprintf(style, sizeof style, "stroke='%s' stroke-width='1' stroke-opacity='0.28'", TRAIN);
    put_line(out, &f, c->train, c->ntrain, style);
    snprintf(style, sizeof style, "stroke='%s' stroke-width='2'", TRAIN);
    put_line(out, &f, smooth, c->ntrain, style);
    snprintf(style, sizeof style, "stroke='%s' stroke-width='2'", HELD_OUT);
    put_line(out, &f, c->held_out, c->nheld_out, style);
    for (int i = 0; i < c->nheld_out && c->nheld_out <= 80; i++)
        if (is_good(&c->held_out[i]))
            fprintf(out, "<circle cx='%.1f' cy='%.1f' r='3' fill='%s'/>\n", place_x(&f, c->held_out[i].step),
                    place_y(&f, c->held_out[i].loss), HELD_OUT);
    put_legend(out, "training", last_good(smooth, c->ntrain), TRAIN, LEFT);
    put_legend(out, "held out", last_good(c->held_out, c->nheld_out), HELD_OUT, LEFT + 170);
    fputs("</svg>\n", out);
}

Status curve_write(const Curve *c, const char *path) {
    char *text = NULL;
    size_t size = 0;
    CurvePoint *smooth = smoothed(c->train, c->ntrain);
    FILE *out = open_memstream(&text, &size);
    if (smooth && out) put_curve(out, c, smooth);
    bool bad = !smooth || !out;
    if (out && fclose(out)) bad = true;
    Status s = bad ? status_make(STATUS_MEMORY, "no memory to draw %s", path) : file_write_whole(path, text, size);
    free(smooth);
    free(text);
    return s;
}
