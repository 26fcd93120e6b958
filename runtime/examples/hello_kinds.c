/* SPDX-License-Identifier: MIT */
/*
 * hello_kinds: what can stand behind a call: a plain function, a generator, a task, a generator
 * whose body waits. Each with its test.
 *
 * In C nothing is coloured: a function that waits looks like one that does not. A plain function
 * has returned when its call is over; of handles bnx_kind says what they are; and that a body waits
 * shows in the clock alone. Type: hello_kinds
 */
#include "runtime/examples/generators.h"

#include <bonxie/kind.h>
#include <stdbool.h>

#define PAUSE_NS UINT64_C(1000000)

static void print(bool claim) {
    printf("%s\n", claim ? "true" : "false");
}

static int plain(void *arg) {
    *(bool *)arg = true;
    return 0;
}

static int give_hello(struct bnx_gen *gen, void *arg) {
    return bnx_gen_yield(gen, arg, NULL);
}

static int give_hello_later(struct bnx_gen *gen, void *arg) {
    int error = bnx_sleep(PAUSE_NS);
    return error < 0 ? error : bnx_gen_yield(gen, arg, NULL);
}

static int sleep_a_little(void *arg) {
    (void)arg;
    return bnx_sleep(PAUSE_NS);
}

static int run(void *arg) {
    bool is_done = false;
    (void)plain(&is_done);
    print(is_done);

    struct bnx_gen *gen = bnx_gen_make(give_hello, arg);
    print(bnx_kind(gen) == BNX_KIND_GENERATOR);
    bnx_gen_destroy(gen);

    struct bnx_scope scope;
    struct bnx_task *task = NULL;
    bnx_must(bnx_scope_open(&scope, NULL), "bnx_scope_open");
    bnx_must(bnx_spawn_with(&scope, NULL, sleep_a_little, NULL, &task), "bnx_spawn_with");
    print(bnx_kind(task) == BNX_KIND_TASK);
    bnx_must(bnx_scope_close(&scope), "bnx_scope_close");

    void *value = NULL;
    struct bnx_gen *waiting = bnx_gen_make(give_hello_later, arg);
    uint64_t before_ns = bnx_now();
    int result = bnx_gen_next(waiting, &value);
    print(bnx_kind(waiting) == BNX_KIND_GENERATOR && result == 1 && value == arg &&
          bnx_now() - before_ns >= PAUSE_NS);
    bnx_gen_destroy(waiting);
    return 0;
}

int main(int argc, char **argv) {
    bnx_help(argc, argv, "what can stand behind a call, and how to tell");
    char hello[] = "hello";
    bnx_must(bnx_run(NULL, run, hello), "bnx_run");
    return 0;
}
