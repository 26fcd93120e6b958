/* SPDX-License-Identifier: MIT */
/*
 * What backtrace.py looks at: tasks parked in known functions at known depths. The script stops the
 * process at all_parked(), or lets it dump core there, with --abort.
 *
 * A task's name says what the script must find: KIND:DEPTH, the wait and how many calls of middle()
 * lie between it and the handler. One worker, so that nothing is stolen and a task that has counted
 * itself is parked when the main task runs again.
 */
#include <bonxie/bonxie.h>
#include <bonxie/net.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define DEPTHS 5
#define KINDS 3
#define TASKS (DEPTHS * KINDS + 2) /* and the inline child, and the one inside a generator */

struct visitor {
    char name[32];
    int depth;
    int (*wait)(void); /* parks until the end */
};

/* The script reads it. */
struct bnx_runtime *parked_runtime;

static struct visitor visitors[TASKS];
static int started_count;
static struct bnx_future *future_never;
static int sockets[2];

/* Keeps a call from becoming a jump: its frame must be on the stack. */
static int keep(int value) {
    __asm__ volatile("" : "+r"(value));
    return value;
}

static int wait_sleep(void) {
    return keep(bnx_sleep_until(UINT64_MAX));
}

static int wait_future(void) {
    return keep(bnx_future_await(future_never, NULL));
}

static int wait_recv(void) {
    char byte;
    return keep((int)bnx_recv(sockets[0], &byte, 1, 0));
}

static __attribute__((noinline)) int middle(const struct visitor *visitor, int depth) {
    if (depth > 1) {
        return keep(middle(visitor, depth - 1)) - 1;
    }
    started_count++;
    return keep(visitor->wait());
}

static __attribute__((noinline)) int visit(const struct visitor *visitor) {
    bnx_task_name_set(visitor->name);
    (void)middle(visitor, visitor->depth);
    return keep(0);
}

static int handler_sleep(void *arg) {
    return keep(visit(arg));
}

static int handler_future(void *arg) {
    return keep(visit(arg));
}

static int handler_recv(void *arg) {
    return keep(visit(arg));
}

static int child_inline(void *arg) {
    return keep(visit(arg));
}

/* Its child runs on its stack, at the close. */
static int parent_beneath(void *arg) {
    struct bnx_scope scope;
    int error = bnx_scope_open(&scope, NULL);
    if (error == 0) {
        error = bnx_spawn(&scope, child_inline, arg);
        int close_error = bnx_scope_close(&scope);
        error = error < 0 ? error : close_error;
    }
    return keep(error == -ECANCELED ? 0 : error);
}

static int body_waits(struct bnx_gen *gen, void *arg) {
    (void)gen;
    return keep(visit(arg));
}

/* Parks on the generator's stack. */
static int handler_gen(void *arg) {
    struct bnx_gen *gen = NULL;
    int error = bnx_gen_create(&gen, body_waits, arg, NULL);
    if (error == 0) {
        error = bnx_gen_next(gen, NULL);
        bnx_gen_destroy(gen);
    }
    return keep(error);
}

/* The script's breakpoint. */
__attribute__((noinline)) void all_parked(int is_core_wanted);
void all_parked(int is_core_wanted) {
    if (keep(is_core_wanted)) {
        abort();
    }
}

static int spawn_all(struct bnx_scope *scope) {
    static const struct {
        const char *kind;
        bnx_task_fn handler;
        int (*wait)(void);
    } kinds[KINDS] = {
        {"sleep", handler_sleep, wait_sleep},
        {"future", handler_future, wait_future},
        {"recv", handler_recv, wait_recv},
    };
    for (int i = 0; i < DEPTHS * KINDS; i++) {
        struct visitor *visitor = &visitors[i];
        visitor->depth = i / KINDS + 1;
        visitor->wait = kinds[i % KINDS].wait;
        (void)snprintf(visitor->name, sizeof(visitor->name), "%s:%d", kinds[i % KINDS].kind,
                       visitor->depth);
        int error = bnx_spawn(scope, kinds[i % KINDS].handler, visitor);
        if (error < 0) {
            return error;
        }
    }
    visitors[TASKS - 2] = (struct visitor){"gen:3", 3, wait_sleep};
    int error = bnx_spawn(scope, handler_gen, &visitors[TASKS - 2]);
    if (error < 0) {
        return error;
    }
    visitors[TASKS - 1] = (struct visitor){"inline:2", 2, wait_sleep};
    return bnx_spawn(scope, parent_beneath, &visitors[TASKS - 1]);
}

static int run(void *arg) {
    parked_runtime = bnx_runtime_current();
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) != 0) {
        return -errno;
    }
    int error = bnx_future_create(&future_never);
    struct bnx_scope scope;
    error = error < 0 ? error : bnx_scope_open(&scope, NULL);
    if (error < 0) {
        return error;
    }
    error = spawn_all(&scope);
    while (error == 0 && started_count < TASKS) {
        bnx_yield();
    }
    if (error == 0) {
        all_parked(*(const int *)arg);
    }
    bnx_scope_cancel(&scope, 0);
    int close_error = bnx_scope_close(&scope);
    bnx_future_unref(future_never);
    close(sockets[0]);
    close(sockets[1]);
    return error == 0 && close_error == -ECANCELED ? 0 : -EIO;
}

int main(int argc, char **argv) {
    int is_core_wanted = argc == 2 && strcmp(argv[1], "--abort") == 0;
    struct bnx_options options = {.worker_count = 1, .flags = BNX_NO_WATCHDOG};
    int error = bnx_run(&options, run, &is_core_wanted);
    if (error < 0) {
        fprintf(stderr, "parked: %s\n", strerror(-error));
    }
    return error == 0 ? 0 : 1;
}
