/* SPDX-License-Identifier: MIT */
/* The wait word: publishing, claiming, ending a wait; ops; the cancel check (task_pvt.h). */
#include "runtime/runtime_pvt.h"
#include "runtime/scope_pvt.h"

#include <errno.h>

static const char *const reason_names[BNX_WAIT_REASON_COUNT] = {
    [BNX_WAIT_NONE] = "nothing",
    [BNX_WAIT_CHILDREN] = "children",
    [BNX_WAIT_FORK] = "fork",
    [BNX_WAIT_JOIN] = "join",
    [BNX_WAIT_FUTURE] = "future",
    [BNX_WAIT_SLEEP] = "sleep",
    [BNX_WAIT_OFFLOAD] = "offload",
    [BNX_WAIT_READ] = "read",
    [BNX_WAIT_WRITE] = "write",
    [BNX_WAIT_RECV] = "recv",
    [BNX_WAIT_SEND] = "send",
    [BNX_WAIT_ACCEPT] = "accept",
    [BNX_WAIT_CONNECT] = "connect",
    [BNX_WAIT_POLL] = "poll",
    [BNX_WAIT_CLOSE] = "close",
    [BNX_WAIT_OPEN] = "open",
    [BNX_WAIT_FILE] = "file",
    [BNX_WAIT_FD] = "fd",
    [BNX_WAIT_SIGNAL] = "signal",
    [BNX_WAIT_PROCESS] = "process",
    [BNX_WAIT_RESOLVE] = "resolve",
    [BNX_WAIT_MUTEX] = "mutex",
    [BNX_WAIT_RWLOCK] = "rwlock",
    [BNX_WAIT_COND] = "cond",
    [BNX_WAIT_SEM] = "sem",
    [BNX_WAIT_EVENT] = "event",
    [BNX_WAIT_BARRIER] = "barrier",
    [BNX_WAIT_ONCE] = "once",
    [BNX_WAIT_WAITGROUP] = "waitgroup",
    [BNX_WAIT_LIMITER] = "limiter",
    [BNX_WAIT_STRAND] = "strand",
    [BNX_WAIT_CHAN_SEND] = "chan send",
    [BNX_WAIT_CHAN_RECV] = "chan recv",
    [BNX_WAIT_BROADCAST] = "broadcast",
    [BNX_WAIT_WATCH] = "watch",
    [BNX_WAIT_SELECT] = "select",
    [BNX_WAIT_SEVERAL] = "several",
    [BNX_WAIT_TIMER] = "timer",
    [BNX_WAIT_TICKER] = "ticker",
    [BNX_WAIT_TEST] = "test",
};

const char *bnx_wait_reason_name(enum bnx_wait_reason reason) {
    return reason < BNX_WAIT_REASON_COUNT ? reason_names[reason] : "?";
}

/* ---- The cancel check ---- */

int bnx_task_cancel_check_slow(struct bnx_task *self) {
    struct bnx_cancel_found found;
    /* T2: the canceller sets its flag before it bumps the epoch, so the walk sees a flag of the
     * epoch read before it. */
    uint64_t epoch = bnx_task_cancel_epoch(self);
    if (!bnx_cancel_find(self, &found)) {
        self->cancel_seen = epoch;
        return 0;
    }
    return found.is_own && found.source == BNX_CANCEL_DEADLINE ? -ETIMEDOUT : -ECANCELED;
}

int bnx_checkpoint(void) {
    struct bnx_task *self = bnx_task_current();
    if (self == NULL) {
        return 0;
    }
    int error = bnx_task_cancel_check(self);
    if (error == 0) {
        bnx_task_spend(self);
    }
    return error;
}

/* ---- Ops ---- */

