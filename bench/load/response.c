/* SPDX-License-Identifier: MIT */
/* Finds the ends of HTTP responses in a stream, as far as a load generator has to. */
#include "bench/load/load.h"

#include <string.h>
#include <strings.h>

/* Reads status and length from a head of so many bytes. Returns 0, or -1. */
static int head_parse(struct bnx_response *response, const char *head, size_t bytes) {
    static const char length_name[] = "\r\nContent-Length:";
    if (bytes < 13 || memcmp(head, "HTTP/1.", 7) != 0 || head[8] != ' ') {
        return -1;
    }
    response->status = 0;
    for (int i = 9; i < 12; i++) {
        if (head[i] < '0' || head[i] > '9') {
            return -1;
        }
        response->status = response->status * 10 + (unsigned)(head[i] - '0');
    }
    const char *end = head + bytes;
    for (const char *at = head; (at = memchr(at, '\r', (size_t)(end - at))) != NULL; at++) {
        if ((size_t)(end - at) < sizeof(length_name) ||
            strncasecmp(at, length_name, sizeof(length_name) - 1) != 0) {
            continue;
        }
        uint64_t length = 0;
        const char *digit = at + sizeof(length_name) - 1;
        digit += *digit == ' ';
        for (; *digit >= '0' && *digit <= '9'; digit++) { /* ends at the CR of the head */
            length = length * 10 + (uint64_t)(*digit - '0');
        }
        response->content_bytes = length;
        response->content_left = length;
        return 0;
    }
    return -1;
}

int bnx_response_parse(struct bnx_response *response, const char *data, size_t bytes,
                       size_t *out_consumed) {
    size_t at = 0;
    *out_consumed = 0;
    if (!response->is_in_content) {
        const char *end = memmem(data, bytes, "\r\n\r\n", 4);
        if (end == NULL) {
            return 0;
        }
        at = (size_t)(end + 4 - data);
        if (head_parse(response, data, at) < 0) {
            return -1;
        }
        response->is_in_content = true;
    }
    size_t taken = bytes - at;
    taken = response->content_left < taken ? (size_t)response->content_left : taken;
    response->content_left -= taken;
    *out_consumed = at + taken;
    if (response->content_left > 0) {
        return 0;
    }
    response->is_in_content = false;
    return 1;
}
