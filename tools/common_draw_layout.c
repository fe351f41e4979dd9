// SPDX-License-Identifier: Apache-2.0
// Layered layout, top-down, each frame by itself and inner ones first. What stands in a frame, boxes and frames, is put
// into layers by the longest path. An edge to the next layer goes straight down; a longer one takes a lane at the
// frame's right, and so does one that leaves or enters the frame past other layers: no edge crosses a box. The
// outermost frame's layers fill columns as tall as its tallest layer, so that a model fits a slide.
#include "tools/common_draw.h"
#include <stdlib.h>

enum {
    SIDE = 16,   // from a frame's border to what is in it
    HEAD = 40,   // from a frame's top to its first layer, its title included
    FOOT = 14,   // from its last layer to its bottom
    GAP = 30,    // between layers, for the edges' horizontal parts
    BESIDE = 24, // between neighbours in a layer
    LANE = 9,    // between lanes
    LABEL_LINE = 13,
    TOP = 34, // the picture's title
    LEGEND = 44,
};

typedef struct Item {
    bool is_frame;
    int index;             // of the box or frame
    int layer, column;     // in its frame
    int left, right, high; // extents about its port; labels below a box are in
    int port;              // its port's x: first within the frame, then in the picture
    bool fed;              // something leads to it
} Item;

typedef struct Layer {
    int high, y, column, n;
} Layer;

typedef struct Lane {
    int column, from, x; // from: the box whose value it carries; x from the frame's left border
} Lane;

typedef struct Plane { // a frame's contents
    Vec(Item) items;
    Vec(Layer) layers;
    Vec(Lane) lanes;
    int spine;     // of a frame of one column: its port from its left border
    int columns;   // 1 but for the outermost
    int *column_x; // each one's spine
} Plane;

typedef struct Layout {
    Picture *p;
    Plane *planes;              // by frame
    int *box_item, *frame_item; // the place among its plane's items
} Layout;

static int text_width(const char *text, int tenths) { // about, of Helvetica: tenths of a pixel for each character
    int n = 0;
    for (const char *c = text; *c; c++) n += (*c & 0xC0) != 0x80;
    return (n * tenths + 9) / 10;
}

static int most(int a, int b) { return a > b ? a : b; }

static void size_box(PictureBox *b) {
    b->w = most(text_width(b->title, 74), text_width(b->detail, 62));
    for (int i = 0; i < b->tags.n; i++) b->w = most(b->w, text_width(b->tags.at[i], 56) + 12);
    b->w = most((b->w + 25) / 2 * 2, 90);
    b->h = 28 + (b->detail[0] ? 14 : 0) + 17 * b->tags.n;
}

static int label_width(const PictureLabel *l) { return text_width(l->names, 58) + text_width(l->type, 58) + 16; }

// The item of the plane of `frame` in which a box lies; the box lies in the frame.
static Item *item_of(const Layout *l, int frame, int box) {
    int f = l->p->boxes.at[box].frame;
    if (f == frame) return &l->planes[frame].items.at[l->box_item[box]];
    while (l->p->frames.at[f].parent != frame) f = l->p->frames.at[f].parent;
    return &l->planes[frame].items.at[l->frame_item[f]];
}

static bool lies_in(const Layout *l, int frame, int box) {
    int f = l->p->boxes.at[box].frame;
    while (f >= 0 && f != frame) f = l->p->frames.at[f].parent;
    return f == frame;
}

static int common_frame(const Layout *l, const PictureEdge *e) {
    int f = l->p->boxes.at[e->from].frame;
    while (!lies_in(l, f, e->to)) f = l->p->frames.at[f].parent;
    return f;
}

// ---- layers
static void add_items(Layout *l) {
    Picture *p = l->p;
    for (int i = 0; i < p->boxes.n; i++) {
        Plane *own = &l->planes[p->boxes.at[i].frame];
        for (int f = p->boxes.at[i].frame; p->frames.at[f].parent >= 0; f = p->frames.at[f].parent) {
            Plane *outer = &l->planes[p->frames.at[f].parent];
            if (l->frame_item[f] >= 0) break;
            l->frame_item[f] = outer->items.n;
            vec_push(p->arena, &outer->items, (Item){.is_frame = true, .index = f});
        }
        l->box_item[i] = own->items.n;
        vec_push(p->arena, &own->items, (Item){.index = i});
    }
}