int bnx_op_begin(struct bnx_task *self) {
    int error = bnx_task_cancel_check(self);
    if (error != 0) {
        return error;
    }
    bnx_scope_make_findable(self);
    BNX_SUSPENSION(self); /* as in bnx_wait_publish */
    struct bnx_worker *worker = bnx_worker_current();
    uint64_t sequence = bnx_wait_next_sequence(self);
    self->worker = (uint16_t)worker->index;
    bnx_store_seq_cst(&self->wait, BNX_WAIT_WORD(sequence, BNX_WAIT_OP)); /* T2 */
    if (BNX_PLANT(wait_no_reread)) {
        return 0;
    }
    error = bnx_task_cancel_check(self);
    if (error != 0) {
        uint64_t op = BNX_WAIT_WORD(sequence, BNX_WAIT_OP);
        if (bnx_cas_acq_rel(&self->wait, &op, BNX_WAIT_WORD(sequence, BNX_WAIT_IDLE))) { /* T3 */
            return error;
        }
        /* A canceller's message is on its way to this worker: the op starts and is then ended. */
    }
    return 0;
}

void bnx_op_abort(struct bnx_task *self) {
    uint64_t sequence = BNX_WAIT_SEQUENCE(bnx_load_relaxed(&self->wait)); /* the CAS decides */
    uint64_t expected = BNX_WAIT_WORD(sequence, BNX_WAIT_OP);
    if (bnx_cas_acq_rel(&self->wait, &expected, BNX_WAIT_WORD(sequence, BNX_WAIT_IDLE))) { /* T3 */
        return;
    }
    /* As if it had completed: the message that is on its way resumes the task. */
    bnx_op_finish(self);
    (void)bnx_task_park(self, BNX_WAIT_NONE, NULL);
}

void bnx_op_park(struct bnx_task *self, enum bnx_wait_reason reason, int fd) {
    (void)bnx_task_park(self, reason, (const void *)(intptr_t)fd);
}

void bnx_op_finish(struct bnx_task *task) {
    uint64_t word = bnx_load_acquire(&task->wait); /* T3 */
    uint64_t idle = BNX_WAIT_WORD(BNX_WAIT_SEQUENCE(word), BNX_WAIT_IDLE);
    uint64_t done = BNX_WAIT_WORD(BNX_WAIT_SEQUENCE(word), BNX_WAIT_OP_DONE_QUEUED);
    for (;;) { /* ends: each failure is a step of the owner's, who takes few */
        enum bnx_wait_state state = BNX_WAIT_STATE(word);
        BNX_CHECK(state == BNX_WAIT_OP || state == BNX_WAIT_OP_CANCEL_QUEUED ||
                  state == BNX_WAIT_OP_CANCEL_SENT);
        if (state == BNX_WAIT_OP_CANCEL_QUEUED && !BNX_PLANT(op_finish_while_queued)) {
            if (bnx_cas_acq_rel(&task->wait, &word, done)) { /* T3 */
                return; /* its node is still queued; whoever unlinks that resumes it */
            }
        } else if (bnx_cas_acq_rel(&task->wait, &word, idle)) { /* T3 */
            bnx_task_ready(task);
            return;
        }
    }
}

bool bnx_op_is_cancel_wanted(const struct bnx_task *task, uint64_t sequence) {
    uint64_t word = bnx_load_relaxed(&task->wait); /* a hint: a needless cancel finds nothing */
    return word == BNX_WAIT_WORD(sequence, BNX_WAIT_OP_CANCEL_SENT);
}

/* ---- Cancel requests, on their way to the driver that holds the op ---- */

static void push_cancel(struct bnx_worker *worker, struct bnx_task *task) {
    struct bnx_mpscq_node *node = &task->message.node;
    struct bnx_mpscq_node *first = bnx_load_relaxed(&worker->cancels); /* the CAS decides */
    do { /* lock-free: a failure is another's success */
        node->next = first;
    } while (!bnx_cas_seq_cst(&worker->cancels, &first, node)); /* W4 */
    bnx_runtime_wake(worker->runtime, worker->index);
    bnx_watchdog_kick(worker->runtime);
}

static struct bnx_task *pop_all_cancels(struct bnx_worker *worker) {
    struct bnx_mpscq_node *node = bnx_exchange_seq_cst(&worker->cancels, NULL); /* W4 */
    return node != NULL ? BNX_CONTAINER_OF(node, struct bnx_task, message.node) : NULL;
}

static struct bnx_task *next_cancel(const struct bnx_task *task) {
    struct bnx_mpscq_node *node = task->message.node.next;
    return node != NULL ? BNX_CONTAINER_OF(node, struct bnx_task, message.node) : NULL;
}

