/* SPDX-License-Identifier: MIT */
/* Sending a wake and sleeping until it comes (wakeup.h). */
#include "io/wakeup.h"

#include "runtime/check.h"
#include "runtime/os.h"

#include <sys/eventfd.h>

int bnx_wakeup_init(struct bnx_wakeup *wakeup) {
    wakeup->word = BNX_WAKEUP_NONE;
    wakeup->fd = bnx_os.eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return wakeup->fd < 0 ? wakeup->fd : 0;
}

void bnx_wakeup_fini(struct bnx_wakeup *wakeup) {
    (void)bnx_os.close(wakeup->fd);
}

void bnx_wakeup_send(struct bnx_wakeup *wakeup) {
    switch (
        (enum bnx_wakeup_word)bnx_exchange_seq_cst(&wakeup->word, BNX_WAKEUP_SENT)) { /* U1 U2 */
    case BNX_WAKEUP_NONE: {
        uint64_t one = 1;
        (void)bnx_os.write(wakeup->fd, &one, sizeof(one)); /* 2^64 wakes would fill it */
        break;
    }
    case BNX_WAKEUP_SENT:
        break;
    case BNX_WAKEUP_ASLEEP:
        (void)bnx_os.futex_wake(&wakeup->word, 1);
        break;
    }
}

void bnx_wakeup_take(struct bnx_wakeup *wakeup) {
    (void)bnx_exchange_seq_cst(&wakeup->word, BNX_WAKEUP_NONE); /* U1 */
}

bool bnx_wakeup_sleep(struct bnx_wakeup *wakeup, uint64_t deadline_ns) {
    uint32_t none = BNX_WAKEUP_NONE;
    if (!bnx_cas_seq_cst(&wakeup->word, &none, BNX_WAKEUP_ASLEEP)) { /* U2 */
        if (!BNX_PLANT(wakeup_sleep_over_sent)) {
            return false;
        }
        bnx_store_seq_cst(&wakeup->word, BNX_WAKEUP_ASLEEP); /* U2 */
    }
    (void)bnx_os.futex_wait(&wakeup->word, BNX_WAKEUP_ASLEEP, deadline_ns);
    bnx_wakeup_take(wakeup);
    return true;
}
