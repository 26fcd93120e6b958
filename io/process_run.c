/* SPDX-License-Identifier: MIT */
/* bnx_process_run: a process fed and read to its end, its pipes all at once (bonxie/process.h). */
#include <bonxie/process.h>

#include <bonxie/file.h>

#include <errno.h>
#include <unistd.h>

/* One pipe of the process; in the frame of the call. */
struct flow {
    struct bnx_process *process;
    const struct bnx_process_text *from; /* of the input */
    struct bnx_process_text *to;         /* of the others */
    int number;
};

struct run {
    struct bnx_process *process;
    struct flow flows[3];
    int result;
};

/* A process that reads no more is no failure of ours. */
static int feed(void *arg) {
    const struct flow *flow = arg;
    int fd = bnx_process_take_pipe(flow->process, flow->number);
    size_t done = 0;
    ssize_t wrote = 0;
    while (done < flow->from->bytes && wrote >= 0) { /* ends: progress, or an error */
        wrote = bnx_write(fd, flow->from->data + done, flow->from->bytes - done);
        done += wrote > 0 ? (size_t)wrote : 0;
    }
    (void)bnx_close(fd);
    return wrote < 0 && wrote != -EPIPE ? (int)wrote : 0;
}

static int collect(void *arg) {
    const struct flow *flow = arg;
    struct bnx_process_text *to = flow->to;
    int fd = bnx_process_take_pipe(flow->process, flow->number);
    ssize_t got;
    do { /* ends: with the pipe, an error, or the room */
        char extra;
        bool is_full = to->bytes == to->bytes_max;
        got = bnx_read(fd, is_full ? &extra : to->data + to->bytes,
                       is_full ? 1 : to->bytes_max - to->bytes);
        if (got > 0 && is_full) {
            got = -EMSGSIZE;
        }
        to->bytes += got > 0 ? (size_t)got : 0;
    } while (got > 0);
    (void)bnx_close(fd);
    return (int)got;
}

static int wait_for(void *arg) {
    struct run *run = arg;
    run->result = bnx_process_wait(run->process);
    return run->result < 0 ? run->result : 0;
}

/* Whoever fails cancels the others: all that waits is a task of the scope. */
static int start_all(struct bnx_scope *scope, const struct bnx_process_options *options,
                     struct run *run) {
    int error = bnx_process_spawn(scope, options, &run->process);
    for (int i = 0; i < 3 && error == 0; i++) {
        struct flow *flow = &run->flows[i];
        flow->process = run->process;
        if (flow->from != NULL || flow->to != NULL) {
            error = bnx_spawn(scope, flow->from != NULL ? feed : collect, flow);
        }
    }
    return error != 0 ? error : bnx_spawn(scope, wait_for, run);
}

int bnx_process_run(const struct bnx_process_options *options, const struct bnx_process_text *input,
                    struct bnx_process_text *output, struct bnx_process_text *errors) {
    if (options == NULL) {
        return -EINVAL;
    }
    struct bnx_process_options chosen = *options;
    struct bnx_stdio *stdio[] = {&chosen.input, &chosen.output, &chosen.errors};
    struct run run = {.flows = {{.from = input, .number = STDIN_FILENO},
                                {.to = output, .number = STDOUT_FILENO},
                                {.to = errors, .number = STDERR_FILENO}}};
    for (int i = 0; i < 3; i++) {
        if (run.flows[i].to != NULL) {
            run.flows[i].to->bytes = 0;
        }
        if (run.flows[i].from != NULL || run.flows[i].to != NULL) {
            stdio[i]->kind = BNX_STDIO_PIPE;
        }
    }
    struct bnx_scope scope;
    int error = bnx_scope_open(&scope, NULL);
    if (error != 0) {
        return error;
    }
    error = start_all(&scope, &chosen, &run);
    if (error != 0) {
        bnx_scope_fail(&scope, error);
    }
    int closed = bnx_scope_close(&scope);
    if (error == 0) {
        error = closed;
    }
    return error != 0 ? error : run.result;
}
