/* SPDX-License-Identifier: MIT */
/* Operations that end badly (op_faults.h): plans, the calls of the process, readiness. */
#include "io/perform.h"
#include "tests/faults/op_faults_pvt.h"
#include "tests/support/sched.h"

#include <limits.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#define DOORBELL_KEY (UINT64_MAX - 1)

struct op_faults op_faults;

size_t op_faults_part_of(enum op_faults_part part, size_t bytes) {
    switch (part) {
    case OP_FAULTS_WHOLE:
        break;
    case OP_FAULTS_ONE_BYTE:
        return bytes < 1 ? bytes : 1;
    case OP_FAULTS_HALF:
        return (bytes + 1) / 2;
    }
    return bytes;
}

bool op_faults_knows_short(int fd) {
    struct stat status;
    int type = 0;
    socklen_t bytes = sizeof(type);
    if (op_faults.real.fstat(fd, &status) != 0) {
        return false;
    }
    if (S_ISSOCK(status.st_mode)) {
        return op_faults.real.getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &bytes) == 0 &&
               type == SOCK_STREAM;
    }
    return S_ISREG(status.st_mode) || S_ISFIFO(status.st_mode);
}

void op_faults_cut(struct iovec *parts, size_t count, enum op_faults_part part) {
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        bytes += parts[i].iov_len;
    }
    size_t left = op_faults_part_of(part, bytes);
    for (size_t i = 0; i < count; i++) {
        parts[i].iov_len = parts[i].iov_len < left ? parts[i].iov_len : left;
        left -= parts[i].iov_len;
    }
}

bool op_faults_is_hit(struct plan *plan) {
    if (!plan->is_each && (plan->kth == 0 || --plan->kth != 0)) {
        return false;
    }
    op_faults.has_failed = true;
    op_faults.failures++;
    return true;
}

/* ---- Calls of the process ---- */

/* What is to become of a call. */
struct verdict {
    int error; /* 0: none */
    enum op_faults_part part;
    bool is_late; /* it returns when it is let go of */
};

/* Of a call that a worker makes, or a thread of the pool. */
static struct verdict judge(unsigned kind) {
    struct verdict verdict = {0};
    bool is_try = bnx_task_current() != NULL;
    lock();
    struct plan *plan = &op_faults.plans[kind];
    /* Some accept at once after a poll alone: that is their operation. */
    bool is_accept = kind == BNX_OP_ACCEPT && !plan->is_held;
    if (op_faults.has_rings && !is_accept) {
        /* Nobody polls at once where there is a ring: a poll(2) asks for others. */
        bool is_op = plan->kth != 0 || plan->is_held || op_faults.is_never_inline;
        verdict.error = is_op && is_try && kind != BNX_OP_POLL ? -EAGAIN : 0;
    } else if (op_faults_is_hit(plan)) {
        verdict.error = plan->error;
    } else if (plan->is_held) {
        verdict.error = is_try ? -EAGAIN : 0;
        verdict.is_late = !is_try;
    }
    verdict.part = plan->part;
    unlock();
    return verdict;
}

/* Sleeps until the kind is let go of, whatever signals come: a call that cannot be interrupted. */
static void return_late(unsigned kind) {
    (void)bnx_fetch_add_seq_cst(&op_faults.blocked, 1);
    for (;;) { /* ends with a release */
        uint32_t seen = bnx_load_seq_cst(&op_faults.gate);
        lock();
        bool is_held = op_faults.plans[kind].is_held;
        unlock();
        if (!is_held) {
            break;
        }
        (void)op_faults.real.futex_wait(&op_faults.gate, seen, BNX_NEVER_NS);
    }
    (void)bnx_fetch_sub_seq_cst(&op_faults.blocked, 1);
}

/* name, kind, parameters, arguments: calls that transfer nothing. */
#define CALLS(X)                                                                                   \
    X(openat2, BNX_OP_OPEN, (int a, const char *b, const struct open_how *c), (a, b, c))           \
    X(fsync, BNX_OP_FSYNC, (int a, bool b), (a, b))                                                \
    X(fallocate, BNX_OP_FALLOCATE, (int a, int b, off_t c, off_t d), (a, b, c, d))                 \
    X(statx, BNX_OP_STATX, (int a, const char *b, int c, unsigned d, struct statx *e),             \
      (a, b, c, d, e))                                                                             \
    X(renameat, BNX_OP_RENAME, (int a, const char *b, int c, const char *d, unsigned e),           \
      (a, b, c, d, e))                                                                             \
    X(unlinkat, BNX_OP_UNLINK, (int a, const char *b, int c), (a, b, c))                           \
    X(mkdirat, BNX_OP_MKDIR, (int a, const char *b, mode_t c), (a, b, c))                          \
    X(linkat, BNX_OP_LINK, (int a, const char *b, int c, const char *d, int e), (a, b, c, d, e))   \
    X(symlinkat, BNX_OP_SYMLINK, (const char *a, int b, const char *c), (a, b, c))                 \
    X(accept4, BNX_OP_ACCEPT, (int a, struct sockaddr *b, socklen_t *c, int d), (a, b, c, d))      \
    X(connect, BNX_OP_CONNECT, (int a, const struct sockaddr *b, socklen_t c), (a, b, c))          \
    X(poll, BNX_OP_POLL, (struct pollfd * a, nfds_t b, int c), (a, b, c))

