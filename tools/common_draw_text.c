// SPDX-License-Identifier: Apache-2.0
// The picture as SVG, which any browser or slide program shows, and as text for graphviz's dot.
#include "tools/common_draw.h"

static void print_xml(const char *text, FILE *out) {
    for (; *text; text++) switch (*text) {
        case '&': fputs("&amp;", out); break;
        case '<': fputs("&lt;", out); break;
        case '>': fputs("&gt;", out); break;
        case '"': fputs("&quot;", out); break;
        default: fputc(*text, out);
        }
}

static void print_text(int x, int y, const char *class, const char *text, FILE *out) {
    fprintf(out, "<text class=\"%s\" x=\"%d\" y=\"%d\">", class, x, y);
    print_xml(text, out);
    fputs("</text>\n", out);
}

static bool is_communication(PictureKind kind) { return kind >= PICTURE_ALL_REDUCE; }

// A polygon with rounded corners.
static void print_path(const PictureEdge *e, FILE *out) {
    enum { ROUND = 5 };
    fprintf(out, "<path class=\"edge%s\" marker-end=\"url(#%s)\" d=\"M%d %d", e->pending ? " pending" : "",
            e->pending ? "tip-pending" : "tip", e->path.at[0].x, e->path.at[0].y);
    for (int i = 1; i < e->path.n; i++) {
        PicturePoint a = e->path.at[i - 1], b = e->path.at[i];
        if (i + 1 == e->path.n) {
            fprintf(out, " L%d %d", b.x, b.y);
            break;
        }
        PicturePoint c = e->path.at[i + 1], *ends[] = {&a, &c};
        for (int k = 0; k < 2; k++) { // from the neighbours to where the corner begins and ends
            int dx = ends[k]->x - b.x, dy = ends[k]->y - b.y, far = (dx < 0 ? -dx : dx) + (dy < 0 ? -dy : dy);
            int r = far < 2 * ROUND ? far / 2 : ROUND;
            *ends[k] = (PicturePoint){b.x + (dx > 0 ? r : dx < 0 ? -r : 0), b.y + (dy > 0 ? r : dy < 0 ? -r : 0)};
        }
        fprintf(out, " L%d %d Q%d %d %d %d", a.x, a.y, b.x, b.y, c.x, c.y);
    }
    fputs("\"/>\n", out);
}

static void print_box(const PictureBox *b, FILE *out) {
    const PictureColour *colour = &picture_colours[b->kind];
    const char *ink = is_communication(b->kind) && b->kind != PICTURE_REDUCE_SCATTER ? " light" : "";
    fprintf(out,
            "<rect class=\"box\" data-kind=\"%s\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"%d\" "
            "fill=\"%s\" stroke=\"%s\"/>\n",
            colour->name, b->x, b->y, b->w, b->h, is_communication(b->kind) ? 14 : 5, colour->fill, colour->line);
    char class[32];
    int x = b->x + b->w / 2, y = b->y + 19;
    snprintf(class, sizeof class, "title%s", ink);
    print_text(x, y, class, b->title, out);
    snprintf(class, sizeof class, "detail%s", ink);
    if (b->detail[0]) print_text(x, y += 14, class, b->detail, out);
    for (int i = 0; i < b->tags.n; i++) {
        y += 17;
        fprintf(out, "<rect class=\"tag\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"14\" rx=\"7\"/>\n", b->x + 7, y - 11,
                b->w - 14);
        print_text(x, y, "param", b->tags.at[i], out);
    }
}

static void print_labels(const PictureBox *b, FILE *out) {
    for (int i = 0; i < b->labels.n; i++) {
        const PictureLabel *l = &b->labels.at[i];
        fprintf(out, "<text class=\"label%s\" x=\"%d\" y=\"%d\">", l->pending ? " partial" : "", b->x + b->w / 2 + 6,
                b->y + b->h + 12 + 13 * i);
        if (l->names[0]) {
            fputs("<tspan class=\"name\">", out);
            print_xml(l->names, out);
            fputs("</tspan> ", out);
        }
        print_xml(l->type, out);
        fputs("</text>\n", out);
    }
}

