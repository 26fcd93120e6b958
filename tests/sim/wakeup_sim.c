/* SPDX-License-Identifier: MIT */
/*
 * The wake of a driver on the simulated machine: senders against an owner that sleeps now on the
 * word, now where the eventfd is watched.
 *
 * Method: the eventfd is a word that its write sets. Each sender puts its items and sends a wake
 * after each; the owner ends when it has seen all. A wake that is lost leaves it asleep with nobody
 * left to run, which the machine reports.
 */
#include "io/wakeup.h"
#include "tests/sim/seeds.h"
#include "tests/support/test.h"

#include "runtime/os.h"

#include <bonxie/bonxie.h>

#define SEEDS 20000
#define SENDERS_MAX 3
#define ITEMS_EACH 3

static struct {
    struct bnx_wakeup wakeup;
    uint32_t written; /* the eventfd: a futex */
    uint32_t put;     /* items */
} desk;

static int fake_eventfd(unsigned value, int flags) {
    (void)value;
    (void)flags;
    return 1000;
}

static ssize_t fake_write(int fd, const void *data, size_t bytes) {
    (void)data;
    CHECK_EQ(fd, 1000);
    bnx_store_seq_cst(&desk.written, 1); /* the kernel's order */
    (void)bnx_os.futex_wake(&desk.written, 1);
    return (ssize_t)bytes;
}

static int fake_close(int fd) {
    CHECK_EQ(fd, 1000);
    return 0;
}

static void put_and_send(void *arg) {
    (void)arg;
    for (int i = 0; i < ITEMS_EACH; i++) {
        bnx_fetch_add_seq_cst(&desk.put, 1); /* U1 */
        bnx_wakeup_send(&desk.wakeup);
    }
}

/* As the worker of a ring: what a write has caused may be seen twice. */
static void sleep_at_eventfd(void) {
    uint32_t none;
    while ((none = bnx_load_seq_cst(&desk.written)) == 0) { /* ends: by a write */
        (void)bnx_os.futex_wait(&desk.written, none, BNX_NEVER_NS);
    }
    bnx_store_seq_cst(&desk.written, bnx_sim_draw(3) == 0); /* the kernel's order */
    bnx_wakeup_take(&desk.wakeup);
}

static int owner(void *arg) {
    (void)arg;
    struct bnx_os_thread senders[SENDERS_MAX];
    uint32_t count = 1 + (uint32_t)bnx_sim_draw(SENDERS_MAX);
    desk.written = 0;
    desk.put = 0;
    CHECK_EQ(bnx_wakeup_init(&desk.wakeup), 0);
    for (uint32_t i = 0; i < count; i++) {
        senders[i] = (struct bnx_os_thread){.entry = put_and_send};
        CHECK_EQ(bnx_os.thread_create(&senders[i]), 0);
    }
    while (bnx_load_seq_cst(&desk.put) < count * ITEMS_EACH) { /* U1; ends: no wake is lost */
        if (bnx_sim_draw(2) == 0 || !bnx_wakeup_sleep(&desk.wakeup, BNX_NEVER_NS)) {
            sleep_at_eventfd();
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        bnx_os.thread_join(&senders[i]);
    }
    bnx_wakeup_fini(&desk.wakeup);
    return 0;
}

TEST(wakeup, "sim.wakeup_of_either_kind") {
    struct bnx_os real = bnx_os;
    bnx_os.eventfd = fake_eventfd;
    bnx_os.write = fake_write;
    bnx_os.close = fake_close;
    seeds_run(SEEDS, owner);
    bnx_os = real;
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
