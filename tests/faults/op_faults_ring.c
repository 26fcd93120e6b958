/* SPDX-License-Identifier: MIT */
/* Operations that end badly (op_faults.h): what is submitted to rings, and what they complete. */
#include "tests/faults/op_faults_pvt.h"

#include <stdlib.h>
#include <sys/mman.h>

/* user_data, as io/driver_uring.c makes it. */
#define KIND_MASK UINT64_C(7)
#define POINTER_MASK (((UINT64_C(1) << 48) - 1) & ~KIND_MASK)
#define KIND_OP 0
#define KIND_CANCEL 2
#define KIND_NOBODY 3 /* a close's: nobody waits for it */

#ifndef IORING_MSG_RING_FLAGS_PASS
#define IORING_MSG_RING_FLAGS_PASS (1U << 1) /* Linux 6.3; kernel ABI */
#endif
#define POSTED (1U << 31) /* among a completion's flags: it was held back, and comes now */

/* ---- Submissions; under the lock ---- */

static struct bnx_op *op_of(uint64_t user_data) {
    if ((user_data & KIND_MASK) != KIND_OP) {
        return NULL;
    }
    struct bnx_op *op = (void *)(uintptr_t)(user_data & POINTER_MASK);
    CHECK(op != NULL && (unsigned)op->kind <= BNX_OP_RAW);
    return op;
}

static void cut_submission(struct view *view, unsigned at, struct io_uring_sqe *sqe,
                           const struct bnx_op *op) {
    enum op_faults_part part = op_faults.plans[op->kind].part;
    struct iovec *parts = op->buffer;
    size_t count = op->bytes;
    switch (op->kind) {
    case BNX_OP_READ:
    case BNX_OP_WRITE:
    case BNX_OP_RECV:
    case BNX_OP_SEND:
    case BNX_OP_SEND_ZEROCOPY:
        sqe->len = (unsigned)op_faults_part_of(part, sqe->len);
        return;
    case BNX_OP_RECVMSG:
    case BNX_OP_SENDMSG:
        parts = ((struct msghdr *)op->buffer)->msg_iov;
        count = ((struct msghdr *)op->buffer)->msg_iovlen;
        break;
    case BNX_OP_READV:
    case BNX_OP_WRITEV:
        break;
    default:
        return;
    }
    CHECK(count <= PARTS_MAX && op_faults.cut_count < CUTS_MAX);
    struct cut *cut = &op_faults.cuts[op_faults.cut_count++];
    cut->view = view;
    cut->at = at;
    cut->parts = parts;
    cut->count = count;
    memcpy(cut->whole, parts, count * sizeof(parts[0]));
    op_faults_cut(parts, count, part);
}

static void meddle_with_submission(struct view *view, unsigned at) {
    struct io_uring_sq *sq = &view->uring.sq;
    struct io_uring_sqe *sqe = &sq->sqes[sq->array[at & *sq->kring_mask]];
    const struct bnx_op *op = op_of(sqe->user_data);
    if (op == NULL) {
        return;
    }
    struct plan *plan = &op_faults.plans[op->kind];
    if (plan->part != OP_FAULTS_WHOLE && op_faults_knows_short(op->fd)) {
        cut_submission(view, at, sqe, op);
    }
    if (op_faults_is_hit(plan)) {
        uint64_t user_data = sqe->user_data;
        CHECK(op_faults.failing_count < FAILING_MAX);
        op_faults.failing[op_faults.failing_count++] = (struct failing){user_data, plan->error};
        memset(sqe, 0, sizeof(*sqe));
        sqe->opcode = IORING_OP_NOP;
        sqe->user_data = user_data;
    }
}

/* Each submission once, also if the kernel refuses it at first. */
static void look_at_submissions(struct view *view) {
    unsigned tail = *view->uring.sq.ktail; /* this thread's */
    for (; view->sq_seen != tail; view->sq_seen++) {
        meddle_with_submission(view, view->sq_seen);
    }
}

