/* SPDX-License-Identifier: MIT */
/* Claims about bnx_tasks_foreach and the line that a dump has for a task. */
#include "tests/support/sched.h"

#include <stdio.h>
#include <unistd.h>

#define NAMES 4
static const char *const names[NAMES] = {"parked", "unstarted", "another", "asker"};

struct census {
    struct sched_bell bell;
    struct bnx_task_info seen[NAMES]; /* by the index of the name */
    int counts[NAMES];
    int visits;
    int stop_after;
};

static int take_down(const struct bnx_task_info *info, void *arg) {
    struct census *census = arg;
    for (int i = 0; i < NAMES; i++) {
        if (info->name != NULL && strcmp(info->name, names[i]) == 0) {
            census->seen[i] = *info;
            census->counts[i]++;
        }
    }
    return ++census->visits == census->stop_after ? 7 : 0;
}

static int park(void *arg) {
    sched_bell_wait(&((struct census *)arg)->bell);
    return 0;
}

static int do_nothing(void *arg) {
    (void)arg;
    return 0;
}

static void check_seen(const struct census *census, const struct bnx_task *const *tasks) {
    for (int i = 0; i < NAMES; i++) {
        CHECK_EQ(census->counts[i], 1);
        CHECK(census->seen[i].site != NULL || i == 3);
        CHECK_EQ(census->seen[i].id, bnx_task_id(tasks[i]));
    }
    const struct bnx_task_info *parked = &census->seen[0];
    CHECK_EQ(parked->state, BNX_TASK_PARKED);
    CHECK_EQ(parked->task_class, BNX_CLASS_BATCH);
    CHECK_STR(parked->wait_reason, "test");
    CHECK_STR(parked->scope_name, "census");
    CHECK(parked->object == &census->bell);
    CHECK_EQ(census->seen[1].state, BNX_TASK_NEW);
    CHECK(census->seen[1].wait_reason == NULL && census->seen[1].object == NULL);
    CHECK_EQ(census->seen[1].age_ns, 0);
    CHECK_EQ(census->seen[3].state, BNX_TASK_RUNNING);
    CHECK_EQ(census->seen[3].task_class, BNX_CLASS_NORMAL);
    CHECK(census->seen[3].scope_name == NULL);
}

/* The line of the parked task in what a dump writes. */
static void check_line(const struct bnx_task *parked) {
    char text[8192];
    char expected[128];
    int ends[2];
    CHECK_EQ(pipe(ends), 0);
    CHECK(bnx_dump(ends[1]) >= NAMES);
    ssize_t bytes = read(ends[0], text, sizeof(text) - 1);
    CHECK(bytes > 0);
    text[bytes] = '\0';
    close(ends[0]);
    close(ends[1]);
    (void)snprintf(expected, sizeof(expected), "task %llu parked parked test(",
                   (unsigned long long)bnx_task_id(parked));
    const char *line = strstr(text, expected);
    CHECK(line != NULL);
    const char *end = strchr(line, '\n');
    const char *tail = " in census (batch)";
    CHECK(end != NULL && (size_t)(end - line) > strlen(tail));
    CHECK_EQ(strncmp(end - strlen(tail), tail, strlen(tail)), 0);
}

static int ask(void *arg) {
    (void)arg;
    struct census census = {.stop_after = -1};
    struct bnx_task *tasks[NAMES] = {NULL};
    struct bnx_scope_options options = {.name = "census"};
    struct bnx_spawn_options parked = {.name = names[0], .task_class = BNX_CLASS_BATCH};
    struct bnx_spawn_options unstarted = {.name = names[1], .start = BNX_START_MANUAL};
    struct bnx_spawn_options another = {.name = names[2], .start = BNX_START_MANUAL};
    struct bnx_runtime *runtime = bnx_runtime_current();
    struct bnx_scope scope;
    bnx_task_name_set(names[3]);
    tasks[3] = bnx_task_self();
    CHECK_EQ(bnx_scope_open(&scope, &options), 0);
    CHECK_EQ(bnx_spawn_with(&scope, &parked, park, &census, &tasks[0]), 0);
    while (bnx_task_state(tasks[0]) != BNX_TASK_PARKED) { /* ends: nobody rings */
        bnx_yield();
    }
    CHECK_EQ(bnx_spawn_with(&scope, &unstarted, do_nothing, NULL, &tasks[1]), 0);
    CHECK_EQ(bnx_spawn_with(&scope, &another, do_nothing, NULL, &tasks[2]), 0);
    CHECK_EQ(bnx_tasks_foreach(runtime, take_down, &census), 0);
    check_seen(&census, (const struct bnx_task *const *)tasks);
    check_line(tasks[0]);
    int all = census.visits;
    census = (struct census){.bell = census.bell, .stop_after = 2};
    CHECK_EQ(bnx_tasks_foreach(runtime, take_down, &census), 7);
    CHECK(census.visits == 2 && census.visits < all);
    sched_bell_ring(&census.bell);
    CHECK_EQ(bnx_task_start(tasks[1]), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return 0;
}

/* Claim: each living task is visited once, with what it is, does and waits for, and a value other
 * than 0 ends the walk and is its result; a dump has the same in a line. */
TEST(inspect_foreach, "inspect.tells_of_each_task") {
    sched_run_each(ask, NULL);
}

/* Claim: a state has a name, and what is none has another. */
TEST(inspect_state_names, "inspect.state_names") {
    CHECK_STR(bnx_task_state_name(BNX_TASK_NEW), "new");
    CHECK_STR(bnx_task_state_name(BNX_TASK_DONE), "done");
    CHECK_STR(bnx_task_state_name((enum bnx_task_state)(BNX_TASK_DONE + 1)), "?");
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
