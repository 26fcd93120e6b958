/* SPDX-License-Identifier: MIT */
/* Claims about task-local storage: who sees which value, and when it is destroyed. */
#include "tests/support/sched.h"

#include <bonxie/local.h>

#define KEYS 6

struct note {
    char text[32]; /* names of destroyed values, in that order */
};

/* A value: a name and where to note its end. */
struct value {
    char name;
    struct note *note;
    uint32_t references; /* of its own and inherited */
};

static void destroy(void *arg) {
    struct value *value = arg;
    value->note->text[strlen(value->note->text)] = value->name;
}

static void release(void *arg) {
    bnx_fetch_sub_acq_rel(&((struct value *)arg)->references, 1);
}

static void *share(void *arg) {
    bnx_fetch_add_relaxed(&((struct value *)arg)->references, 1);
    return arg;
}

static void *share_nothing(void *arg) {
    (void)arg;
    return NULL;
}

static const struct bnx_local plain = {NULL, NULL, "plain"};
static const struct bnx_local noted[KEYS] = {
    {destroy, NULL, "0"}, {destroy, NULL, "1"}, {destroy, NULL, "2"},
    {destroy, NULL, "3"}, {destroy, NULL, "4"}, {destroy, NULL, "5"},
};
static const struct bnx_local shared = {release, share, "shared"};
static const struct bnx_local refused = {release, share_nothing, "refused"};

/* ---- Set and get ---- */

static int set_and_get(void *arg) {
    int *mine = arg;
    CHECK(bnx_local_get(&plain) == NULL);
    CHECK_EQ(bnx_local_set(&plain, NULL), 0);
    CHECK_EQ(bnx_local_set(&plain, mine), 0);
    for (int i = 0; i < 50; i++) {
        CHECK(bnx_local_get(&plain) == mine);
        bnx_yield();
    }
    CHECK_EQ(bnx_local_set(&plain, mine + 1), 0);
    CHECK(bnx_local_get(&plain) == mine + 1);
    CHECK_EQ(bnx_local_set(&plain, NULL), 0);
    CHECK(bnx_local_get(&plain) == NULL);
    return 0;
}

static int many_set(void *arg) {
    (void)arg;
    int values[40];
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < 40; i++) {
        CHECK_EQ(bnx_spawn(&scope, set_and_get, &values[i]), 0);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return 0;
}

/* Claim: each task sees what it has set itself, on whatever worker it is by then; what it has not
 * set, or unset, is NULL. */
TEST(local_set_get, "local.belongs_to_the_task") {
    sched_run_each(many_set, NULL);
}

/* ---- The end ---- */

static int set_six(void *arg) {
    struct value *values = arg;
    for (int i = 0; i < KEYS; i++) {
        CHECK_EQ(bnx_local_set(&noted[i], &values[i]), 0);
    }
    CHECK_EQ(bnx_local_set(&noted[2], NULL), 0);       /* not destroyed */
    CHECK_EQ(bnx_local_set(&noted[4], &values[4]), 0); /* replaced: keeps its place */
    CHECK_EQ(bnx_local_set(&noted[1], NULL), 0);
    CHECK_EQ(bnx_local_set(&noted[1], &values[1]), 0); /* set anew: the last one */
    return 0;
}

static int end_with_six(void *arg) {
    (void)arg;
    struct note notes[2] = {{""}, {""}};
    struct value values[2][KEYS];
    struct bnx_task *task = NULL;
    struct bnx_scope scope;
    for (int i = 0; i < 2 * KEYS; i++) {
        values[i / KEYS][i % KEYS] =
            (struct value){.name = (char)('0' + i % KEYS), .note = &notes[i / KEYS]};
    }
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn(&scope, set_six, values[0]), 0); /* on this stack, or another's */
    CHECK_EQ(bnx_spawn_with(&scope, NULL, set_six, values[1], &task), 0);
    CHECK_EQ(bnx_join(task, NULL), 0);
    CHECK_STR(notes[1].text, "15430"); /* before its joiner goes on */
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_STR(notes[0].text, "15430");
    return 0;
}

/* Claim: when the task ends its values are destroyed, last set first, before anybody learns that it
 * has ended. */
TEST(local_end, "local.destroyed_in_reverse") {
    sched_run_each(end_with_six, NULL);
}

static void set_another(void *arg) {
    CHECK(bnx_local_get(&noted[0]) == arg);
    CHECK_EQ(bnx_local_set(&plain, arg), -EPERM);
    CHECK_EQ(bnx_local_set(&noted[0], NULL), -EPERM);
}

static const struct bnx_local meddler = {set_another, NULL, "meddler"};

static int end_with_meddler(void *arg) {
    CHECK_EQ(bnx_local_set(&noted[0], arg), 0);
    CHECK_EQ(bnx_local_set(&meddler, arg), 0);
    return 0;
}

static int meddle(void *arg) {
    (void)arg;
    struct note note = {""};
    struct value value = {.name = 'x', .note = &note};
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn(&scope, end_with_meddler, &value), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_STR(note.text, "x");
    return 0;
}

/* Claim: a destroy function still sees what was set before its own value, and sets nothing. */
TEST(local_meddle, "local.destroy_sets_nothing") {
    sched_run_each(meddle, NULL);
}

/* ---- Inheritance ---- */

struct family {
    struct value value;
    int own;
};

