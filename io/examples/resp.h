/* SPDX-License-Identifier: MIT */
/*
 * The protocol of the cache, RESP2: requests parsed piece by piece, replies written.
 *
 * Concepts
 *   A request is an array of bulk strings, "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", or a line of words for
 *   people with nc. The parser keeps what it knows as offsets from the request's first byte: the
 *   bytes may move in memory while more of them come, and none is looked at twice. The arguments
 *   stay where they were received.
 *
 * Invariants
 *   arg_count <= BNX_RESP_ARGS_MAX; each argument lies within the parsed bytes.
 */
#ifndef BNX_IO_EXAMPLES_RESP_H
#define BNX_IO_EXAMPLES_RESP_H

#include "io/examples/cache_text.h"

#define BNX_RESP_ARGS_MAX 65536u
#define BNX_RESP_BULK_BYTES_MAX (64u << 20)
#define BNX_RESP_LINE_BYTES_MAX 16384u         /* of words; redis has 64 KiB */
#define BNX_RESP_REQUEST_BYTES_MAX (80u << 20) /* all arguments of a request */
#define BNX_RESP_ARGS_INLINE 8                 /* more go to memory from malloc */

/* An argument, by its place in the request. */
struct bnx_resp_place {
    uint32_t at;
    uint32_t bytes;
};

enum bnx_resp_result {
    BNX_RESP_MORE,      /* the request goes on behind these bytes */
    BNX_RESP_COMPLETE,  /* .at is its length */
    BNX_RESP_MALFORMED, /* .error says how; nothing behind it has a meaning */
};

struct bnx_resp_request {
    uint32_t at;                 /* parsed so far, or scanned for the end of a line */
    uint32_t args_wanted;        /* announced; 0: the request's first line is still to come */
    uint32_t arg_count;          /* complete ones */
    uint32_t args_room;          /* of args */
    int32_t bulk_bytes;          /* of the argument begun, -1: its length is still to come */
    const char *error;           /* of a malformed request, static, as the reply says it */
    struct bnx_resp_place *args; /* first_args, or from malloc. Not counted: each of the 8 bytes
                                    stands for 5 or more that have been received */
    struct bnx_resp_place first_args[BNX_RESP_ARGS_INLINE];
};

/** Makes ready for a first request. */
void bnx_resp_init(struct bnx_resp_request *request);

/** Forgets a request and its memory: ready for the next. */
void bnx_resp_reset(struct bnx_resp_request *request);

/**
 * Parses on.
 * @param data the request from its first byte; what lies before .at is not looked at again.
 */
enum bnx_resp_result bnx_resp_parse(struct bnx_resp_request *request, const char *data,
                                    size_t bytes);

/** Writes a number in decimal. @param out 20 bytes. Returns the length. */
size_t bnx_resp_decimal(char *out, int64_t number);

/** Reads a whole text as a number. Returns false, with *out untouched, when it is none. */
bool bnx_resp_number(const char *text, size_t bytes, int64_t *out);

/** Writes ":1\r\n", or with another kind "*1\r\n" and "$1\r\n". */
void bnx_resp_integer(struct bnx_cache_text *reply, char kind, int64_t number);

/** Writes a bulk string. */
void bnx_resp_bulk(struct bnx_cache_text *reply, const void *data, size_t bytes);

/** Writes a static reply as it stands, "+OK\r\n". */
#define BNX_RESP_LITERAL(reply, literal)                                                           \
    bnx_cache_text_append((reply), "" literal "\r\n", sizeof(literal "\r\n") - 1)

/** Writes an array's head. */
static inline void bnx_resp_array(struct bnx_cache_text *reply, size_t count) {
    bnx_resp_integer(reply, '*', (int64_t)count);
}

/** Writes the bulk string that is none. */
static inline void bnx_resp_nil(struct bnx_cache_text *reply) {
    BNX_RESP_LITERAL(reply, "$-1");
}

#endif
