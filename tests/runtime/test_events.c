// SPDX-License-Identifier: Apache-2.0
// Event files: known CRCs, and what was written read back field by field; a second run leaves the first run's file
// alone.
#include "check.h"
#include "runtime/events.h"
#include "runtime/file.h"
#include <dirent.h>
#include <math.h>
#include <unistd.h>

static void known_crcs(void) {
    unsigned char bytes[32];
    CHECK(crc32c("", 0) == 0);
    CHECK(crc32c("123456789", 9) == 0xe3069283u);
    memset(bytes, 0, sizeof bytes); // the rest: RFC 3720, B.4
    CHECK(crc32c(bytes, 32) == 0x8a9136aau);
    memset(bytes, 0xff, sizeof bytes);
    CHECK(crc32c(bytes, 32) == 0x62a8ab43u);
    for (int i = 0; i < 32; i++) bytes[i] = (unsigned char)i;
    CHECK(crc32c(bytes, 32) == 0x46dd794eu);
    for (int i = 0; i < 32; i++) bytes[i] = (unsigned char)(31 - i);
    CHECK(crc32c(bytes, 32) == 0x113fdb5cu);
}

typedef struct Read {
    const unsigned char *at, *end;
} Read;

static uint64_t fixed(Read *r, int bytes) {
    uint64_t value = 0;
    CHECK(r->end - r->at >= bytes);
    if (r->end - r->at < bytes) {
        r->at = r->end;
        return 0;
    }
    for (int i = 0; i < bytes; i++) value |= (uint64_t)*r->at++ << 8 * i;
    return value;
}

static uint64_t varint(Read *r) {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        uint64_t byte = fixed(r, 1);
        value |= (byte & 0x7f) << shift;
        if (byte < 0x80) return value;
    }
    CHECK(!"a varint of more than ten bytes");
    return value;
}

static Read bytes(Read *r) {
    uint64_t size = varint(r);
    CHECK(size <= (uint64_t)(r->end - r->at));
    if (size > (uint64_t)(r->end - r->at)) size = 0;
    Read inner = {r->at, r->at + size};
    r->at += size;
    return inner;
}

static bool is_text(Read r, const char *text) {
    return (size_t)(r.end - r.at) == strlen(text) && !memcmp(r.at, text, strlen(text));
}

// The next record's data, its CRCs checked with the mask undone, not applied.
static Read record(Read *r) {
    Read head = *r;
    uint64_t size = fixed(r, 8);
    uint32_t sums[2] = {(uint32_t)fixed(r, 4), 0};
    CHECK(size <= (uint64_t)(r->end - r->at));
    if (size > (uint64_t)(r->end - r->at)) size = 0;
    Read data = {r->at, r->at + size};
    r->at += size;
    sums[1] = (uint32_t)fixed(r, 4);
    for (int i = 0; i < 2; i++) {
        uint32_t rotated = sums[i] - 0xa282ead8u;
        CHECK((rotated >> 17 | rotated << 15) == crc32c(i ? data.at : head.at, i ? (size_t)size : 8));
    }
    return data;
}

typedef struct Event {
    double wall_time;
    int64_t step;
    Read version, summary, log;
} Event;

static Event event(Read *file) {
    Event e = {0};
    Read r = record(file);
    while (r.at < r.end) {
        uint64_t key = varint(&r);
        if (key == (1 << 3 | 1)) {
            uint64_t bits = fixed(&r, 8);
            memcpy(&e.wall_time, &bits, sizeof bits);
        } else if (key == (2 << 3 | 0)) e.step = (int64_t)varint(&r);
        else if (key == (3 << 3 | 2)) e.version = bytes(&r);
        else if (key == (5 << 3 | 2)) e.summary = bytes(&r);
        else if (key == (7 << 3 | 2)) e.log = bytes(&r);
        else {
            CHECK(!"a field of Event");
            break;
        }
    }
    CHECK(e.wall_time > 1.6e9 && e.wall_time < 1e11);
    return e;
}