static void set_layers(Layout *l, int frame) {
    Picture *p = l->p;
    Plane *plane = &l->planes[frame];
    int n = plane->items.n, last = 0;
    Vec(PictureEdge) inner = {0}; // between items, by the source's place
    for (int i = 0; i < p->edges.n; i++) {
        const PictureEdge *e = &p->edges.at[i];
        if (!lies_in(l, frame, e->to)) continue;
        Item *to = item_of(l, frame, e->to);
        to->fed = true;
        if (!lies_in(l, frame, e->from) || item_of(l, frame, e->from) == to) continue;
        PictureEdge pair = {.from = (int)(item_of(l, frame, e->from) - plane->items.at),
                            .to = (int)(to - plane->items.at)};
        vec_push(p->arena, &inner, pair);
    }
    for (int i = 0; i < n; i++) { // items are in program order: each one's sources are done
        for (int k = 0; k < inner.n; k++)
            if (inner.at[k].to == i)
                plane->items.at[i].layer = most(plane->items.at[i].layer, plane->items.at[inner.at[k].from].layer + 1);
        last = most(last, plane->items.at[i].layer);
    }
    for (int i = n - 1; i >= 0; i--) { // what nothing feeds stands just above what it feeds
        if (plane->items.at[i].fed) continue;
        int layer = last + 1;
        for (int k = 0; k < inner.n; k++)
            if (inner.at[k].from == i && plane->items.at[inner.at[k].to].layer < layer)
                layer = plane->items.at[inner.at[k].to].layer;
        plane->items.at[i].layer = layer <= last ? most(layer - 1, 0) : plane->items.at[i].layer;
    }
    // Layers that have lost all of theirs go.
    int *place = NEW_ARRAY(p->arena, int, last + 1);
    for (int i = 0; i < n; i++) place[plane->items.at[i].layer] = 1;
    for (int i = 0, count = 0; i <= last; i++) {
        if (place[i]) vec_push(p->arena, &plane->layers, (Layer){0});
        place[i] = count += place[i];
    }
    for (int i = 0; i < n; i++) plane->items.at[i].layer = place[plane->items.at[i].layer] - 1;
}

// ---- lanes
static void want_lane(Layout *l, int frame, int column, int from) {
    Plane *plane = &l->planes[frame];
    for (int i = 0; i < plane->lanes.n; i++)
        if (plane->lanes.at[i].column == column && plane->lanes.at[i].from == from) return;
    vec_push(l->p->arena, &plane->lanes, (Lane){.column = column, .from = from});
}

static int lane_x(const Layout *l, int frame, int column, int from) {
    const Plane *plane = &l->planes[frame];
    for (int i = 0; i < plane->lanes.n; i++)
        if (plane->lanes.at[i].column == column && plane->lanes.at[i].from == from)
            return l->p->frames.at[frame].x + plane->lanes.at[i].x;
    return 0;
}

static bool goes_straight(const Item *from, const Item *to) {
    return to->layer == from->layer + 1 && to->column == from->column;
}

static void want_lanes(Layout *l, int frame) {
    Picture *p = l->p;
    Plane *plane = &l->planes[frame];
    for (int i = 0; i < p->edges.n; i++) {
        const PictureEdge *e = &p->edges.at[i];
        bool from = lies_in(l, frame, e->from), to = lies_in(l, frame, e->to);
        Item *a = from ? item_of(l, frame, e->from) : NULL, *b = to ? item_of(l, frame, e->to) : NULL;
        if (a == b) continue;
        if (a && b) {
            if (goes_straight(a, b)) continue;
            want_lane(l, frame, a->column, e->from);
            if (b->column > a->column + 1) want_lane(l, frame, b->column - 1, e->from);
        } else if (a ? a->layer != plane->layers.n - 1 : b->layer != 0) {
            want_lane(l, frame, 0, e->from);
        }
    }
}

// ---- places within a frame
static void size_items(Layout *l, Plane *plane) {
    for (int i = 0; i < plane->items.n; i++) {
        Item *t = &plane->items.at[i];
        if (t->is_frame) {
            const PictureFrame *f = &l->p->frames.at[t->index];
            t->left = l->planes[t->index].spine;
            t->right = f->w - t->left;
            t->high = f->h;
        } else {
            PictureBox *b = &l->p->boxes.at[t->index];
            size_box(b);
            t->left = t->right = b->w / 2;
            for (int k = 0; k < b->labels.n; k++) t->right = most(t->right, label_width(&b->labels.at[k]));
            t->high = b->h + LABEL_LINE * b->labels.n;
        }
        Layer *layer = &plane->layers.at[t->layer];
        layer->high = most(layer->high, t->high);
        layer->n++;
    }
}

