/* SPDX-License-Identifier: MIT */
/* Cancelling a task wherever it may wait, for tests (suspension.h). */
#include "runtime/suspension.h"

#include "runtime/runtime_pvt.h"
#include "runtime/scope_pvt.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct {
    struct bnx_scope *scope; /* K1; NULL: none */
    uint64_t target;         /* where it is cancelled; written before scope */
    uint64_t count;          /* places so far; any thread */
} watched;

/* Of a whole program; read once, every thread reads the same. */
static struct {
    uint64_t target; /* 0: not asked for */
    uint64_t count;  /* any thread */
} program;

__attribute__((constructor)) static void read_environment(void) {
    const char *text = secure_getenv("BONXIE_CANCEL_AT");
    if (text != NULL) {
        program.target = strtoull(text, NULL, 10);
    }
}

static bool is_beneath(const struct bnx_task *task, const struct bnx_scope *scope) {
    const struct bnx_scope *at = bnx_task_scope(task);
    while (at != NULL && at != scope) { /* ends at the root */
        at = at->parent;
    }
    return at != NULL && at->owner != task;
}

static BNX_COLD void count_in_program(struct bnx_task *self) {
    uint64_t number = bnx_fetch_add_relaxed(&program.count, 1) + 1; /* a number */
    if (number == program.target) {
        char line[64];
        int bytes = snprintf(line, sizeof(line), "bonxie: stopped at place %llu\n",
                             (unsigned long long)number);
        (void)bnx_os.write(STDERR_FILENO, line, (size_t)bytes);
        (void)bnx_runtime_stop(self->runtime);
    }
}

void bnx_suspension_point(struct bnx_task *self) {
    if (bnx_unlikely(program.target != 0)) {
        count_in_program(self);
    }
    struct bnx_scope *scope = bnx_load_acquire(&watched.scope); /* K1 */
    if (bnx_likely(scope == NULL) || !is_beneath(self, scope)) {
        return;
    }
    uint64_t number = bnx_fetch_add_relaxed(&watched.count, 1) + 1; /* a number */
    if (number == watched.target) {
        bnx_scope_cancel(scope, 0);
    }
}

void bnx_suspension_watch(struct bnx_scope *scope, uint64_t target) {
    watched.target = target;
    bnx_store_relaxed(&watched.count, 0);     /* nobody counts yet */
    bnx_store_release(&watched.scope, scope); /* K1 */
}

uint64_t bnx_suspension_unwatch(void) {
    bnx_store_release(&watched.scope, NULL); /* K1 */
    return bnx_load_relaxed(&watched.count); /* nobody counts any more */
}