/* What a call says that would have to wait. */
static int not_now(unsigned kind) {
    return kind == BNX_OP_CONNECT ? -EINPROGRESS : kind == BNX_OP_POLL ? 0 : -EAGAIN;
}

#define MAKE_CALL(name, kind, parameters, arguments)                                               \
    static int faulty_##name parameters {                                                          \
        struct verdict verdict = judge(kind);                                                      \
        if (verdict.error != 0) {                                                                  \
            return verdict.error == -EAGAIN ? not_now(kind) : verdict.error;                       \
        }                                                                                          \
        int result = op_faults.real.name arguments;                                                \
        if (verdict.is_late) {                                                                     \
            return_late(kind);                                                                     \
        }                                                                                          \
        return result;                                                                             \
    }
CALLS(MAKE_CALL)

/* Copies vectors, shortened where the verdict says so and the descriptor knows that. */
static void copy_parts(struct iovec out[PARTS_MAX], const struct iovec *parts, size_t count,
                       enum op_faults_part part) {
    CHECK(count <= PARTS_MAX);
    memcpy(out, parts, count * sizeof(parts[0]));
    op_faults_cut(out, count, part);
}

static enum op_faults_part part_for(const struct verdict *verdict, int fd) {
    bool is_cut = verdict->part != OP_FAULTS_WHOLE && op_faults_knows_short(fd);
    return is_cut ? verdict->part : OP_FAULTS_WHOLE;
}

#define MAKE_VECTOR_CALL(name, kind)                                                               \
    static ssize_t faulty_##name(int fd, const struct iovec *parts, int count, off_t offset,       \
                                 int flags) {                                                      \
        struct iovec own[PARTS_MAX];                                                               \
        struct verdict verdict = judge(kind);                                                      \
        if (verdict.error != 0) {                                                                  \
            return verdict.error;                                                                  \
        }                                                                                          \
        copy_parts(own, parts, (size_t)count, part_for(&verdict, fd));                             \
        ssize_t result = op_faults.real.name(fd, own, count, offset, flags);                       \
        if (verdict.is_late) {                                                                     \
            return_late(kind);                                                                     \
        }                                                                                          \
        return result;                                                                             \
    }
/* Of one buffer or of many: the two kinds are one here. */
MAKE_VECTOR_CALL(preadv, BNX_OP_READ)
MAKE_VECTOR_CALL(pwritev, BNX_OP_WRITE)

static ssize_t faulty_recv(int fd, void *buffer, size_t bytes, int flags) {
    struct verdict verdict = judge(BNX_OP_RECV);
    bytes = op_faults_part_of(part_for(&verdict, fd), bytes);
    return verdict.error != 0 ? verdict.error : op_faults.real.recv(fd, buffer, bytes, flags);
}

static ssize_t faulty_send(int fd, const void *buffer, size_t bytes, int flags) {
    struct verdict verdict = judge(BNX_OP_SEND);
    bytes = op_faults_part_of(part_for(&verdict, fd), bytes);
    return verdict.error != 0 ? verdict.error : op_faults.real.send(fd, buffer, bytes, flags);
}

static ssize_t faulty_recvmsg(int fd, struct msghdr *message, int flags) {
    struct iovec own[PARTS_MAX];
    struct verdict verdict = judge(BNX_OP_RECVMSG);
    if (verdict.error != 0) {
        return verdict.error;
    }
    struct iovec *parts = message->msg_iov;
    copy_parts(own, parts, message->msg_iovlen, part_for(&verdict, fd));
    message->msg_iov = own;
    ssize_t result = op_faults.real.recvmsg(fd, message, flags);
    message->msg_iov = parts;
    return result;
}

static ssize_t faulty_sendmsg(int fd, const struct msghdr *message, int flags) {
    struct iovec own[PARTS_MAX];
    struct verdict verdict = judge(BNX_OP_SENDMSG);
    if (verdict.error != 0) {
        return verdict.error;
    }
    struct msghdr cut = *message;
    copy_parts(own, message->msg_iov, message->msg_iovlen, part_for(&verdict, fd));
    cut.msg_iov = own;
    return op_faults.real.sendmsg(fd, &cut, flags);
}