// Ports about the spine: what is fed centred on it, the others to its left.
static void place_layer(Plane *plane, int layer, int *out_left, int *out_right) {
    int first = 0, at = 0, free_left, n = 0;
    for (int i = 0; i < plane->items.n; i++) {
        Item *t = &plane->items.at[i];
        if (t->layer != layer || !t->fed) continue;
        t->port = n++ ? at + BESIDE + t->left : 0;
        at = t->port + t->right;
        if (n == 1) first = t->left;
    }
    int last = 0;
    for (int i = 0; i < plane->items.n; i++)
        if (plane->items.at[i].layer == layer && plane->items.at[i].fed) last = plane->items.at[i].port;
    for (int i = 0; i < plane->items.n; i++)
        if (plane->items.at[i].layer == layer && plane->items.at[i].fed) plane->items.at[i].port -= last / 2;
    *out_right = n ? at - last / 2 : 0;
    free_left = n ? -last / 2 - first : 0;
    bool any = n;
    for (int i = plane->items.n - 1; i >= 0; i--) {
        Item *t = &plane->items.at[i];
        if (t->layer != layer || t->fed) continue;
        t->port = any ? free_left - BESIDE - t->right : 0;
        if (!any) *out_right = t->right;
        free_left = t->port - t->left;
        any = true;
    }
    *out_left = -free_left;
}

static void lay_frame(Layout *l, int frame) {
    Picture *p = l->p;
    Plane *plane = &l->planes[frame];
    PictureFrame *f = &p->frames.at[frame];
    size_items(l, plane);
    plane->columns = 1;
    int tallest = 0, filled = 0;
    for (int i = 0; i < plane->layers.n; i++) tallest = most(tallest, plane->layers.at[i].high);
    for (int i = 0; i < plane->layers.n && !frame; i++) {
        int high = plane->layers.at[i].high + GAP;
        if (filled && filled + high > tallest + 3 * GAP) plane->columns++, filled = 0;
        filled += high;
        plane->layers.at[i].column = plane->columns - 1;
    }
    for (int i = 0; i < plane->items.n; i++)
        plane->items.at[i].column = plane->layers.at[plane->items.at[i].layer].column;
    want_lanes(l, frame);
    plane->column_x = NEW_ARRAY(p->arena, int, plane->columns);
    int *over = NEW_ARRAY(p->arena, int, p->boxes.n); // sources that go over the columns' tops
    int x = SIDE, high = 0, tops = 0;
    for (int i = 0; i < plane->lanes.n; i++)
        if (plane->lanes.at[i].column) over[plane->lanes.at[i].from]++;
    for (int i = 0; i < p->boxes.n; i++) tops += over[i] > 0;
    for (int c = 0; c < plane->columns; c++) {
        int left = 0, right = 0, y = HEAD + (plane->columns > 1 ? 5 * tops : 0);
        for (int i = 0; i < plane->layers.n; i++) {
            Layer *layer = &plane->layers.at[i];
            int this_left, this_right;
            if (layer->column != c) continue;
            place_layer(plane, i, &this_left, &this_right);
            left = most(left, this_left), right = most(right, this_right);
            layer->y = y;
            y += layer->high + GAP;
        }
        high = most(high, y - GAP);
        if (plane->columns == 1) left = most(left, 60);
        plane->column_x[c] = x + left;
        x += left + right;
        for (int i = 0; i < plane->lanes.n; i++)
            if (plane->lanes.at[i].column == c) plane->lanes.at[i].x = x += LANE;
        x += c + 1 < plane->columns ? 2 * SIDE : SIDE;
    }
    plane->spine = plane->column_x[0];
    f->w = most(x, text_width(f->title, 76) + 2 * SIDE);
    f->h = high + FOOT;
    for (int i = 0; i < plane->items.n; i++) plane->items.at[i].port += plane->column_x[plane->items.at[i].column];
}

// ---- places in the picture
static void move_items(Layout *l, int frame) {
    Plane *plane = &l->planes[frame];
    const PictureFrame *f = &l->p->frames.at[frame];
    for (int i = 0; i < plane->layers.n; i++) plane->layers.at[i].y += f->y;
    for (int i = 0; i < plane->items.n; i++) {
        Item *t = &plane->items.at[i];
        t->port += f->x;
        int y = plane->layers.at[t->layer].y;
        if (t->is_frame) {
            l->p->frames.at[t->index].x = t->port - t->left;
            l->p->frames.at[t->index].y = y;
        } else {
            l->p->boxes.at[t->index].x = t->port - l->p->boxes.at[t->index].w / 2;
            l->p->boxes.at[t->index].y = y;
        }
    }
}

