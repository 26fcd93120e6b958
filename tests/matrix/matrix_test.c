/* SPDX-License-Identifier: MIT */
/* Claims about every call that suspends, in every situation (matrix.h). */
#include "tests/matrix/matrix.h"

#include "io/op.h"
#include "runtime/scope_pvt.h"

#include <sys/syscall.h>

static const struct matrix_part *const parts[] = {&matrix_sync,    &matrix_flow,   &matrix_body,
                                                  &matrix_io,      &matrix_socket, &matrix_stream,
                                                  &matrix_process, &matrix_file};

static const char *const column_names[MATRIX_COLUMNS] = {
    "plain",
    "cancelled before",
    "cancelled before, ready",
    "cancelled while it waits",
    "deadline",
    "shielded",
    "in grace",
    "from another worker",
    "by a thread",
    "on a thread",
};

/* One call in one situation. */
struct cell {
    const struct matrix_row *row;
    enum matrix_column column;
    uint64_t patience_ns; /* of a deadline or a timed call; doubled until the wait is seen */
    struct matrix_place place;
    struct bnx_task *caller; /* NULL: an OS thread */
    int32_t caller_tid;      /* of that; once it is about to call */
    uint32_t is_open;        /* the caller's scopes are open, and it is about to call */
    uint32_t is_done;        /* the call has returned */
    int64_t result;          /* of it */
    struct bnx_scope outer;  /* the caller's */
    struct bnx_scope shield; /* the caller's, within outer */
    bool was_seen;           /* waiting; the party */
};

static void say(const struct cell *cell, const char *what) {
    bnx_test_fail(__FILE__, __LINE__, "%s (%s), %s, %u workers: %s", cell->row->name,
                  cell->row->how, column_names[cell->column],
                  bnx_runtime_worker_count(cell->place.runtime), what);
}

static bool has(const struct cell *cell, enum matrix_flags flag) {
    return (cell->row->flags & (unsigned)flag) != 0;
}

static bool is_cancelled(enum matrix_column column) {
    return column == MATRIX_WHILE || column == MATRIX_DEADLINE || column == MATRIX_GRACE;
}

static bool is_before(enum matrix_column column) {
    return column == MATRIX_BEFORE || column == MATRIX_BEFORE_READY;
}

/* Whether the call returns because of the cancel, not because it is let pass. */
static bool ends_by_cancel(const struct cell *cell) {
    return is_cancelled(cell->column) && !has(cell, MATRIX_STEADY);
}

static bool applies(const struct matrix_row *row, enum matrix_column column) {
    unsigned flags = row->flags;
    if ((flags & MATRIX_NO_EVENT) != 0) {
        return column == MATRIX_PLAIN || column == MATRIX_BEFORE || column == MATRIX_ON_THREAD;
    }
    if ((flags & MATRIX_ENDLESS) != 0) {
        return is_cancelled(column) || column == MATRIX_BEFORE;
    }
    if ((flags & MATRIX_TIMED) != 0 && (column == MATRIX_WORKER || column == MATRIX_THREAD)) {
        return false;
    }
    if ((flags & (MATRIX_TIMED | MATRIX_MEETING)) != 0 && column == MATRIX_BEFORE_READY) {
        return false;
    }
    return (flags & MATRIX_TASK_ONLY) == 0 || column != MATRIX_ON_THREAD;
}

/* ---- The caller ---- */

static void call(struct cell *cell) {
    bnx_store_release(&cell->is_open, 1);
    cell->result = cell->row->call(&cell->place);
}