static void check_value(Read *summary, const char *tag, float wanted) {
    CHECK(varint(summary) == (1 << 3 | 2));
    Read value = bytes(summary);
    CHECK(varint(&value) == (1 << 3 | 2));
    CHECK(is_text(bytes(&value), tag));
    CHECK(varint(&value) == (2 << 3 | 5));
    uint32_t bits = (uint32_t)fixed(&value, 4);
    float got;
    memcpy(&got, &bits, sizeof got);
    CHECK(got == wanted || (isnan(got) && isnan(wanted)));
    CHECK(value.at == value.end);
}

static void check_begins(Read *file, int64_t first_step) {
    Event e = event(file);
    CHECK(is_text(e.version, "brain.Event:2") && !e.step && !e.summary.at && !e.log.at);
    e = event(file);
    CHECK(!e.version.at && e.step == first_step && e.log.end - e.log.at == 2 && e.log.at[0] == 1 << 3 &&
          e.log.at[1] == 1);
}

static int names(const char *folder, char out_paths[][512]) {
    int n = 0;
    DIR *d = opendir(folder);
    CHECK(d != NULL);
    for (struct dirent *entry; d && (entry = readdir(d));)
        if (entry->d_name[0] != '.' && n < 4) {
            CHECK(!strncmp(entry->d_name, "events.out.tfevents.", 20) && strlen(entry->d_name) > 31);
            snprintf(out_paths[n++], 512, "%s/%.200s", folder, entry->d_name);
        }
    if (d) closedir(d);
    return n;
}

static void round_trip(const char *parent) {
    char folder[128], paths[4][512];
    snprintf(folder, sizeof folder, "%s/board/run", parent);
    EventFile *e;
    CHECK_OK(events_open(folder, 1, &e));
    CHECK_OK(events_write(e, 1, (MetricsValue[]){{"loss", 2.5}, {"lr", 1e-3}}, 2));
    CHECK_OK(events_write(e, 300, (MetricsValue[]){{"grad_norm", NAN}}, 1));
    CHECK_OK(events_write(e, (int64_t)1 << 40, NULL, 0));
    char *name = calloc(1, 5000);
    memset(name, 'x', 4999);
    CHECK_FAILS(events_write(e, 3, (MetricsValue[]){{name, 0}}, 1), STATUS_RANGE, "a name of");
    name[3000] = 0;
    CHECK_FAILS(events_write(e, 3, (MetricsValue[]){{name, 0}, {name, 0}}, 2), STATUS_RANGE, "2 values");
    free(name);
    events_close(e);
    CHECK(names(folder, paths) == 1);
    FileMap map;
    CHECK_OK(file_map(paths[0], &map));
    Read r = {map.data, map.data + map.size};
    check_begins(&r, 1);
    Event got = event(&r);
    CHECK(got.step == 1);
    check_value(&got.summary, "loss", 2.5f);
    check_value(&got.summary, "lr", 1e-3f);
    CHECK(got.summary.at == got.summary.end);
    got = event(&r);
    CHECK(got.step == 300);
    check_value(&got.summary, "grad_norm", NAN);
    CHECK(event(&r).step == (int64_t)1 << 40);
    CHECK(r.at == r.end);
    file_unmap(&map);
    for (int i = 0; i < 2; i++) { // resumed, within the same second
        CHECK_OK(events_open(folder, 7, &e));
        events_close(e);
    }
    int n = names(folder, paths), resumed = 0;
    CHECK(n == 3);
    for (int i = 0; i < n; i++) {
        CHECK_OK(file_map(paths[i], &map));
        r = (Read){map.data, map.data + map.size};
        event(&r);
        resumed += event(&r).step == 7;
        file_unmap(&map);
        unlink(paths[i]);
    }
    CHECK(resumed == 2);
    rmdir(folder);
    snprintf(folder, sizeof folder, "%s/board", parent);
    rmdir(folder);
}

int main(void) {
    char parent[64];
    snprintf(parent, sizeof parent, "/tmp/tgf-test-events-%d", (int)getpid());
    known_crcs();
    round_trip(parent);
    EventFile *e;
    CHECK_FAILS(events_open("/dev/null/board", 1, &e), STATUS_IO, "/dev/null");
    CHECK(!e);
    CHECK_OK(events_write(NULL, 1, NULL, 0));
    events_close(NULL);
    rmdir(parent);
    return check_report("events");
}
