// SPDX-License-Identifier: Apache-2.0
#include "runtime/metrics.h"
#include "runtime/file.h"
#include "runtime/json.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct MetricsFile {
    FILE *out;
    char path[512];
};

// The length of the lines whose steps lie below first_step; a damaged last line is left out.
static size_t kept_length(const FileMap *map, int64_t first_step) {
    const char *at = (const char *)map->data, *end = at + map->size;
    while (at < end) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        if (!line_end) break;
        Json j = json_open(at, (size_t)(line_end - at));
        char key[64];
        int64_t step = -1;
        json_enter(&j, '{');
        while (json_next(&j, '}'))
            if (json_key(&j, key, sizeof key) && !strcmp(key, "step")) json_int(&j, &step);
            else json_skip(&j);
        if (!json_end(&j) || step < 0 || step >= first_step) break;
        at = line_end + 1;
    }
    return (size_t)(at - (const char *)map->data);
}

Status metrics_open(const char *path, bool append, int64_t first_step, MetricsFile **out_file) {
    *out_file = NULL;
    if (append && file_exists(path)) {
        FileMap map;
        STATUS_TRY(file_map(path, &map));
        size_t keep = kept_length(&map, first_step);
        Status s = keep == map.size ? status_ok() : file_write_whole(path, map.data, keep);
        file_unmap(&map);
        STATUS_TRY(s);
    }
    MetricsFile *m = calloc(1, sizeof *m);
    if (!m) return status_make(STATUS_MEMORY, "no memory for metrics");
    snprintf(m->path, sizeof m->path, "%.*s", (int)sizeof m->path - 1, path);
    m->out = fopen(path, append ? "a" : "w");
    if (!m->out) {
        free(m);
        return status_errno("cannot write", path);
    }
    *out_file = m;
    return status_ok();
}

void metrics_close(MetricsFile *m) {
    if (!m) return;
    fclose(m->out);
    free(m);
}

Status metrics_write(MetricsFile *m, int64_t step, const MetricsValue *values, int n) {
    if (!m) return status_ok();
    fprintf(m->out, "{\"step\":%lld", (long long)step);
    for (int i = 0; i < n; i++) {
        fputc(',', m->out);
        json_put_string(m->out, values[i].name);
        if (isfinite(values[i].value)) fprintf(m->out, ":%.9g", values[i].value);
        else fputs(":null", m->out);
    }
    fputs("}\n", m->out);
    return fflush(m->out) || ferror(m->out) ? status_errno("cannot write", m->path) : status_ok();
}
