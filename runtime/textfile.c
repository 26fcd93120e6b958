/* SPDX-License-Identifier: MIT */
/* The line reader, and the parser of the kernel's lists. */
#include "runtime/textfile.h"

#include "runtime/os.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* /proc gives a page at a time: 16 MiB, some hundred thousand mounts. */
#define READS_MAX 4096

static bool open_formatted(struct bnx_textfile *file, const char *format, va_list arguments) {
    file->reads = 0;
    file->start = 0;
    file->end = 0;
    file->is_passing_over = false;
    int root_bytes = snprintf(file->path, sizeof(file->path), "%s", file->root);
    if (root_bytes < 0 || (size_t)root_bytes >= sizeof(file->path)) {
        return false;
    }
    size_t room = sizeof(file->path) - (size_t)root_bytes;
    int bytes = vsnprintf(file->path + root_bytes, room, format, arguments);
    if (bytes < 0 || (size_t)bytes >= room) {
        return false;
    }
    file->fd = bnx_os.openat(AT_FDCWD, file->path, O_RDONLY | O_CLOEXEC, 0);
    return file->fd >= 0;
}

bool bnx_textfile_open(struct bnx_textfile *file, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    bool is_open = open_formatted(file, format, arguments);
    va_end(arguments);
    return is_open;
}

void bnx_textfile_close(struct bnx_textfile *file) {
    (void)bnx_os.close(file->fd);
}

/* Makes room and reads on. False at the end of the file, on an error and at READS_MAX. */
static bool refill(struct bnx_textfile *file) {
    size_t kept = file->end - file->start;
    memmove(file->text, file->text + file->start, kept);
    if (kept == sizeof(file->text) - 1) {
        kept = 0;
        file->is_passing_over = true;
    }
    file->start = 0;
    file->end = kept;
    if (file->reads == READS_MAX) {
        return false;
    }
    file->reads++;
    ssize_t got = bnx_os.read(file->fd, file->text + kept, sizeof(file->text) - 1 - kept);
    if (got <= 0) {
        return false;
    }
    file->end += (size_t)got;
    return true;
}

char *bnx_textfile_next(struct bnx_textfile *file) {
    /* Ends: each turn consumes a line or one of the bounded reads. */
    for (;;) {
        char *line = file->text + file->start;
        char *newline = memchr(line, '\n', file->end - file->start);
        if (newline == NULL) {
            if (refill(file)) {
                continue;
            }
            if (file->end == 0) {
                return NULL;
            }
            /* The last line may lack its newline; the refill has moved it to the front. */
            line = file->text;
            newline = file->text + file->end;
        }
        *newline = '\0';
        size_t next = (size_t)(newline - file->text) + 1;
        file->start = next < file->end ? next : file->end;
        if (!file->is_passing_over) {
            return line;
        }
        file->is_passing_over = false;
    }
}

char *bnx_textfile_line(struct bnx_textfile *file, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    bool is_open = open_formatted(file, format, arguments);
    va_end(arguments);
    if (!is_open) {
        return NULL;
    }
    char *line = bnx_textfile_next(file);
    bnx_textfile_close(file);
    return line;
}

bool bnx_number_take(const char **at, uint64_t *out_value) {
    const char *digit = *at;
    uint64_t value = 0;
    for (; *digit >= '0' && *digit <= '9'; digit++) {
        uint64_t unit = (uint64_t)(*digit - '0');
        if (value > (UINT64_MAX - unit) / 10) {
            return false;
        }
        value = value * 10 + unit;
    }
    if (digit == *at) {
        return false;
    }
    *at = digit;
    *out_value = value;
    return true;
}

int bnx_range_take(const char **at, struct bnx_range *out_range) {
    const char *text = *at;
    struct bnx_range range;
    if (*text == '\0') {
        return 0;
    }
    if (!bnx_number_take(&text, &range.first)) {
        return -EINVAL;
    }
    range.last = range.first;
    if (*text == '-') {
        text++;
        if (!bnx_number_take(&text, &range.last) || range.last < range.first) {
            return -EINVAL;
        }
    }
    if (*text == ',') {
        text++;
    } else if (*text != '\0') {
        return -EINVAL;
    }
    *at = text;
    *out_range = range;
    return 1;
}

bool bnx_list_is_valid(const char *list) {
    if (list == NULL || *list == '\0') {
        return false;
    }
    struct bnx_range range;
    int taken = 1;
    while (taken > 0) {
        taken = bnx_range_take(&list, &range);
    }
    return taken == 0;
}

bool bnx_list_contains(const char *list, uint64_t number) {
    struct bnx_range range;
    while (bnx_range_take(&list, &range) > 0) {
        if (number >= range.first && number <= range.last) {
            return true;
        }
    }
    return false;
}