/* The caller's vectors are his own again once the kernel has read them. */
static void mend_cuts(const struct view *view) {
    unsigned head = bnx_load_acquire(view->uring.sq.khead); /* the kernel's store-release */
    for (uint32_t i = 0; i < op_faults.cut_count;) {
        struct cut *cut = &op_faults.cuts[i];
        if (cut->view != view || (int)(head - cut->at) <= 0) {
            i++;
            continue;
        }
        memcpy(cut->parts, cut->whole, cut->count * sizeof(cut->parts[0]));
        *cut = op_faults.cuts[--op_faults.cut_count];
    }
}

/* ---- Completions; under the lock ---- */

static void apply_failure(struct io_uring_cqe *cqe) {
    for (uint32_t i = 0; i < op_faults.failing_count; i++) {
        if (op_faults.failing[i].user_data == cqe->user_data) {
            cqe->res = op_faults.failing[i].error;
            op_faults.failing[i] = op_faults.failing[--op_faults.failing_count];
            return;
        }
    }
}

static void hold_back(const struct view *view, struct io_uring_cqe *cqe, unsigned kind) {
    CHECK(op_faults.held_count < HELD_MAX);
    struct held *held = &op_faults.held[op_faults.held_count++];
    struct bnx_op *op = op_of(cqe->user_data);
    *held = (struct held){.fd = view->uring.ring_fd,
                          .kind = kind,
                          .user_data = cqe->user_data,
                          .result = cqe->res,
                          .flags = cqe->flags,
                          .op = op};
    if ((kind == BNX_OP_READ || kind == BNX_OP_RECV) && op->bytes > 0) {
        held->received = malloc(op->bytes);
        CHECK(held->received != NULL);
        memcpy(held->received, op->buffer, op->bytes);
        memset(op->buffer, 0xdb, op->bytes);
    }
    cqe->user_data = KIND_NOBODY;
    cqe->res = 0;
    cqe->flags = 0;
}

static void meddle_with_completion(const struct view *view, struct io_uring_cqe *cqe) {
    uint64_t kind = cqe->user_data & KIND_MASK;
    if ((cqe->flags & POSTED) != 0) {
        cqe->flags &= ~POSTED;
        return;
    }
    if (kind == KIND_OP) {
        apply_failure(cqe);
        const struct bnx_op *op = op_of(cqe->user_data);
        /* Of two completions the first one is none. */
        if (op_faults.plans[op->kind].is_held && (cqe->flags & IORING_CQE_F_MORE) == 0) {
            hold_back(view, cqe, op->kind);
        }
    } else if (kind == KIND_CANCEL) {
        op_faults.cancels++;
        cqe->res = op_faults.cancel_answer != 0 ? op_faults.cancel_answer : cqe->res;
        if (op_faults.plans[OP_FAULTS_CANCELS].is_held) {
            hold_back(view, cqe, OP_FAULTS_CANCELS);
        }
    }
}

/* Linux 6.1 completes what its own threads have done at any time, later ones as the worker enters:
 * what the driver has taken out by now is nobody's any more. */
static void look_at_completions(struct view *view) {
    struct io_uring_cq *cq = &view->uring.cq;
    unsigned head = bnx_load_relaxed(cq->khead); /* this thread's */
    view->cq_seen = (int)(head - view->cq_seen) > 0 ? head : view->cq_seen;
    unsigned tail = bnx_load_acquire(cq->ktail); /* the kernel's store-release */
    for (; view->cq_seen != tail; view->cq_seen++) {
        meddle_with_completion(view, &cq->cqes[view->cq_seen & *cq->kring_mask]);
    }
}

/* ---- The ring's calls ---- */

static int faulty_uring_setup(unsigned entries, void *params) {
    if (op_faults.poster_error != 0) {
        return op_faults.poster_error; /* what is held back could not be posted */
    }
    int fd = op_faults.real.uring_setup(entries, params);
    if (fd >= 0) {
        lock();
        CHECK(op_faults.view_count < VIEWS_MAX);
        struct view *view = &op_faults.views[op_faults.view_count++];
        memset(view, 0, sizeof(*view));
        CHECK_EQ(io_uring_queue_mmap(fd, params, &view->uring), 0);
        unlock();
    }
    return fd;
}

/* A registered ring would be entered by its index: the descriptor tells them apart. */
static int faulty_uring_register(int fd, unsigned opcode, const void *arg, unsigned count) {
    return opcode == IORING_REGISTER_RING_FDS
               ? -EINVAL
               : op_faults.real.uring_register(fd, opcode, arg, count);
}