static void point(Layout *l, PictureEdge *e, int x, int y) {
    const PicturePoint *last = e->path.n ? &e->path.at[e->path.n - 1] : NULL;
    if (last && last->x == x && last->y == y) return;
    vec_push(l->p->arena, &e->path, (PicturePoint){x, y});
}

static int below(const Plane *plane, int layer, int from) {
    return plane->layers.at[layer].y + plane->layers.at[layer].high + 4 + from % 3 * 3;
}
static int above(const Plane *plane, int layer, int from) { return plane->layers.at[layer].y - 9 - from % 3 * 3; }

// The frame below `frame` in which the box lies, or -1: the box stands in it.
static int next_frame(const Layout *l, int frame, int box) {
    const Item *t = item_of(l, frame, box);
    return t->is_frame ? t->index : -1;
}

// Where an edge comes in through the top of what stands in `frame` and holds the box it goes to.
static int entry_x(const Layout *l, int frame, const PictureEdge *e, int port) {
    for (int f = next_frame(l, frame, e->to); f >= 0; f = next_frame(l, f, e->to))
        if (item_of(l, f, e->to)->layer) return lane_x(l, f, 0, e->from);
    return port;
}

static void route(Layout *l, PictureEdge *e, int over) {
    const PictureBox *from = &l->p->boxes.at[e->from], *to = &l->p->boxes.at[e->to];
    int common = common_frame(l, e), x = from->x + from->w / 2;
    point(l, e, x, from->y + from->h);
    for (int f = from->frame; f != common; f = l->p->frames.at[f].parent) {
        const Plane *plane = &l->planes[f];
        const Item *t = item_of(l, f, e->from);
        if (t->layer == plane->layers.n - 1) continue;
        point(l, e, x, below(plane, t->layer, e->from));
        x = lane_x(l, f, 0, e->from);
        point(l, e, x, below(plane, t->layer, e->from));
    }
    const Plane *plane = &l->planes[common];
    const Item *a = item_of(l, common, e->from), *b = item_of(l, common, e->to);
    int port = to->x + to->w / 2, arrival = above(plane, b->layer, e->from);
    if (!goes_straight(a, b)) {
        port += to->w / 4 < 30 ? to->w / 4 : 30;
        int departure = below(plane, a->layer, e->from);
        point(l, e, x, departure);
        x = lane_x(l, common, a->column, e->from);
        point(l, e, x, departure);
        if (b->column > a->column + 1) {
            int y = l->p->frames.at[common].y + HEAD - 14 + 5 * over;
            point(l, e, x, y);
            x = lane_x(l, common, b->column - 1, e->from);
            point(l, e, x, y);
        }
    }
    point(l, e, x, arrival);
    x = entry_x(l, common, e, port);
    point(l, e, x, arrival);
    for (int f = next_frame(l, common, e->to); f >= 0; f = next_frame(l, f, e->to)) {
        const Item *t = item_of(l, f, e->to);
        if (!t->layer) continue;
        arrival = above(&l->planes[f], t->layer, e->from);
        point(l, e, x, arrival);
        x = entry_x(l, f, e, port);
        point(l, e, x, arrival);
    }
    point(l, e, x, to->y);
}

void picture_lay_out(Picture *p) {
    int n = p->frames.n;
    Layout l = {.p = p,
                .planes = NEW_ARRAY(p->arena, Plane, n),
                .box_item = NEW_ARRAY(p->arena, int, p->boxes.n),
                .frame_item = NEW_ARRAY(p->arena, int, n)};
    for (int i = 0; i < n; i++) l.frame_item[i] = -1;
    add_items(&l);
    for (int f = 0; f < n; f++) set_layers(&l, f);
    for (int f = n - 1; f >= 0; f--) lay_frame(&l, f); // a frame stands behind the one it is in
    p->frames.at[0].y = TOP - HEAD + 12;
    for (int f = 0; f < n; f++) move_items(&l, f);
    int over = 0, last = -1;
    for (int i = 0; i < p->edges.n; i++) {
        PictureEdge *e = &p->edges.at[i];
        bool high = common_frame(&l, e) == 0 && item_of(&l, 0, e->to)->column > item_of(&l, 0, e->from)->column + 1;
        if (high && e->from != last) over++, last = e->from;
        route(&l, e, over - 1);
    }
    p->width = most(p->frames.at[0].w, 760);
    p->height = p->frames.at[0].y + p->frames.at[0].h + LEGEND;
}
