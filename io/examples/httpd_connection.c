/* SPDX-License-Identifier: MIT */
/* Parses the requests of one connection and writes their answers; no I/O but opening files. */
#include "io/examples/httpd_connection.h"

#include "io/examples/httpd_files.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PATH_BYTES_MAX (BNX_HTTP1_TARGET_BYTES_MAX + 2)
#define ANSWER_BYTES_MAX (BNX_HTTP1_RESPONSE_HEAD_MAX + BNX_HTTPD_PAGE_BYTES_MAX)
#define FNV_START UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME UINT64_C(0x100000001b3)

_Static_assert(ANSWER_BYTES_MAX < BNX_HTTPD_OUT_BYTES / 2, "answers gather in one buffer");

static const char hello_page[] = "Hello, World!";
static const char root_page[] = "<!doctype html>\n"
                                "<html lang=\"en\"><head><meta charset=\"utf-8\">"
                                "<title>bonxie</title></head>\n"
                                "<body><h1>bonxie</h1>\n"
                                "<p>One task per connection, on every core.</p>\n"
                                "<ul><li><a href=\"/plaintext\">/plaintext</a></li>"
                                "<li><a href=\"/stats\">/stats</a></li></ul>\n"
                                "</body></html>\n";
static const char methods_page[] = "GET, HEAD, POST, PUT, OPTIONS";
static const char methods_file[] = "GET, HEAD, OPTIONS";
static const char methods_upload[] = "POST, PUT, OPTIONS";

/* The cheap clock: a coarse read, and formatting once a second. */
static void date_refresh(struct bnx_httpd_connection *connection) {
    int64_t now_seconds = (int64_t)time(NULL);
    if (now_seconds != connection->date_seconds) {
        connection->date_seconds = now_seconds;
        bnx_http1_date_write(connection->date, now_seconds);
    }
}

void bnx_httpd_init(struct bnx_httpd_connection *connection, const struct bnx_httpd_site *site,
                    int fd) {
    memset(connection, 0, sizeof(*connection));
    connection->site = site;
    connection->fd = fd;
    connection->file_fd = -1;
    connection->date_seconds = -1;
    bnx_http1_request_init(&connection->request, BNX_HTTPD_BODY_BYTES_MAX);
    date_refresh(connection);
}

static void answer_drop(struct bnx_httpd_answer *answer) {
    if (answer->content == BNX_HTTPD_FILE) {
        close(answer->file_fd);
        answer->content = BNX_HTTPD_NO_CONTENT;
    }
}

void bnx_httpd_fini(struct bnx_httpd_connection *connection) {
    if (connection->file_fd >= 0) {
        close(connection->file_fd);
        connection->file_fd = -1;
    }
    if (connection->has_held) {
        answer_drop(&connection->answers[connection->held]);
    }
    if (connection->has_draft) {
        answer_drop(&connection->answers[!connection->held]);
    }
    connection->has_held = false;
    connection->has_draft = false;
}

/* Writes the answer that is held back. There is room for it: bnx_httpd_next looks first. */
static void answer_write(struct bnx_httpd_connection *connection, bool is_last) {
    struct bnx_httpd_answer *answer = &connection->answers[connection->held];
    char *out = connection->buffers->out + connection->out_end;
    size_t room = sizeof(connection->buffers->out) - connection->out_end;
    char *stats = out + BNX_HTTP1_RESPONSE_HEAD_MAX; /* behind the head, whose length it decides */
    const char *content = NULL;
    char modified[BNX_HTTP1_DATE_BYTES + 1];

    switch (answer->content) {
    case BNX_HTTPD_NO_CONTENT:
        break;
    case BNX_HTTPD_PAGE:
        content = answer->page;
        break;
    case BNX_HTTPD_TEXT:
    case BNX_HTTPD_UPLOAD:
        content = answer->text;
        break;
    case BNX_HTTPD_STATS:
        content = stats;
        answer->response.content_bytes =
            connection->site->stats_write(stats, BNX_HTTPD_PAGE_BYTES_MAX);
        break;
    case BNX_HTTPD_FILE:
        bnx_http1_date_write(modified, answer->modified_seconds);
        answer->response.last_modified = modified;
        break;
    }
    answer->response.is_last = answer->response.is_last || is_last;
    answer->response.date = connection->date;
    size_t bytes = bnx_http1_response_write(out, room, &answer->response);
    if (content != NULL && !answer->is_head) {
        memmove(out + bytes, content, answer->response.content_bytes);
        bytes += answer->response.content_bytes;
    }
    if (answer->content == BNX_HTTPD_FILE) {
        if (answer->is_head) {
            close(answer->file_fd);
        } else {
            connection->file_fd = answer->file_fd;
            connection->file_bytes_left = answer->response.content_bytes;
        }
    }
    connection->out_end += (uint32_t)bytes;
    connection->has_held = false;
    connection->is_ending = connection->is_ending || answer->response.is_last;
    connection->must_linger = connection->must_linger || answer->is_error;
}

