// SPDX-License-Identifier: Apache-2.0
#include "law.h"
#include <math.h>

static int is_beaten(const Point *p, const Run *runs, int nruns) {
    for (int r = 0; r < nruns; r++)
        for (int i = 0; i < runs[r].npoints; i++) {
            const Point *q = &runs[r].points[i];
            if (q != p && q->flops <= p->flops && q->loss <= p->loss) return 1;
        }
    return 0;
}

Law law_fit(Run *runs, int nruns, int64_t warmup) {
    double n = 0, x = 0, y = 0, xx = 0, xy = 0, yy = 0;
    for (int r = 0; r < nruns; r++)
        for (int i = 0; i < runs[r].npoints; i++) {
            Point *p = &runs[r].points[i];
            p->frontier = !is_beaten(p, runs, nruns);
            if (!p->frontier || p->step < LAW_SETTLED * warmup) continue;
            double u = log(p->flops), v = log(p->loss);
            n++, x += u, y += v, xx += u * u, xy += u * v, yy += v * v;
        }
    Law law = {.npoints = (int)n};
    double of_x = n * xx - x * x, of_y = n * yy - y * y, both = n * xy - x * y;
    if (n < 2 || of_x <= 0) return law;
    law.b = -both / of_x;
    law.a = exp((y + law.b * x) / n);
    law.r2 = of_y > 0 ? both * both / (of_x * of_y) : 1;
    return law;
}

double law_loss(const Law *law, double flops) { return law->a * pow(flops, -law->b); }
