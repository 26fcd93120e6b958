/* SPDX-License-Identifier: MIT */
/*
 * One HTTP connection of httpd, without its I/O.
 *
 * Concepts
 *   The connection says what it wants next (bnx_httpd_next); whoever drives it does that and tells
 *   it the result (httpd_handler.c, and a test without sockets). Its whole state is here, and its
 *   buffers are the driver's, which may take them back while nothing is in them.
 *
 *   The answer to the request parsed last is held back until it is known whether another complete
 *   request has come. So pipelined requests are answered by one send, and during a drain the last
 *   answer, and no other, says "Connection: close".
 *
 * Invariants
 *   0 <= in_begin <= in_end <= sizeof(in), 0 <= out_begin <= out_end <= sizeof(out).
 *   out_begin > 0 only while a send that took a part is being finished.
 */
#ifndef BNX_IO_EXAMPLES_HTTPD_CONNECTION_H
#define BNX_IO_EXAMPLES_HTTPD_CONNECTION_H

#include "io/examples/http1.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Bodies are hashed and forgotten, so this bounds time, not memory. Longer ones are 413. */
#define BNX_HTTPD_BODY_BYTES_MAX (UINT64_C(64) << 20)
#define BNX_HTTPD_PAGE_BYTES_MAX 4096 /* an answer made in memory */
#define BNX_HTTPD_OUT_BYTES 16384 /* about 100 pipelined /plaintext answers, or part of a file */

/* What all connections share; immutable once the server listens. */
struct bnx_httpd_site {
    int root_fd; /* the directory of --root, or -1 */
    /* Writes at most room bytes of text and returns how many; any thread. NULL: /stats is 404. */
    size_t (*stats_write)(char *out, size_t room);
};

enum bnx_httpd_want {
    BNX_HTTPD_RECEIVE, /* receive into in[in_end..] */
    BNX_HTTPD_SEND,    /* send out[out_begin..out_end) */
    BNX_HTTPD_READ,    /* read file_fd into out[out_end..], at most file_bytes_left */
    BNX_HTTPD_END,     /* close it */
};

enum bnx_httpd_content {
    BNX_HTTPD_NO_CONTENT, /* an empty body, or the answer to HEAD */
    BNX_HTTPD_PAGE,       /* .page, static storage */
    BNX_HTTPD_TEXT,       /* .text */
    BNX_HTTPD_UPLOAD,     /* .text, made when the request ends */
    BNX_HTTPD_STATS,      /* made when it is written */
    BNX_HTTPD_FILE,       /* .file_fd */
};

struct bnx_httpd_answer {
    struct bnx_http1_response response; /* its dates are filled in when it is written */
    enum bnx_httpd_content content;
    bool is_error;            /* unread input may follow: the close must not destroy the answer */
    bool is_head;             /* headers only */
    int file_fd;              /* of BNX_HTTPD_FILE; owned */
    int64_t modified_seconds; /* of the file */
    const char *page;         /* of BNX_HTTPD_PAGE */
    char text[64];            /* of BNX_HTTPD_TEXT */
};

struct bnx_httpd_buffers {
    char in[BNX_HTTP1_HEAD_BYTES_MAX];
    char out[BNX_HTTPD_OUT_BYTES];
};

struct bnx_httpd_connection {
    const struct bnx_httpd_site *site;
    struct bnx_httpd_buffers *buffers; /* set by the driver; nothing in them: may be NULL */
    int fd;                            /* the socket; owned by the driver */
    int file_fd;                       /* being sent, or -1 */
    uint64_t file_bytes_left;          /* of it */
    bool is_in_body;                   /* between the head and the end of a request */
    bool owes_continue;          /* "100 Continue" is due before more of the body is received */
    bool has_held;               /* answers[held] waits to be written */
    bool has_draft;              /* answers[!held] is made, its request has not ended */
    uint8_t held;                /* 0 or 1 */
    bool is_ending;              /* the last answer is written; nothing more is parsed */
    bool is_eof;                 /* the peer has sent its last byte */
    bool is_draining;            /* the server stops; set by the driver */
    bool is_dry;                 /* draining: nothing more has arrived so far; set by the driver */
    bool must_linger;            /* read what the peer still sends before closing */
    uint32_t in_begin, in_end;   /* received and not yet consumed */
    uint32_t out_begin, out_end; /* written and not yet sent */
    uint64_t body_hash;          /* FNV-1a of the current request's content */
    uint64_t body_bytes;         /* its length so far */
    int64_t date_seconds;        /* what .date says; also the driver's cheap clock */
    char date[BNX_HTTP1_DATE_BYTES + 1];
    struct bnx_http1_request request;
    struct bnx_http1_body body;
    struct bnx_httpd_answer answers[2]; /* the one held back, and that of the request being read */
};

/** Prepares a new connection, without buffers. */
void bnx_httpd_init(struct bnx_httpd_connection *connection, const struct bnx_httpd_site *site,
                    int fd);

/** Closes the files that the connection holds; the socket is the driver's. */
void bnx_httpd_fini(struct bnx_httpd_connection *connection);

/** Says what to do next; parses and answers as far as it goes without I/O. */
enum bnx_httpd_want bnx_httpd_next(struct bnx_httpd_connection *connection);

/** Tells the count, > 0, of a receive or 0 at the peer's end. */
void bnx_httpd_received(struct bnx_httpd_connection *connection, size_t bytes);

/** Tells the count of a send. */
void bnx_httpd_sent(struct bnx_httpd_connection *connection, size_t bytes);

/** Tells the result of a read; 0 or -errno ends the connection: the length was promised already. */
void bnx_httpd_file_read(struct bnx_httpd_connection *connection, ssize_t bytes);

/** True when part of a request has come and more is owed by the peer. */
bool bnx_httpd_is_mid_request(const struct bnx_httpd_connection *connection);

/** Gives up on the rest of a request: answers 408 and ends. Only after BNX_HTTPD_RECEIVE. */
void bnx_httpd_timed_out(struct bnx_httpd_connection *connection);

#endif
