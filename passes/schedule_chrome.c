// SPDX-License-Identifier: Apache-2.0
// A schedule as trace events (the format of chrome://tracing, also read by Perfetto): a process a stage.
#include "passes/schedule_inside.h"

void schedule_chrome(const Schedule *s, const ScheduleTime *t, double microseconds, FILE *out) {
    static const char *const categories[] = {"forward", "backward", "input_grad", "weight_grad"};
    fputs("{\"displayTimeUnit\":\"ms\",\"traceEvents\":[", out);
    const char *comma = "";
    for (int i = 0; i < s->stages; i++) {
        fprintf(out, "%s\n{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":%d,\"args\":{\"name\":\"stage %d\"}},\n",
                comma, i, i);
        fprintf(out, "{\"name\":\"process_sort_index\",\"ph\":\"M\",\"pid\":%d,\"args\":{\"sort_index\":%d}}", i, i);
        comma = ",";
        for (int64_t k = 0; k < s->count[i]; k++) {
            const WorkItem w = s->items[i][k];
            fprintf(out,
                    ",\n{\"name\":\"%c%d.%lld\",\"cat\":\"%s\",\"ph\":\"X\",\"ts\":%.3f,\"dur\":%.3f,\"pid\":%d,"
                    "\"tid\":0,\"args\":{\"chunk\":%d,\"microbatch\":%lld}}",
                    work_letter(w.kind), w.chunk, (long long)w.microbatch, categories[w.kind],
                    t->start[i][k] * microseconds, (t->end[i][k] - t->start[i][k]) * microseconds, i, w.chunk,
                    (long long)w.microbatch);
        }
    }
    fputs("\n]}\n", out);
}
