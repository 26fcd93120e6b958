/* SPDX-License-Identifier: MIT */
/*
 * Tests what the calls that wait make of operations that end short, with an error, late, or in
 * another order than they began.
 *
 * Method: op_faults.h meddles with the operations of the calls in op_rows.h.
 */
#include "tests/faults/op_rows.h"

#include <bonxie/ready.h>

/* Runs it with each number of workers; with two alone where that takes long. */
static void run_each(bnx_task_fn fn) {
    op_faults_install();
    for (uint64_t i = 0; i < bnx_test_scale(SCHED_WORKER_COUNTS); i++) {
        int fds = io_fd_count();
        struct bnx_runtime *runtime =
            op_faults_create(sched_worker_counts[(i + 1) % SCHED_WORKER_COUNTS], 1 + i);
        CHECK_EQ(bnx_runtime_run(runtime, fn, NULL), 0);
        op_faults_destroy(runtime);
        CHECK_EQ(io_fd_count(), fds);
    }
}

/* ---- With each error ---- */

static void fail_row(const struct row *row, int error) {
    struct place place;
    start(row, &place, NULL);
    op_faults_fail(row->kind, -error, 1);
    int64_t result = row->call(&place);
    CHECK(op_faults_has_failed());
    if (result != -error) {
        bnx_test_fail(__FILE__, __LINE__, "%s: %lld, not %d", row->name, (long long)result, -error);
    }
    op_faults_clear();
    pass(row, &place);
    result = row->call(&place);
    CHECK_EQ(result, row->done);
    verify(row, &place, result);
    end(row, &place);
}

/* An interruption by nobody's cancel: it is begun again, a connect with another socket; but a
 * submission of the caller's own is told. */
static void interrupt_row(const struct row *row, int error) {
    struct place place;
    start(row, &place, NULL);
    pass(row, &place);
    op_faults_fail(row->kind, -error, 1);
    int64_t result = row->call(&place);
    CHECK(op_faults_has_failed());
    op_faults_clear();
    int told = error == ECANCELED ? -ECANCELED : -EINTR;
    if (result != (row->kind == BNX_OP_RAW ? told : row->done)) {
        bnx_test_fail(__FILE__, __LINE__, "%s: %lld", row->name, (long long)result);
    }
    verify(row, &place, result);
    end(row, &place);
}

static int fail_all(void *arg) {
    (void)arg;
    for (size_t i = 0; i < op_row_count; i++) {
        const struct row *row = &op_rows[i];
        if (!is_there(row) || (row->flags & ROW_NO_FAULT) != 0) {
            continue;
        }
        for (size_t at = 0; at < BNX_ARRAY_COUNT(row->errors) && row->errors[at] != 0; at++) {
            fail_row(row, row->errors[at]);
        }
        if ((row->flags & ROW_PAGES) == 0) {
            interrupt_row(row, EINTR);
        }
        if (op_faults_has_rings()) {
            interrupt_row(row, 512); /* a code of the kernel's own */
            interrupt_row(row, ECANCELED);
        }
    }
    return 0;
}

/* Each kind of operation ends with each error that the kernel may give: the call returns it, and
 * having done nothing it can be made again. */
TEST(fails, "faults.op_fails") {
    run_each(fail_all);
}

/* ---- Short ---- */

static void shorten_row(const struct row *row, enum op_faults_part part) {
    struct place place;
    start(row, &place, NULL);
    op_faults_no_inline(true);
    op_faults_short(row->kind, part);
    pass(row, &place);
    int64_t result = row->call(&place);
    int64_t expected = (int64_t)op_faults_part_of(part, OP_TEXT_BYTES);
    bool is_buffer_cut = (row->kind == BNX_OP_READ || row->kind == BNX_OP_READV ||
                          row->kind == BNX_OP_RECV || row->kind == BNX_OP_RECVMSG) ||
                         (row->flags & ROW_PAGES) != 0;
    if (is_buffer_cut && part == OP_FAULTS_HALF) {
        expected = OP_TEXT_BYTES; /* half of the room is more than that */
    }
    if ((row->flags & ROW_PAGES) != 0 && !op_faults_has_rings()) {
        expected = OP_TEXT_BYTES; /* the cache is asked again, up to the end */
    }
    if (result != expected) {
        bnx_test_fail(__FILE__, __LINE__, "%s: %lld, not %lld", row->name, (long long)result,
                      (long long)expected);
    }
    op_faults_clear();
    verify(row, &place, result);
    end(row, &place);
}

