/* SPDX-License-Identifier: MIT */
/* All tasks, one by one (bnx_tasks_foreach), and in one line each (bonxie/dump.h). */
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

/* ---- A task as its words say now ---- */

const char *bnx_task_state_name(enum bnx_task_state state) {
    return (size_t)state < BNX_ARRAY_COUNT(state_names) ? state_names[state] : "?";
}

/* Relaxed all of them: a snapshot of words that their owners change. */
static void read_info(const struct bnx_task *task, uint64_t now_ns,
                      struct bnx_task_info *out_info) {
    uint8_t reason = bnx_load_relaxed(&task->wait_reason);
    *out_info = (struct bnx_task_info){
        .id = bnx_load_relaxed(&task->id),
        .name = bnx_load_relaxed(&task->name),
        .scope_name = bnx_load_relaxed(&task->scope_name),
        .state = (enum bnx_task_state)bnx_load_relaxed(&task->state),
        .task_class = (enum bnx_class)bnx_load_relaxed(&task->class),
        .site = bnx_load_relaxed(&task->site),
    };
    if (out_info->state == BNX_TASK_PARKED && reason != BNX_WAIT_NONE) {
        uint64_t since_ns = bnx_load_relaxed(&task->since_ns);
        out_info->wait_reason = bnx_wait_reason_name((enum bnx_wait_reason)reason);
        out_info->object = bnx_load_relaxed(&task->wait_object);
        out_info->age_ns = now_ns > since_ns ? now_ns - since_ns : 0;
    }
}

struct walk {
    int (*fn)(const struct bnx_task_info *info, void *arg);
    void *arg;
    uint64_t now_ns;
};

static int visit(void *object, void *arg) {
    const struct walk *walk = arg;
    struct bnx_task_info info;
    read_info(object, walk->now_ns, &info);
    bool is_there = info.id != 0 && info.state != BNX_TASK_DONE;
    return is_there ? walk->fn(&info, walk->arg) : 0;
}

int bnx_tasks_foreach(struct bnx_runtime *runtime,
                      int (*fn)(const struct bnx_task_info *info, void *arg), void *arg) {
    struct walk walk = {fn, arg, bnx_clock_now()};
    return bnx_pool_foreach(&runtime->tasks, visit, &walk);
}

/* ---- In one line ---- */

/* What was cut off by the end of the buffer is not counted. */
static size_t written_of(int length, size_t bytes) {
    if (length < 0) {
        return 0;
    }
    return (size_t)length < bytes ? (size_t)length : bytes - 1;
}

static size_t print_line(const struct bnx_task_info *info, char *out, size_t bytes) {
    size_t used = written_of(snprintf(out, bytes, "task %llu %s %s", (unsigned long long)info->id,
                                      info->name != NULL ? info->name : "-",
                                      bnx_task_state_name(info->state)),
                             bytes);
    if (info->wait_reason != NULL) {
        uint64_t age_us = info->age_ns / BNX_NS_PER_US;
        used += written_of(snprintf(out + used, bytes - used, " %s(%lld) %llu.%03llu ms",
                                    info->wait_reason, (long long)(intptr_t)info->object,
                                    (unsigned long long)(age_us / 1000),
                                    (unsigned long long)(age_us % 1000)),
                           bytes - used);
    }
    used +=
        written_of(snprintf(out + used, bytes - used, " spawned at %p", info->site), bytes - used);
    if (info->scope_name != NULL) {
        used += written_of(snprintf(out + used, bytes - used, " in %s", info->scope_name),
                           bytes - used);
    }
    if (info->task_class != BNX_CLASS_NORMAL) {
        const char *text = info->task_class == BNX_CLASS_BATCH ? " (batch)" : " (latency)";
        used += written_of(snprintf(out + used, bytes - used, "%s", text), bytes - used);
    }
    return used;
}

size_t bnx_task_describe(const struct bnx_task *task, uint64_t now_ns, char *out, size_t bytes) {
    struct bnx_task_info info;
    read_info(task, now_ns, &info);
    return print_line(&info, out, bytes);
}

static int dump_one(const struct bnx_task_info *info, void *arg) {
    struct output *output = arg;
    if (output->used + LINE_BYTES > sizeof(output->buffer)) {
        flush(output);
    }
    output->used += print_line(info, output->buffer + output->used, LINE_BYTES - 1);
    output->buffer[output->used++] = '\n';
    output->tasks++;
    return output->error;
}

int bnx_runtime_dump(struct bnx_runtime *runtime, int fd) {
    struct output output = {.fd = fd};
    (void)bnx_tasks_foreach(runtime, dump_one, &output);
    flush(&output);
    return output.error != 0 ? output.error : output.tasks;
}

int bnx_dump(int fd) {
    struct bnx_runtime *runtime = bnx_runtime_current();
    return runtime != NULL ? bnx_runtime_dump(runtime, fd) : bnx_off_task_error();
}
