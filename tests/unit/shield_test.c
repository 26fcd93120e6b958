/* SPDX-License-Identifier: MIT */
/* Claims about cleaning up: shields, their grace period, deferred functions, bnx_timeout. */
#include "tests/support/sched.h"

#define LONG_NS (UINT64_C(3600) * BNX_NS_PER_S)
#define SHORT_NS BNX_NS_PER_MS

static struct bnx_scope_options shield(uint64_t grace_ns) {
    return (struct bnx_scope_options){.flags = BNX_SCOPE_SHIELD, .grace_ns = grace_ns};
}

static int do_nothing(void *arg) {
    (void)arg;
    return 0;
}

/* ---- Hiding ---- */

struct room {
    struct bnx_future *door; /* set by the test */
    uint64_t grace_ns;
    uint64_t inside;   /* tasks about to wait behind the shield */
    uint64_t come_out; /* tasks that waited there to the end */
    int expected;      /* of the wait behind the shield */
    int children;      /* spawned behind it */
    bool is_late;      /* the shield is opened after the cancel */
};

static int wait_at_door(void *arg) {
    struct room *room = arg;
    bnx_fetch_add_release(&room->inside, 1);
    CHECK_EQ(bnx_future_await(room->door, NULL), room->expected);
    CHECK_EQ(bnx_sleep(0), room->expected);
    bnx_fetch_add_release(&room->come_out, 1);
    return 0;
}

static int shelter(void *arg) {
    struct room *room = arg;
    struct bnx_scope scope;
    if (room->is_late) {
        CHECK_EQ(bnx_sleep_until(UINT64_MAX), -ECANCELED);
    }
    const struct bnx_scope_options options = shield(room->grace_ns);
    CHECK_EQ(bnx_scope_open(&scope, &options), 0);
    for (int i = 0; i < room->children; i++) {
        int error = bnx_spawn(&scope, wait_at_door, room);
        if (error == -ECANCELED && room->is_late) { /* a short grace is over already */
            CHECK_EQ(room->expected, -ECANCELED);
            bnx_fetch_add_release(&room->inside, 1);
            bnx_fetch_add_release(&room->come_out, 1);
        } else {
            CHECK_EQ(error, 0);
        }
    }
    (void)wait_at_door(room);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(bnx_sleep(0), -ECANCELED); /* what is hidden is not forgotten */
    return -ECANCELED;
}

static void cancel_around(struct room *room) {
    struct bnx_scope scope;
    CHECK_EQ(bnx_future_create(&room->door), 0);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn(&scope, shelter, room), 0);
    if (room->is_late) {
        bnx_yield();
        bnx_scope_cancel(&scope, 0);
    }
    sched_await_count(&room->inside, (uint64_t)room->children + 1);
    bnx_yield();
    bnx_scope_cancel(&scope, 0);
    if (room->expected == 0) {
        for (int i = 0; i < 100; i++) {
            bnx_yield();
        }
        CHECK_EQ(bnx_load_acquire(&room->come_out), 0);
        CHECK_EQ(bnx_future_set(room->door, NULL), 0);
    }
    CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
    CHECK_EQ(room->come_out, room->children + 1);
    bnx_future_unref(room->door);
}

static int hide(void *arg) {
    (void)arg;
    for (int late = 0; late < 2; late++) {
        struct room room = {.grace_ns = LONG_NS, .children = 3, .is_late = late != 0};
        cancel_around(&room);
    }
    return 0;
}

/* Claim: opener and children of a shield do not see a cancel from above, come before or after the
 * shield was opened, while it is whole; after its close the opener does. */
TEST(shield_hides, "shield.hides_a_cancel") {
    sched_run_each(hide, NULL);
}

static int break_it(void *arg) {
    (void)arg;
    for (int late = 0; late < 2; late++) {
        struct room room = {
            .grace_ns = SHORT_NS, .children = 3, .is_late = late != 0, .expected = -ECANCELED};
        cancel_around(&room);
    }
    return 0;
}

/* Claim: when the grace is spent the shield breaks, and what waits behind it is cancelled. */
TEST(shield_breaks, "shield.breaks_after_grace") {
    sched_run_each(break_it, NULL);
}