/* Starts the answer to the request being read. */
static struct bnx_httpd_answer *answer_begin(struct bnx_httpd_connection *connection,
                                             unsigned status) {
    struct bnx_httpd_answer *answer = &connection->answers[!connection->held];
    answer->response = (struct bnx_http1_response){.status = status};
    answer->content = BNX_HTTPD_NO_CONTENT;
    answer->is_error = false;
    answer->is_head = false;
    connection->has_draft = true;
    return answer;
}

/* An answer of one line; with is_last it ends the connection, as every malformed request does. */
static struct bnx_httpd_answer *answer_status(struct bnx_httpd_connection *connection,
                                              unsigned status, bool is_last) {
    struct bnx_httpd_answer *answer = answer_begin(connection, status);
    answer->content = BNX_HTTPD_TEXT;
    int bytes = snprintf(answer->text, sizeof(answer->text), "%u %s\n", status,
                         bnx_http1_status_text(status));
    answer->response.content_type = "text/plain";
    answer->response.content_bytes = (uint64_t)bytes;
    answer->response.is_last = is_last;
    answer->is_error = is_last;
    return answer;
}

static void answer_page(struct bnx_httpd_connection *connection, const char *type, const char *page,
                        size_t page_bytes) {
    struct bnx_httpd_answer *answer = answer_begin(connection, 200);
    answer->content = BNX_HTTPD_PAGE;
    answer->page = page;
    answer->response.content_type = type;
    answer->response.content_bytes = page_bytes;
}

static void answer_not_allowed(struct bnx_httpd_connection *connection, const char *allow) {
    answer_status(connection, 405, false)->response.allow = allow;
}

/* Says what arrived, so that a client can check that the body came through whole. */
static void upload_finish(struct bnx_httpd_connection *connection,
                          struct bnx_httpd_answer *answer) {
    int bytes =
        snprintf(answer->text, sizeof(answer->text), "%" PRIu64 " bytes, fnv1a %016" PRIx64 "\n",
                 connection->body_bytes, connection->body_hash);
    answer->response.content_type = "text/plain";
    answer->response.content_bytes = (uint64_t)bytes;
}

/* Answers a GET or HEAD with a file. Returns 0, or -STATUS and no answer. */
static int answer_file(struct bnx_httpd_connection *connection, const char *path) {
    struct bnx_httpd_file file;
    int status = bnx_httpd_file_open(connection->site->root_fd, path, &file);
    if (status < 0) {
        return status;
    }
    enum bnx_http1_method method = connection->request.method;
    if (method != BNX_HTTP1_GET && method != BNX_HTTP1_HEAD) {
        close(file.fd);
        answer_not_allowed(connection, methods_file);
        return 0;
    }
    struct bnx_httpd_answer *answer = answer_begin(connection, 200);
    answer->content = BNX_HTTPD_FILE;
    answer->file_fd = file.fd;
    answer->modified_seconds = file.modified_seconds;
    answer->response.content_type = file.content_type;
    answer->response.content_bytes = file.bytes;
    return 0;
}

/* Everything but /plaintext, by its decoded path. A function of its own for the sake of its buffer:
 * the usual request does not touch these pages of the stack. */
static __attribute__((noinline)) void route_path(struct bnx_httpd_connection *connection,
                                                 const char *sent, size_t sent_bytes) {
    char path[PATH_BYTES_MAX];
    if (sent_bytes == 0) {
        sent = "/"; /* "http://host" */
        sent_bytes = 1;
    }
    int status = bnx_http1_path_decode(sent, sent_bytes, path, sizeof(path));
    if (status < 0) {
        answer_status(connection, (unsigned)-status, true);
        return;
    }
    if (strcmp(path, "/plaintext") == 0) {
        answer_page(connection, "text/plain", hello_page, sizeof(hello_page) - 1);
        return;
    }
    if (strcmp(path, "/upload") == 0) {
        enum bnx_http1_method method = connection->request.method;
        if (method == BNX_HTTP1_POST || method == BNX_HTTP1_PUT) {
            answer_begin(connection, 200)->content = BNX_HTTPD_UPLOAD;
        } else {
            answer_not_allowed(connection, methods_upload);
        }
        return;
    }
    if (strcmp(path, "/stats") == 0 && connection->site->stats_write != NULL) {
        struct bnx_httpd_answer *answer = answer_begin(connection, 200);
        answer->content = BNX_HTTPD_STATS;
        answer->response.content_type = "text/plain";
        return;
    }
    status = connection->site->root_fd >= 0 ? answer_file(connection, path) : -404;
    if (status == -404 && strcmp(path, "/") == 0) {
        answer_page(connection, "text/html; charset=utf-8", root_page, sizeof(root_page) - 1);
    } else if (status < 0) {
        answer_status(connection, (unsigned)-status, false);
    }
}

