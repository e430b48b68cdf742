/* Values as JSON. Containers are written from snapshots, one mutex at a time and none while writing. */
#include <errno.h>
#include <mp.h>
#include <stdlib.h>
#include <string.h>

#include "base/cancelling.h"
#include "value/json_float.h"
#include "value/snapshot.h"
#include "value/value.h"

struct writer {
    FILE *stream;
    /* The handles of the containers being written. The outermost may end meanwhile, and another may get its place. */
    const void *path[MP_MAX_DEPTH];
    int depth;
};

static int write_value(struct writer *writer, const mp_value *value);

static void write_text(struct writer *writer, const char *text)
{
    fputs(text, writer->stream);
}

/* The length of the UTF-8 character at the start; 0: it is not valid. */
static size_t character_length(const unsigned char *byte, size_t left)
{
    size_t length = byte[0] < 0x80   ? 1
                    : byte[0] < 0xc2 ? 0
                    : byte[0] < 0xe0 ? 2
                    : byte[0] < 0xf0 ? 3
                    : byte[0] < 0xf5 ? 4
                                     : 0;

    if (length == 0 || length > left)
        return 0;
    for (size_t i = 1; i < length; i++) {
        if ((byte[i] & 0xc0) != 0x80)
            return 0;
    }
    if ((byte[0] == 0xe0 && byte[1] < 0xa0) || (byte[0] == 0xed && byte[1] > 0x9f) ||
        (byte[0] == 0xf0 && byte[1] < 0x90) || (byte[0] == 0xf4 && byte[1] > 0x8f))
        return 0;
    return length;
}

static void write_escaped(struct writer *writer, unsigned byte)
{
    static const char letters[] = {
        ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r', ['"'] = '"', ['\\'] = '\\'};

    if (byte < sizeof letters && letters[byte] != 0)
        fprintf(writer->stream, "\\%c", letters[byte]);
    else
        fprintf(writer->stream, "\\u%04x", byte);
}

static void write_string(struct writer *writer, const unsigned char *byte, size_t size, bool utf8)
{
    fputc('"', writer->stream);
    while (size > 0) {
        size_t length = utf8 ? character_length(byte, size) : byte[0] < 0x80;

        if (length == 0)
            write_escaped(writer, utf8 ? 0xfffd : byte[0]);
        else if (length == 1 && (byte[0] < 0x20 || byte[0] == '"' || byte[0] == '\\'))
            write_escaped(writer, byte[0]);
        else
            fwrite(byte, 1, length, writer->stream);
        length += length == 0;
        byte += length;
        size -= length;
    }
    fputc('"', writer->stream);
}

static bool enter(struct writer *writer, const void *handle, int *error)
{
    for (int i = 0; i < writer->depth; i++) {
        if (writer->path[i] == handle) {
            write_text(writer, "\"...\"");
            return false;
        }
    }
    if (writer->depth == MP_MAX_DEPTH) {
        *error = MP_EDEPTH;
        return false;
    }
    writer->path[writer->depth++] = handle;
    return true;
}

static int write_key(struct writer *writer, const mp_value *key)
{
    if (key->type == MP_STR || key->type == MP_BYTES)
        return write_value(writer, key);
    fputc('"', writer->stream);
    int error = write_value(writer, key);
    fputc('"', writer->stream);
    return error;
}

static int write_container(struct writer *writer, const mp_value *value)
{
    bool keyed = object_kind_of_type(value->type)->keyed;
    struct snapshot snapshot;
    int error = 0;

    if (!enter(writer, value->as.dict, &error))
        return error;
    error = snapshot_take(value->as.dict, value_kind(value), &snapshot);
    if (error != 0)
        return error;
    fputc(keyed ? '{' : '[', writer->stream);
    for (size_t i = 0; error == 0 && i < snapshot.count; i++) {
        if (i > 0)
            write_text(writer, ", ");
        if (keyed) {
            error = write_key(writer, &snapshot.item[i].key);
            write_text(writer, ": ");
        }
        if (error == 0)
            error = write_value(writer, &snapshot.item[i].value);
    }
    fputc(keyed ? '}' : ']', writer->stream);
    snapshot_free(&snapshot);
    writer->depth--;
    return error;
}

static int write_value(struct writer *writer, const mp_value *value)
{
    char text[JSON_FLOAT_SIZE];

    switch (value->type) {
    case MP_NONE:
        write_text(writer, "null");
        return 0;
    case MP_BOOL:
        write_text(writer, value->as.boolean ? "true" : "false");
        return 0;
    case MP_INT:
        fprintf(writer->stream, "%lld", (long long)value->as.integer);
        return 0;
    case MP_FLOAT:
        json_float(value->as.real, text);
        write_text(writer, text);
        return 0;
    case MP_STR:
    case MP_BYTES:
        write_string(writer, value->as.bytes, value->size, value->type == MP_STR);
        return 0;
    default:
        return write_container(writer, value);
    }
}

/* Writes into memory first: the stream gets all or nothing, and no mutex is held while it is written. */
int mp_value_json(const mp_value *value, char **text)
{
    struct writer writer = {0};
    char *buffer = NULL;
    size_t size;

    if (value == NULL || text == NULL || !value_is_valid(value))
        return MP_EINVAL;
    writer.stream = open_memstream(&buffer, &size);
    if (writer.stream == NULL)
        return MP_ENOMEM;
    int error = write_value(&writer, value);
    if ((fclose(writer.stream) != 0 || buffer == NULL) && error == 0)
        error = MP_ENOMEM;
    if (error == 0)
        *text = buffer;
    else
        free(buffer);
    return error;
}

int mp_value_print(const mp_value *value, FILE *stream)
{
    CANCELLING_FORBIDDEN;
    char *text;

    if (stream == NULL)
        return MP_EINVAL;
    int error = mp_value_json(value, &text);
    if (error != 0)
        return error;
    if (fputs(text, stream) == EOF || ferror(stream))
        error = MP_ESYSTEM;
    free(text);
    return error;
}