static int shorten_all(void *arg) {
    (void)arg;
    for (size_t i = 0; i < op_row_count; i++) {
        if ((op_rows[i].flags & ROW_COUNTED) != 0) {
            shorten_row(&op_rows[i], OP_FAULTS_ONE_BYTE);
            shorten_row(&op_rows[i], OP_FAULTS_HALF);
        }
    }
    return 0;
}

/* Each transfer ends after one byte, and after half of it: the call returns the count, and the rest
 * is where it was. */
TEST(is_short, "faults.op_is_short") {
    run_each(shorten_all);
}

/* ---- Late ---- */

enum situation {
    LATE_PLAIN,       /* the others go on meanwhile */
    LATE_CANCELLED,   /* a cancel comes when it is over, and not told */
    LATE_TIMED_OUT,   /* the same with the deadline of its scope */
    LATE_CLOSED,      /* the same with a close of its descriptor */
    LATE_STOPPED,     /* the same with a stop of the runtime */
    EARLY_CANCELLED,  /* a cancel ends it, and that is told late */
    EARLY_UNANSWERED, /* the same, and the kernel says that it could not be ended */
    EARLY_CLOSED,     /* a close ends it, and that is told late */
    EARLY_ANSWERED    /* a cancel ends it, and the answer to the cancel comes late */
};

struct late {
    const struct row *row;
    enum situation situation;
    struct place place;
    struct bnx_task *caller;
    int64_t result;
    uint64_t is_begun; /* the caller, where it has prepared its place itself */
    uint64_t is_back;  /* the caller */
    uint64_t is_closed;
    uint64_t deadline_ns; /* of the caller's scope; 0: none */
    bool must_be_done;    /* its end was held back before the deadline came */
};

static bool is_early(enum situation situation) {
    return situation >= EARLY_CANCELLED;
}

static int make_call(void *arg) {
    struct late *late = arg;
    struct bnx_scope scope;
    struct bnx_scope_options options = {.deadline_ns = late->deadline_ns};
    CHECK_EQ(bnx_scope_open(&scope, &options), 0);
    late->result = late->row->call(&late->place);
    (void)bnx_scope_close(&scope); /* says what the call was told */
    bnx_store_release(&late->is_back, 1);
    return 0;
}

static int close_it(void *arg) {
    struct late *late = arg;
    CHECK_EQ(bnx_close(late->place.at), 0);
    bnx_store_release(&late->is_closed, 1);
    return 0;
}

static bool is_back(const struct late *late) {
    return bnx_load_acquire(&late->is_back) != 0;
}

/* Lets others have their turn. */
static void pause_here(void) {
    if (bnx_task_self() != NULL) {
        bnx_yield();
    } else {
        bnx_os.thread_yield();
    }
}

/* Until the caller waits, or is back. */
static void await_parked(const struct late *late) {
    while (!is_back(late) && bnx_task_state(late->caller) != BNX_TASK_PARKED) { /* ends: it runs */
        pause_here();
    }
}

static void await_held(const struct late *late) {
    while (!is_back(late) && op_faults_held() == 0) { /* ends: it was let pass */
        pause_here();
    }
}

/* Operations of another kind, and timers: only the caller waits for what is held back. Without
 * rings that is all readiness, so these find at once that the byte is there. A read might not: old
 * kernels know no read of a socket or a pipe that does not wait, so its readiness is awaited. */
static void let_others_go_on(const struct late *late) {
    bool is_recv = late->row->kind != BNX_OP_RECV && late->row->kind != BNX_OP_RECVMSG;
    for (int i = 0; i < 5; i++) {
        char byte = 'o';
        int fds[2];
        io_unix_pair(fds);
        CHECK_EQ(write(fds[1], &byte, 1), 1);
        if (is_recv) {
            CHECK_EQ(bnx_recv(fds[0], &byte, 1, 0), 1);
        } else {
            CHECK_EQ(bnx_fd_wait(fds[0], POLLIN), POLLIN);
            CHECK_EQ(read(fds[0], &byte, 1), 1);
        }
        io_close_pair(fds);
        CHECK_EQ(bnx_sleep(1000), 0);
    }
}