static int inherit_twice(void *arg) {
    struct family *family = arg;
    CHECK(bnx_local_get(&shared) == &family->value);
    CHECK(bnx_local_get(&refused) == NULL);
    CHECK(bnx_local_get(&plain) == NULL);
    return 0;
}

static int have_child(void *arg) {
    CHECK_EQ(inherit_twice(arg), 0);
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn(&scope, inherit_twice, arg), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return 0;
}

static int pass_on(void *arg) {
    (void)arg;
    struct family family = {.value = {.references = 1}};
    struct bnx_task *unstarted = NULL;
    struct bnx_spawn_options manual = {.start = BNX_START_MANUAL};
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_local_set(&plain, &family.own), 0);
    CHECK_EQ(bnx_local_set(&refused, &family.value), 0);
    CHECK_EQ(bnx_local_set(&shared, &family.value), 0);
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(bnx_spawn(&scope, have_child, &family), 0);
        CHECK_EQ(bnx_spawn_with(&scope, NULL, have_child, &family, NULL), 0);
    }
    CHECK_EQ(bnx_spawn_with(&scope, &manual, have_child, &family, &unstarted), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(bnx_load_acquire(&family.value.references), 1); /* all others were destroyed */
    CHECK_EQ(bnx_local_set(&refused, NULL), 0);
    CHECK_EQ(bnx_local_set(&shared, NULL), 0);
    return 0;
}

/* Claim: a spawn passes on the values whose key says so, and each of the passed ones is destroyed,
 * also where the task was dropped without a start. */
TEST(local_inherit, "local.inherited_at_spawn") {
    sched_run_each(pass_on, NULL);
}

/* ---- Forks ---- */

static int see_forkers(void *arg) {
    struct family *family = arg;
    CHECK(bnx_local_get(&shared) == &family->value);
    CHECK(bnx_local_get(&plain) == &family->own);
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn(&scope, inherit_twice, family), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    if (bnx_task_forker(bnx_task_current()) != NULL) {
        CHECK_EQ(bnx_local_set(&plain, family), -EPERM);
    }
    return 1;
}

/* Two forks, of which each has two, to a depth. */
static int fork_tree(struct family *family, int depth) {
    if (depth == 0) {
        return see_forkers(family);
    }
    struct bnx_fork forks[2];
    CHECK_EQ(bnx_fork(&forks[0], see_forkers, family), 0);
    CHECK_EQ(bnx_fork(&forks[1], see_forkers, family), 0);
    int sum = fork_tree(family, depth - 1);
    bnx_yield(); /* what is left of the forks moves to where others take it */
    sum += bnx_fork_join(&forks[1]);
    return sum + bnx_fork_join(&forks[0]);
}

static int fork_and_see(void *arg) {
    (void)arg;
    struct family family = {.value = {.references = 1}};
    CHECK_EQ(bnx_local_set(&plain, &family.own), 0);
    CHECK_EQ(bnx_local_set(&shared, &family.value), 0);
    for (uint64_t i = bnx_test_scale(200); i > 0; i--) {
        CHECK_EQ(fork_tree(&family, 4), 9);
    }
    CHECK_EQ(bnx_load_acquire(&family.value.references), 1);
    CHECK_EQ(bnx_local_set(&shared, NULL), 0);
    return 0;
}

/* Claim: a fork, whoever runs it, sees its forker's values, passes them on, and sets and destroys
 * none. */
TEST(local_fork, "local.forks_see_their_forkers") {
    sched_run_each(fork_and_see, NULL);
}

/* ---- Refused ---- */

static void *(*real_allocate)(size_t bytes, size_t alignment);
static uint32_t is_memory_out; /* the one task that runs */

static void *allocate_if_there(size_t bytes, size_t alignment) {
    return bnx_load_relaxed(&is_memory_out) != 0 ? NULL : real_allocate(bytes, alignment);
}

static int run_out_of_memory(void *arg) {
    (void)arg;
    struct family family = {.value = {.references = 1}};
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    bnx_store_relaxed(&is_memory_out, 1);
    CHECK_EQ(bnx_local_set(&shared, &family.value), -ENOMEM);
    CHECK(bnx_local_get(&shared) == NULL);
    bnx_store_relaxed(&is_memory_out, 0);
    CHECK_EQ(bnx_local_set(&shared, &family.value), 0);
    bnx_store_relaxed(&is_memory_out, 1);
    CHECK_EQ(bnx_local_set(&shared, &family.value), 0);
    CHECK_EQ(bnx_spawn(&scope, inherit_twice, &family), -ENOMEM);
    CHECK_EQ(bnx_local_set(&shared, NULL), 0);
    bnx_store_relaxed(&is_memory_out, 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(family.value.references, 1);
    return 0;
}

/* Claim: without memory a set and a spawn that inherits are -ENOMEM and change nothing. */
TEST(local_no_memory, "local.no_memory") {
    real_allocate = bnx_os.allocate;
    bnx_os.allocate = allocate_if_there;
    sched_run(1, run_out_of_memory, NULL);
    bnx_os.allocate = real_allocate;
}

/* Claim: off a task there are no values. */
TEST(local_off_task, "local.off_task") {
    CHECK_EQ(bnx_local_set(&plain, &is_memory_out), -EPERM);
    CHECK(bnx_local_get(&plain) == NULL);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
