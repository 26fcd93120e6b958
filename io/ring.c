/* SPDX-License-Identifier: MIT */
/* Opening, filling and entering an io_uring (ring.h). */
#include "io/ring.h"

#include "runtime/check.h"
#include "runtime/clock.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define SQ_ENTRIES_MIN 16u
#define ENTRIES_HALVED_MAX 5 /* 256 to 8: smaller queues would hardly be worth the name */
/* io-wq threads of one ring: the kernel's default is the user's process limit. */
#define WORKERS_BOUNDED 16u
#define WORKERS_UNBOUNDED 64u
/* For ever, where a timeout is needed: a sleep for several without one ends after the least time,
 * although nothing has come. */
#define LONG_NS (3600 * BNX_NS_PER_S)
#define PROBED (IORING_OP_SEND_ZC + 1) /* opcodes that are asked for: the first so many */

static const unsigned setup_flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                                    IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL |
                                    IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE;

/* liburing maps and unmaps by system calls of its own, which a race detector does not see: to it a
 * ring in memory that another thread has just given back shares that with the old one. The kernel
 * unmaps before it maps the same again; this stands for its order. */
static char kernel_mappings;

/* Memory for rings counts against RLIMIT_MEMLOCK on some kernels, and what closed ones had for a
 * while longer: smaller ones may still fit. To wait would not do, it takes the kernel too long. */
static int setup(struct io_uring_params *params) {
    int fd = -ENOMEM;
    unsigned entries = BNX_RING_SQ_ENTRIES;
    unsigned completions = BNX_RING_CQ_ENTRIES;
    for (int i = 0; i < ENTRIES_HALVED_MAX && fd == -ENOMEM; i++) {
        memset(params, 0, sizeof(*params));
        params->flags = setup_flags;
        params->cq_entries = completions;
        fd = bnx_os.uring_setup(entries, params);
        entries = entries > SQ_ENTRIES_MIN ? entries / 2 : entries;
        completions /= 2;
    }
    return fd;
}

static void register_fd(struct bnx_ring *ring) {
    struct io_uring_rsrc_update update;
    memset(&update, 0, sizeof(update));
    update.offset = UINT32_MAX; /* any index */
    update.data = (uint64_t)(unsigned)ring->uring.ring_fd;
    ring->enter_fd = ring->uring.ring_fd;
    ring->enter_flags = 0;
    if (bnx_os.uring_register(ring->uring.ring_fd, IORING_REGISTER_RING_FDS, &update, 1) == 1) {
        ring->enter_fd = (int)update.offset;
        ring->enter_flags = IORING_ENTER_REGISTERED_RING;
    } /* else: each enter looks the file up, 30 ns */
}

/* Which opcodes are there; where the kernel does not say, all that are used. */
static void probe(struct bnx_ring *ring) {
    ring->has_openat2 = true;
    ring->has_send_zc = true;
    size_t bytes = sizeof(struct io_uring_probe) + PROBED * sizeof(struct io_uring_probe_op);
    struct io_uring_probe *answer = bnx_os.allocate(bytes, _Alignof(struct io_uring_probe));
    if (answer == NULL) {
        return;
    }
    memset(answer, 0, bytes);
    if (bnx_os.uring_register(ring->uring.ring_fd, IORING_REGISTER_PROBE, answer, PROBED) == 0) {
        ring->has_openat2 = (answer->ops[IORING_OP_OPENAT2].flags & IO_URING_OP_SUPPORTED) != 0;
        ring->has_send_zc = (answer->ops[IORING_OP_SEND_ZC].flags & IO_URING_OP_SUPPORTED) != 0;
    }
    ring->lacks_any = !ring->has_openat2 || !ring->has_send_zc;
    bnx_os.release(answer);
}

int bnx_ring_init(struct bnx_ring *ring) {
    memset(ring, 0, sizeof(*ring));
    struct io_uring_params params;
    int fd = setup(&params);
    if (fd < 0) {
        return fd;
    }
    int error = io_uring_queue_mmap(fd, &params, &ring->uring);
    if (error != 0) {
        (void)bnx_os.close(fd);
        return error;
    }
    if (!BNX_PLANT(ring_memory_untold)) {
        bnx_tsan_acquire(&kernel_mappings); /* C2 */
    }
    /* A fork child must not share queues that this process goes on writing. */
    (void)io_uring_ring_dontfork(&ring->uring); /* best effort: a child may only exec */
    unsigned quarter = ring->uring.sq.ring_entries / 4;
    ring->reserved = quarter < BNX_RING_RESERVED ? quarter : BNX_RING_RESERVED;
    register_fd(ring);
    probe(ring);
    ring->has_no_iowait = (params.features & IORING_FEAT_NO_IOWAIT) != 0;
    ring->has_min_wait = (params.features & IORING_FEAT_MIN_TIMEOUT) != 0;
    unsigned workers[2] = {WORKERS_BOUNDED, WORKERS_UNBOUNDED};
    (void)bnx_os.uring_register(fd, IORING_REGISTER_IOWQ_MAX_WORKERS, workers, 2); /* Linux 5.15 */
    return 0;
}

