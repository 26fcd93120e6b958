/* SPDX-License-Identifier: MIT */
/* Slots, arming, and what an event wakes (poller.h). */
#include "io/poller.h"

#include "runtime/clock.h"
#include "runtime/driver.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/mman.h>

#define SLOTS (1 << 20) /* untouched pages cost nothing; the kernel's usual hard limit */
#define BATCH 64        /* events a syscall */
#define EVENTS_SHIFT 16 /* of what a waiter wants, in its state */
#define HOLDS 2u        /* in its state: it tries when it is woken, and holds the slot meanwhile */
#define ALWAYS ((unsigned)(POLLERR | POLLHUP | POLLNVAL))
#define READING ((unsigned)(POLLIN | POLLPRI | POLLRDHUP))
#define WAKE_KEY UINT64_MAX

_Static_assert((int)EPOLLIN == POLLIN && (int)EPOLLOUT == POLLOUT && (int)EPOLLPRI == POLLPRI &&
                   (int)EPOLLERR == POLLERR && (int)EPOLLHUP == POLLHUP &&
                   (int)EPOLLRDHUP == POLLRDHUP,
               "one set of bits for both");

struct bnx_poll_slot {
    struct bnx_waiter_list waiters; /* what each wants is in the upper half of its state */
    uint32_t generation; /* bumped by each close: an event of another file is told apart */
    uint32_t holds;      /* waiters that were woken to try, and have not done so */
    bool is_known;       /* it was added since: a guess, which saves a syscall */
    bool is_closing;     /* somebody waits for the holds to end, to close it */
};

/* ---- Opening ---- */

void bnx_poller_init(struct bnx_poller *poller, struct bnx_worker *worker) {
    poller->epoll_fd = -1;
    poller->worker = worker;
    poller->slots = NULL;
    poller->waiting = 0;
    bnx_lock_init(&poller->lock);
}

int bnx_poller_open(struct bnx_poller *poller) {
    if (bnx_poller_is_open(poller)) {
        return 0;
    }
    int error = 0;
    void *slots = bnx_os.mmap(SLOTS * sizeof(struct bnx_poll_slot), PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, &error);
    if (slots == MAP_FAILED) {
        return error;
    }
    int fd = bnx_os.epoll_create(EPOLL_CLOEXEC);
    bnx_lock_acquire(&poller->lock);      /* P1 */
    bool is_open = poller->epoll_fd >= 0; /* somebody else was first */
    bool is_ours = fd >= 0 && !is_open;
    if (is_ours) {
        poller->slots = slots;
        bnx_store_seq_cst(&poller->epoll_fd, fd); /* P2 */
    }
    bnx_lock_release(&poller->lock); /* P1 */
    if (is_ours) {
        if (!BNX_PLANT(poller_opened_quietly)) {
            bnx_worker_wake(poller->worker); /* P2 */
        }
        return 0;
    }
    (void)bnx_os.munmap(slots, SLOTS * sizeof(struct bnx_poll_slot));
    if (fd >= 0) {
        (void)bnx_os.close(fd);
    }
    return is_open ? 0 : fd;
}

int bnx_poller_watch_wake(struct bnx_poller *poller, int wake_fd) {
    return bnx_os.epoll_control(poller->epoll_fd, EPOLL_CTL_ADD, wake_fd, EPOLLIN | EPOLLET,
                                WAKE_KEY);
}

void bnx_poller_fini(struct bnx_poller *poller) {
    if (poller->epoll_fd >= 0) {
        (void)bnx_os.close(poller->epoll_fd);
        (void)bnx_os.munmap(poller->slots, SLOTS * sizeof(struct bnx_poll_slot));
    }
}

/* ---- Arming; all under the lock ---- */

static unsigned wanted_by(const struct bnx_waiter *waiter) {
    return waiter->state >> EVENTS_SHIFT;
}

static unsigned wanted_by_all(const struct bnx_poll_slot *slot) {
    unsigned wanted = 0;
    for (const struct bnx_waiter *at = slot->waiters.first; at != NULL; at = at->next) {
        wanted |= wanted_by(at);
    }
    return wanted;
}

static void put_in(struct bnx_poller *poller, struct bnx_poll_slot *slot,
                   struct bnx_waiter *waiter) {
    bnx_waiter_list_push(&slot->waiters, waiter);
    bnx_store_relaxed(&poller->waiting, poller->waiting + 1); /* for the turns of tasks: driver.h */
}

/* One that somebody took out before is left alone. */
static void take_out(struct bnx_poller *poller, struct bnx_poll_slot *slot,
                     struct bnx_waiter *waiter) {
    if ((waiter->state & BNX_WAITER_LINKED) != 0) {
        bnx_waiter_list_remove(&slot->waiters, waiter);
        bnx_store_relaxed(&poller->waiting, poller->waiting - 1); /* as above */
    }
}

