/* SPDX-License-Identifier: MIT */
/* Parses the head of an HTTP/1.1 request, line by line, and makes a path of its target. */
#include "io/examples/http1.h"

#include <string.h>
#include <strings.h>

/* Longest request line that may still be well-formed: method, target, " HTTP/1.1" and the CR. */
#define REQUEST_LINE_MAX (BNX_HTTP1_METHOD_BYTES_MAX + 1 + BNX_HTTP1_TARGET_BYTES_MAX + 9 + 1)

/* What the lines have said so far (struct bnx_http1_request.seen). */
enum {
    SEEN_REQUEST_LINE = 1 << 0,
    SEEN_HOST = 1 << 1,
    SEEN_LENGTH = 1 << 2,
    SEEN_LENGTH_HUGE = 1 << 3,  /* beyond what 64 bits or the limit hold */
    SEEN_CODING = 1 << 4,       /* a Transfer-Encoding field */
    SEEN_CODING_OTHER = 1 << 5, /* with a coding that is not chunked */
    SEEN_CLOSE = 1 << 6,
    SEEN_KEEP_ALIVE = 1 << 7,
    SEEN_EXPECT_OTHER = 1 << 8,
};

/* Sets of bytes, one bit each. */
static const uint32_t token_bytes[8] = {/* RFC 9110 5.6.2: letters, digits, !#$%&'*+-.^_`|~ */
                                        0x00000000u, 0x03ff6cfau, 0xc7fffffeu, 0x57ffffffu};
static const uint32_t target_bytes_allowed[8] = {/* visible ASCII but #"<>\^`{|} */
                                                 0x00000000u, 0xaffffff2u, 0xafffffffu,
                                                 0x47fffffeu};
static const uint32_t host_bytes[8] = {/* letters, digits, -._~%!$&'()*+,;=:[] */
                                       0x00000000u, 0x2fff7ff2u, 0xaffffffeu, 0x47fffffeu};

static bool is_in(const uint32_t set[8], char c) {
    unsigned char byte = (unsigned char)c;
    return ((set[byte >> 5] >> (byte & 31)) & 1) != 0;
}

/* Counts the leading bytes that are in the set. */
static size_t span_of(const uint32_t set[8], const char *text, size_t bytes) {
    size_t at = 0;
    while (at < bytes && is_in(set, text[at])) {
        at++;
    }
    return at;
}

/* HTAB, SP, visible characters and everything above 0x7f: no other may stand in a field value.
 * Without an early end, for most values are good and most of a head is values. */
static bool is_value(const char *text, size_t bytes) {
    unsigned bad = 0;
    for (size_t i = 0; i < bytes; i++) {
        unsigned byte = (unsigned char)text[i];
        bad |= (unsigned)(byte < 0x20) & (unsigned)(byte != '\t');
        bad |= (unsigned)(byte == 0x7f);
    }
    return bad == 0;
}

static bool is_text(const char *text, size_t bytes, const char *wanted) {
    return bytes == strlen(wanted) && memcmp(text, wanted, bytes) == 0;
}

static bool is_word(const char *text, size_t bytes, const char *wanted) {
    return bytes == strlen(wanted) && strncasecmp(text, wanted, bytes) == 0;
}

static bool is_blank(char c) {
    return c == ' ' || c == '\t';
}

/* Takes the next element of a comma-separated list, trimmed. False when the list has ended. */
static bool list_next(const char **list, size_t *bytes, const char **out_item, size_t *out_bytes) {
    if (*bytes == 0) {
        return false;
    }
    const char *comma = memchr(*list, ',', *bytes);
    size_t item_bytes = comma != NULL ? (size_t)(comma - *list) : *bytes;
    const char *item = *list;
    size_t skipped = comma != NULL ? item_bytes + 1 : item_bytes;
    *list += skipped;
    *bytes -= skipped;
    while (item_bytes > 0 && is_blank(item[0])) {
        item++;
        item_bytes--;
    }
    while (item_bytes > 0 && is_blank(item[item_bytes - 1])) {
        item_bytes--;
    }
    *out_item = item;
    *out_bytes = item_bytes;
    return true;
}

static int method_find(const char *name, size_t bytes, enum bnx_http1_method *out_method) {
    static const char *const names[] = {"GET",     "HEAD",    "POST",  "PUT",  "DELETE",
                                        "CONNECT", "OPTIONS", "TRACE", "PATCH"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (is_text(name, bytes, names[i])) {
            *out_method = (enum bnx_http1_method)i;
            return 0;
        }
    }
    return -501;
}

