/* SPDX-License-Identifier: MIT */
/* Showing how far a job is (bonxie/progress.h): a periodic timer draws. */
#include <bonxie/progress.h>

#include "runtime/atomic.h"
#include "runtime/check.h"
#include "runtime/clock.h"
#include "runtime/progress_pvt.h"

#include <bonxie/offload.h>
#include <bonxie/scope.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define REDRAW_NS (BNX_NS_PER_S / 10)
#define LINE_NS BNX_NS_PER_S
#define COLUMNS_DEFAULT 80
#define LABEL_MAX 300
#define BAR_COLUMNS_MIN 5 /* less room than this: no bar */
#define BAR_COLUMNS_MAX 60
#define LINE_BYTES 512

/* ---- The line ---- */

/* Three digits that mean something, and k, M, G beyond. */
static void format_rate(char *out, size_t bytes, double per_second) {
    static const char *const units[] = {"", "k", "M", "G", "T"};
    size_t unit = 0;
    while (per_second >= 999.5 && unit + 1 < BNX_ARRAY_COUNT(units)) { /* ends: five units */
        per_second /= 1000;
        unit++;
    }
    int digits = per_second >= 99.95 ? 0 : per_second >= 9.995 ? 1 : 2;
    (void)snprintf(out, bytes, "%.*f%s/s", digits, per_second, units[unit]);
}

/* h:mm:ss, or m:ss below an hour. */
static void format_time(char *out, size_t bytes, uint64_t seconds) {
    unsigned long long hours = seconds / 3600;
    unsigned minutes = (unsigned)(seconds / 60 % 60);
    unsigned rest = (unsigned)(seconds % 60);
    if (hours != 0) {
        (void)snprintf(out, bytes, "%llu:%02u:%02u", hours, minutes, rest);
    } else {
        (void)snprintf(out, bytes, "%u:%02u", minutes, rest);
    }
}

static double rate_of(const struct bnx_progress_view *view) {
    double seconds = (double)view->elapsed_ns / 1e9;
    return seconds > 0 ? (double)view->count / seconds : 0;
}

/* What stands behind the bar: the count, the rate, and how long it will take or has taken. */
static void format_figures(const struct bnx_progress_view *view, char *out, size_t bytes) {
    double rate = rate_of(view);
    char speed[32];
    char time[40];
    format_rate(speed, sizeof(speed), rate);
    bool is_open = view->total > view->count && rate > 0;
    double left = is_open ? (double)(view->total - view->count) / rate : 0;
    if (is_open && left < 360000) { /* a hundred hours: more than that is no forecast */
        format_time(time, sizeof(time), (uint64_t)(left + 0.5));
    } else {
        format_time(time, sizeof(time), view->elapsed_ns / BNX_NS_PER_S);
    }
    const char *word = !is_open ? "in" : left < 360000 ? "ETA" : "after";
    if (view->total != 0) {
        (void)snprintf(out, bytes, "%llu/%llu  %s  %s %s", (unsigned long long)view->count,
                       (unsigned long long)view->total, speed, word, time);
    } else {
        (void)snprintf(out, bytes, "%llu  %s  in %s", (unsigned long long)view->count, speed, time);
    }
}

static unsigned percent_of(const struct bnx_progress_view *view) {
    if (view->count >= view->total) {
        return 100;
    }
    return (unsigned)((double)view->count / (double)view->total * 100);
}

/* A bar of so many characters between its brackets, and a blank. */
static void format_bar(const struct bnx_progress_view *view, char *out, size_t width) {
    double share = view->count >= view->total ? 1 : (double)view->count / (double)view->total;
    size_t filled = (size_t)(share * (double)width);
    out[0] = '[';
    memset(out + 1, '#', filled);
    memset(out + 1 + filled, '.', width - filled);
    if (filled < width) {
        out[1 + filled] = '>';
    }
    memcpy(out + 1 + width, "] ", 3);
}

size_t bnx_progress_format(const struct bnx_progress_view *view, char *out, size_t bytes) {
    static const char frames[] = {'|', '/', '-', '\\'};
    char figures[160];
    char head[LABEL_MAX + 16];
    char bar[BAR_COLUMNS_MAX + 4] = "";
    bool has_label = view->label != NULL && view->label[0] != '\0';
    const char *label = has_label ? view->label : "";
    const char *colon = has_label ? ": " : "";
    format_figures(view, figures, sizeof(figures));
    if (view->total != 0) {
        (void)snprintf(head, sizeof(head), "%.*s%s%3u%% ", LABEL_MAX, label, colon,
                       percent_of(view));
    } else if (view->columns != 0) {
        (void)snprintf(head, sizeof(head), "%.*s%s%c ", LABEL_MAX, label, colon,
                       frames[view->frame % sizeof(frames)]);
    } else {
        (void)snprintf(head, sizeof(head), "%.*s%s", LABEL_MAX, label, colon);
    }
    size_t used = strlen(head) + strlen(figures) + strlen("[] ");
    if (view->total != 0 && view->columns >= used + BAR_COLUMNS_MIN) {
        size_t width = view->columns - used;
        format_bar(view, bar, width < BAR_COLUMNS_MAX ? width : BAR_COLUMNS_MAX);
    }
    int length = snprintf(out, bytes, "%s%s%s", head, bar, figures);
    size_t written = (size_t)length < bytes ? (size_t)length : bytes - 1;
    if (view->columns != 0 && written > view->columns) {
        written = view->columns;
        out[written] = '\0';
    }
    return written;
}