/* Asks epoll for one event of those that the waiters want. */
static int arm(struct bnx_poller *poller, int fd) {
    struct bnx_poll_slot *slot = &poller->slots[fd];
    unsigned events = wanted_by_all(slot) | EPOLLONESHOT;
    uint64_t key = (uint64_t)slot->generation << 32 | (uint32_t)fd;
    int epoll_fd = poller->epoll_fd;
    int control = slot->is_known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    int error = bnx_os.epoll_control(epoll_fd, control, fd, events, key);
    if (error == -ENOENT) { /* the number means another file by now */
        error = bnx_os.epoll_control(epoll_fd, EPOLL_CTL_ADD, fd, events, key);
    } else if (error == -EEXIST) {
        error = bnx_os.epoll_control(epoll_fd, EPOLL_CTL_MOD, fd, events, key);
    }
    slot->is_known = error == 0;
    return error;
}

/* Returns whether the slot is about to be closed. */
static bool end_hold(struct bnx_poll_slot *slot) {
    bool is_closing = slot->is_closing;
    slot->holds -= BNX_PLANT(poller_try_holds_not) ? 0 : 1;
    slot->is_closing = is_closing && slot->holds > 0;
    return is_closing;
}

static int push_and_arm(struct bnx_poller *poller, int fd, unsigned state,
                        struct bnx_waiter *waiter) {
    struct bnx_poll_slot *slot = &poller->slots[fd];
    put_in(poller, slot, waiter);
    waiter->state |= state;
    int error = arm(poller, fd);
    if (error != 0) {
        take_out(poller, slot, waiter);
    }
    return error;
}

int bnx_poller_add(struct bnx_poller *poller, int fd, unsigned events, struct bnx_waiter *waiter) {
    if (fd < 0 || fd >= SLOTS) {
        return -EBADF;
    }
    bnx_lock_acquire(&poller->lock); /* P1 */
    int error = push_and_arm(poller, fd, events << EVENTS_SHIFT, waiter);
    bnx_lock_release(&poller->lock); /* P1 */
    return error;
}

/* Epoll may go on looking for what only this one wanted: an event that finds nobody. */
void bnx_poller_remove(struct bnx_poller *poller, int fd, struct bnx_waiter *waiter) {
    bnx_lock_acquire(&poller->lock); /* P1 */
    take_out(poller, &poller->slots[fd], waiter);
    bnx_lock_release(&poller->lock); /* P1 */
}

/* ---- Waking ---- */

static int fd_of(const struct epoll_event *event) {
    return (int)(uint32_t)event->data.u64;
}

/* Takes out and claims the first waiter for what the event says, of those who want to read or of
 * the others. Under the lock. */
static bool claim_first(struct bnx_poller *poller, const struct epoll_event *event, bool is_reading,
                        struct bnx_wakee *out_wakee) {
    struct bnx_poll_slot *slot = &poller->slots[fd_of(event)];
    struct bnx_waiter *next;
    for (struct bnx_waiter *at = slot->waiters.first; at != NULL; at = next) {
        next = at->next;
        unsigned wanted = wanted_by(at);
        unsigned hits = (wanted | ALWAYS) & event->events;
        if (hits == 0 || ((wanted & READING) != 0) != is_reading) {
            continue;
        }
        uint32_t holds = (at->state & HOLDS) != 0 && !BNX_PLANT(poller_try_holds_not) ? 1 : 0;
        take_out(poller, slot, at);
        if (bnx_waiter_claim(at, (int)hits, out_wakee)) {
            slot->holds += holds;
            return true;
        }
    }
    return false;
}

/* As bnx_waiter_list_claim. */
static bool claim_any(struct bnx_poller *poller, struct bnx_poll_slot *slot, int result,
                      struct bnx_wakee *out_wakee) {
    struct bnx_waiter *waiter;
    while ((waiter = slot->waiters.first) != NULL) { /* ends: one fewer each round */
        take_out(poller, slot, waiter);
        if (bnx_waiter_claim(waiter, result, out_wakee)) {
            return true;
        }
    }
    return false;
}

/* Claims and wakes all who wait for a descriptor. Returns how many. */
static size_t end_waits(struct bnx_poller *poller, int fd, int error) {
    for (size_t count = 0;; count++) { /* ends: one fewer each round */
        struct bnx_wakee wakee;
        bnx_lock_acquire(&poller->lock); /* P1 */
        bool is_any = claim_any(poller, &poller->slots[fd], error, &wakee);
        bnx_lock_release(&poller->lock); /* P1 */
        if (!is_any) {
            return count;
        }
        bnx_wakee_wake(&wakee);
    }
}

static size_t dispatch(struct bnx_poller *poller, const struct epoll_event *event) {
    int fd = fd_of(event);
    struct bnx_poll_slot *slot = &poller->slots[fd];
    struct bnx_wakee wakees[2];
    size_t count = 0;
    int error = 0;
    bnx_lock_acquire(&poller->lock); /* P1 */
    if (slot->generation == event->data.u64 >> 32) {
        count += claim_first(poller, event, true, &wakees[count]) ? 1 : 0;
        count += claim_first(poller, event, false, &wakees[count]) ? 1 : 0;
        if (slot->waiters.first != NULL && !BNX_PLANT(poller_arms_once)) {
            error = arm(poller, fd);
        }
    }
    bnx_lock_release(&poller->lock); /* P1 */
    for (size_t i = 0; i < count; i++) {
        bnx_wakee_wake(&wakees[i]);
    }
    if (error != 0 && !BNX_PLANT(poller_rearm_fails_quietly)) {
        count += end_waits(poller, fd, error); /* the file was closed behind our back */
    }
    return count;
}

