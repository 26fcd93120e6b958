/* SPDX-License-Identifier: MIT */
/* The panic path, and the look-up of plants in builds that have them. */
#include "runtime/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void bnx_panic(const char *file, int line, const char *format, ...) {
    /* vsnprintf of plain conversions is async-signal-safe in glibc in practice; no heap is used. */
    char text[512];
    int used = snprintf(text, sizeof(text), "bonxie: %s:%d: ", file, line);
    size_t at = used > 0 ? (size_t)used : 0;
    va_list arguments;
    va_start(arguments, format);
    int more = vsnprintf(text + at, sizeof(text) - at - 1, format, arguments);
    va_end(arguments);
    if (more > 0) {
        at += (size_t)more;
    }
    if (at > sizeof(text) - 2) {
        at = sizeof(text) - 2;
    }
    text[at++] = '\n';
    ssize_t written = write(STDERR_FILENO, text, at);
    (void)written;
    abort();
}

#if BNX_PLANTS
bool bnx_plant_is_set(const char *name) {
    static const char *planted; /* read once; every thread computes the same value */
    static int is_known;
    if (!__atomic_load_n(&is_known, __ATOMIC_ACQUIRE)) {
        __atomic_store_n(&planted, getenv("BONXIE_PLANT"), __ATOMIC_RELAXED);
        __atomic_store_n(&is_known, 1, __ATOMIC_RELEASE);
    }
    const char *value = __atomic_load_n(&planted, __ATOMIC_RELAXED);
    return value != NULL && strcmp(value, name) == 0;
}
#endif