/* While it is in flight nothing else brings the caller back. */
static void expect_waiting(const struct late *late) {
    let_others_go_on(late);
    if (is_in_flight(late->row) || late->situation == LATE_PLAIN) {
        CHECK(!is_back(late));
        CHECK(op_faults_held() > 0);
    }
}

/* Until the kernel has answered so many cancels: one that it does not settle comes again. */
static void await_answers(const struct late *late, uint64_t count) {
    bool is_asked = op_faults_has_rings() && is_in_flight(late->row);
    while (is_asked && op_faults_cancels() < count) { /* ends: it answers all */
        CHECK_EQ(bnx_sleep(BNX_NS_PER_MS), 0);
    }
}

/* Brings it about, and checks that the caller does not come back as long as its operation has not
 * ended. */
static void bring_about(struct late *late, struct bnx_scope *scope) {
    uint64_t answers = op_faults_cancels();
    switch (late->situation) {
    case LATE_PLAIN:
    case LATE_STOPPED:
        break;
    case LATE_TIMED_OUT:
        late->must_be_done = bnx_now() < late->deadline_ns && is_in_flight(late->row);
        CHECK_EQ(bnx_sleep_until(late->deadline_ns + BNX_NS_PER_MS), 0);
        await_answers(late, late->must_be_done ? answers + 1 : 0);
        break;
    case LATE_CANCELLED:
    case EARLY_UNANSWERED:
        bnx_cancel(late->caller, 0);
        /* A send that has only to wait for its notification is not asked for again. */
        await_answers(late, answers + (late->row->kind == BNX_OP_SEND_ZEROCOPY ? 1 : 2));
        break;
    case EARLY_CANCELLED:
        bnx_cancel(late->caller, 0);
        await_held(late);
        await_answers(late, answers + 1);
        break;
    case EARLY_ANSWERED:
        bnx_cancel(late->caller, 0);
        sched_await_count(&late->is_back, 1);
        return;
    case LATE_CLOSED:
    case EARLY_CLOSED:
        CHECK_EQ(bnx_spawn(scope, close_it, late), 0);
        await_held(late);
        break;
    }
    if (late->situation != LATE_TIMED_OUT || late->must_be_done) {
        expect_waiting(late);
        CHECK(bnx_load_acquire(&late->is_closed) == 0 || !is_in_flight(late->row));
    }
}

static int64_t expected_of(const struct late *late) {
    bool is_told = is_in_flight(late->row) && !is_early(late->situation);
    switch (late->situation) {
    case LATE_PLAIN:
        return late->row->done;
    case LATE_TIMED_OUT:
        return late->must_be_done ? late->row->done : -ETIMEDOUT;
    case LATE_CLOSED:
    case EARLY_CLOSED:
        return is_told ? late->row->done : -EBADF;
    case LATE_CANCELLED:
    case LATE_STOPPED:
    case EARLY_CANCELLED:
    case EARLY_UNANSWERED:
    case EARLY_ANSWERED:
        break;
    }
    return is_told ? late->row->done : -ECANCELED;
}

static void check_result(struct late *late) {
    int64_t expected = expected_of(late);
    bool is_either = late->situation == LATE_TIMED_OUT && !late->must_be_done;
    if (late->result != expected && !(is_either && late->result == late->row->done)) {
        bnx_test_fail(__FILE__, __LINE__, "%s in situation %d: %lld, not %lld", late->row->name,
                      (int)late->situation, (long long)late->result, (long long)expected);
    }
    verify(late->row, &late->place, late->result);
    end(late->row, &late->place);
}

/* Whether the situation makes a difference to such a call. */
static bool applies(const struct row *row, enum situation situation) {
    bool is_closed = situation == LATE_CLOSED || situation == EARLY_CLOSED;
    bool is_on_fd =
        (row->flags & (ROW_NAMES | ROW_NO_FAULT | ROW_RING)) == 0 && row->kind != BNX_OP_CONNECT;
    return is_there(row) && (!is_closed || is_on_fd) &&
           (!is_early(situation) || row->pass != NULL) &&
           (situation != LATE_STOPPED || (row->flags & ROW_NO_FAULT) == 0);
}

static int go_round(void *arg) {
    let_others_go_on(arg);
    return 0;
}

/* Answers to the cancel of a task that is gone come while others are in its place. */
static void answer_others(struct late *late, struct bnx_rng *rng) {
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < 16; i++) {
        CHECK_EQ(bnx_spawn(&scope, go_round, late), 0);
    }
    op_faults_release(OP_FAULTS_EVERY, rng);
    CHECK_EQ(bnx_scope_close(&scope), 0);
}

