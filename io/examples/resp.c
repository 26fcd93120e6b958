/* SPDX-License-Identifier: MIT */
/* Parses requests of the cache and writes its replies. */
#include "io/examples/resp.h"

#include <stdlib.h>

/* A sign, the digits of any length that is allowed, CR LF, and some leading zeros. */
#define HEAD_BYTES_MAX 32u

void bnx_resp_init(struct bnx_resp_request *request) {
    request->at = 0;
    request->args_wanted = 0;
    request->arg_count = 0;
    request->bulk_bytes = -1;
    request->error = NULL;
    request->args = request->first_args;
    request->args_room = BNX_RESP_ARGS_INLINE;
}

void bnx_resp_reset(struct bnx_resp_request *request) {
    if (request->args != request->first_args) {
        free(request->args);
    }
    bnx_resp_init(request);
}

static enum bnx_resp_result fail(struct bnx_resp_request *request, const char *error) {
    request->error = error;
    return BNX_RESP_MALFORMED;
}

static bool arg_add(struct bnx_resp_request *request, size_t at, size_t bytes) {
    if (request->arg_count == request->args_room) {
        bool is_inline = request->args == request->first_args;
        size_t room = (size_t)request->args_room * 2;
        struct bnx_resp_place *args =
            realloc(is_inline ? NULL : request->args, room * sizeof(*args));
        if (args == NULL) {
            return false;
        }
        if (is_inline) {
            memcpy(args, request->first_args, sizeof(request->first_args));
        }
        request->args = args;
        request->args_room = (uint32_t)room;
    }
    request->args[request->arg_count++] =
        (struct bnx_resp_place){.at = (uint32_t)at, .bytes = (uint32_t)bytes};
    return true;
}

/* Reads "X123\r\n" where request->at stands, and steps over it. */
static enum bnx_resp_result head_parse(struct bnx_resp_request *request, const char *data,
                                       size_t bytes, int64_t *out_number) {
    size_t at = request->at + 1;
    bool is_negative = at < bytes && data[at] == '-';
    at += is_negative;
    size_t digits_at = at;
    int64_t number = 0;
    while (at < bytes && data[at] >= '0' && data[at] <= '9') {
        if (at - digits_at > HEAD_BYTES_MAX) {
            return BNX_RESP_MALFORMED;
        }
        number = number < INT32_MAX ? number * 10 + (data[at] - '0') : number;
        at++;
    }
    if ((at < bytes && (data[at] != '\r' || at == digits_at)) ||
        (at + 1 < bytes && data[at + 1] != '\n')) {
        return BNX_RESP_MALFORMED;
    }
    if (at + 1 >= bytes) {
        return BNX_RESP_MORE;
    }
    request->at = (uint32_t)at + 2;
    *out_number = is_negative ? -number : number;
    return BNX_RESP_COMPLETE;
}

/* The length of an argument, then its bytes. */
static enum bnx_resp_result bulk_parse(struct bnx_resp_request *request, const char *data,
                                       size_t bytes) {
    if (request->bulk_bytes < 0) {
        if (request->at >= bytes) {
            return BNX_RESP_MORE;
        }
        if (data[request->at] != '$') {
            return fail(request, "-ERR Protocol error: expected '$'\r\n");
        }
        int64_t number = 0;
        enum bnx_resp_result result = head_parse(request, data, bytes, &number);
        if (result == BNX_RESP_MALFORMED ||
            (result == BNX_RESP_COMPLETE && (number < 0 || number > BNX_RESP_BULK_BYTES_MAX))) {
            return fail(request, "-ERR Protocol error: invalid bulk length\r\n");
        }
        if (result == BNX_RESP_MORE) {
            return result;
        }
        if (number > BNX_RESP_REQUEST_BYTES_MAX - (int64_t)request->at) {
            return fail(request, "-ERR Protocol error: too big request\r\n");
        }
        request->bulk_bytes = (int32_t)number;
    }
    size_t end = request->at + (size_t)request->bulk_bytes;
    if (end + 2 > bytes) {
        return BNX_RESP_MORE;
    }
    if (data[end] != '\r' || data[end + 1] != '\n') {
        return fail(request, "-ERR Protocol error: expected CRLF behind a bulk string\r\n");
    }
    if (!arg_add(request, request->at, (size_t)request->bulk_bytes)) {
        return fail(request, "-ERR out of memory\r\n");
    }
    request->at = (uint32_t)end + 2;
    request->bulk_bytes = -1;
    return BNX_RESP_COMPLETE;
}

