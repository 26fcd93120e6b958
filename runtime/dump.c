/* SPDX-License-Identifier: MIT */
/* One line a task (bonxie/dump.h): read without stopping anyone, so each line is a snapshot. */
#include <bonxie/dump.h>

#include "runtime/clock.h"
#include "runtime/dump_pvt.h"
#include "runtime/runtime_pvt.h"

#include <errno.h>
#include <stdio.h>

#define LINE_BYTES 256
#define BUFFER_BYTES 4096 /* one write(2) for some thirty tasks */

static const char *const state_names[] = {
    [BNX_TASK_NEW] = "new",         [BNX_TASK_READY] = "ready",
    [BNX_TASK_RUNNING] = "running", [BNX_TASK_PARKED] = "parked",
    [BNX_TASK_BENEATH] = "beneath", [BNX_TASK_OFFLOADED] = "offloaded",
    [BNX_TASK_DONE] = "done",
};

struct output {
    int fd;
    int error;
    int tasks;
    uint64_t now_ns;
    size_t used;
    char buffer[BUFFER_BYTES];
};

static void flush(struct output *output) {
    size_t at = 0;
    while (at < output->used && output->error == 0) { /* ends: progress or an error */
        ssize_t written = bnx_os.write(output->fd, output->buffer + at, output->used - at);
        if (written < 0 && written != -EINTR) {
            output->error = (int)written;
        } else if (written > 0) {
            at += (size_t)written;
        }
    }
    output->used = 0;
}

size_t bnx_task_describe(const struct bnx_task *task, uint64_t now_ns, char *out, size_t bytes) {
    /* Relaxed all of them: a snapshot of words that their owners change. */
    uint64_t id = bnx_load_relaxed(&task->id);
    const char *name = bnx_load_relaxed(&task->name);
    uint8_t state = bnx_load_relaxed(&task->state);
    uint8_t reason = bnx_load_relaxed(&task->wait_reason);
    const void *object = bnx_load_relaxed(&task->wait_object);
    uint64_t since_ns = bnx_load_relaxed(&task->since_ns);
    const void *site = bnx_load_relaxed(&task->site);
    const char *state_name = state < BNX_ARRAY_COUNT(state_names) ? state_names[state] : "?";
    int used;
    if (state == BNX_TASK_PARKED && reason != BNX_WAIT_NONE) {
        uint64_t age_ns = now_ns > since_ns ? now_ns - since_ns : 0;
        used = snprintf(out, bytes, "task %llu %s %s %s(%lld) %llu.%03llu ms spawned at %p",
                        (unsigned long long)id, name != NULL ? name : "-", state_name,
                        bnx_wait_reason_name((enum bnx_wait_reason)reason),
                        (long long)(intptr_t)object, (unsigned long long)(age_ns / BNX_NS_PER_MS),
                        (unsigned long long)(age_ns % BNX_NS_PER_MS / BNX_NS_PER_US), site);
    } else {
        used = snprintf(out, bytes, "task %llu %s %s spawned at %p", (unsigned long long)id,
                        name != NULL ? name : "-", state_name, site);
    }
    if (used < 0) {
        return 0;
    }
    return (size_t)used < bytes ? (size_t)used : bytes - 1;
}

static int dump_one(void *object, void *arg) {
    const struct bnx_task *task = object;
    struct output *output = arg;
    if (bnx_load_relaxed(&task->id) == 0 || /* free */
        bnx_load_relaxed(&task->state) == BNX_TASK_DONE) {
        return 0;
    }
    if (output->used + LINE_BYTES > sizeof(output->buffer)) {
        flush(output);
    }
    output->used +=
        bnx_task_describe(task, output->now_ns, output->buffer + output->used, LINE_BYTES - 1);
    output->buffer[output->used++] = '\n';
    output->tasks++;
    return output->error;
}

int bnx_runtime_dump(struct bnx_runtime *runtime, int fd) {
    struct output output = {.fd = fd, .now_ns = bnx_clock_now()};
    (void)bnx_pool_foreach(&runtime->tasks, dump_one, &output);
    flush(&output);
    return output.error != 0 ? output.error : output.tasks;
}

int bnx_dump(int fd) {
    struct bnx_runtime *runtime = bnx_runtime_current();
    return runtime != NULL ? bnx_runtime_dump(runtime, fd) : bnx_off_task_error();
}