static void kinds_of(const Picture *p, bool *out_has) {
    for (int i = 0; i < PICTURE_KINDS; i++) out_has[i] = false;
    for (int i = 0; i < p->boxes.n; i++) out_has[p->boxes.at[i].kind] = true;
}

static void print_legend(const Picture *p, FILE *out) {
    bool has[PICTURE_KINDS];
    kinds_of(p, has);
    int x = 16, y = p->height - 26;
    fputs("<g>\n", out);
    for (int i = 0; i < PICTURE_KINDS; i++) {
        if (!has[i]) continue;
        const PictureColour *c = &picture_colours[i];
        fprintf(out,
                "<rect class=\"key\" x=\"%d\" y=\"%d\" width=\"16\" height=\"12\" rx=\"%d\" fill=\"%s\" "
                "stroke=\"%s\"/>\n",
                x, y, is_communication((PictureKind)i) ? 6 : 3, c->fill, c->line);
        print_text(x + 21, y + 10, "legend", c->name, out);
        x += 34 + 6 * (int)strlen(c->name);
    }
    fprintf(out, "<rect class=\"tag\" x=\"%d\" y=\"%d\" width=\"16\" height=\"12\" rx=\"6\"/>\n", x, y);
    print_text(x + 21, y + 10, "legend", "parameter", out);
    print_text(
        16, y + 22, "legend",
        "axis/mesh=extent: split over that mesh axis, extents are of the whole; +sum(mesh): each rank holds a part "
        "of the sum; bytes are a rank's, each time",
        out);
    fputs("</g>\n", out);
}

void picture_print_svg(const Picture *p, FILE *out) {
    fprintf(out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" "
            "font-family=\"Helvetica, Arial, sans-serif\">\n<title>",
            p->width, p->height, p->width, p->height);
    print_xml(p->title, out);
    fputs("</title>\n"
          "<style>\n"
          ".frame { fill: #0f172a; fill-opacity: .025; stroke: #94a3b8; }\n"
          ".repeat { fill: #fffbeb; fill-opacity: 1; stroke: #b45309; stroke-width: 1.6; }\n"
          ".ftitle { font-size: 12px; font-weight: bold; fill: #475569; }\n"
          ".heading { font-size: 16px; font-weight: bold; fill: #0f172a; }\n"
          ".title { font-size: 12.5px; font-weight: bold; fill: #0f172a; text-anchor: middle; }\n"
          ".detail { font-size: 11px; fill: #334155; text-anchor: middle; }\n"
          ".light { fill: #ffffff; }\n"
          ".tag { fill: #ffffff; fill-opacity: .85; stroke: #cbd5e1; }\n"
          ".param { font-size: 10px; fill: #475569; text-anchor: middle; }\n"
          ".label { font-size: 10.5px; fill: #475569; stroke: #ffffff; stroke-width: 3px; paint-order: stroke; }\n"
          ".name { font-weight: bold; }\n"
          ".partial { fill: #b91c1c; }\n"
          ".legend { font-size: 11px; fill: #334155; }\n"
          ".edge { fill: none; stroke: #64748b; stroke-width: 1.3; }\n"
          ".pending { stroke: #dc2626; stroke-dasharray: 5 3; }\n"
          "</style>\n<defs>\n",
          out);
    static const char *const tips[][2] = {{"tip", "#64748b"}, {"tip-pending", "#dc2626"}};
    for (int i = 0; i < 2; i++)
        fprintf(out,
                "<marker id=\"%s\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"6\" markerHeight=\"6\" "
                "orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"%s\"/></marker>\n",
                tips[i][0], tips[i][1]);
    fprintf(out, "</defs>\n<rect width=\"%d\" height=\"%d\" fill=\"#ffffff\"/>\n", p->width, p->height);
    print_text(16, 24, "heading", p->title, out);
    for (int i = 1; i < p->frames.n; i++) {
        const PictureFrame *f = &p->frames.at[i];
        fprintf(out, "<rect class=\"frame%s\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"8\"/>\n",
                f->repeats ? " repeat" : "", f->x, f->y, f->w, f->h);
        print_text(f->x + 10, f->y + 17, "ftitle", f->title, out);
    }
    for (int i = 0; i < p->edges.n; i++) print_path(&p->edges.at[i], out);
    for (int i = 0; i < p->boxes.n; i++) print_box(&p->boxes.at[i], out);
    for (int i = 0; i < p->boxes.n; i++) print_labels(&p->boxes.at[i], out);
    print_legend(p, out);
    fputs("</svg>\n", out);
}