/* Makes the answer from the head alone: its bytes may be gone when the body has ended. */
static void request_route(struct bnx_httpd_connection *connection, const char *head) {
    const struct bnx_http1_request *request = &connection->request;
    const char *path = head + request->path_at;
    bool is_page_method = request->method == BNX_HTTP1_GET || request->method == BNX_HTTP1_HEAD ||
                          request->method == BNX_HTTP1_POST || request->method == BNX_HTTP1_PUT;
    if (is_page_method && request->path_bytes == 10 && memcmp(path, "/plaintext", 10) == 0) {
        answer_page(connection, "text/plain", hello_page, sizeof(hello_page) - 1);
    } else if (is_page_method) {
        route_path(connection, path, request->path_bytes);
    } else if (request->method == BNX_HTTP1_OPTIONS) {
        answer_begin(connection, 200)->response.allow = methods_page;
    } else {
        answer_not_allowed(connection, methods_page);
    }
    struct bnx_httpd_answer *answer = &connection->answers[!connection->held];
    answer->is_head = request->method == BNX_HTTP1_HEAD;
    answer->response.is_last = answer->response.is_last || !request->is_kept_alive;
    answer->response.is_kept_alive_10 = request->minor_version == 0;
}

/* The request being read is complete, or will not be read further: its answer takes the place of
 * the one held back, which now has a successor. */
static void request_end(struct bnx_httpd_connection *connection) {
    struct bnx_httpd_answer *answer = &connection->answers[!connection->held];
    if (connection->has_held) {
        answer_write(connection, false);
    }
    if (answer->content == BNX_HTTPD_UPLOAD) {
        upload_finish(connection, answer);
    }
    connection->held = !connection->held;
    connection->has_held = true;
    connection->has_draft = false;
    connection->is_in_body = false;
    connection->owes_continue = false;
    bnx_http1_request_init(&connection->request, BNX_HTTPD_BODY_BYTES_MAX);
}

static void request_fail(struct bnx_httpd_connection *connection, int status) {
    if (connection->has_draft) {
        answer_drop(&connection->answers[!connection->held]);
    }
    answer_status(connection, (unsigned)-status, true);
    request_end(connection);
    connection->in_begin =
        connection->in_end; /* nothing behind a malformed request has a meaning */
}

/* Moves what has been received to the front once half of the buffer is behind it or no room is
 * left, so that a head never lacks room. */
static void input_compact(struct bnx_httpd_connection *connection) {
    if (connection->in_begin == connection->in_end) {
        connection->in_begin = 0;
        connection->in_end = 0;
    } else if (connection->in_begin > 0 && connection->in_end == sizeof(connection->buffers->in)) {
        connection->in_end -= connection->in_begin;
        memmove(connection->buffers->in, connection->buffers->in + connection->in_begin,
                connection->in_end);
        connection->in_begin = 0;
    }
}

/* Parses on. Returns false when more input is needed for that. */
static bool head_step(struct bnx_httpd_connection *connection) {
    const char *head = connection->buffers->in + connection->in_begin;
    int status =
        bnx_http1_head_parse(&connection->request, head, connection->in_end - connection->in_begin);
    if (status == 0) {
        return false;
    }
    if (status < 0) {
        request_fail(connection, status);
        return true;
    }
    request_route(connection, head);
    connection->in_begin += (uint32_t)status;
    struct bnx_http1_request *request = &connection->request;
    if (!request->is_chunked && request->content_bytes == 0) {
        request_end(connection);
        return true;
    }
    struct bnx_httpd_answer *answer = &connection->answers[!connection->held];
    bool is_body_here = connection->in_begin < connection->in_end;
    if (request->expects_continue && !is_body_here && answer->response.status >= 400) {
        /* The client asked first: say no at once. It may send the body all the same. */
        answer->response.is_last = true;
        answer->is_error = true;
        request_end(connection);
        return true;
    }
    connection->is_in_body = true;
    connection->owes_continue = request->expects_continue && !is_body_here;
    connection->body_bytes = 0;
    connection->body_hash = FNV_START;
    bnx_http1_body_init(&connection->body, request);
    return true;
}