static int version_parse(struct bnx_http1_request *request, const char *text, size_t bytes) {
    if (bytes != 8 || memcmp(text, "HTTP/", 5) != 0 || text[5] < '0' || text[5] > '9' ||
        text[6] != '.' || text[7] < '0' || text[7] > '9') {
        return -400;
    }
    if (text[5] != '1') {
        return -505;
    }
    request->minor_version = text[7] == '0' ? 0 : 1;
    return 0;
}

/* Finds the path in a target: origin-form, absolute-form, or the "*" of OPTIONS. CONNECT's
 * authority is no path; it is kept whole, for nobody serves it. */
static int target_parse(struct bnx_http1_request *request, const char *target, size_t bytes) {
    size_t path_at = 0;
    if (request->method == BNX_HTTP1_CONNECT) {
        request->path_at = request->target_at;
        request->path_bytes = request->target_bytes;
        return span_of(host_bytes, target, bytes) == bytes ? 0 : -400;
    }
    if (target[0] != '/') {
        if (is_text(target, bytes, "*")) {
            request->path_at = request->target_at;
            request->path_bytes = 1;
            return request->method == BNX_HTTP1_OPTIONS ? 0 : -400;
        }
        if (bytes > 7 && strncasecmp(target, "http://", 7) == 0) {
            path_at = 7;
        } else if (bytes > 8 && strncasecmp(target, "https://", 8) == 0) {
            path_at = 8;
        } else {
            return -400;
        }
        size_t authority_bytes = span_of(host_bytes, target + path_at, bytes - path_at);
        path_at += authority_bytes;
        if (authority_bytes == 0 ||
            (path_at < bytes && target[path_at] != '/' && target[path_at] != '?')) {
            return -400;
        }
    }
    const char *query = memchr(target + path_at, '?', bytes - path_at);
    size_t path_end = query != NULL ? (size_t)(query - target) : bytes;
    request->path_at = request->target_at + (uint32_t)path_at;
    request->path_bytes = (uint32_t)(path_end - path_at);
    return 0;
}

static int request_line_parse(struct bnx_http1_request *request, const char *line, size_t bytes) {
    size_t method_bytes = span_of(token_bytes, line, bytes);
    if (method_bytes == 0 || method_bytes == bytes || line[method_bytes] != ' ') {
        return -400;
    }
    const char *target = line + method_bytes + 1;
    size_t rest_bytes = bytes - method_bytes - 1;
    size_t target_bytes = span_of(target_bytes_allowed, target, rest_bytes);
    if (target_bytes > BNX_HTTP1_TARGET_BYTES_MAX) {
        return -414;
    }
    if (target_bytes == 0 || target_bytes == rest_bytes || target[target_bytes] != ' ') {
        return -400;
    }
    int status = version_parse(request, target + target_bytes + 1, rest_bytes - target_bytes - 1);
    if (status == 0) {
        status = method_find(line, method_bytes, &request->method);
    }
    if (status < 0) {
        return status;
    }
    request->target_at = request->line_at + (uint32_t)method_bytes + 1;
    request->target_bytes = (uint32_t)target_bytes;
    request->seen |= SEEN_REQUEST_LINE;
    return target_parse(request, target, target_bytes);
}

/* One length, in digits alone. Even a repeated equal one is refused: a list is how two parsers come
 * to two lengths. */
static int length_parse(struct bnx_http1_request *request, const char *value, size_t bytes) {
    if (bytes == 0 || (request->seen & SEEN_LENGTH) != 0) {
        return -400;
    }
    request->seen |= SEEN_LENGTH;
    uint64_t length = 0;
    for (size_t i = 0; i < bytes; i++) {
        if (value[i] < '0' || value[i] > '9') {
            return -400;
        }
        if (length > request->body_bytes_max) {
            request->seen |= SEEN_LENGTH_HUGE;
            continue; /* the other digits are still checked: 400 before 413, however it is cut */
        }
        uint64_t digit = (uint64_t)(value[i] - '0');
        if (length > (UINT64_MAX - digit) / 10) {
            request->seen |= SEEN_LENGTH_HUGE;
            continue;
        }
        length = length * 10 + digit;
    }
    if (length > request->body_bytes_max) {
        request->seen |= SEEN_LENGTH_HUGE;
    }
    request->content_bytes = length;
    return 0;
}