// ---- dot
static void print_quoted(const char *text, FILE *out) {
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') fputc('\\', out);
        fputc(*text, out);
    }
}

static void print_cluster(const Picture *p, int frame, FILE *out) {
    const PictureFrame *f = &p->frames.at[frame];
    if (frame) {
        fprintf(out, "subgraph cluster_%d {\nlabel=\"", frame);
        print_quoted(f->title, out);
        fprintf(out, "\"; style=rounded; color=\"%s\"; penwidth=%s;\n", f->repeats ? "#b45309" : "#94a3b8",
                f->repeats ? "2" : "1");
    }
    for (int i = 0; i < p->boxes.n; i++) {
        const PictureBox *b = &p->boxes.at[i];
        if (b->frame != frame) continue;
        fprintf(out, "b%d [label=\"", i);
        print_quoted(b->title, out);
        if (b->detail[0]) fputs("\\n", out), print_quoted(b->detail, out);
        for (int k = 0; k < b->tags.n; k++) fputs("\\n", out), print_quoted(b->tags.at[k], out);
        fprintf(out, "\", class=\"%s\", fillcolor=\"%s\", color=\"%s\"];\n", picture_colours[b->kind].name,
                picture_colours[b->kind].fill, picture_colours[b->kind].line);
    }
    for (int i = 1; i < p->frames.n; i++)
        if (p->frames.at[i].parent == frame) print_cluster(p, i, out);
    if (frame) fputs("}\n", out);
}

void picture_print_dot(const Picture *p, FILE *out) {
    fputs("digraph model {\nlabel=\"", out);
    print_quoted(p->title, out);
    fputs("\"; labelloc=t; fontname=Helvetica;\nnode [shape=box, style=\"rounded,filled\", fontname=Helvetica, "
          "fontsize=11];\nedge [fontname=Helvetica, fontsize=9];\n",
          out);
    print_cluster(p, 0, out);
    for (int i = 0; i < p->edges.n; i++) {
        const PictureEdge *e = &p->edges.at[i];
        const PictureBox *b = &p->boxes.at[e->from];
        fprintf(out, "b%d -> b%d [label=\"", e->from, e->to);
        bool first = true; // a value's label stands on the first of its edges
        for (int k = 0; k < i; k++) first &= p->edges.at[k].from != e->from;
        for (int k = 0; k < b->labels.n && first; k++) {
            if (k) fputs("\\n", out);
            print_quoted(b->labels.at[k].names, out);
            if (b->labels.at[k].names[0]) fputs(" ", out);
            print_quoted(b->labels.at[k].type, out);
        }
        fprintf(out, "\"%s];\n", e->pending ? ", color=\"#dc2626\", style=dashed" : "");
    }
    bool has[PICTURE_KINDS];
    kinds_of(p, has);
    fputs("subgraph cluster_legend {\nlabel=\"legend\"; style=dotted;\n", out);
    for (int i = 0; i < PICTURE_KINDS; i++)
        if (has[i])
            fprintf(out, "legend%d [label=\"%s\", fillcolor=\"%s\", color=\"%s\"];\n", i, picture_colours[i].name,
                    picture_colours[i].fill, picture_colours[i].line);
    fputs("}\n}\n", out);
}