static bool body_step(struct bnx_httpd_connection *connection) {
    if (connection->in_begin == connection->in_end) {
        return false;
    }
    const char *data = connection->buffers->in + connection->in_begin;
    struct bnx_http1_piece piece;
    int status = bnx_http1_body_parse(&connection->body, data,
                                      connection->in_end - connection->in_begin, &piece);
    if (status < 0) {
        request_fail(connection, status);
        return true;
    }
    uint64_t hash = connection->body_hash;
    for (size_t i = piece.consumed - piece.content_bytes; i < piece.consumed; i++) {
        hash = (hash ^ (unsigned char)data[i]) * FNV_PRIME;
    }
    connection->body_hash = hash;
    connection->body_bytes += piece.content_bytes;
    connection->in_begin += (uint32_t)piece.consumed;
    if (status == 1) {
        request_end(connection);
    }
    return true;
}

/* All that has been received is parsed. Returns true when that made something to go on with. */
static bool input_exhausted(struct bnx_httpd_connection *connection) {
    bool is_over = connection->is_eof || (connection->is_draining && connection->is_dry);
    if (connection->has_held && (is_over || !connection->is_draining)) {
        answer_write(connection, is_over);
        return true;
    }
    if (connection->is_eof) {
        connection->is_ending = true;
        return true;
    }
    if (connection->owes_continue && !connection->has_held) {
        struct bnx_http1_response interim = {.status = 100};
        connection->out_end += (uint32_t)bnx_http1_response_write(
            connection->buffers->out + connection->out_end,
            sizeof(connection->buffers->out) - connection->out_end, &interim);
        connection->owes_continue = false;
        return true;
    }
    return false;
}

enum bnx_httpd_want bnx_httpd_next(struct bnx_httpd_connection *connection) {
    while (true) { /* ends: each turn consumes input, or writes an answer, of which there are two */
        if (connection->out_begin > 0) {
            return BNX_HTTPD_SEND;
        }
        if (connection->file_fd >= 0 && connection->file_bytes_left > 0) {
            return connection->out_end < sizeof(connection->buffers->out) ? BNX_HTTPD_READ
                                                                          : BNX_HTTPD_SEND;
        }
        if (connection->file_fd >= 0) {
            close(connection->file_fd);
            connection->file_fd = -1;
        }
        if (connection->is_ending) {
            return connection->out_end > 0 ? BNX_HTTPD_SEND : BNX_HTTPD_END;
        }
        if (connection->out_end > sizeof(connection->buffers->out) - ANSWER_BYTES_MAX) {
            return BNX_HTTPD_SEND;
        }
        if (connection->has_held && connection->answers[connection->held].response.is_last) {
            answer_write(connection, true);
            continue;
        }
        if (connection->is_in_body ? body_step(connection) : head_step(connection)) {
            continue;
        }
        if (input_exhausted(connection)) {
            continue;
        }
        if (connection->out_end > 0) {
            return BNX_HTTPD_SEND;
        }
        input_compact(connection);
        return BNX_HTTPD_RECEIVE;
    }
}

void bnx_httpd_received(struct bnx_httpd_connection *connection, size_t bytes) {
    connection->in_end += (uint32_t)bytes;
    connection->is_eof = bytes == 0;
    connection->is_dry = false;
    date_refresh(connection);
}

void bnx_httpd_sent(struct bnx_httpd_connection *connection, size_t bytes) {
    connection->out_begin += (uint32_t)bytes;
    if (connection->out_begin == connection->out_end) {
        connection->out_begin = 0;
        connection->out_end = 0;
    }
}

void bnx_httpd_file_read(struct bnx_httpd_connection *connection, ssize_t bytes) {
    if (bytes <= 0) {
        /* The length is promised already: a close is all that tells the client. */
        connection->file_bytes_left = 0;
        connection->out_begin = 0;
        connection->out_end = 0;
        connection->is_ending = true;
        return;
    }
    connection->out_end += (uint32_t)bytes;
    connection->file_bytes_left -= (uint64_t)bytes;
    date_refresh(connection);
}

bool bnx_httpd_is_mid_request(const struct bnx_httpd_connection *connection) {
    return connection->is_in_body || connection->in_begin < connection->in_end;
}

void bnx_httpd_timed_out(struct bnx_httpd_connection *connection) {
    request_fail(connection, -408);
}