/* ---- Readiness ---- */

static int faulty_epoll_create(int flags) {
    int fd = op_faults.real.epoll_create(flags);
    if (fd >= 0) {
        CHECK_EQ(op_faults.real.epoll_control(fd, EPOLL_CTL_ADD, op_faults.doorbell,
                                              EPOLLIN | EPOLLET, DOORBELL_KEY),
                 0);
    }
    return fd;
}

/* Without rings any kind that waits for readiness. Under the lock. */
static bool are_events_held(void) {
    bool is_held = op_faults.plans[BNX_OP_POLL].is_held;
    for (unsigned kind = 0; kind < BNX_OP_OPEN && !op_faults.has_rings; kind++) {
        is_held = is_held || op_faults.plans[kind].is_held;
    }
    return is_held;
}

/* Adds those that are due. Under the lock. */
static int add_due(int epoll_fd, struct epoll_event *out_events, int count, int max) {
    for (uint32_t i = 0; i < op_faults.due_count && count < max;) {
        struct held *due = &op_faults.due[i];
        if (due->fd != epoll_fd) {
            i++;
            continue;
        }
        out_events[count].events = (uint32_t)due->result;
        out_events[count++].data.u64 = due->user_data;
        *due = op_faults.due[--op_faults.due_count];
    }
    return count;
}

static int faulty_epoll_wait(int epoll_fd, struct epoll_event *out_events, int max,
                             uint64_t deadline_ns) {
    int found = op_faults.real.epoll_wait(epoll_fd, out_events, max, deadline_ns);
    int count = 0;
    lock();
    for (int i = 0; i < found; i++) {
        struct epoll_event event = out_events[i];
        if (event.data.u64 == DOORBELL_KEY) {
            continue;
        }
        if (event.data.u64 != UINT64_MAX && are_events_held()) { /* not the driver's wake */
            CHECK(op_faults.held_count < HELD_MAX);
            op_faults.held[op_faults.held_count++] = (struct held){.fd = epoll_fd,
                                                                   .kind = BNX_OP_POLL,
                                                                   .user_data = event.data.u64,
                                                                   .result = (int32_t)event.events};
            continue;
        }
        out_events[count++] = event;
    }
    count = add_due(epoll_fd, out_events, count, max);
    unlock();
    return found < 0 ? found : count;
}

/* ---- Letting go ---- */

static bool is_of(unsigned kind, const struct held *held) {
    bool is_event = held->flags == 0 && held->op == NULL && held->kind == BNX_OP_POLL;
    return kind == OP_FAULTS_EVERY || held->kind == kind || (is_event && !op_faults.has_rings);
}

/* Takes those of the kind out, in an order that the seed decides. Under the lock. */
static uint32_t take_held(unsigned kind, struct bnx_rng *rng, struct held *out) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < op_faults.held_count;) {
        if (!is_of(kind, &op_faults.held[i])) {
            i++;
            continue;
        }
        out[count++] = op_faults.held[i];
        op_faults.held[i] = op_faults.held[--op_faults.held_count];
    }
    for (uint32_t i = count; i > 1; i--) {
        uint32_t at = (uint32_t)bnx_rng_below(rng, i);
        struct held other = out[at];
        out[at] = out[i - 1];
        out[i - 1] = other;
    }
    return count;
}

void op_faults_release(unsigned kind, struct bnx_rng *rng) {
    struct held *taken = malloc(HELD_MAX * sizeof(*taken));
    bool is_event = false;
    CHECK(taken != NULL);
    lock();
    for (unsigned i = 0; i < OP_FAULTS_KINDS; i++) {
        op_faults.plans[i].is_held =
            op_faults.plans[i].is_held && kind != i && kind != OP_FAULTS_EVERY;
    }
    uint32_t count = take_held(kind, rng, taken);
    for (uint32_t i = 0; i < count; i++) {
        if (op_faults_view_of(taken[i].fd) == NULL) {
            op_faults.due[op_faults.due_count++] = taken[i];
            is_event = true;
        }
    }
    unlock();
    for (uint32_t i = 0; i < count; i++) {
        lock();
        bool is_ring = op_faults_view_of(taken[i].fd) != NULL;
        unlock();
        if (is_ring) {
            op_faults_let_go(&taken[i]);
        }
    }
    free(taken);
    uint64_t one = 1;
    if (is_event) {
        CHECK_EQ(op_faults.real.write(op_faults.doorbell, &one, sizeof(one)), sizeof(one));
    }
    (void)bnx_fetch_add_seq_cst(&op_faults.gate, 1);
    (void)op_faults.real.futex_wake(&op_faults.gate, INT_MAX);
}