/* The op had completed while the request was queued: the node is ours now, so the task goes on. */
static void resume_done(struct bnx_task *task) {
    uint64_t word = bnx_load_acquire(&task->wait); /* T3 */
    BNX_CHECK(BNX_WAIT_STATE(word) == BNX_WAIT_OP_DONE_QUEUED);
    /* Relaxed: nobody else acts on this state. */
    bnx_store_relaxed(&task->wait, BNX_WAIT_WORD(BNX_WAIT_SEQUENCE(word), BNX_WAIT_IDLE));
    bnx_task_ready(task);
}

/* Hands the request to the driver. False: the op has completed meanwhile. */
static bool send_cancel(struct bnx_worker *worker, struct bnx_task *task) {
    uint64_t word = bnx_load_acquire(&task->wait); /* T3 */
    uint64_t sequence = BNX_WAIT_SEQUENCE(word);
    uint64_t sent = BNX_WAIT_WORD(sequence, BNX_WAIT_OP_CANCEL_SENT);
    void *op = task->op; /* now: a rescuer may resume the task once the cancel counts as sent */
    if (BNX_WAIT_STATE(word) != BNX_WAIT_OP_CANCEL_QUEUED ||
        !bnx_cas_acq_rel(&task->wait, &word, sent)) { /* T3 */
        return false;
    }
    if (BNX_PLANT(op_resume_on_cancel)) {
        bnx_op_finish(task);
        return true;
    }
    if (!worker->driver->ops->cancel(worker->driver, task, op, sequence)) {
        bnx_op_cancel_again(worker, task, sequence);
    }
    return true;
}

void bnx_op_cancel_again(struct bnx_worker *worker, struct bnx_task *task, uint64_t sequence) {
    uint64_t sent = BNX_WAIT_WORD(sequence, BNX_WAIT_OP_CANCEL_SENT);
    uint64_t queued = BNX_WAIT_WORD(sequence, BNX_WAIT_OP_CANCEL_QUEUED);
    if (bnx_cas_acq_rel(&task->wait, &sent, queued)) { /* T3: else the op is over */
        push_cancel(worker, task);
    }
}

void bnx_cancels_send(struct bnx_worker *worker, bool is_in_handler) {
    struct bnx_task *task = pop_all_cancels(worker);
    while (task != NULL) { /* ends: a list that nobody adds to */
        struct bnx_task *next = next_cancel(task);
        if (!send_cancel(worker, task)) {
            if (is_in_handler) {
                push_cancel(worker, task); /* a handler may not touch the queues of ready tasks */
            } else {
                resume_done(task);
            }
        }
        task = next;
    }
}

void bnx_cancels_resume_done(struct bnx_worker *victim) {
    struct bnx_task *task = pop_all_cancels(victim);
    while (task != NULL) { /* as above */
        struct bnx_task *next = next_cancel(task);
        if (BNX_WAIT_STATE(bnx_load_acquire(&task->wait)) == BNX_WAIT_OP_DONE_QUEUED) { /* T3 */
            resume_done(task);
        } else {
            push_cancel(victim, task); /* the owner's, or its handler's, to send */
        }
        task = next;
    }
}

void bnx_task_interrupt(struct bnx_task *task, uint32_t depth) {
    uint64_t word = bnx_load_seq_cst(&task->wait); /* T2 */
    uint64_t sequence = BNX_WAIT_SEQUENCE(word);
    if (BNX_WAIT_SHIELD_DEPTH(sequence) > depth && !BNX_PLANT(cancel_no_shield)) {
        return;
    }
    if (BNX_WAIT_STATE(word) == BNX_WAIT_WAITING) {
        if (bnx_wait_claim(task, sequence, BNX_WAKE_CANCEL)) {
            bnx_task_ready(task);
        }
        return;
    }
    if (BNX_WAIT_STATE(word) != BNX_WAIT_OP ||
        !bnx_cas_acq_rel(&task->wait, &word, /* T3 */
                         BNX_WAIT_WORD(sequence, BNX_WAIT_OP_CANCEL_QUEUED))) {
        return;
    }
    uint32_t shift = BNX_PLANT(cancel_wrong_ring) ? 1 : 0;
    uint32_t holder = (task->worker + shift) % task->runtime->worker_count;
    push_cancel(&task->runtime->workers[holder], task);
}