static int own_cancel(void *arg) {
    (void)arg;
    struct bnx_scope outer;
    struct bnx_scope scope;
    const struct bnx_scope_options options = shield(LONG_NS);
    struct bnx_scope_options soon = shield(LONG_NS);
    soon.deadline_ns = bnx_now() + 1;
    CHECK_EQ(bnx_scope_open(&outer, NULL), 0);
    CHECK_EQ(bnx_scope_open(&scope, &options), 0);
    CHECK_EQ(bnx_sleep(0), 0);
    bnx_scope_cancel(&outer, 0);
    CHECK_EQ(bnx_sleep(0), 0);
    bnx_scope_cancel(&scope, 0);
    CHECK_EQ(bnx_sleep_until(UINT64_MAX), -ECANCELED);
    CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
    CHECK_EQ(bnx_sleep(0), -ECANCELED);
    CHECK_EQ(bnx_scope_open(&scope, &soon), 0);
    CHECK_EQ(bnx_sleep_until(UINT64_MAX), -ETIMEDOUT);
    CHECK_EQ(bnx_scope_close(&scope), -ETIMEDOUT);
    CHECK_EQ(bnx_scope_close(&outer), -ECANCELED);
    CHECK_EQ(bnx_sleep(0), 0);
    return 0;
}

/* Claim: a shield's own cancel and deadline are seen inside. */
TEST(shield_own, "shield.own_cancel_is_seen") {
    sched_run_each(own_cancel, NULL);
}

static int outer_deadline(void *arg) {
    (void)arg;
    struct bnx_scope outer;
    struct bnx_scope scope;
    const struct bnx_scope_options soon = {.deadline_ns = bnx_now() + 1};
    const struct bnx_scope_options options = shield(LONG_NS);
    CHECK_EQ(bnx_scope_open(&outer, &soon), 0);
    CHECK_EQ(bnx_sleep_until(UINT64_MAX), -ETIMEDOUT);
    CHECK_EQ(bnx_scope_open(&scope, &options), 0);
    CHECK_EQ(bnx_sleep(1), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(bnx_sleep(0), -ETIMEDOUT);
    CHECK_EQ(bnx_scope_close(&outer), -ETIMEDOUT);
    return 0;
}

/* Claim: a deadline from above is hidden as well, and told apart afterwards. */
TEST(shield_deadline, "shield.hides_a_deadline") {
    sched_run_each(outer_deadline, NULL);
}

static int sheltered_victim(void *arg) {
    struct room *room = arg;
    struct bnx_scope scope;
    const struct bnx_scope_options options = shield(room->grace_ns);
    CHECK_EQ(bnx_scope_open(&scope, &options), 0);
    (void)wait_at_door(room);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(bnx_sleep(0), -ECANCELED);
    return 0;
}

static int cancel_task(void *arg) {
    (void)arg;
    for (int breaks = 0; breaks < 2; breaks++) {
        struct room room = {.grace_ns = breaks ? SHORT_NS : LONG_NS,
                            .expected = breaks ? -ECANCELED : 0};
        struct bnx_scope scope;
        struct bnx_task *task = NULL;
        CHECK_EQ(bnx_future_create(&room.door), 0);
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        CHECK_EQ(bnx_spawn_with(&scope, NULL, sheltered_victim, &room, &task), 0);
        sched_await_count(&room.inside, 1);
        bnx_yield();
        bnx_cancel(task, 0);
        if (!breaks) {
            CHECK_EQ(bnx_future_set(room.door, NULL), 0);
        }
        CHECK_EQ(bnx_scope_close(&scope), 0);
        bnx_future_unref(room.door);
    }
    return 0;
}

/* Claim: a shield that the task itself has opened hides the task's own cancel, and breaks likewise.
 *  */
TEST(shield_task, "shield.hides_a_task_cancel") {
    sched_run_each(cancel_task, NULL);
}

static int nested_victim(void *arg) {
    struct room *room = arg;
    struct bnx_scope outer;
    const struct bnx_scope_options options = shield(SHORT_NS);
    CHECK_EQ(bnx_scope_open(&outer, &options), 0);
    int error = sheltered_victim(room);
    CHECK_EQ(bnx_scope_close(&outer), 0);
    return error;
}

static int nested(void *arg) {
    (void)arg;
    struct room room = {.grace_ns = SHORT_NS, .expected = -ECANCELED};
    struct bnx_scope scope;
    CHECK_EQ(bnx_future_create(&room.door), 0);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn(&scope, nested_victim, &room), 0);
    sched_await_count(&room.inside, 1);
    bnx_yield();
    bnx_scope_cancel(&scope, 0);
    CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
    bnx_future_unref(room.door);
    return 0;
}