static int caller(void *arg) {
    struct cell *cell = arg;
    enum matrix_column column = cell->column;
    struct bnx_scope_options options = {0};
    if (column == MATRIX_DEADLINE) {
        options.deadline_ns = bnx_now() + cell->patience_ns;
    }
    CHECK_EQ(bnx_scope_open(&cell->outer, &options), 0);
    if (is_before(column)) {
        bnx_scope_cancel(&cell->outer, 0);
    }
    if (column == MATRIX_SHIELDED || column == MATRIX_GRACE) {
        uint64_t grace_ns = column == MATRIX_GRACE ? BNX_NS_PER_MS : 3600 * BNX_NS_PER_S;
        struct bnx_scope_options shield = {.flags = BNX_SCOPE_SHIELD, .grace_ns = grace_ns};
        CHECK_EQ(bnx_scope_open(&cell->shield, &shield), 0);
        call(cell);
        (void)bnx_scope_close(&cell->shield);
    } else {
        call(cell);
    }
    int error = bnx_scope_close(&cell->outer);
    if (error != 0 && !is_before(column) && !is_cancelled(column) && column != MATRIX_SHIELDED) {
        say(cell, "its scope has failed");
    }
    bnx_store_release(&cell->is_done, 1);
    return 0;
}

static void caller_thread(void *arg) {
    struct cell *cell = arg;
    bnx_store_release(&cell->caller_tid, (int32_t)syscall(SYS_gettid));
    call(cell);
    bnx_store_release(&cell->is_done, 1);
}

/* ---- The party ---- */

static void give_way(void) {
    bnx_yield(); /* on a thread sched_yield(2) */
}

/* The kernel says that the thread sleeps, after it has said that it is about to call. */
static bool is_thread_asleep(int32_t tid) {
    if (tid == 0) {
        return false;
    }
    char path[64], text[512];
    (void)snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    ssize_t bytes = read(fd, text, sizeof(text) - 1);
    CHECK_EQ(close(fd), 0);
    text[bytes > 0 ? bytes : 0] = '\0';
    const char *end = strrchr(text, ')');
    return end != NULL && end[1] == ' ' && end[2] == 'S';
}

static bool is_waiting(const struct cell *cell) {
    if (bnx_load_acquire(&cell->is_open) == 0) {
        return false;
    }
    if (cell->column == MATRIX_ON_THREAD) {
        return is_thread_asleep(bnx_load_acquire(&cell->caller_tid));
    }
    enum bnx_task_state state = bnx_task_state(cell->caller);
    if (state == BNX_TASK_BENEATH) {
        const struct bnx_task *beneath = bnx_load_acquire(&cell->place.beneath);
        return beneath != NULL && bnx_task_state(beneath) == BNX_TASK_PARKED;
    }
    if (has(cell, MATRIX_OFFLOADS)) {
        return state == BNX_TASK_OFFLOADED;
    }
    /* On its way to a thread of the pool it is parked as well. The second look at the state is at
     * the wait whose reason was read, or at one that came after it. */
    uint8_t reason = bnx_load_acquire(&cell->caller->wait_reason);
    return state == BNX_TASK_PARKED && reason != (uint8_t)BNX_WAIT_OFFLOAD &&
           bnx_task_state(cell->caller) == BNX_TASK_PARKED;
}

static bool is_done(const struct cell *cell) {
    return bnx_load_acquire(&cell->is_done) != 0;
}

static void await_waiting(struct cell *cell) {
    while (!is_done(cell)) { /* ends: it waits or returns */
        if (is_waiting(cell)) {
            cell->was_seen = true;
            return;
        }
        give_way();
    }
}

static void await_done(const struct cell *cell) {
    while (!is_done(cell)) { /* ends: it has been let pass, or cancelled */
        give_way();
    }
}

/* The cancel has done all it does; who is steady still waits. */
static void cancel(struct cell *cell) {
    bool is_timed = has(cell, MATRIX_TIMED);
    if (cell->column == MATRIX_DEADLINE) {
        while (!is_done(cell) && bnx_load_acquire(&cell->outer.cancel) == 0) { /* ends in time */
            give_way();
        }
    } else {
        bnx_scope_cancel(&cell->outer, 0);
    }
    if (cell->column == MATRIX_GRACE && has(cell, MATRIX_STEADY)) {
        while (bnx_load_acquire(&cell->shield.shield->is_broken) == 0) { /* ends with the grace */
            give_way();
        }
    }
    if (cell->column == MATRIX_SHIELDED && !is_timed && (is_done(cell) || !is_waiting(cell))) {
        say(cell, "a cancel has disturbed it");
    }
    /* A steady one may look what has woken it, and waits on. */
    while (has(cell, MATRIX_STEADY) && !is_waiting(cell)) { /* ends: it does, or has returned */
        if (is_done(cell)) {
            say(cell, "a cancel has cut it short");
        }
        give_way();
    }
}

