/* SPDX-License-Identifier: MIT */
/* Writes the heads of HTTP/1.1 responses, and the dates in them. */
#include "io/examples/http1.h"

#include <string.h>
#include <time.h>

/* Where the next byte goes. at == end + 1 can not be: what does not fit sets is_full instead. */
struct writer {
    char *at;     /* the next byte */
    char *end;    /* one past the last byte of room */
    bool is_full; /* something did not fit */
};

static void put(struct writer *writer, const char *text, size_t bytes) {
    if ((size_t)(writer->end - writer->at) < bytes) {
        writer->is_full = true;
        return;
    }
    memcpy(writer->at, text, bytes);
    writer->at += bytes;
}

static void put_text(struct writer *writer, const char *text) {
    put(writer, text, strlen(text));
}

static void put_number(struct writer *writer, uint64_t number) {
    char digits[20]; /* 2^64 has 20 */
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    put(writer, digits + at, sizeof(digits) - at);
}

const char *bnx_http1_status_text(unsigned status) {
    static const struct {
        unsigned status;
        const char *text;
    } texts[] = {
        {200, "OK"},
        {100, "Continue"},
        {301, "Moved Permanently"},
        {400, "Bad Request"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {417, "Expectation Failed"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (texts[i].status == status) {
            return texts[i].text;
        }
    }
    return "Unknown";
}

static void put_two(char *out, int number) {
    out[0] = (char)('0' + number / 10 % 10);
    out[1] = (char)('0' + number % 10);
}

void bnx_http1_date_write(char out[BNX_HTTP1_DATE_BYTES + 1], int64_t unix_seconds) {
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct tm tm = {0};
    time_t seconds = (time_t)unix_seconds;
    if (gmtime_r(&seconds, &tm) == NULL || tm.tm_year < -1900 || tm.tm_year > 9999 - 1900) {
        seconds = 0; /* four digits of a year are all that the format has */
        (void)gmtime_r(&seconds, &tm);
    }
    memcpy(out, "Sun, 06 Nov 1994 08:49:37 GMT", BNX_HTTP1_DATE_BYTES + 1);
    memcpy(out, days + (size_t)tm.tm_wday * 3, 3);
    put_two(out + 5, tm.tm_mday);
    memcpy(out + 8, months + (size_t)tm.tm_mon * 3, 3);
    put_two(out + 12, (tm.tm_year + 1900) / 100);
    put_two(out + 14, (tm.tm_year + 1900) % 100);
    put_two(out + 17, tm.tm_hour);
    put_two(out + 20, tm.tm_min);
    put_two(out + 23, tm.tm_sec);
}

size_t bnx_http1_response_write(char *out, size_t room, const struct bnx_http1_response *response) {
    struct writer writer = {.at = out, .end = out + room};
    if (response->status == 200) {
        put_text(&writer, "HTTP/1.1 200 OK\r\n");
    } else {
        put_text(&writer, "HTTP/1.1 ");
        put_number(&writer, response->status);
        put_text(&writer, " ");
        put_text(&writer, bnx_http1_status_text(response->status));
        put_text(&writer, "\r\n");
    }
    if (response->status >= 200) {
        if (response->date != NULL) {
            put_text(&writer, "Date: ");
            put(&writer, response->date, BNX_HTTP1_DATE_BYTES);
            put_text(&writer, "\r\n");
        }
        if (response->content_type != NULL) {
            put_text(&writer, "Content-Type: ");
            put_text(&writer, response->content_type);
            put_text(&writer, "\r\n");
        }
        put_text(&writer, "Content-Length: ");
        put_number(&writer, response->content_bytes);
        put_text(&writer, "\r\n");
        if (response->last_modified != NULL) {
            put_text(&writer, "Last-Modified: ");
            put(&writer, response->last_modified, BNX_HTTP1_DATE_BYTES);
            put_text(&writer, "\r\n");
        }
        if (response->allow != NULL) {
            put_text(&writer, "Allow: ");
            put_text(&writer, response->allow);
            put_text(&writer, "\r\n");
        }
        if (response->is_last) {
            put_text(&writer, "Connection: close\r\n");
        } else if (response->is_kept_alive_10) {
            put_text(&writer, "Connection: keep-alive\r\n");
        }
    }
    put_text(&writer, "\r\n");
    return writer.is_full ? 0 : (size_t)(writer.at - out);
}
