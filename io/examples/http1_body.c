/* SPDX-License-Identifier: MIT */
/* Decodes the body of an HTTP/1.1 request: by length, or chunked with extensions and trailers. */
#include "io/examples/http1.h"

enum body_state {
    BODY_LENGTH,     /* left_bytes of plain content */
    CHUNK_SIZE,      /* hexadecimal digits */
    CHUNK_BLANK,     /* blanks between the size and ';' */
    CHUNK_EXTENSION, /* anything up to the CR */
    CHUNK_SIZE_LF,   /* the LF after the size line */
    CHUNK_DATA,      /* left_bytes of content */
    CHUNK_DATA_CR,   /* the CR LF that closes a chunk */
    CHUNK_DATA_LF,
    TRAILER_START, /* the first byte of a trailer line */
    TRAILER_NAME,  /* a field name, up to ':' */
    TRAILER_VALUE, /* its value, up to the CR */
    TRAILER_LF,    /* the LF after a trailer */
    BODY_END_LF,   /* the LF of the empty line */
    BODY_ENDED,
};

#define CHUNK_SIZE_DIGITS_MAX 16 /* all that 64 bits hold; leading zeros count */

static int hex_value(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool is_value_byte(char c) {
    unsigned char byte = (unsigned char)c;
    return byte == '\t' || (byte >= 0x20 && byte != 0x7f);
}

/* A token byte of RFC 9110, in the long form: this path is rare. */
static bool is_name_byte(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '!' ||
           (c >= '#' && c <= '\'') || c == '*' || c == '+' || c == '-' || c == '.' || c == '^' ||
           c == '_' || c == '`' || c == '|' || c == '~';
}

void bnx_http1_body_init(struct bnx_http1_body *body, const struct bnx_http1_request *request) {
    *body = (struct bnx_http1_body){
        .left_bytes = request->content_bytes,
        .bytes_max = request->body_bytes_max,
    };
    if (request->is_chunked) {
        body->left_bytes = 0;
        body->state = CHUNK_SIZE;
    } else {
        body->state = request->content_bytes > 0 ? BODY_LENGTH : BODY_ENDED;
    }
}

static int size_step(struct bnx_http1_body *body, char c) {
    int digit = hex_value(c);
    if (digit >= 0) {
        if (++body->digit_count > CHUNK_SIZE_DIGITS_MAX) {
            return -400;
        }
        body->left_bytes = body->left_bytes * 16 + (uint64_t)digit;
        /* total_bytes <= bytes_max always, so the difference does not wrap. The size cannot either:
         * it is refused long before 2^60 unless bytes_max is as large. */
        if (body->left_bytes > body->bytes_max - body->total_bytes) {
            return -413;
        }
        return 0;
    }
    if (body->digit_count == 0) {
        return -400;
    }
    if (c == '\r') {
        body->state = CHUNK_SIZE_LF;
    } else if (c == ';') {
        body->state = CHUNK_EXTENSION;
    } else if (c == ' ' || c == '\t') {
        body->state = CHUNK_BLANK;
    } else {
        return -400;
    }
    return 0;
}

static int extension_step(struct bnx_http1_body *body, char c) {
    if (++body->extra_bytes > BNX_HTTP1_CHUNK_EXTRA_MAX) {
        return -400;
    }
    if (body->state == CHUNK_BLANK) {
        if (c == ';') {
            body->state = CHUNK_EXTENSION;
        } else if (c != ' ' && c != '\t') {
            return -400;
        }
        return 0;
    }
    if (c == '\r') {
        body->state = CHUNK_SIZE_LF;
        return 0;
    }
    return is_value_byte(c) ? 0 : -400;
}

static int trailer_step(struct bnx_http1_body *body, char c) {
    if (++body->trailer_bytes > BNX_HTTP1_TRAILER_BYTES_MAX) {
        return -431;
    }
    if (body->state == TRAILER_VALUE) {
        if (c == '\r') {
            body->state = TRAILER_LF;
            return 0;
        }
        return is_value_byte(c) ? 0 : -400;
    }
    if (body->state == TRAILER_START && c == '\r') {
        body->state = BODY_END_LF;
        return 0;
    }
    if (body->state == TRAILER_NAME && c == ':') {
        body->state = TRAILER_VALUE;
        return 0;
    }
    body->state = TRAILER_NAME;
    return is_name_byte(c) ? 0 : -400;
}

/* Takes one byte that is not content. */
static int control_step(struct bnx_http1_body *body, char c) {
    switch ((enum body_state)body->state) {
    case CHUNK_SIZE:
        return size_step(body, c);
    case CHUNK_BLANK:
    case CHUNK_EXTENSION:
        return extension_step(body, c);
    case CHUNK_SIZE_LF:
        body->state = body->left_bytes > 0 ? CHUNK_DATA : TRAILER_START;
        return c == '\n' ? 0 : -400;
    case CHUNK_DATA_CR:
        body->state = CHUNK_DATA_LF;
        return c == '\r' ? 0 : -400;
    case CHUNK_DATA_LF:
        body->state = CHUNK_SIZE;
        body->digit_count = 0;
        return c == '\n' ? 0 : -400;
    case TRAILER_START:
    case TRAILER_NAME:
    case TRAILER_VALUE:
        return trailer_step(body, c);
    case TRAILER_LF:
        body->state = TRAILER_START;
        return c == '\n' ? 0 : -400;
    case BODY_END_LF:
        body->state = BODY_ENDED;
        return c == '\n' ? 0 : -400;
    case BODY_LENGTH:
    case CHUNK_DATA:
    case BODY_ENDED:
        break;
    }
    return 0;
}

/* Takes what there is of the content that is due. */
static size_t content_take(struct bnx_http1_body *body, size_t bytes) {
    size_t taken = body->left_bytes < bytes ? (size_t)body->left_bytes : bytes;
    body->left_bytes -= taken;
    body->total_bytes += taken;
    if (body->left_bytes == 0) {
        body->state = body->state == CHUNK_DATA ? CHUNK_DATA_CR : BODY_ENDED;
    }
    return taken;
}

int bnx_http1_body_parse(struct bnx_http1_body *body, const char *data, size_t bytes,
                         struct bnx_http1_piece *out_piece) {
    size_t at = 0;
    *out_piece = (struct bnx_http1_piece){0};
    while (at < bytes && body->state != BODY_ENDED) {
        if (body->state == BODY_LENGTH || body->state == CHUNK_DATA) {
            out_piece->content_bytes = content_take(body, bytes - at);
            at += out_piece->content_bytes;
            break;
        }
        int status = control_step(body, data[at++]);
        if (status < 0) {
            return status;
        }
    }
    out_piece->consumed = at;
    return body->state == BODY_ENDED ? 1 : 0;
}
