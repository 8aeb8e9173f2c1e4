/* Read a golden bundle: check it, and print name, dtype, shape and CRC-32 of every tensor.

       gcc -std=c99 -O2 -Wall -Wextra -o read_bundle read_bundle.c
       ./read_bundle golden/gpt2

   golden/gpt2.txt lists what is in golden/gpt2.safetensors, a tensor a line; the format is
   described in minitx/oracle/FORMAT.md.  Exit code: 1, after a message, if anything is amiss. */

#include <inttypes.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void fail(const char *why, ...) {
    va_list values;
    va_start(values, why);
    fputs("read_bundle: ", stderr);
    vfprintf(stderr, why, values);
    fputc('\n', stderr);
    exit(1);
}

/* The CRC-32 of zlib and PNG. */
static uint32_t crc32(const unsigned char *data, uint64_t count) {
    uint32_t crc = 0xFFFFFFFFu;
    for (uint64_t i = 0; i < count; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? crc >> 1 ^ 0xEDB88320u : crc >> 1;
    }
    return ~crc;
}

static unsigned char *read_file(const char *stem, const char *suffix, uint64_t *size) {
    char path[4096];
    int length = snprintf(path, sizeof path, "%s%s", stem, suffix);
    FILE *file = length < (int)sizeof path ? fopen(path, "rb") : NULL;
    if (!file || fseek(file, 0, SEEK_END)) fail("cannot open %s%s", stem, suffix);
    long end = ftell(file);
    rewind(file);
    unsigned char *data = end < 0 ? NULL : malloc((size_t)end + 1);
    if (!data || fread(data, 1, (size_t)end, file) != (size_t)end) fail("cannot read %s", path);
    fclose(file);
    data[end] = 0; /* so that text ends */
    *size = (uint64_t)end;
    return data;
}

static uint64_t size_of(const char *dtype) {
    static const struct { const char *name; int size; } known[] = {
        {"float64", 8}, {"float32", 4}, {"int64", 8}, {"int32", 4}, {"uint64", 8}, {"uint32", 4},
        {"int16", 2},   {"uint16", 2},  {"int8", 1},  {"uint8", 1}, {"bool", 1}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(dtype, known[i].name)) return (uint64_t)known[i].size;
    fail("unknown dtype %s", dtype);
    return 0;
}

/* One line, "name dtype offset bytes crc32 rank sizes": a tensor that must begin at `begin`, where
   the one before it ends.  Returns where this one ends. */
static uint64_t check_tensor(char *line, const unsigned char *data, uint64_t size, uint64_t begin) {
    char name[1024], dtype[16];
    uint64_t offset, bytes, n, elements = 1;
    uint32_t crc;
    int rank, used, more;
    if (sscanf(line, "%1023s %15s %" SCNu64 " %" SCNu64 " %" SCNx32 " %d%n", name, dtype, &offset,
               &bytes, &crc, &rank, &used) != 6)
        fail("malformed line: %s", line);
    printf("%s %s (", name, dtype);
    for (int axis = 0; axis < rank; axis++, used += more) {
        if (sscanf(line + used, "%" SCNu64 "%n", &n, &more) != 1) fail("%s: a size lacks", name);
        if (n && elements > UINT64_MAX / 8 / n) fail("%s: too large", name);
        elements *= n;
        printf(axis ? ", %" PRIu64 : "%" PRIu64, n);
    }
    printf(") %08" PRIx32 "\n", crc);
    if (line[used]) fail("%s: more sizes than axes", name);
    if (elements * size_of(dtype) != bytes) fail("%s: its shape does not fit its length", name);
    if (offset != begin || bytes > size - begin) fail("%s: it is not where the list says", name);
    if (crc32(data + offset, bytes) != crc) fail("%s: its CRC-32 differs", name);
    /* Here a port would go on: (const double *)(data + offset) are its `elements` numbers. */
    return offset + bytes;
}

int main(int count, char **arguments) {
    if (count != 2) fail("expected one argument, a bundle's path without a suffix");
    uint64_t size, text_size, listed_size, tensors, header = 0;
    uint32_t listed_crc, crc;
    unsigned char *data = read_file(arguments[1], ".safetensors", &size);
    char *text = (char *)read_file(arguments[1], ".txt", &text_size);
    if (sscanf(text, "minitx-bundle 1 %" SCNu64 " %" SCNu64 " %" SCNx32, &tensors,
               &listed_size, &listed_crc) != 3)
        fail("the list is not one of a bundle, version 1");
    char *last = text + text_size - 13; /* "end 0123abcd\n" */
    if (strlen(text) != text_size || sscanf(last, "end %" SCNx32, &crc) != 1 || last[-1] != '\n' ||
        last[12] != '\n' || crc32((unsigned char *)text, text_size - 13) != crc)
        fail("the list is damaged or incomplete");
    if (size < 8 || size != listed_size) fail("the file has %" PRIu64 " bytes, not %" PRIu64, size,
                                              listed_size);
    if (crc32(data, size) != listed_crc) fail("the file's CRC-32 differs");
    for (int i = 7; i >= 0; i--) header = header << 8 | data[i];
    if (header > size - 8) fail("the header is longer than the file");
    uint64_t end = 8 + header; /* which is JSON, and says what the list says */
    for (char *line = strchr(text, '\n') + 1, *stop; line < last; line = stop + 1, tensors--) {
        stop = strchr(line, '\n');
        *stop = 0;
        end = check_tensor(line, data, size, end);
    }
    if (tensors || end != size) fail("there are more or fewer tensors than listed");
    free(text);
    free(data);
    return 0;
}