/* Claim: shields within shields break one after the other: nothing waits for ever. */
TEST(shield_nested, "shield.nested_ones_break") {
    sched_run_each(nested, NULL);
}

/* ---- Stragglers ---- */

static void see_straggler(enum bnx_log_level level, const char *line, void *arg) {
    if (level == BNX_LOG_ERROR && strstr(line, "(the-straggler) has outlived its grace") != NULL) {
        bnx_store_release((uint64_t *)arg, 1);
    }
}

static int ignore_cancel(void *arg) {
    bnx_task_name_set("the-straggler");
    struct bnx_scope scope;
    const struct bnx_scope_options options = shield(SHORT_NS);
    CHECK_EQ(bnx_scope_open(&scope, &options), 0);
    while (bnx_load_acquire((uint64_t *)arg) == 0) { /* ends with the report */
        (void)bnx_sleep(0);
        bnx_yield();
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return 0;
}

static int straggle(void *arg) {
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn(&scope, ignore_cancel, arg), 0);
    bnx_scope_cancel(&scope, 0);
    CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
    return 0;
}

/* Claim: what lives on behind a broken shield is reported by name. Method: it ends with the report.
 *  */
TEST(shield_stragglers, "shield.stragglers_are_reported") {
    uint64_t seen = 0;
    struct bnx_options options = {
        .worker_count = 2, .seed = 1, .log = see_straggler, .log_arg = &seen};
    CHECK_EQ(bnx_run(&options, straggle, &seen), 0);
}

/* ---- Deferred functions ---- */

struct diary {
    char text[16];
    size_t count;
    int error;         /* that the last one was told */
    int sleep_result;  /* of a call that waits, in a deferred function */
    uint64_t sleep_ns; /* how long it waits */
};

static void write_a(void *arg) {
    struct diary *diary = arg;
    diary->text[diary->count++] = 'a';
    diary->error = bnx_defer_error();
}

static void write_b(void *arg) {
    struct diary *diary = arg;
    diary->text[diary->count++] = 'b';
    diary->sleep_result = bnx_sleep(diary->sleep_ns);
}

static int fail(void *arg) {
    (void)arg;
    return -ENXIO;
}

static void open_with_defers(struct bnx_scope *scope, struct diary *diary,
                             const struct bnx_scope_options *options) {
    CHECK_EQ(bnx_scope_open(scope, options), 0);
    CHECK_EQ(bnx_defer(scope, write_a, diary), 0);
    CHECK_EQ(bnx_defer(scope, write_b, diary), 0);
}

static int defer_order(void *arg) {
    (void)arg;
    struct diary diary = {.sleep_ns = 1};
    struct bnx_scope scope;
    open_with_defers(&scope, &diary, NULL);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_STR(diary.text, "ba");
    CHECK_EQ(diary.error, 0);
    CHECK_EQ(bnx_defer_error(), 0);

    diary = (struct diary){.sleep_ns = 1};
    open_with_defers(&scope, &diary, NULL);
    CHECK_EQ(bnx_spawn(&scope, fail, NULL), 0);
    CHECK_EQ(bnx_scope_close(&scope), -ENXIO);
    CHECK_STR(diary.text, "ba");
    CHECK_EQ(diary.error, -ENXIO);
    CHECK_EQ(diary.sleep_result, 0); /* shielded from its own scope's cancel */
    return 0;
}

/* Claim: deferred functions run at close, last one first, may wait although the scope was
 * cancelled, and are told why it ends. */
TEST(defer_order, "defer.last_first_and_told") {
    sched_run_each(defer_order, NULL);
}

static int defer_victim(void *arg) {
    struct diary *diary = arg;
    struct bnx_scope scope;
    const struct bnx_scope_options options = {.grace_ns =
                                                  diary->sleep_ns == 1 ? LONG_NS : SHORT_NS};
    open_with_defers(&scope, diary, &options);
    CHECK_EQ(bnx_sleep_until(UINT64_MAX), -ECANCELED);
    CHECK_EQ(bnx_scope_close(&scope), 0); /* the cancel is the enclosing scope's */
    return bnx_sleep(0);
}

