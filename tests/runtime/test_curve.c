// SPDX-License-Identifier: Apache-2.0
// The loss curve and the metrics file. With an argument: leaves the picture there, to be looked at.
#include "check.h"
#include "runtime/curve.h"
#include "runtime/file.h"
#include "runtime/metrics.h"
#include <math.h>
#include <unistd.h>

static char *contents(const char *path) {
    FileMap map;
    CHECK_OK(file_map(path, &map));
    char *text = calloc(1, map.size + 1);
    if (map.size) memcpy(text, map.data, map.size);
    file_unmap(&map);
    return text;
}

static void curve(const char *path) {
    enum { N = 3000 };
    static CurvePoint train[N], held[30];
    for (int i = 0; i < N; i++)
        train[i] = (CurvePoint){i, 1.3 + 4.2 * exp(-i / 150.0) + 0.12 * sin(i * 12.9898) * cos(i * 78.233)};
    for (int i = 0; i < 30; i++) held[i] = (CurvePoint){i * 100, 1.4 + 4.1 * exp(-i * 100 / 150.0)};
    train[40].loss = NAN;
    train[700].loss = 200; // a spike
    for (int log_steps = 0; log_steps < 2; log_steps++) {
        Curve c = {"novel <&>", "4.2M parameters", train, held, N, 30, log_steps};
        CHECK_OK(curve_write(&c, path));
        char *text = contents(path);
        CHECK(strstr(text, "<svg") && strstr(text, "novel &lt;&amp;&gt;") && strstr(text, "held out"));
        CHECK(!strstr(text, "nan") && !strstr(text, "inf"));
        free(text);
    }
    Curve few[] = {{"none", NULL, train, held, 0, 0, false},
                   {"one", NULL, train, held, 1, 0, true},
                   {"flat", NULL, (CurvePoint[]){{0, 0}, {1, 0}}, held, 2, 0, false}};
    for (int i = 0; i < 3; i++) {
        CHECK_OK(curve_write(&few[i], path));
        char *text = contents(path);
        CHECK(!strstr(text, "nan") && !strstr(text, "inf") && strstr(text, "</svg>"));
        free(text);
    }
    CHECK_OK(curve_write(&(Curve){"novel", "4.2M parameters, tensor=2", train, held, N, 30, true}, path));
    CHECK_FAILS(curve_write(&few[0], "/nowhere/x.svg"), STATUS_IO, "cannot create");
}

static void metrics(const char *path) {
    MetricsFile *m;
    CHECK_OK(metrics_open(path, false, 0, &m));
    for (int i = 0; i < 4; i++)
        CHECK_OK(metrics_write(m, i, (MetricsValue[]){{"loss", 2.5 / (i + 1)}, {"lr", i == 1 ? NAN : 1e-3}}, 2));
    metrics_close(m);
    char *text = contents(path);
    CHECK(!strcmp(text, "{\"step\":0,\"loss\":2.5,\"lr\":0.001}\n{\"step\":1,\"loss\":1.25,\"lr\":null}\n"
                        "{\"step\":2,\"loss\":0.833333333,\"lr\":0.001}\n{\"step\":3,\"loss\":0.625,\"lr\":0.001}\n"));
    free(text);
    FILE *f = fopen(path, "a"); // killed in the middle of a line
    fputs("{\"step\":4,\"lo", f);
    fclose(f);
    CHECK_OK(metrics_open(path, true, 2, &m)); // resumed at step 2
    CHECK_OK(metrics_write(m, 2, (MetricsValue[]){{"loss", 7}}, 1));
    metrics_close(m);
    text = contents(path);
    CHECK(!strcmp(text, "{\"step\":0,\"loss\":2.5,\"lr\":0.001}\n{\"step\":1,\"loss\":1.25,\"lr\":null}\n"
                        "{\"step\":2,\"loss\":7}\n"));
    free(text);
    CHECK_OK(metrics_write(NULL, 0, NULL, 0));
}

int main(int argc, char **argv) {
    char path[64];
    snprintf(path, sizeof path, "/tmp/tgf-test-curve-%d", (int)getpid());
    metrics(path);
    curve(argc > 1 ? argv[1] : path);
    unlink(path);
    return check_report("curve");
}