struct view *op_faults_view_of(int fd) {
    for (uint32_t i = 0; i < op_faults.view_count; i++) {
        if (op_faults.views[i].uring.ring_fd == fd) {
            return &op_faults.views[i];
        }
    }
    return NULL;
}

static int faulty_uring_enter(int fd, unsigned submit, unsigned wait, unsigned flags,
                              const void *arg, size_t arg_bytes) {
    lock();
    struct view *view = op_faults_view_of(fd);
    CHECK(view != NULL);
    look_at_submissions(view);
    unlock();
    int result = op_faults.real.uring_enter(fd, submit, wait, flags, arg, arg_bytes);
    lock();
    mend_cuts(view);
    look_at_completions(view);
    unlock();
    return result;
}

/* ---- Letting go ---- */

static void post(const struct held *held) {
    bnx_lock_acquire(&op_faults.post_lock);
    struct io_uring_sqe *sqe = io_uring_get_sqe(&op_faults.poster);
    struct io_uring_cqe *cqe;
    CHECK(sqe != NULL);
    io_uring_prep_msg_ring(sqe, held->fd, (unsigned)held->result, held->user_data, 0);
    sqe->msg_ring_flags = IORING_MSG_RING_FLAGS_PASS;
    sqe->file_index = held->flags | POSTED;
    CHECK_EQ(io_uring_submit(&op_faults.poster), 1);
    CHECK_EQ(io_uring_wait_cqe(&op_faults.poster, &cqe), 0);
    CHECK_EQ(cqe->res, 0);
    io_uring_cqe_seen(&op_faults.poster, cqe);
    bnx_lock_release(&op_faults.post_lock);
}

void op_faults_let_go(struct held *held) {
    if (held->received != NULL) {
        memcpy(held->op->buffer, held->received, held->op->bytes);
        free(held->received);
    }
    if (held->op != NULL) {
        bnx_tsan_release(held->op); /* the kernel carries it, out of the tool's sight */
    }
    post(held);
}

/* ---- Beginning and end ---- */

/* A message from a ring to itself, as completions come late. */
static void open_poster(void) {
    op_faults.poster_error = io_uring_queue_init(8, &op_faults.poster, 0);
    if (op_faults.poster_error != 0) {
        return;
    }
    struct io_uring_sqe *sqe = io_uring_get_sqe(&op_faults.poster);
    struct io_uring_cqe *cqe;
    io_uring_prep_msg_ring(sqe, op_faults.poster.ring_fd, 0, 1, 0);
    sqe->msg_ring_flags = IORING_MSG_RING_FLAGS_PASS;
    sqe->file_index = POSTED;
    sqe->user_data = 2;
    CHECK_EQ(io_uring_submit(&op_faults.poster), 1);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(io_uring_wait_cqe(&op_faults.poster, &cqe), 0);
        if (cqe->user_data == 2 && cqe->res == -EINVAL) {
            return; /* Linux 6.3 knows it */
        }
        CHECK(cqe->user_data != 1 || cqe->flags == POSTED);
        io_uring_cqe_seen(&op_faults.poster, cqe);
    }
    op_faults.can_post = true;
}

void op_faults_install_rings(void) {
    bnx_lock_init(&op_faults.post_lock);
    open_poster();
    bnx_os.uring_setup = faulty_uring_setup;
    bnx_os.uring_register = faulty_uring_register;
    bnx_os.uring_enter = faulty_uring_enter;
}

void op_faults_forget_rings(void) {
    for (uint32_t i = 0; i < op_faults.view_count; i++) {
        struct io_uring *uring = &op_faults.views[i].uring;
        size_t sqe_bytes = (size_t)*uring->sq.kring_entries * sizeof(struct io_uring_sqe);
        CHECK_EQ(munmap(uring->sq.sqes, sqe_bytes), 0);
        CHECK_EQ(munmap(uring->sq.ring_ptr, uring->sq.ring_sz), 0);
        if (uring->cq.ring_ptr != uring->sq.ring_ptr) {
            CHECK_EQ(munmap(uring->cq.ring_ptr, uring->cq.ring_sz), 0);
        }
    }
    op_faults.view_count = 0;
}