static int defer_cancelled(void *arg) {
    (void)arg;
    for (int breaks = 0; breaks < 2; breaks++) {
        struct diary diary = {.sleep_ns = breaks ? LONG_NS : 1};
        struct bnx_scope scope;
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        CHECK_EQ(bnx_spawn(&scope, defer_victim, &diary), 0);
        bnx_yield();
        bnx_scope_cancel(&scope, 0);
        CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
        CHECK_STR(diary.text, "ba");
        CHECK_EQ(diary.error, -ECANCELED);
        CHECK_EQ(diary.sleep_result, breaks ? -ECANCELED : 0);
    }
    return 0;
}

/* Claim: a cancel from above does not keep them from waiting, until the grace period is spent. */
TEST(defer_cancelled, "defer.shielded_with_grace") {
    sched_run_each(defer_cancelled, NULL);
}

struct spawner {
    struct bnx_scope *scope;
    uint64_t ran;
};

static int bump(void *arg) {
    CHECK_EQ(bnx_sleep(1), 0);
    bnx_fetch_add_relaxed((uint64_t *)arg, 1);
    return 0;
}

static void spawn_more(void *arg) {
    struct spawner *spawner = arg;
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(bnx_spawn(spawner->scope, bump, &spawner->ran), 0);
    }
}

static int defer_spawns(void *arg) {
    (void)arg;
    struct bnx_scope scope;
    struct spawner spawner = {.scope = &scope};
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn(&scope, bump, &spawner.ran), 0);
    bnx_yield();
    CHECK_EQ(bnx_defer(&scope, spawn_more, &spawner), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(spawner.ran, 4);
    return 0;
}

/* Claim: what a deferred function spawns into the scope is waited for. */
TEST(defer_spawns, "defer.may_spawn") {
    sched_run_each(defer_spawns, NULL);
}

static int defer_bad(void *arg) {
    struct bnx_scope *scope = arg;
    CHECK_EQ(bnx_defer(scope, write_a, NULL), -EPERM);
    return 0;
}

static int defer_refused(void *arg) {
    (void)arg;
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_defer(&scope, NULL, NULL), -EINVAL);
    CHECK_EQ(bnx_spawn(&scope, defer_bad, &scope), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return 0;
}

/* Claim: only the opener defers, and only a function. */
TEST(defer_refused, "defer.refused") {
    sched_run_each(defer_refused, NULL);
}

/* ---- bnx_timeout ---- */

static int seven(void *arg) {
    (void)arg;
    return 7;
}

static int sleep_long(void *arg) {
    (void)arg;
    int error = bnx_sleep(LONG_NS);
    CHECK_EQ(error, -ETIMEDOUT);
    return error;
}

static int sleep_cancelled(void *arg) {
    (void)arg;
    int error = bnx_sleep(LONG_NS);
    CHECK_EQ(error, -ECANCELED);
    return error;
}

static int inner_is_longer(void *arg) {
    (void)arg;
    CHECK_EQ(bnx_timeout(LONG_NS, sleep_cancelled, NULL), -ECANCELED);
    return bnx_sleep(0);
}

static int timeouts(void *arg) {
    (void)arg;
    CHECK_EQ(bnx_timeout(LONG_NS, seven, NULL), 7);
    CHECK_EQ(bnx_timeout(SHORT_NS, sleep_long, NULL), -ETIMEDOUT);
    CHECK_EQ(bnx_timeout(SHORT_NS, inner_is_longer, NULL), -ETIMEDOUT);
    CHECK_EQ(bnx_timeout(SHORT_NS, NULL, NULL), -EINVAL);
    CHECK_EQ(bnx_timeout(0, do_nothing, NULL), 0);
    CHECK_EQ(bnx_sleep(0), 0);
    return 0;
}

/* Claim: bnx_timeout returns fn's value; only the scope whose deadline it was says -ETIMEDOUT. */
TEST(timeout_values, "timeout.returns_the_value") {
    sched_run_each(timeouts, NULL);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
