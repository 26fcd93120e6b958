/* SPDX-License-Identifier: MIT */
/*
 * HTTP/1.1 for a server, without any I/O: a strict incremental parser and a response writer.
 *
 * Concepts
 *   head    request line and header fields up to the empty line. The caller keeps all bytes of an
 *           unfinished head together in its buffer and calls again when there are more.
 *   body    what follows. It is decoded as it comes and never has to fit a buffer.
 *   offsets results are offsets from the first byte of the request, so that the caller may move the
 *           bytes in its buffer between two calls.
 *
 * Invariants
 *   The result depends on the bytes alone, never on how they were cut: every decision is made at
 *   one fixed byte of the input.
 *   A function that returned an error or the end is not called again for this request.
 *
 * Rejected
 *   Leniency. A bare LF, a folded field, a space before the colon, two lengths: each of them is
 *   read in two ways by somebody, and a proxy in front that reads it the other way makes a hole.
 */
#ifndef BNX_IO_EXAMPLES_HTTP1_H
#define BNX_IO_EXAMPLES_HTTP1_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BNX_HTTP1_HEAD_BYTES_MAX 16384   /* request line and fields with their line ends: 431 */
#define BNX_HTTP1_TARGET_BYTES_MAX 8192  /* 414 */
#define BNX_HTTP1_METHOD_BYTES_MAX 32    /* the longest registered method has 17: 501 */
#define BNX_HTTP1_FIELDS_MAX 100         /* header fields: 431 */
#define BNX_HTTP1_CHUNK_EXTRA_MAX 4096   /* bytes of all chunk extensions of a body: 400 */
#define BNX_HTTP1_TRAILER_BYTES_MAX 4096 /* the trailer section: 431 */
#define BNX_HTTP1_DATE_BYTES 29          /* "Sun, 06 Nov 1994 08:49:37 GMT" */
#define BNX_HTTP1_RESPONSE_HEAD_MAX 512  /* no response head is longer, given short field values */

enum bnx_http1_method {
    BNX_HTTP1_GET,
    BNX_HTTP1_HEAD,
    BNX_HTTP1_POST,
    BNX_HTTP1_PUT,
    BNX_HTTP1_DELETE,
    BNX_HTTP1_CONNECT,
    BNX_HTTP1_OPTIONS,
    BNX_HTTP1_TRACE,
    BNX_HTTP1_PATCH,
};

/* One request's head. The parser writes it; the caller reads the first group once it is
 * complete. */
struct bnx_http1_request {
    enum bnx_http1_method method;
    unsigned minor_version; /* 0 or 1; a higher one is served as 1 */
    uint32_t target_at;     /* the request target as sent, offset from the request's first byte */
    uint32_t target_bytes;  /* its length */
    uint32_t path_at;       /* the target's path: no scheme, authority or query; "*" stays "*" */
    uint32_t path_bytes;    /* its length; 0 only where an absolute-form target has no path */
    uint64_t content_bytes; /* Content-Length; 0 without one or when is_chunked */
    bool is_chunked;        /* the body comes in chunks */
    bool is_kept_alive;     /* the client wants to go on after this request */
    bool expects_continue;  /* the client waits for "100 Continue" before it sends the body */

    /* Progress: the parser's own. */
    uint64_t body_bytes_max; /* immutable after init: a longer body is 413 */
    uint32_t line_at;        /* where the current line starts */
    uint32_t scan_at;        /* no LF in [line_at, scan_at) */
    uint16_t field_count;    /* fields seen */
    uint16_t seen;           /* SEEN_* of the .c: what the fields have said so far */
};

/* The body of one request. Zero-initialised is not valid: bnx_http1_body_init. */
struct bnx_http1_body {
    uint64_t left_bytes;    /* of the body, or of the current chunk */
    uint64_t total_bytes;   /* of all chunks so far */
    uint64_t bytes_max;     /* immutable: more is 413 */
    uint32_t extra_bytes;   /* of chunk extensions so far */
    uint32_t trailer_bytes; /* of the trailer section so far */
    uint8_t digit_count;    /* of the current chunk size */
    uint8_t state;          /* enum body_state of the .c */
};

/* What one call took of a body. */
struct bnx_http1_piece {
    size_t consumed;      /* bytes that are done with; the next call starts behind them */
    size_t content_bytes; /* of them, the last so many are content of the body; 0: none */
};

struct bnx_http1_response {
    unsigned status;           /* 100 to 599; 1xx is written as the bare status line */
    const char *content_type;  /* NULL: no such field */
    uint64_t content_bytes;    /* the length that the answer to a GET has */
    const char *date;          /* BNX_HTTP1_DATE_BYTES characters; NULL: no such field */
    const char *last_modified; /* the same */
    const char *allow;         /* the methods of a 405; NULL: no such field */
    bool is_last;              /* Connection: close */
    bool is_kept_alive_10;     /* Connection: keep-alive, which HTTP/1.0 wants to hear */
};

/** Prepares *request for the first byte of a head. Bodies above body_bytes_max will be 413. */
void bnx_http1_request_init(struct bnx_http1_request *request, uint64_t body_bytes_max);

/**
 * Parses a head, again from its first byte whenever more of it has come; only new bytes are read.
 *
 * @param data   the request's first byte and everything after it that has come
 * @param bytes  how many; not fewer than at the call before
 * Returns: the length of the head, including the empty line, when it is complete; 0 when it is not;
 *   -STATUS for an answer that ends the connection: -400, -413, -414, -417, -431, -501 or -505.
 *   It never returns 0 for BNX_HTTP1_HEAD_BYTES_MAX bytes or more.
 */
int bnx_http1_head_parse(struct bnx_http1_request *request, const char *data, size_t bytes);

/** Prepares *body for the bytes after the head of *request. */
void bnx_http1_body_init(struct bnx_http1_body *body, const struct bnx_http1_request *request);

/**
 * Decodes some of a body: stops after one piece of content, at the end, or when the bytes run out.
 * Returns: 1 when the body has ended, 0 when the call consumed and found no end (with bytes > 0 at
 *   least one was consumed), -STATUS for an answer that ends the connection: -400, -413 or -431.
 */
int bnx_http1_body_parse(struct bnx_http1_body *body, const char *data, size_t bytes,
                         struct bnx_http1_piece *out_piece);

/**
 * Turns a path as sent into one to open: decodes %XX once, then removes ".", ".." and empty
 * segments.
 *
 * @param out        the path, starting with '/', NUL-terminated
 * @param out_bytes  room; path_bytes + 2 always suffices
 * Returns: its length without the NUL; -400 for a bad escape, a NUL byte, a path that does not
 *   start with '/' or one that would leave the root; -414 when it does not fit.
 */
int bnx_http1_path_decode(const char *path, size_t path_bytes, char *out, size_t out_bytes);

/** Writes BNX_HTTP1_DATE_BYTES characters and a NUL: the IMF-fixdate of a time in Unix seconds. */
void bnx_http1_date_write(char out[BNX_HTTP1_DATE_BYTES + 1], int64_t unix_seconds);

/** Names a status, "Not Found"; a status that this file does not know is "Unknown". */
const char *bnx_http1_status_text(unsigned status);

/**
 * Writes a response head with its empty line.
 * Returns: its length, or 0 when room is too small (then nothing useful was written).
 */
size_t bnx_http1_response_write(char *out, size_t room, const struct bnx_http1_response *response);

#endif