static void pass(struct cell *cell) {
    if (cell->row->pass != NULL) {
        cell->row->pass(&cell->place);
    }
}

/* Lets the caller pass once it waits, or cancels it. What it holds it gives up in any case. */
static void attend(struct cell *cell) {
    bool is_refused = is_before(cell->column) && !has(cell, MATRIX_STEADY);
    bool is_passed = cell->column == MATRIX_BEFORE_READY || has(cell, MATRIX_NO_EVENT);
    if (!is_refused && !is_passed) {
        await_waiting(cell);
    }
    if (cell->was_seen && (is_cancelled(cell->column) || cell->column == MATRIX_SHIELDED)) {
        cancel(cell);
    }
    if (!is_passed && !is_refused && !ends_by_cancel(cell)) {
        pass(cell);
        is_passed = true;
    }
    await_done(cell);
    if (!is_passed && !has(cell, MATRIX_MEETING)) {
        pass(cell);
    }
}

static void party(struct cell *cell) {
    if (cell->row->hold != NULL) {
        cell->row->hold(&cell->place);
    }
    if (cell->column == MATRIX_BEFORE_READY) {
        pass(cell);
    }
    if (cell->caller != NULL) {
        CHECK_EQ(bnx_task_start(cell->caller), 0);
        attend(cell);
        return;
    }
    struct bnx_os_thread thread;
    sched_thread_start(&thread, caller_thread, cell);
    attend(cell);
    sched_thread_join(&thread);
}

static int party_task(void *arg) {
    party(arg);
    return 0;
}

static void party_thread(void *arg) {
    party(arg);
}

/* ---- Cells ---- */