/* Words with blanks between them; in double quotes a word may have blanks. */
static enum bnx_resp_result words_parse(struct bnx_resp_request *request, const char *data,
                                        size_t line_bytes) {
    size_t at = 0;
    while (at < line_bytes) {
        if (data[at] == ' ' || data[at] == '\t') {
            at++;
            continue;
        }
        bool is_quoted = data[at] == '"';
        at += is_quoted;
        size_t begin = at;
        while (at < line_bytes &&
               (is_quoted ? data[at] != '"' : data[at] != ' ' && data[at] != '\t')) {
            at++;
        }
        if (is_quoted && at == line_bytes) {
            return fail(request, "-ERR Protocol error: unbalanced quotes in request\r\n");
        }
        if (!arg_add(request, begin, at - begin)) {
            return fail(request, "-ERR out of memory\r\n");
        }
        at += is_quoted;
    }
    return BNX_RESP_COMPLETE;
}

static enum bnx_resp_result line_parse(struct bnx_resp_request *request, const char *data,
                                       size_t bytes) {
    size_t scanned = bytes < BNX_RESP_LINE_BYTES_MAX ? bytes : BNX_RESP_LINE_BYTES_MAX;
    const char *end = memchr(data + request->at, '\n', scanned - request->at);
    if (end == NULL) {
        request->at = (uint32_t)scanned;
        return scanned == BNX_RESP_LINE_BYTES_MAX
                   ? fail(request, "-ERR Protocol error: too big inline request\r\n")
                   : BNX_RESP_MORE;
    }
    size_t line_bytes = (size_t)(end - data);
    request->at = (uint32_t)line_bytes + 1;
    return words_parse(request, data,
                       line_bytes - (line_bytes > 0 && data[line_bytes - 1] == '\r'));
}

enum bnx_resp_result bnx_resp_parse(struct bnx_resp_request *request, const char *data,
                                    size_t bytes) {
    if (bytes == 0) {
        return BNX_RESP_MORE;
    }
    if (data[0] != '*') {
        return line_parse(request, data, bytes);
    }
    if (request->args_wanted == 0) {
        int64_t number = 0;
        enum bnx_resp_result result = head_parse(request, data, bytes, &number);
        if (result == BNX_RESP_MALFORMED || number > BNX_RESP_ARGS_MAX) {
            return fail(request, "-ERR Protocol error: invalid multibulk length\r\n");
        }
        if (result == BNX_RESP_MORE || number <= 0) {
            return result; /* an empty array asks for nothing and gets no reply */
        }
        request->args_wanted = (uint32_t)number;
    }
    while (request->arg_count < request->args_wanted) {
        enum bnx_resp_result result = bulk_parse(request, data, bytes);
        if (result != BNX_RESP_COMPLETE) {
            return result;
        }
    }
    return BNX_RESP_COMPLETE;
}

size_t bnx_resp_decimal(char *out, int64_t number) {
    char digits[20];
    size_t at = sizeof(digits);
    uint64_t rest = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    do {
        digits[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (number < 0) {
        digits[--at] = '-';
    }
    memcpy(out, digits + at, sizeof(digits) - at);
    return sizeof(digits) - at;
}

bool bnx_resp_number(const char *text, size_t bytes, int64_t *out) {
    bool is_negative = bytes > 0 && text[0] == '-';
    size_t at = is_negative;
    if (bytes == at || bytes > 20 || (text[at] == '0' && bytes > 1)) {
        return false; /* no digits, or zeros that a number written back would not have */
    }
    uint64_t number = 0;
    for (; at < bytes; at++) {
        if (text[at] < '0' || text[at] > '9' ||
            __builtin_mul_overflow(number, UINT64_C(10), &number) ||
            __builtin_add_overflow(number, (uint64_t)(text[at] - '0'), &number)) {
            return false;
        }
    }
    if (number > (uint64_t)INT64_MAX + is_negative) {
        return false;
    }
    *out = is_negative ? (int64_t)(0 - number) : (int64_t)number;
    return true;
}

void bnx_resp_integer(struct bnx_cache_text *reply, char kind, int64_t number) {
    if (!bnx_cache_text_reserve(reply, 1 + 20 + 2)) {
        return;
    }
    char *out = reply->data + reply->bytes;
    size_t bytes = 0;
    out[bytes++] = kind;
    if (number >= 0 && number < 10) {
        out[bytes++] = (char)('0' + number);
    } else {
        bytes += bnx_resp_decimal(out + bytes, number);
    }
    out[bytes++] = '\r';
    out[bytes++] = '\n';
    reply->bytes += bytes;
}

void bnx_resp_bulk(struct bnx_cache_text *reply, const void *data, size_t bytes) {
    if (!bnx_cache_text_reserve(reply, bytes + 1 + 20 + 2 + 2)) {
        return;
    }
    bnx_resp_integer(reply, '$', (int64_t)bytes);
    char *out = reply->data + reply->bytes;
    memcpy(out, data, bytes);
    out[bytes] = '\r';
    out[bytes + 1] = '\n';
    reply->bytes += bytes + 2;
}
