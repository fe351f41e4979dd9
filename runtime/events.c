// SPDX-License-Identifier: Apache-2.0
// A record is its length (u64), the length's masked CRC, the data, the data's masked CRC; all little-endian. The data
// is tensorflow.Event, of which these fields are written:
//   Event: 1 wall_time double, 2 step int64, 3 file_version string, 5 summary Summary, 7 session_log SessionLog
//   Summary: 1 value repeated Value;  Value: 1 tag string, 2 simple_value float;  SessionLog: 1 status enum, START = 1
#include "runtime/events.h"
#include "runtime/file.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MAX_RECORD = 4096, MAX_NAME = 100, SESSION_START = 1 };
typedef enum WireType { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 } WireType;

struct EventFile {
    FILE *out;
    char *path;
};

// A message under construction; what does not fit is counted all the same, and then refused.
typedef struct Message {
    unsigned char at[MAX_RECORD];
    size_t size;
} Message;

uint32_t crc32c(const void *bytes, size_t size) {
    uint32_t crc = ~0u;
    for (const unsigned char *p = bytes, *end = p + size; p < end; p++) {
        crc ^= *p;
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    return ~crc;
}

// A CRC of data that holds CRCs is weak; TFRecords store this instead.
static uint32_t masked(uint32_t crc) { return (crc >> 15 | crc << 17) + 0xa282ead8u; }

static void put_bytes(Message *m, const void *bytes, size_t size) {
    if (m->size <= MAX_RECORD && size <= MAX_RECORD - m->size) memcpy(m->at + m->size, bytes, size);
    m->size += size;
}

static void put_fixed(Message *m, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) put_bytes(m, &(unsigned char){(unsigned char)(value >> 8 * i)}, 1);
}

static void put_varint(Message *m, uint64_t value) {
    for (; value >= 0x80; value >>= 7) put_fixed(m, (value & 0x7f) | 0x80, 1);
    put_fixed(m, value, 1);
}

static void put_key(Message *m, int field, WireType type) { put_varint(m, (uint64_t)field << 3 | type); }

static void put_field(Message *m, int field, const void *bytes, size_t size) {
    put_key(m, field, WIRE_BYTES);
    put_varint(m, size);
    put_bytes(m, bytes, size);
}

static void begin_event(Message *m, int64_t step) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    double seconds = (double)now.tv_sec + (double)now.tv_nsec / 1e9;
    uint64_t bits;
    memcpy(&bits, &seconds, sizeof bits);
    m->size = 0;
    put_key(m, 1, WIRE_64);
    put_fixed(m, bits, 8);
    put_key(m, 2, WIRE_VARINT);
    put_varint(m, (uint64_t)step);
}

static Status write_record(EventFile *e, const Message *data) {
    if (data->size > MAX_RECORD)
        return status_make(STATUS_RANGE, "%s: an event of %zu bytes; at most %d", e->path, data->size, MAX_RECORD);
    Message frame = {.size = 0};
    put_fixed(&frame, data->size, 8);
    put_fixed(&frame, masked(crc32c(frame.at, 8)), 4);
    fwrite(frame.at, 1, frame.size, e->out);
    fwrite(data->at, 1, data->size, e->out);
    frame.size = 0;
    put_fixed(&frame, masked(crc32c(data->at, data->size)), 4);
    fwrite(frame.at, 1, frame.size, e->out);
    return fflush(e->out) || ferror(e->out) ? status_errno("cannot write", e->path) : status_ok();
}

// Opens a file that was not there: of a run begun in the same second, the next gets a number behind its name.
static Status create(EventFile *e, const char *folder) {
    char host[64] = "";
    if (gethostname(host, sizeof host - 1) || !*host) strcpy(host, "localhost");
    for (char *p = host; *p; p++)
        if (*p == '/') *p = '-';
    size_t room = strlen(folder) + MAX_NAME + sizeof host;
    if (!(e->path = malloc(room))) return status_make(STATUS_MEMORY, "no memory for events");
    int length = snprintf(e->path, room, "%s/events.out.tfevents.%010" PRId64 ".%s", folder, (int64_t)time(NULL), host);
    int fd;
    for (int i = 1; (fd = open(e->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666)) < 0 && errno == EEXIST; i++)
        snprintf(e->path + length, room - (size_t)length, ".%d", i);
    if (fd < 0) return status_errno("cannot create", e->path);
    if (!(e->out = fdopen(fd, "wb"))) {
        close(fd);
        return status_make(STATUS_MEMORY, "no memory for events");
    }
    return status_ok();
}

Status events_open(const char *folder, int64_t first_step, EventFile **out_file) {
    *out_file = NULL;
    STATUS_TRY(file_make_folders(folder));
    EventFile *e = calloc(1, sizeof *e);
    if (!e) return status_make(STATUS_MEMORY, "no memory for events");
    Status s = create(e, folder);
    static const char version[] = "brain.Event:2";
    Message m, log = {.size = 0};
    if (!status_failed(&s)) {
        begin_event(&m, 0);
        put_field(&m, 3, version, sizeof version - 1);
        s = write_record(e, &m);
    }
    if (!status_failed(&s)) {
        begin_event(&m, first_step);
        put_key(&log, 1, WIRE_VARINT);
        put_varint(&log, SESSION_START);
        put_field(&m, 7, log.at, log.size);
        s = write_record(e, &m);
    }
    if (status_failed(&s)) {
        events_close(e);
        return s;
    }
    *out_file = e;
    return s;
}

void events_close(EventFile *e) {
    if (!e) return;
    if (e->out) fclose(e->out);
    free(e->path);
    free(e);
}

Status events_write(EventFile *e, int64_t step, const MetricsValue *values, int n) {
    if (!e) return status_ok();
    Message m, summary = {.size = 0};
    for (int i = 0; i < n; i++) {
        Message value = {.size = 0};
        float number = (float)values[i].value;
        uint32_t bits;
        memcpy(&bits, &number, sizeof bits);
        put_field(&value, 1, values[i].name, strlen(values[i].name));
        put_key(&value, 2, WIRE_32);
        put_fixed(&value, bits, 4);
        if (value.size > MAX_RECORD) return status_make(STATUS_RANGE, "%s: a name of %zu bytes", e->path, value.size);
        put_field(&summary, 1, value.at, value.size);
    }
    if (summary.size > MAX_RECORD) return status_make(STATUS_RANGE, "%s: %d values in one event", e->path, n);
    begin_event(&m, step);
    put_field(&m, 5, summary.at, summary.size);
    return write_record(e, &m);
}