/* Chunked must be the last coding and come once; what comes before it is not served (501). */
static int coding_parse(struct bnx_http1_request *request, const char *value, size_t bytes) {
    const char *item = NULL;
    size_t item_bytes = 0;
    bool is_empty = true;
    request->seen |= SEEN_CODING;
    while (list_next(&value, &bytes, &item, &item_bytes)) {
        if (item_bytes == 0) {
            continue;
        }
        is_empty = false;
        if (request->is_chunked) {
            return -400;
        }
        if (is_word(item, item_bytes, "chunked")) {
            request->is_chunked = true;
        } else {
            request->seen |= SEEN_CODING_OTHER;
        }
    }
    return is_empty ? -400 : 0;
}

static int connection_parse(struct bnx_http1_request *request, const char *value, size_t bytes) {
    const char *item = NULL;
    size_t item_bytes = 0;
    while (list_next(&value, &bytes, &item, &item_bytes)) {
        if (span_of(token_bytes, item, item_bytes) != item_bytes) {
            return -400;
        }
        if (is_word(item, item_bytes, "close")) {
            request->seen |= SEEN_CLOSE;
        } else if (is_word(item, item_bytes, "keep-alive")) {
            request->seen |= SEEN_KEEP_ALIVE;
        }
    }
    return 0;
}

static int host_parse(struct bnx_http1_request *request, const char *value, size_t bytes) {
    if ((request->seen & SEEN_HOST) != 0 || span_of(host_bytes, value, bytes) != bytes) {
        return -400;
    }
    request->seen |= SEEN_HOST;
    return 0;
}

static int field_parse(struct bnx_http1_request *request, const char *line, size_t bytes) {
    if (++request->field_count > BNX_HTTP1_FIELDS_MAX) {
        return -431;
    }
    /* A folded line starts with a blank, which is no token byte; a space before the colon is none
     * either. Both end here. */
    size_t name_bytes = span_of(token_bytes, line, bytes);
    if (name_bytes == 0 || name_bytes == bytes || line[name_bytes] != ':') {
        return -400;
    }
    const char *value = line + name_bytes + 1;
    size_t value_length = bytes - name_bytes - 1;
    if (!is_value(value, value_length)) {
        return -400;
    }
    while (value_length > 0 && is_blank(value[0])) {
        value++;
        value_length--;
    }
    while (value_length > 0 && is_blank(value[value_length - 1])) {
        value_length--;
    }
    switch (name_bytes) { /* the length alone rules most names out */
    case 4:
        return is_word(line, 4, "Host") ? host_parse(request, value, value_length) : 0;
    case 6:
        if (is_word(line, 6, "Expect")) {
            if (is_word(value, value_length, "100-continue")) {
                request->expects_continue = true;
            } else {
                request->seen |= SEEN_EXPECT_OTHER;
            }
        }
        return 0;
    case 10:
        return is_word(line, 10, "Connection") ? connection_parse(request, value, value_length) : 0;
    case 14:
        return is_word(line, 14, "Content-Length") ? length_parse(request, value, value_length) : 0;
    case 17:
        return is_word(line, 17, "Transfer-Encoding") ? coding_parse(request, value, value_length)
                                                      : 0;
    default:
        return 0;
    }
}

/* Judges the head as a whole. What makes the framing ambiguous comes first. */
static int head_finish(struct bnx_http1_request *request) {
    unsigned seen = request->seen;
    if ((seen & SEEN_CODING) != 0 && ((seen & SEEN_LENGTH) != 0 || request->minor_version == 0)) {
        return -400;
    }
    if (request->minor_version >= 1 && (seen & SEEN_HOST) == 0) {
        return -400;
    }
    if ((seen & SEEN_CODING_OTHER) != 0) {
        return -501;
    }
    if ((seen & SEEN_EXPECT_OTHER) != 0) {
        return -417;
    }
    if ((seen & SEEN_LENGTH_HUGE) != 0) {
        return -413;
    }
    request->is_kept_alive =
        (seen & SEEN_CLOSE) == 0 && (request->minor_version >= 1 || (seen & SEEN_KEEP_ALIVE) != 0);
    bool has_body = request->is_chunked || request->content_bytes > 0;
    request->expects_continue =
        request->expects_continue && request->minor_version >= 1 && has_body;
    return 0;
}

void bnx_http1_request_init(struct bnx_http1_request *request, uint64_t body_bytes_max) {
    *request = (struct bnx_http1_request){.body_bytes_max = body_bytes_max};
}

/* The line has not ended within the bytes at hand: more are wanted, unless it is too long
 * already. */
