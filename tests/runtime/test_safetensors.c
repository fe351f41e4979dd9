// SPDX-License-Identifier: Apache-2.0
// Safetensors files: real ones are read, damaged and hostile ones refused, each with its own message.
#include "check.h"
#include "runtime/safetensors.h"

static void refuse(const char *header, int64_t header_size, size_t data, const char *message) {
    size_t n = strlen(header);
    unsigned char *file = malloc(8 + n + data);
    uint64_t says = header_size < 0 ? n : (uint64_t)header_size;
    for (int i = 0; i < 8; i++) file[i] = (unsigned char)(says >> 8 * i);
    memcpy(file + 8, header, n);
    memset(file + 8 + n, 0, data);
    Safetensors *f;
    Status s = safetensors_parse(file, 8 + n + data, "x", &f);
    if (message) {
        if (s.code != STATUS_CORRUPT || !strstr(s.message, message) || f) {
            printf("%s: expected '%s', got '%s'\n", header, message, s.message);
            check_failures++;
        }
    } else {
        CHECK_OK(s);
    }
    safetensors_close(f);
    free(file);
}

#define T(type, shape, offsets) "{\"dtype\":\"" type "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

int main(void) {
    Safetensors *f;
    refuse("{}", -1, 0, NULL);
    refuse("{ \"a\" : " T("F32", "[2, 1]", "[0, 8]") " ,\n\"b\":" T("U8", "[]", "[8,9]") "}  ", -1, 9, NULL);
    refuse("{\"a\":" T("F32", "[0]", "[0,0]") "}", -1, 0, NULL);
    refuse("{\"__metadata__\":{\"k\\u00e9\":\"v\\ud83d\\ude00\\n\"}}", -1, 0, NULL);

    CHECK_FAILS(safetensors_parse("1234567", 7, "x", &f), STATUS_CORRUPT, "7 bytes are too few");
    CHECK_FAILS(safetensors_parse("", 0, "x", &f), STATUS_CORRUPT, "0 bytes are too few");
    refuse("{}", 3, 0, "a header of 3 bytes in a file of 10");
    refuse("{}", INT64_MAX, 0, "at most 104857600 are allowed");
    refuse("", 0, 0, "expected an object");
    refuse("[]", -1, 0, "expected an object");
    refuse("{\"a\"}", -1, 0, "expected ':'");
    refuse("{\"a\":1}", -1, 0, "expected an object");
    refuse("{\"a\":{}", -1, 0, "lacks type, shape or offsets");
    refuse("{\"a\":" T("F32", "[1]", "[0,4]"), -1, 4, "expected ',' or '}'");
    refuse("{\"a\":" T("F32", "[1]", "[0,4]") "}}", -1, 4, "text behind the value");
    refuse("{\"a\":" T("F32", "[1]", "[0,4]") ",}", -1, 4, "expected a string");
    refuse("{\"a\":" T("Q4", "[1]", "[0,4]") "}", -1, 4, "unknown element type 'Q4'");
    refuse("{\"a\":" T("F32", "[-1]", "[0,4]") "}", -1, 4, "negative extent");
    refuse("{\"a\":" T("F32", "[1]", "[-4,0]") "}", -1, 4, "negative offset");
    refuse("{\"a\":" T("F32", "[1.5]", "[0,4]") "}", -1, 4, "expected an integer");
    refuse("{\"a\":" T("F32", "[01]", "[0,4]") "}", -1, 4, "begins with 0");
    refuse("{\"a\":" T("F32", "[99999999999999999999]", "[0,4]") "}", -1, 4, "beyond 64 bits");
    refuse("{\"a\":" T("F32", "[4294967296,4294967296]", "[0,4]") "}", -1, 4, "too large");
    refuse("{\"a\":" T("F32", "[1,1,1,1,1,1,1,1,1,1,1,1,1]", "[0,4]") "}", -1, 4, "more than 12 dimensions");
    refuse("{\"a\":" T("F32", "[1]", "[4,0]") "}", -1, 4, "ends before it begins");
    refuse("{\"a\":" T("F32", "[1]", "[0,4]") "}", -1, 3, "ends at byte 4 of 3: the file is truncated");
    refuse("{\"a\":" T("F32", "[2]", "[0,4]") "}", -1, 4, "has 4 bytes, its shape needs 8");
    refuse("{\"a\":" T("F32", "[1]", "[0,4,8]") "}", -1, 8, "more than two offsets");
    refuse("{\"a\":" T("F32", "[1]", "[0]") "}", -1, 8, "lacks type, shape or offsets");
    refuse("{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\"}}", -1, 0, "field 'dtype' twice");
    refuse("{\"a\":{\"type\":\"F32\"}}", -1, 0, "unknown field 'type'");
    refuse("{\"a\":" T("U8", "[4]", "[0,4]") ",\"b\":" T("U8", "[4]", "[3,7]") "}", -1, 7, "'a' and 'b' overlap");
    refuse("{\"a\":" T("U8", "[4]", "[0,4]") ",\"b\":" T("U8", "[4]", "[5,9]") "}", -1, 9, "1 bytes before tensor 'b'");
    refuse("{\"a\":" T("U8", "[4]", "[0,4]") "}", -1, 6, "the last 2 bytes belong to no tensor");
    refuse("{\"a\":" T("U8", "[4]", "[0,4]") ",\"a\":" T("U8", "[4]", "[4,8]") "}", -1, 8, "'a' occurs twice");
    refuse("{\"__metadata__\":{},\"__metadata__\":{}}", -1, 0, "'__metadata__' occurs twice");
    refuse("{\"__metadata__\":{\"a\":1}}", -1, 0, "expected a string");
    refuse("{\"a\\u0000b\":1}", -1, 0, "a bad escape");
    refuse("{\"a\\ud800\":1}", -1, 0, "a bad escape");
    refuse("{\"a\nb\":1}", -1, 0, "control character");
    refuse("{\"abc", -1, 0, "does not end");
    char *deep = calloc(1, 3000), *wide = calloc(1, 3000);
    strcpy(deep, "{\"a\":{\"shape\":");
    memset(deep + strlen(deep), '[', 2000);
    refuse(deep, -1, 0, "expected an integer");
    memset(wide, 'n', 2000);
    memcpy(wide, "{\"", 2);
    refuse(wide, -1, 0, "too long");
    free(deep);
    free(wide);

    CHECK_OK(safetensors_open("tests/reference/gpt2.safetensors", &f));
    if (f) {
        const Tensor *t = safetensors_find(f, "h.1.attn.c_attn.weight");
        CHECK(t && t->dtype == TENSOR_F32 && t->rank == 2 && t->shape[0] == 32 && t->shape[1] == 96);
        CHECK(!strcmp(safetensors_meta(f, "model"), "gpt2") && !safetensors_find(f, "nothing"));
        for (int i = 1; i < safetensors_count(f); i++)
            CHECK(strcmp(safetensors_at(f, i - 1)->name, safetensors_at(f, i)->name) < 0);
        safetensors_close(f);
    }
    return check_report("safetensors");
}