static void play_late(const struct row *row, enum situation situation, struct bnx_rng *rng) {
    struct late late = {.row = row, .situation = situation};
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    start(row, &late.place, &scope);
    op_faults_hold(situation == EARLY_ANSWERED ? OP_FAULTS_CANCELS : row->kind);
    op_faults_answer_cancels(situation == EARLY_UNANSWERED ? -EALREADY : 0);
    if (situation == LATE_TIMED_OUT) {
        late.deadline_ns = bnx_now() + 10 * BNX_NS_PER_MS;
    }
    CHECK_EQ(bnx_spawn_with(&scope, NULL, make_call, &late, &late.caller), 0);
    await_parked(&late);
    if (!is_early(situation)) {
        pass(row, &late.place);
        await_held(&late);
    }
    bring_about(&late, &scope);
    if (situation != EARLY_ANSWERED) {
        op_faults_release(OP_FAULTS_EVERY, rng);
    }
    sched_await_count(&late.is_back, 1);
    op_faults_clear();
    if (situation == LATE_CLOSED || situation == EARLY_CLOSED) {
        sched_await_count(&late.is_closed, 1);
        forget_closed(&late.place);
    } else if (is_early(situation)) {
        pass(row, &late.place);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    if (situation == EARLY_ANSWERED) {
        answer_others(&late, rng);
    }
    check_result(&late);
}

static int play_situation(enum situation situation) {
    struct bnx_rng rng;
    bnx_rng_init(&rng, bnx_test_seed(), situation);
    for (size_t i = 0; i < op_row_count; i++) {
        if (applies(&op_rows[i], situation)) {
            play_late(&op_rows[i], situation, &rng);
        }
    }
    return 0;
}

static int play_plain(void *arg) {
    (void)arg;
    return play_situation(LATE_PLAIN);
}

static int play_cancelled(void *arg) {
    (void)arg;
    return play_situation(LATE_CANCELLED) + play_situation(LATE_TIMED_OUT);
}

static int play_closed(void *arg) {
    (void)arg;
    return play_situation(LATE_CLOSED) + play_situation(EARLY_CLOSED);
}

static int play_answers(void *arg) {
    (void)arg;
    return play_situation(EARLY_CANCELLED) + play_situation(EARLY_UNANSWERED) +
           play_situation(EARLY_ANSWERED);
}

/* The end of each operation is held back: its caller waits, everybody else goes on. */
TEST(late, "faults.op_is_late") {
    run_each(play_plain);
}

/* A cancel, or a deadline, comes when the operation is over and that has not been told: the caller
 * waits until it is, and then has what the operation did. Where nothing is in flight it comes back
 * at once, with nothing done. */
TEST(late_cancelled, "faults.late_and_cancelled") {
    run_each(play_cancelled);
}

/* The same with a close of the descriptor, which waits as well. */
TEST(late_closed, "faults.late_and_closed") {
    run_each(play_closed);
}

/* A cancel ends the operation: its end is told late, or the answer to the cancel is, or the kernel
 * says that it found nothing to end. */
TEST(late_answers, "faults.late_answers") {
    run_each(play_answers);
}

/* ---- Late, while the runtime stops ---- */

static int call_in_root(void *arg) {
    struct late *late = arg;
    start(late->row, &late->place, NULL);
    op_faults_hold(late->row->kind);
    late->caller = bnx_task_self();
    bnx_store_release(&late->is_begun, 1);
    return make_call(late);
}

static void play_stopped(const struct row *row, uint32_t workers, struct bnx_rng *rng) {
    struct late late = {.row = row, .situation = LATE_STOPPED};
    struct bnx_runtime *runtime = op_faults_create(workers, 1);
    if (applies(row, LATE_STOPPED)) {
        CHECK_EQ(bnx_runtime_spawn(runtime, call_in_root, &late, NULL), 0);
        while (bnx_load_acquire(&late.is_begun) == 0) { /* ends: it runs */
            pause_here();
        }
        await_parked(&late);
        pass(row, &late.place);
        await_held(&late);
        CHECK_EQ(bnx_runtime_stop(runtime), 0);
        if (is_in_flight(row)) {
            CHECK_EQ(bnx_runtime_wait(runtime, bnx_now() + BNX_NS_PER_MS), -ETIMEDOUT);
            CHECK_EQ(bnx_runtime_destroy(runtime), -EBUSY);
        }
        while (!is_in_flight(row) && !is_back(&late)) { /* ends: the stop cancels it */
            pause_here();
        }
        op_faults_release(OP_FAULTS_EVERY, rng);
        CHECK_EQ(bnx_runtime_wait(runtime, BNX_NEVER_NS), 0);
        check_result(&late);
    }
    op_faults_destroy(runtime);
}

/* The same with a stop of the runtime, which does not end before the operation has. */
TEST(late_stopped, "faults.late_and_stopped") {
    struct bnx_rng rng;
    bnx_rng_init(&rng, bnx_test_seed(), LATE_STOPPED);
    op_faults_install();
    int fds = io_fd_count();
    for (size_t i = 0; i < op_row_count; i++) {
        for (uint64_t j = 0; j < bnx_test_scale(SCHED_WORKER_COUNTS); j++) {
            play_stopped(&op_rows[i], sched_worker_counts[(i + j) % SCHED_WORKER_COUNTS], &rng);
        }
    }
    CHECK_EQ(io_fd_count(), fds);
}

/* ---- Out of order ---- */

#define CROWD 48
#define ROUNDS 20

struct member {
    struct crowd *crowd;
    int index;
    int fds[2];
};

struct crowd {
    struct member members[CROWD];
    uint64_t back;
    int order[CROWD]; /* in which they came back */
};

static int wait_for_own(void *arg) {
    struct member *member = arg;
    unsigned char byte = 0;
    switch (member->index % 3) {
    case 0:
        CHECK_EQ(bnx_recv(member->fds[0], &byte, 1, 0), 1);
        break;
    case 1:
        CHECK_EQ(bnx_read(member->fds[0], &byte, 1), 1);
        break;
    default:
        CHECK_EQ(bnx_fd_wait(member->fds[0], POLLIN), POLLIN);
        CHECK_EQ(read(member->fds[0], &byte, 1), 1);
        break;
    }
    CHECK_EQ(byte, member->index);
    uint64_t place = bnx_fetch_add_acq_rel(&member->crowd->back, 1);
    member->crowd->order[place] = member->index;
    return 0;
}

/* Returns how many came back before one whose operation ended earlier. */
static int play_crowd(struct crowd *crowd, struct bnx_rng *rng) {
    static const unsigned kinds[] = {BNX_OP_RECV, BNX_OP_READ, BNX_OP_POLL};
    struct bnx_scope scope;
    int inversions = 0;
    crowd->back = 0;
    for (size_t i = 0; i < BNX_ARRAY_COUNT(kinds); i++) {
        op_faults_hold(kinds[i]);
    }
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < CROWD; i++) {
        crowd->members[i].crowd = crowd;
        crowd->members[i].index = i;
        CHECK_EQ(bnx_spawn(&scope, wait_for_own, &crowd->members[i]), 0);
    }
    for (int i = 0; i < CROWD; i++) {
        unsigned char byte = (unsigned char)i;
        CHECK_EQ(write(crowd->members[i].fds[1], &byte, 1), 1);
        while (op_faults_held() < (uint32_t)i + 1) { /* ends: one has come */
            bnx_yield();
        }
    }
    CHECK_EQ(crowd->back, 0);
    op_faults_release(OP_FAULTS_EVERY, rng);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(crowd->back, CROWD);
    for (int i = 1; i < CROWD; i++) {
        inversions += crowd->order[i] < crowd->order[i - 1];
    }
    return inversions;
}

static int play_crowds(void *arg) {
    struct bnx_rng rng;
    static struct crowd crowd;
    int inversions = 0;
    (void)arg;
    bnx_rng_init(&rng, bnx_test_seed(), sched_worker_count());
    for (int i = 0; i < CROWD; i++) {
        io_unix_pair(crowd.members[i].fds);
    }
    for (uint64_t i = 0; i < bnx_test_scale(ROUNDS); i++) {
        inversions += play_crowd(&crowd, &rng);
    }
    CHECK(inversions > 0);
    for (int i = 0; i < CROWD; i++) {
        io_close_pair(crowd.members[i].fds);
    }
    return 0;
}

/* Operations that ended one after the other are told in an order of the seed: each caller has what
 * is its own. */
TEST(shuffled, "faults.ops_out_of_order") {
    run_each(play_crowds);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