static int line_unfinished(const struct bnx_http1_request *request, size_t bytes) {
    bool is_first = (request->seen & SEEN_REQUEST_LINE) == 0;
    if (is_first && bytes - request->line_at > REQUEST_LINE_MAX) {
        return -414;
    }
    return bytes >= BNX_HTTP1_HEAD_BYTES_MAX ? -431 : 0;
}

int bnx_http1_head_parse(struct bnx_http1_request *request, const char *data, size_t bytes) {
    if (bytes > BNX_HTTP1_HEAD_BYTES_MAX) {
        bytes = BNX_HTTP1_HEAD_BYTES_MAX; /* what lies behind must not make a long head good */
    }
    while (true) { /* ends: each turn takes a line of at least one byte */
        bool is_first = (request->seen & SEEN_REQUEST_LINE) == 0;
        if (is_first && request->line_at < bytes && data[request->line_at] != '\r' &&
            !is_in(token_bytes, data[request->line_at])) {
            return -400; /* not HTTP at all, TLS for one: said at its first byte */
        }
        const char *end = memchr(data + request->scan_at, '\n', bytes - request->scan_at);
        if (end == NULL) {
            request->scan_at = (uint32_t)bytes;
            return line_unfinished(request, bytes);
        }
        size_t line_bytes = (size_t)(end - data) - request->line_at;
        if (is_first && line_bytes > REQUEST_LINE_MAX) {
            return -414;
        }
        if (line_bytes == 0 || end[-1] != '\r') {
            return -400;
        }
        line_bytes--;
        const char *line = data + request->line_at;
        int status = 0;
        if (line_bytes == 0 && !is_first) {
            status = head_finish(request);
            return status < 0 ? status : (int)(end + 1 - data);
        }
        if (!is_first) {
            status = field_parse(request, line, line_bytes);
        } else if (line_bytes > 0) { /* empty lines before a request are skipped, RFC 9112 2.2 */
            status = request_line_parse(request, line, line_bytes);
        }
        if (status < 0) {
            return status;
        }
        request->line_at = (uint32_t)(end + 1 - data);
        request->scan_at = request->line_at;
    }
}

static int hex_value(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Undoes %XX once; what comes out is never decoded again. */
static int percent_decode(const char *path, size_t path_bytes, char *out) {
    size_t length = 0;
    for (size_t i = 0; i < path_bytes; i++) {
        char c = path[i];
        if (c == '%') {
            int high = i + 2 < path_bytes ? hex_value(path[i + 1]) : -1;
            int low = i + 2 < path_bytes ? hex_value(path[i + 2]) : -1;
            if (high < 0 || low < 0) {
                return -400;
            }
            c = (char)(high * 16 + low);
            i += 2;
        }
        if (c == '\0') {
            return -400;
        }
        out[length++] = c;
    }
    return (int)length;
}

int bnx_http1_path_decode(const char *path, size_t path_bytes, char *out, size_t out_bytes) {
    if (path_bytes > BNX_HTTP1_TARGET_BYTES_MAX || path_bytes + 2 > out_bytes) {
        return -414;
    }
    int decoded = percent_decode(path, path_bytes, out);
    if (decoded < 0) {
        return decoded;
    }
    if (decoded == 0 || out[0] != '/') {
        return -400;
    }
    /* Segments move to the left in place: the write position never passes the read position. */
    size_t length = (size_t)decoded;
    size_t write_at = 0;
    size_t read_at = 0;
    while (read_at < length) {
        while (read_at < length && out[read_at] == '/') {
            read_at++;
        }
        size_t segment_at = read_at;
        while (read_at < length && out[read_at] != '/') {
            read_at++;
        }
        size_t segment_bytes = read_at - segment_at;
        bool is_dot = is_text(out + segment_at, segment_bytes, ".");
        bool is_dot_dot = is_text(out + segment_at, segment_bytes, "..");
        if (is_dot_dot && write_at == 0) {
            return -400;
        }
        if (is_dot_dot) {
            do {
                write_at--;
            } while (out[write_at] != '/');
        } else if (segment_bytes > 0 && !is_dot) {
            out[write_at++] = '/';
            memmove(out + write_at, out + segment_at, segment_bytes);
            write_at += segment_bytes;
            continue;
        }
        if (read_at == length) {
            out[write_at++] = '/'; /* it ended in "/", "/." or "/..": a directory */
        }
    }
    out[write_at] = '\0';
    return (int)write_at;
}
