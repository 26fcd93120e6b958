/* SPDX-License-Identifier: MIT */
/*
 * Reads the small text files of /sys and /proc line by line, and the numbers and lists in them.
 *
 * Concepts
 *   Files are read through bnx_os into bounded buffers, without an allocation. A file that is
 *   missing, unreadable or too long looks the same as an empty one: callers have an answer for that
 *   anyway, and need no second one.
 *
 *   A line that does not fit the buffer is passed over as a whole. Overlay mounts make lines of
 *   many kilobytes in mountinfo; nobody wants them, and the lines after them still count.
 *
 *   A list is the kernel's format for sets of CPUs and nodes: "0-3,8,10-11".
 */
#ifndef BNX_RUNTIME_TEXTFILE_H
#define BNX_RUNTIME_TEXTFILE_H

#include "runtime/compiler.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* 8 KiB hold a list of 1700 separate CPU numbers, and the ranges of any machine. */
#define BNX_TEXTFILE_LINE_BYTES BNX_CAPACITY(8192, 256)

/* A file that is being read. One thread. 12 KiB: keep it on the heap. */
struct bnx_textfile {
    const char *root;     /* prefix of every path; set by the caller, "" but in tests */
    int fd;               /* valid between open and close */
    unsigned reads;       /* read calls so far, bounded */
    size_t start;         /* first byte not handed out */
    size_t end;           /* first byte not filled */
    bool is_passing_over; /* inside a line that did not fit */
    char path[PATH_MAX];  /* of the file opened last */
    char text[BNX_TEXTFILE_LINE_BYTES]; /* the last byte is kept for a NUL */
};

/* Part of a list, both ends inclusive. */
struct bnx_range {
    uint64_t first;
    uint64_t last;
};

/**
 * Opens the file whose path is file->root and then the format.
 * Returns: true, and bnx_textfile_close must follow; false when there is no such file.
 */
bool bnx_textfile_open(struct bnx_textfile *file, const char *format, ...) BNX_PRINTF(2, 3);

/** Closes what bnx_textfile_open opened. Lines handed out stay valid until the next open. */
void bnx_textfile_close(struct bnx_textfile *file);

/**
 * Hands out the next line, without its newline; the caller may write into it.
 * Returns: the line, borrowed until the next call; NULL after the last and on a read error.
 */
char *bnx_textfile_next(struct bnx_textfile *file);

/**
 * Opens, reads the first line, closes.
 * Returns: the line, borrowed until the next use of file; NULL when there is none.
 */
char *bnx_textfile_line(struct bnx_textfile *file, const char *format, ...) BNX_PRINTF(2, 3);

/**
 * Takes a decimal number off the front of *at.
 * Returns: false, and *at unmoved, when there is none or it exceeds 64 bits.
 */
bool bnx_number_take(const char **at, uint64_t *out_value);

/**
 * Takes one range off the front of a list.
 * Returns: 1 a range; 0 the end of the list; -EINVAL not a list.
 */
int bnx_range_take(const char **at, struct bnx_range *out_range);

/** True when the list is well formed and not empty. NULL is allowed and is no list. */
bool bnx_list_is_valid(const char *list);

/** True when the number is in the list. */
bool bnx_list_contains(const char *list, uint64_t number);

#endif