/* ---- Drawing ---- */

struct line {
    int fd;
    size_t bytes;
    char text[LINE_BYTES];
};

/* The columns to use on a terminal; 0 elsewhere. The last one stays empty: a character there makes
 * some terminals begin a new line. */
static unsigned columns_of(int fd) {
    int columns = bnx_os.terminal_columns(fd);
    if (columns < 0) {
        return 0;
    }
    columns = columns == 0 ? COLUMNS_DEFAULT : columns;
    columns = columns < BNX_PROGRESS_COLUMNS_MAX ? columns : BNX_PROGRESS_COLUMNS_MAX;
    return columns > 1 ? (unsigned)columns - 1 : 1;
}

static void append(struct line *line, const char *text) {
    size_t bytes = strlen(text);
    BNX_ASSERT(line->bytes + bytes <= sizeof(line->text));
    memcpy(line->text + line->bytes, text, bytes);
    line->bytes += bytes;
}

/* A line as it is now; the last one differs on a terminal. */
static void compose(struct bnx_progress *progress, struct line *out_line, bool is_last) {
    struct bnx_progress_view view = {
        .label = progress->label,
        .count = bnx_load_relaxed(&progress->count), /* a number */
        .total = progress->total,
        .elapsed_ns = bnx_clock_now() - progress->start_ns,
        .frame = progress->frame++,
        .columns = columns_of(progress->fd),
    };
    progress->drawn = view.count;
    bool is_terminal = view.columns != 0;
    out_line->fd = progress->fd;
    out_line->bytes = 0;
    if (is_terminal) {
        append(out_line, "\r\x1b[K"); /* to the line's begin, and clear it */
    }
    if (is_last && is_terminal && (progress->flags & BNX_PROGRESS_CLEAR) != 0) {
        return;
    }
    out_line->bytes += bnx_progress_format(&view, out_line->text + out_line->bytes,
                                           sizeof(out_line->text) - out_line->bytes - 1);
    if (is_last || !is_terminal) {
        append(out_line, "\n");
    }
}

/* What cannot be written is not shown: a count is no reason to fail. */
static int write_line(void *arg) {
    const struct line *line = arg;
    size_t written = 0;
    while (written < line->bytes) { /* ends: each write takes some, or fails */
        ssize_t bytes = bnx_os.write(line->fd, line->text + written, line->bytes - written);
        if (bytes <= 0 && bytes != -EINTR) {
            return 0;
        }
        written += bytes > 0 ? (size_t)bytes : 0;
    }
    return 0;
}

static void draw(struct bnx_timer *timer, void *arg) {
    (void)timer;
    struct bnx_progress *progress = arg;
    bool is_terminal = columns_of(progress->fd) != 0;
    /* relaxed: a number */
    if (!is_terminal && bnx_load_relaxed(&progress->count) == progress->drawn) {
        return;
    }
    struct line line;
    compose(progress, &line, false);
    (void)bnx_offload(write_line, &line); /* refused by a cancel: the job is about to end */
}

int bnx_progress_open(struct bnx_progress *progress, int fd,
                      const struct bnx_progress_options *options) {
    static const struct bnx_progress_options defaults;
    const struct bnx_progress_options *chosen = options != NULL ? options : &defaults;
    *progress = (struct bnx_progress){.total = chosen->total,
                                      .label = chosen->label,
                                      .start_ns = bnx_clock_now(),
                                      .fd = fd,
                                      .flags = chosen->flags};
    if ((chosen->flags & ~(unsigned)BNX_PROGRESS_CLEAR) != 0) {
        return -EINVAL;
    }
    bool is_terminal = columns_of(fd) != 0;
    struct bnx_timer_options timer = {
        .runtime = chosen->runtime,
        .fn = draw,
        .arg = progress,
        .period_ns = is_terminal ? REDRAW_NS : LINE_NS,
        .name = "progress",
    };
    int error = bnx_timer_create(&progress->timer, &timer);
    if (error != 0) {
        return error;
    }
    error = bnx_timer_start_after(progress->timer, is_terminal ? 0 : LINE_NS);
    if (error < 0) {
        bnx_timer_destroy(progress->timer);
        progress->timer = NULL;
    }
    return error;
}

void bnx_progress_add(struct bnx_progress *progress, uint64_t count) {
    (void)bnx_fetch_add_relaxed(&progress->count, count); /* a number on its own */
}

void bnx_progress_set(struct bnx_progress *progress, uint64_t count) {
    bnx_store_relaxed(&progress->count, count); /* as above */
}

void bnx_progress_finish(struct bnx_progress *progress) {
    if (progress->timer == NULL) {
        return;
    }
    bnx_timer_destroy(progress->timer); /* waits until the last drawing is over */
    progress->timer = NULL;
    struct line line;
    compose(progress, &line, true);
    /* It comes also when the job was cancelled, and a full pipe must not hold a worker. */
    struct bnx_scope shield;
    const struct bnx_scope_options options = {.flags = BNX_SCOPE_SHIELD, .name = "progress"};
    bool is_shielded = bnx_scope_open(&shield, &options) == 0;
    if (bnx_offload(write_line, &line) < 0) {
        (void)write_line(&line);
    }
    if (is_shielded) {
        (void)bnx_scope_close(&shield);
    }
}