uint32_t op_faults_held(void) {
    lock();
    uint32_t count = op_faults.held_count;
    unlock();
    return count + bnx_load_seq_cst(&op_faults.blocked);
}

uint64_t op_faults_cancels(void) {
    lock();
    uint64_t count = op_faults.cancels;
    unlock();
    return count;
}

/* ---- Plans ---- */

void op_faults_clear(void) {
    lock();
    for (unsigned i = 0; i < OP_FAULTS_KINDS; i++) {
        op_faults.plans[i] = (struct plan){.is_held = op_faults.plans[i].is_held};
    }
    op_faults.is_never_inline = false;
    op_faults.has_failed = false;
    op_faults.failures = 0;
    op_faults.cancel_answer = 0;
    unlock();
}

/* Vectors are transferred by the calls of whole buffers, where there is no ring. */
static unsigned kind_here(unsigned kind) {
    if (!op_faults.has_rings && (kind == BNX_OP_READV || kind == BNX_OP_WRITEV)) {
        return kind == BNX_OP_READV ? BNX_OP_READ : BNX_OP_WRITE;
    }
    return kind;
}

void op_faults_short(unsigned kind, enum op_faults_part part) {
    lock();
    op_faults.plans[kind_here(kind)].part = part;
    unlock();
}

void op_faults_fail(unsigned kind, int error, uint64_t kth) {
    lock();
    struct plan *plan = &op_faults.plans[kind_here(kind)];
    plan->error = error;
    plan->kth = kth;
    op_faults.has_failed = false;
    unlock();
}

void op_faults_fail_each(unsigned kind, int error) {
    lock();
    struct plan *plan = &op_faults.plans[kind_here(kind)];
    plan->error = error;
    plan->is_each = true;
    unlock();
}

uint64_t op_faults_failures(void) {
    lock();
    uint64_t count = op_faults.failures;
    unlock();
    return count;
}

bool op_faults_has_failed(void) {
    lock();
    bool has_failed = op_faults.has_failed;
    unlock();
    return has_failed;
}

void op_faults_no_inline(bool is_on) {
    lock();
    op_faults.is_never_inline = is_on;
    unlock();
}

void op_faults_answer_cancels(int error) {
    lock();
    op_faults.cancel_answer = error;
    unlock();
}

void op_faults_hold(unsigned kind) {
    if (op_faults_has_rings() && !op_faults.can_post) {
        SKIP("needs Linux 6.3");
    }
    lock();
    for (unsigned i = 0; i < OP_FAULTS_KINDS; i++) {
        op_faults.plans[i].is_held |= kind == OP_FAULTS_EVERY || kind_here(kind) == i;
    }
    unlock();
}

bool op_faults_has_rings(void) {
    lock();
    bool has_rings = op_faults.has_rings;
    unlock();
    return has_rings;
}

/* ---- Beginning and end ---- */

#define SET_CALL(name, kind, parameters, arguments) bnx_os.name = faulty_##name;
void op_faults_install(void) {
    (void)bnx_op_write_flags(); /* asks the kernel once, by a write */
    memset(&op_faults, 0, sizeof(op_faults));
    op_faults.real = bnx_os;
    bnx_lock_init(&op_faults.lock);
    op_faults.doorbell = op_faults.real.eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    CHECK(op_faults.doorbell >= 0);
    op_faults_install_rings();
    CALLS(SET_CALL)
    bnx_os.preadv = faulty_preadv;
    bnx_os.pwritev = faulty_pwritev;
    bnx_os.recv = faulty_recv;
    bnx_os.send = faulty_send;
    bnx_os.recvmsg = faulty_recvmsg;
    bnx_os.sendmsg = faulty_sendmsg;
    bnx_os.epoll_create = faulty_epoll_create;
    bnx_os.epoll_wait = faulty_epoll_wait;
}

struct bnx_runtime *op_faults_create(uint32_t workers, uint64_t seed) {
    struct bnx_options options = {
        .worker_count = workers, .seed = seed, .flags = BNX_NO_RESCUE | BNX_NO_WATCHDOG};
    struct bnx_runtime *runtime = NULL;
    CHECK_EQ(bnx_runtime_create(&options, &runtime), 0);
    lock();
    op_faults.has_rings = strcmp(runtime->driver_ops->name, "uring") == 0;
    if (!op_faults.has_rings) {
        op_faults_forget_rings(); /* of its first workers, if a later one was refused its own */
    }
    unlock();
    return runtime;
}

void op_faults_destroy(struct bnx_runtime *runtime) {
    sched_destroy(runtime);
    op_faults_clear();
    lock();
    /* Answers to cancels may have been on their way when the rings went. */
    CHECK(op_faults.held_count == 0 && op_faults.cut_count == 0);
    op_faults.due_count = 0;
    op_faults_forget_rings();
    unlock();
}
