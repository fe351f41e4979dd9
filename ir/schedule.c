// SPDX-License-Identifier: Apache-2.0
#include "ir/schedule.h"
#include <string.h>

static const char *const names[] = {"1f1b", "gpipe", "interleaved", "zbh1", "zbv", "file"};

const char *schedule_name(ScheduleName name) { return names[name]; }

bool schedule_find(const char *text, ScheduleName *out_name) {
    for (int i = 0; i < PIPE_FILE; i++)
        if (!strcmp(text, names[i])) {
            *out_name = (ScheduleName)i;
            return true;
        }
    return false;
}
