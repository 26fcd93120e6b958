/* SPDX-License-Identifier: MIT */
/*
 * Tests that a completion goes before bulk work, on the real driver.
 *
 * Method: on the one worker a BATCH task makes a byte arrive for a LATENCY task and gives way. When
 * it gets its next turn the answer is there. Until a poll nobody learns of the byte; and polls that
 * come by themselves only come after many turns or 100 us.
 */
#include "tests/io/fixture.h"

#define ROUNDS 200

struct asking {
    int asker_fd;
    int answerer_fd;
    uint64_t answers;
    uint64_t late; /* turns of the asker in which there was no answer yet */
};

static int answer(void *arg) {
    struct asking *asking = arg;
    char byte;
    while (bnx_recv(asking->answerer_fd, &byte, 1, 0) == 1) { /* ends with the asker */
        asking->answers++;
    }
    return 0;
}

static int ask(void *arg) {
    struct asking *asking = arg;
    bnx_yield(); /* the answerer waits */
    for (uint64_t i = 0; i < ROUNDS; i++) {
        CHECK_EQ(send(asking->asker_fd, "?", 1, 0), 1);
        bnx_yield();
        for (; asking->answers <= i; asking->late++) { /* ends: a poll comes some time */
            bnx_yield();
        }
    }
    CHECK_EQ(shutdown(asking->asker_fd, SHUT_WR), 0);
    return 0;
}

static int ask_and_answer(void *arg) {
    struct asking *asking = arg;
    struct bnx_spawn_options latency = {.task_class = BNX_CLASS_LATENCY};
    struct bnx_spawn_options batch = {.task_class = BNX_CLASS_BATCH};
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, &batch, ask, asking, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, &latency, answer, asking, NULL), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return 0;
}

/* Claim: between two turns of BATCH the outside is asked, and what came goes first. */
TEST(class_completion, "class.completion_goes_first") {
    int fds[2];
    io_unix_pair(fds);
    struct asking asking = {.asker_fd = fds[0], .answerer_fd = fds[1]};
    sched_run(1, ask_and_answer, &asking);
    CHECK_EQ(asking.answers, ROUNDS);
    CHECK_EQ(asking.late, 0);
    CHECK_EQ(close(fds[0]), 0);
    CHECK_EQ(close(fds[1]), 0);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
