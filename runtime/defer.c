/* SPDX-License-Identifier: MIT */
/* Deferred functions: what a scope calls when it closes, shielded (bonxie/scope.h). */
#include "runtime/os.h"
#include "runtime/runtime_pvt.h"
#include "runtime/scope_pvt.h"

#include <errno.h>

struct bnx_defer_node {
    struct bnx_defer_node *next; /* added before this one */
    void (*fn)(void *arg);
    void *arg;
};

int bnx_defer(struct bnx_scope *scope, void (*fn)(void *arg), void *arg) {
    struct bnx_task *self = bnx_task_current();
    if (self == NULL || self != scope->owner) {
        return self == NULL ? bnx_off_task_error() : -EPERM;
    }
    if (fn == NULL) {
        return -EINVAL;
    }
    struct bnx_defer_node *node = bnx_os.allocate(sizeof(*node), _Alignof(struct bnx_defer_node));
    if (node == NULL) {
        return -ENOMEM;
    }
    *node = (struct bnx_defer_node){scope->defers, fn, arg};
    scope->defers = node;
    return 0;
}

void bnx_defers_run(struct bnx_scope *scope, int error) {
    struct bnx_scope shield;
    const struct bnx_scope_options options = {.name = scope->name, .flags = BNX_SCOPE_SHIELD};
    struct bnx_shield without_timers = {.scope = &shield, .is_in_frame = true};
    bool has_timers = bnx_scope_open_for_defers(&shield, &options) == 0;
    if (!has_timers) {
        /* No memory: what was promised is called all the same, in a shield that never breaks. */
        BNX_CHECK(bnx_scope_open_for_defers(&shield, NULL) == 0);
        shield.shield = &without_timers;
        shield.shield_depth = shield.depth;
    }
    shield.shield->is_of_defers = true;
    shield.shield->defer_error = error;
    while (scope->defers != NULL) { /* ends: each is called once; one may defer another */
        struct bnx_defer_node *node = scope->defers;
        scope->defers = node->next;
        void (*fn)(void *) = node->fn;
        void *arg = node->arg;
        bnx_os.release(node);
        fn(arg);
    }
    (void)bnx_scope_close(&shield);
}

int bnx_defer_error(void) {
    const struct bnx_task *self = bnx_task_current();
    const struct bnx_scope *scope = self != NULL ? self->scope_top : NULL;
    for (; scope != NULL; scope = scope->outer) { /* ends: the task's open scopes */
        if (scope->shield != NULL && scope->shield->is_of_defers) {
            return scope->shield->defer_error;
        }
    }
    return 0;
}
