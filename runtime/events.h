// SPDX-License-Identifier: Apache-2.0
// events: what a run reports, once more as TensorBoard's event files: TFRecords of the protobuf Event, scalars only.
#pragma once
#include "runtime/metrics.h"
#include <stddef.h>

typedef struct EventFile EventFile;
// A new file FOLDER/events.out.tfevents.TIME.HOST beside those there are; the folder is made when missing. What older
// files say of first_step and later is thereby gone from TensorBoard's charts.
Status events_open(const char *folder, int64_t first_step, EventFile **out_file);
void events_close(EventFile *e); // NULL is fine
// One event with all values, each a scalar under its name; flushed, so that a killed run's file is good up to its last
// whole record. NULL e: nothing.
Status events_write(EventFile *e, int64_t step, const MetricsValue *values, int n);

uint32_t crc32c(const void *bytes, size_t size); // Castagnoli's