size_t bnx_poller_collect(struct bnx_poller *poller, uint64_t deadline_ns, bool *out_wake) {
    struct epoll_event events[BATCH];
    size_t woken = 0;
    int count;
    *out_wake = false;
    /* To the last event, since who watches this from outside is told of new ones alone. Ends: each
     * disarms its descriptor; more are armed only as long as waiters are left, or others add. */
    do {
        count = bnx_os.epoll_wait(poller->epoll_fd, events, BATCH, deadline_ns);
        for (int i = 0; i < count; i++) {
            if (events[i].data.u64 == WAKE_KEY) {
                *out_wake = true;
            } else {
                woken += dispatch(poller, &events[i]);
            }
        }
        deadline_ns = 0;
    } while (count == BATCH && !BNX_PLANT(poller_one_batch));
    return woken;
}

bool bnx_poller_close_fd(struct bnx_poller *poller, int fd) {
    if (!bnx_poller_is_open(poller) || fd < 0 || fd >= SLOTS) {
        return false;
    }
    struct bnx_poll_slot *slot = &poller->slots[fd];
    bnx_lock_acquire(&poller->lock); /* P1 */
    if (slot->is_known) {
        slot->generation++;
        slot->is_known = false;
        /* A dup would keep it in the set. */
        (void)bnx_os.epoll_control(poller->epoll_fd, EPOLL_CTL_DEL, fd, 0, 0);
    }
    bool is_held = slot->holds > 0;
    slot->is_closing = is_held;
    bnx_lock_release(&poller->lock); /* P1 */
    if (!BNX_PLANT(poller_close_is_silent)) {
        (void)end_waits(poller, fd, -EBADF);
    }
    return is_held;
}

/* Where the number has been given again they wait for what it means now. */
void bnx_poller_closed_fd(struct bnx_poller *poller, int fd) {
    if (!bnx_poller_is_open(poller) || fd < 0 || fd >= SLOTS ||
        BNX_PLANT(poller_close_looks_once)) {
        return;
    }
    bnx_lock_acquire(&poller->lock); /* P1 */
    int error = poller->slots[fd].waiters.first != NULL ? arm(poller, fd) : 0;
    bnx_lock_release(&poller->lock); /* P1 */
    if (error != 0 && !BNX_PLANT(poller_close_is_silent)) {
        (void)end_waits(poller, fd, error);
    }
}

void bnx_poller_let_go(struct bnx_poller **held, int fd) {
    struct bnx_poller *poller = *held;
    if (poller != NULL) {
        bnx_lock_acquire(&poller->lock); /* P1 */
        (void)end_hold(&poller->slots[fd]);
        bnx_lock_release(&poller->lock); /* P1 */
    }
    *held = NULL;
}

/* As bnx_poller_add, for one who tries when he is woken, and may hold the slot already. */
static int add_holder(struct bnx_poller *poller, int fd, unsigned events, struct bnx_waiter *waiter,
                      bool is_held) {
    if (fd < 0 || fd >= SLOTS) {
        return -EBADF;
    }
    bnx_lock_acquire(&poller->lock); /* P1 */
    bool is_closing = is_held && end_hold(&poller->slots[fd]);
    int error =
        is_closing ? -EBADF : push_and_arm(poller, fd, events << EVENTS_SHIFT | HOLDS, waiter);
    bnx_lock_release(&poller->lock); /* P1 */
    return error;
}

int bnx_poller_wait(struct bnx_poller *poller, int fd, unsigned events, enum bnx_wait_reason reason,
                    struct bnx_poller **held) {
    struct bnx_sleeper sleeper;
    struct bnx_waiter waiter;
    bnx_sleeper_init(&sleeper);
    bnx_waiter_init(&waiter, &sleeper, NULL);
    int error = bnx_sleeper_begin(&sleeper);
    if (error != 0) {
        bnx_poller_let_go(held, fd);
        return error;
    }
    poller = *held != NULL ? *held : poller;
    error = add_holder(poller, fd, events, &waiter, *held != NULL);
    *held = NULL;
    if (error != 0 && bnx_sleeper_withdraw(&sleeper)) {
        return error;
    }
    int slept = bnx_sleeper_sleep(&sleeper, reason, (const void *)(intptr_t)fd);
    if (error != 0) {
        return slept != 0 ? slept : error; /* a cancel alone can have claimed it */
    }
    if (slept != 0) {
        bnx_poller_remove(poller, fd, &waiter);
        return slept;
    }
    *held = waiter.result > 0 ? poller : NULL;
    return waiter.result;
}