void bnx_ring_fini(struct bnx_ring *ring) {
    if ((ring->enter_flags & IORING_ENTER_REGISTERED_RING) != 0) {
        struct io_uring_rsrc_update update;
        memset(&update, 0, sizeof(update));
        update.offset = (uint32_t)ring->enter_fd;
        (void)bnx_os.uring_register(ring->uring.ring_fd, IORING_UNREGISTER_RING_FDS, &update, 1);
    }
    bnx_tsan_release(&kernel_mappings); /* C2 */
    io_uring_queue_exit(&ring->uring);
}

int bnx_ring_notify(struct bnx_ring *ring, int eventfd) {
    return bnx_os.uring_register(ring->uring.ring_fd, IORING_REGISTER_EVENTFD, &eventfd, 1);
}

void bnx_ring_section_leave(struct bnx_ring *ring) {
    bnx_compiler_barrier();
    bnx_store_relaxed(&ring->sections, ring->sections - 1); /* one thread: see section_enter */
    bnx_compiler_barrier();
    if (bnx_unlikely(bnx_load_relaxed(&ring->is_marked) != 0) &&
        ring->sections == 0) {                  /* as above */
        bnx_store_relaxed(&ring->is_marked, 0); /* as above */
        (void)bnx_ring_flush(ring); /* what the handler would have done; a failure comes again */
    }
}

struct io_uring_sqe *bnx_ring_take(struct bnx_ring *ring, bool is_cancel) {
    unsigned reserved = is_cancel ? 0 : ring->reserved;
    bnx_ring_section_enter(ring); /* first: the handler takes SQEs as well */
    if (bnx_ring_unsubmitted(ring) + reserved >= ring->uring.sq.ring_entries) {
        bnx_ring_section_leave(ring);
        return NULL;
    }
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);
    BNX_CHECK(sqe != NULL);
    memset(sqe, 0, sizeof(*sqe));
    return sqe;
}

/* ---- Entering ---- */

/* Hands the prepared SQEs to the kernel's view. Returns how many it has not consumed yet. */
static unsigned publish(struct bnx_ring *ring) {
    struct io_uring_sq *sq = &ring->uring.sq;
    unsigned tail = *sq->ktail;            /* this thread alone writes it */
    while (sq->sqe_head != sq->sqe_tail) { /* ends: at most ring_entries */
        sq->array[tail & sq->ring_mask] = sq->sqe_head & sq->ring_mask;
        tail++;
        sq->sqe_head++;
    }
    bnx_store_release(sq->ktail, tail);        /* C1 */
    return tail - bnx_load_acquire(sq->khead); /* C1 */
}

int bnx_ring_flush(struct bnx_ring *ring) {
    bnx_ring_section_enter(ring);
    unsigned submit = publish(ring);
    unsigned flags = ring->enter_flags | IORING_ENTER_GETEVENTS;
    int result = bnx_os.uring_enter(ring->enter_fd, submit, 0, flags, NULL, 0);
    if (result < 0 || (unsigned)result < submit) {
        /* The kernel has not come to the events: completions are what will make room. */
        (void)bnx_os.uring_enter(ring->enter_fd, 0, 0, flags, NULL, 0);
    }
    bnx_ring_section_leave(ring);
    return result < 0 ? result : 0;
}

int bnx_ring_wait(struct bnx_ring *ring, const struct bnx_ring_sleep *sleep) {
    struct __kernel_timespec timeout = {0, 0};
    struct bnx_ring_wait_arg arg;
    memset(&arg, 0, sizeof(arg));
    uint64_t left_ns = LONG_NS;
    if (sleep->deadline_ns != BNX_NEVER_NS) {
        uint64_t now_ns = bnx_clock_now();
        if (sleep->deadline_ns <= now_ns) {
            return bnx_ring_flush(ring); /* a wait with a zero timeout sleeps for 8 us */
        }
        left_ns = sleep->deadline_ns - now_ns;
    }
    bool is_for_several = sleep->completions > 1;
    if (sleep->deadline_ns != BNX_NEVER_NS ||
        (is_for_several && !BNX_PLANT(min_wait_without_timeout))) {
        timeout.tv_sec = (int64_t)(left_ns / BNX_NS_PER_S);
        timeout.tv_nsec = (long long)(left_ns % BNX_NS_PER_S);
        arg.timeout = (uint64_t)(uintptr_t)&timeout;
    }
    if (is_for_several) { /* the kernel would sleep so long also past its timeout */
        bool is_short = sleep->min_wait_ns < left_ns || BNX_PLANT(min_wait_past_deadline);
        uint64_t min_wait_us = (is_short ? sleep->min_wait_ns : left_ns) / BNX_NS_PER_US;
        arg.min_wait_us = min_wait_us < UINT32_MAX ? (uint32_t)min_wait_us : UINT32_MAX;
    }
    unsigned flags = ring->enter_flags | IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG;
    if (ring->has_no_iowait) {
        flags |= IORING_ENTER_NO_IOWAIT;
    }
    bnx_ring_section_enter(ring);
    unsigned submit = publish(ring);
    unsigned completions = arg.min_wait_us != 0 ? sleep->completions : 1;
    int result = bnx_os.uring_enter(ring->enter_fd, submit, completions, flags, &arg, sizeof(arg));
    bnx_ring_section_leave(ring);
    return result < 0 ? result : 0;
}