static void run_parties(struct cell *cell) {
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    bool is_apart = cell->column == MATRIX_WORKER;
    uint32_t workers = sched_worker_count();
    if (cell->column != MATRIX_ON_THREAD) {
        struct bnx_spawn_options options = {.start = BNX_START_MANUAL, .name = cell->row->name};
        options.flags = is_apart ? BNX_SPAWN_PINNED : 0;
        CHECK_EQ(bnx_spawn_with(NULL, &options, caller, cell, &cell->caller), 0);
    }
    if (cell->column == MATRIX_THREAD) {
        struct bnx_os_thread thread;
        sched_thread_start(&thread, party_thread, cell);
        while (!is_done(cell)) { /* ends with the call */
            bnx_yield();
        }
        sched_thread_join(&thread);
    } else {
        struct bnx_spawn_options options = {.flags = is_apart ? BNX_SPAWN_PINNED : 0,
                                            .worker = is_apart ? 1 % workers : 0};
        CHECK_EQ(bnx_spawn_with(&scope, &options, party_task, cell, NULL), 0);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    if (cell->caller != NULL) {
        CHECK_EQ(bnx_join(cell->caller, NULL), 0);
    }
}

static int count_task(const struct bnx_task_info *info, void *arg) {
    (void)info;
    ++*(int *)arg;
    return 0;
}

/* Ends when nobody is left but the test's own task: one that has told its joiner is still on its
 * way out. */
static void await_alone(void) {
    int count = 0;
    do {
        bnx_yield();
        count = 0;
        CHECK_EQ(bnx_tasks_foreach(bnx_runtime_current(), count_task, &count), 0);
    } while (count > 1);
}

/* Returns whether the cell has seen what it wants to see. */
static bool try_cell(struct cell *cell) {
    struct matrix_place *place = &cell->place;
    bool is_timed = has(cell, MATRIX_TIMED);
    place->runtime = bnx_runtime_current();
    place->wait_ns = is_timed && ends_by_cancel(cell) ? BNX_NEVER_NS : cell->patience_ns;
    place->is_on_thread = cell->column == MATRIX_ON_THREAD;
    if (cell->row->prepare != NULL) {
        cell->row->prepare(place);
    }
    run_parties(cell);
    if (cell->row->end != NULL) {
        cell->row->end(place);
    }
    await_alone();
    bool must_wait = !is_before(cell->column) && !has(cell, MATRIX_NO_EVENT) &&
                     cell->row->codes[cell->column] != -EPERM;
    if (must_wait && !cell->was_seen) {
        if (!is_timed && cell->column != MATRIX_DEADLINE) {
            say(cell, "it has not waited");
        }
        return false;
    }
    return true;
}

static void check_cell(const struct matrix_row *row, enum matrix_column column) {
    struct cell cell;
    uint64_t patience_ns = 2 * BNX_NS_PER_MS;
    bool is_seen;
    do { /* ends: some time is enough for the caller to begin to wait and be seen */
        cell = (struct cell){.row = row, .column = column, .patience_ns = patience_ns};
        is_seen = try_cell(&cell);
        patience_ns *= 2;
    } while (!is_seen);
    int64_t expected = row->codes[column];
    if (cell.result != expected) {
        bnx_test_fail(__FILE__, __LINE__, "%s (%s), %s, %u workers: %lld, not %lld", row->name,
                      row->how, column_names[column], sched_worker_count(), (long long)cell.result,
                      (long long)expected);
    }
}

static int check_column(void *arg) {
    enum matrix_column column = *(const enum matrix_column *)arg;
    for (uint32_t i = 0; i < sched_worker_count(); i++) { /* opened by the first use, for good */
        struct bnx_driver *driver = bnx_worker_driver(bnx_worker_peer(i));
        CHECK_EQ(bnx_poller_open(&bnx_io_driver_of(driver)->poller), 0);
    }
    for (size_t i = 0; i < BNX_ARRAY_COUNT(parts); i++) {
        for (size_t j = 0; j < parts[i]->count; j++) {
            if (!applies(&parts[i]->rows[j], column)) {
                continue;
            }
            int fds = io_fd_count();
            check_cell(&parts[i]->rows[j], column);
            int left = io_fd_count() - fds;
            if (left != 0) {
                bnx_test_fail(__FILE__, __LINE__, "%s (%s), %s: %d descriptors more",
                              parts[i]->rows[j].name, parts[i]->rows[j].how, column_names[column],
                              left);
            }
        }
    }
    return 0;
}

static void check(enum matrix_column column) {
    sched_run_each(check_column, &column);
}

/* Claim, of each: every call that suspends returns what its row says, and leaves no task and no
 * descriptor behind. The party has seen it wait where the column says so. */

TEST(matrix_plain, "matrix.plain") {
    check(MATRIX_PLAIN);
}

TEST(matrix_before, "matrix.cancelled_before") {
    check(MATRIX_BEFORE);
    check(MATRIX_BEFORE_READY);
}

TEST(matrix_while, "matrix.cancelled_while_it_waits") {
    check(MATRIX_WHILE);
}

TEST(matrix_deadline, "matrix.deadline") {
    check(MATRIX_DEADLINE);
}

TEST(matrix_shielded, "matrix.shielded") {
    check(MATRIX_SHIELDED);
}

TEST(matrix_grace, "matrix.grace") {
    check(MATRIX_GRACE);
}

TEST(matrix_worker, "matrix.from_another_worker") {
    check(MATRIX_WORKER);
}

TEST(matrix_thread, "matrix.by_a_thread") {
    check(MATRIX_THREAD);
}

TEST(matrix_on_thread, "matrix.on_a_thread") {
    check(MATRIX_ON_THREAD);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
