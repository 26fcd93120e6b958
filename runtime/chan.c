/* SPDX-License-Identifier: MIT */
/*
 * Channels (bonxie/chan.h): a ring of items and two queues of those who wait, under one lock.
 *
 * Concepts
 *   hand-off   a sender that finds a waiting receiver copies the item into the receiver's own
 *              memory and wakes it; the buffer is not involved. A receiver of an unbuffered channel
 *              takes the item from the waiting sender's memory likewise.
 *   refill     a receiver that makes room in a full buffer moves the longest waiting sender's item
 *              into it: the order stays, and the sender's wait is over.
 *   waiter     one registration of a sleeper (waiter.h), in the frame of whoever waits; its data is
 *              the item to send or the room to receive into. All waiters here belong to sleepers,
 *              plain calls and selects alike. One that a cancel has claimed stays in the queue
 *              until its owner has taken it out or a peer found that it cannot be claimed.
 *
 * Invariants (of waiters that can still be claimed, whenever the lock is free)
 *   receivers wait  =>  count == 0 and it is open
 *   senders wait    =>  count == capacity and it is open
 *   receivers and senders wait  =>  they are of one select
 *   anybody waits   =>  usual_capacity == 0
 *   An item moves only after its waiter was claimed, under the lock: a cancel or a deadline that
 *   wins the claim leaves it where it was, one that loses has no effect. The claimed party sleeps
 *   until it is woken, so its memory is there for the copy.
 *
 * Ordering
 *   The lock (L1 in lock.h) orders everything but the claims (T3, N1 in waiter.h). It is held over
 *   the begin of a wait, which may take a scope's lock; nobody takes a channel's lock under that.
 *   The unlock is the last touch of a transfer: who has seen the effect may free the channel.
 *
 * Rejected
 *   A favour, as timers have it: the one worker that uses a channel goes in by two plain stores and
 *   a look instead of the lock. BM_ChanSpsc/1, 15 rounds in turn on a Zen 4 guest: 12.9 ns an item,
 *   10.5 with the lock taken in the same code. The lock costs 1 ns of an item there.
 */
#include "runtime/chan_pvt.h"

#include "runtime/worker.h"

#include <errno.h>

/* Items moved in one hold of the lock by send_many and recv_many: others spin meanwhile. */
#define MOVES_MAX 32

struct bnx_chan {
    struct bnx_lock lock; /* guards the words below that are not immutable */
    uint32_t is_closed;
    size_t first;          /* index of the oldest item */
    const void *kind;      /* tells a channel from other handles; immutable */
    size_t end;            /* index of the item to come */
    size_t usual_capacity; /* as move_usual sees it; 0 sends all the general way */
    size_t count;          /* items in the buffer; read without the lock by bnx_chan_count */
    struct bnx_waiter_list senders;
    struct bnx_waiter_list receivers;
    size_t alone_capacity; /* what that is while nobody waits; 0: closed, or items of other sizes */
    size_t capacity;       /* in items; immutable */
    size_t elem_bytes;     /* immutable */
    _Alignas(16) unsigned char items[]; /* the ring: capacity * elem_bytes */
};
_Static_assert(offsetof(struct bnx_chan, kind) == BNX_KIND_OFFSET, "bnx_kind reads it");

const char bnx_chan_kind = 'c';

int bnx_chan_create(size_t elem_bytes, size_t capacity, struct bnx_chan **out_chan) {
    size_t bytes;
    if (__builtin_mul_overflow(elem_bytes, capacity, &bytes) ||
        __builtin_add_overflow(bytes, sizeof(struct bnx_chan), &bytes) || bytes > PTRDIFF_MAX) {
        return -ENOMEM;
    }
    struct bnx_chan *chan = bnx_os.allocate(bytes, BNX_CACHELINE_BYTES);
    if (chan == NULL) {
        return -ENOMEM;
    }
    size_t alone_capacity = elem_bytes == sizeof(uint64_t) ? capacity : 0;
    *chan = (struct bnx_chan){.kind = &bnx_chan_kind,
                              .elem_bytes = elem_bytes,
                              .capacity = capacity,
                              .alone_capacity = alone_capacity,
                              .usual_capacity = alone_capacity};
    bnx_lock_init(&chan->lock);
    *out_chan = chan;
    return 0;
}

void bnx_chan_destroy(struct bnx_chan *chan) {
    if (chan == NULL) {
        return;
    }
    BNX_CHECK(chan->senders.first == NULL && chan->receivers.first == NULL);
    bnx_os.release(chan);
}

size_t bnx_chan_count(const struct bnx_chan *chan) {
    return bnx_load_relaxed(&chan->count); /* a snapshot */
}

size_t bnx_chan_capacity(const struct bnx_chan *chan) {
    return chan->capacity;
}

size_t bnx_chan_elem_bytes(const struct bnx_chan *chan) {
    return chan->elem_bytes;
}

/* ---- Moving items: under the lock ---- */

static inline void copy_item(const struct bnx_chan *chan, void *to, const void *from) {
    size_t bytes = chan->elem_bytes;
    if (bytes == sizeof(uint64_t) && to != NULL) {
        memcpy(to, from, sizeof(uint64_t)); /* two instructions instead of a call: 4 ns */
    } else if (bytes != 0 && to != NULL) {
        memcpy(to, from, bytes);
    }
}

static inline unsigned char *slot(struct bnx_chan *chan, size_t index, size_t elem_bytes) {
    return chan->items + index * elem_bytes;
}

static inline size_t index_after(const struct bnx_chan *chan, size_t index) {
    return index + 1 == chan->capacity ? 0 : index + 1;
}

static inline void count_items(struct bnx_chan *chan, size_t count) {
    bnx_store_relaxed(&chan->count, count); /* L1 orders it */
}

static inline void buffer_push(struct bnx_chan *chan, const void *item) {
    copy_item(chan, slot(chan, chan->end, chan->elem_bytes), item);
    chan->end = index_after(chan, chan->end);
    count_items(chan, chan->count + 1);
}

static inline void buffer_pop(struct bnx_chan *chan, void *out_item) {
    copy_item(chan, out_item, slot(chan, chan->first, chan->elem_bytes));
    chan->first = index_after(chan, chan->first);
    count_items(chan, chan->count - 1);
}

/* A transfer of the usual kind: an item of eight bytes, an open channel at which nobody waits, and
 * room or an item in the buffer. Returns false, and has done nothing, where it is another kind. */
static BNX_ALWAYS_INLINE bool move_usual(struct bnx_chan *chan, enum bnx_chan_direction direction,
                                         void *item) {
    bool is_send = direction == BNX_CHAN_SEND;
    /* Each word is read once: for the compiler the item may lie in the channel. */
    size_t count = chan->count;
    size_t capacity = chan->usual_capacity;       /* one look says all of it */
    size_t counted = is_send ? count : count - 1; /* of an empty one the largest number */
    if (bnx_unlikely(counted >= capacity)) {
        return false;
    }
    size_t index = is_send ? chan->end : chan->first;
    size_t next = index + 1 == capacity ? 0 : index + 1;
    unsigned char *place = slot(chan, index, sizeof(uint64_t));
    if (is_send) {
        memcpy(place, item, sizeof(uint64_t));
        chan->end = next;
        count_items(chan, count + 1);
    } else {
        memcpy(item, place, sizeof(uint64_t));
        chan->first = next;
        count_items(chan, counted);
    }
    return true;
}

/* Claims the longest waiting party of a queue; NULL: nobody waits. As bnx_waiter_list_claim, which
 * would ask each waiter what it is: here all of them are of sleepers. That spares 3 ns. */
static BNX_ALWAYS_INLINE struct bnx_waiter *claim(struct bnx_waiter_list *list, int result,
                                                  struct bnx_wakee *out_wakee) {
    struct bnx_waiter *waiter;
    while ((waiter = list->first) != NULL) { /* ends: one fewer each round */
        bnx_waiter_list_remove(list, waiter);
        waiter->result = result;
        if (bnx_sleeper_claim(waiter->owner, waiter, out_wakee) || BNX_PLANT(chan_blind_claim)) {
            break;
        }
    }
    return waiter;
}

/* Sends if that can be done now: to a receiver, else into the buffer. */
static BNX_ALWAYS_INLINE bool send_locked(struct bnx_chan *chan, const void *item, int *out_result,
                                          struct bnx_wakee *out_wakee) {
    if (bnx_unlikely(chan->is_closed != 0)) {
        *out_result = -EPIPE;
        return true;
    }
    struct bnx_waiter *receiver = claim(&chan->receivers, 0, out_wakee);
    if (receiver != NULL) {
        copy_item(chan, receiver->data, item);
    } else if (chan->count < chan->capacity) {
        buffer_push(chan, item);
    } else {
        return false;
    }
    *out_result = 0;
    return true;
}

/* Receives if that can be done now: from the buffer, else from a sender. */
static BNX_ALWAYS_INLINE bool recv_locked(struct bnx_chan *chan, void *out_item, int *out_result,
                                          struct bnx_wakee *out_wakee) {
    *out_result = 0;
    if (chan->count != 0) {
        buffer_pop(chan, out_item);
        struct bnx_waiter *refill = NULL;
        if (!BNX_PLANT(chan_no_refill)) {
            refill = claim(&chan->senders, 0, out_wakee);
        }
        if (refill != NULL) {
            buffer_push(chan, refill->data);
        }
        return true;
    }
    struct bnx_waiter *sender = claim(&chan->senders, 0, out_wakee);
    if (sender != NULL) {
        copy_item(chan, out_item, sender->data);
        return true;
    }
    *out_result = -ENODATA;
    return chan->is_closed != 0;
}

static BNX_ALWAYS_INLINE bool take_locked(struct bnx_chan *chan, enum bnx_chan_direction direction,
                                          void *item, int *out_result,
                                          struct bnx_wakee *out_wakee) {
    return direction == BNX_CHAN_SEND ? send_locked(chan, item, out_result, out_wakee)
                                      : recv_locked(chan, item, out_result, out_wakee);
}

static inline struct bnx_waiter_list *list_of(struct bnx_chan *chan,
                                              enum bnx_chan_direction direction) {
    return direction == BNX_CHAN_SEND ? &chan->senders : &chan->receivers;
}

static inline void push_waiter(struct bnx_chan *chan, enum bnx_chan_direction direction,
                               struct bnx_waiter *waiter) {
    if (!BNX_PLANT(chan_waits_unseen)) {
        chan->usual_capacity = 0;
    }
    bnx_waiter_list_push(list_of(chan, direction), waiter);
}

/* ---- For selects ---- */

bool bnx_chan_take(struct bnx_chan *chan, enum bnx_chan_direction direction, void *item,
                   int *out_result) {
    struct bnx_wakee wakee = {NULL, NULL};
    bnx_lock_acquire(&chan->lock); /* L1 */
    bool is_over = take_locked(chan, direction, item, out_result, &wakee);
    bnx_lock_release(&chan->lock); /* L1 */
    bnx_wakee_wake(&wakee);
    return is_over;
}

static bool has_other_owner(const struct bnx_waiter_list *list, const void *owner) {
    const struct bnx_waiter *waiter = list->first;
    /* Ends: a select has its own cases in it, and others wait. */
    while (waiter != NULL && waiter->owner == owner && !BNX_PLANT(select_meets_itself)) {
        waiter = waiter->next;
    }
    return waiter != NULL;
}

bool bnx_chan_add(struct bnx_chan *chan, enum bnx_chan_direction direction,
                  struct bnx_waiter *waiter) {
    bnx_lock_acquire(&chan->lock); /* L1 */
    bool can_go = chan->is_closed != 0;
    if (direction == BNX_CHAN_SEND) {
        can_go = can_go || chan->count < chan->capacity ||
                 has_other_owner(&chan->receivers, waiter->owner);
    } else {
        can_go = can_go || chan->count != 0 || has_other_owner(&chan->senders, waiter->owner);
    }
    if (BNX_PLANT(select_no_look)) {
        can_go = false;
    }
    if (!can_go) {
        push_waiter(chan, direction, waiter);
    }
    bnx_lock_release(&chan->lock); /* L1 */
    return !can_go;
}

void bnx_chan_remove(struct bnx_chan *chan, enum bnx_chan_direction direction,
                     struct bnx_waiter *waiter) {
    bnx_lock_acquire(&chan->lock); /* L1 */
    bnx_waiter_list_remove(list_of(chan, direction), waiter);
    bnx_lock_release(&chan->lock); /* L1 */
}

/* ---- One item ---- */

/* Waits to be served. Entered with the lock held, which it releases. */
static BNX_ALWAYS_INLINE int wait_locked(struct bnx_chan *chan, enum bnx_chan_direction direction,
                                         struct bnx_sleeper *sleeper, void *item) {
    struct bnx_waiter waiter;
    bnx_waiter_init(&waiter, sleeper, item);
    int error = bnx_sleeper_begin(sleeper);
    if (error != 0) {
        bnx_lock_release(&chan->lock); /* L1 */
        return error;
    }
    push_waiter(chan, direction, &waiter);
    bnx_lock_release(&chan->lock); /* L1 */
    enum bnx_wait_reason reason =
        direction == BNX_CHAN_SEND ? BNX_WAIT_CHAN_SEND : BNX_WAIT_CHAN_RECV;
    error = bnx_sleeper_sleep(sleeper, reason, chan);
    if (error == 0) {
        return waiter.result;
    }
    if (!BNX_PLANT(chan_cancel_stays)) {
        bnx_chan_remove(chan, direction, &waiter);
    }
    return error;
}

static BNX_NOINLINE int wait_as_task(struct bnx_chan *chan, enum bnx_chan_direction direction,
                                     void *item, struct bnx_task *self) {
    BNX_ASSUME(self != NULL);
    struct bnx_sleeper sleeper = {.task = self};
    return wait_locked(chan, direction, &sleeper, item);
}

/* An OS thread. What it needs to sleep is taken before the lock is: that may call the allocator. */
static BNX_NOINLINE int transfer_on_thread(struct bnx_chan *chan, void *item,
                                           enum bnx_chan_direction direction) {
    int result = 0;
    if (bnx_chan_take(chan, direction, item, &result)) {
        return result;
    }
    struct bnx_sleeper sleeper;
    bnx_sleeper_init(&sleeper);
    sleeper.block = bnx_thread_block_take();
    if (sleeper.block == NULL) {
        return -ENOMEM;
    }
    struct bnx_wakee wakee = {NULL, NULL};
    bnx_lock_acquire(&chan->lock); /* L1 */
    if (take_locked(chan, direction, item, &result, &wakee)) {
        bnx_lock_release(&chan->lock); /* L1 */
        bnx_wakee_wake(&wakee);
    } else {
        result = wait_locked(chan, direction, &sleeper, item);
    }
    bnx_sleeper_fini(&sleeper);
    return result;
}

/* Transfers, or waits until that can be done. Entered with the lock held, which it releases. */
static BNX_NOINLINE int finish(struct bnx_chan *chan, void *item, enum bnx_chan_direction direction,
                               struct bnx_worker *worker) {
    struct bnx_wakee wakee = {NULL, NULL};
    int result;
    if (!take_locked(chan, direction, item, &result, &wakee)) {
        return wait_as_task(chan, direction, item, worker->current);
    }
    if (chan->alone_capacity != 0 &&
        ((chan->senders.first == NULL && chan->receivers.first == NULL) ||
         BNX_PLANT(chan_forgets_waiters))) {
        chan->usual_capacity = chan->alone_capacity;
    }
    bnx_lock_release(&chan->lock); /* L1 */
    if (wakee.task != NULL) {
        bnx_task_ready(wakee.task); /* the most common, without a detour */
    } else if (bnx_unlikely(wakee.block != NULL)) {
        bnx_thread_block_wake(wakee.block);
    }
    bnx_worker_spend(worker); /* it has not suspended since it asked */
    return result;
}

/* The same from the look at the cancel state on. */
static BNX_NOINLINE int transfer_checked(struct bnx_chan *chan, void *item,
                                         enum bnx_chan_direction direction,
                                         struct bnx_worker *worker) {
    struct bnx_task *self = worker->current;
    int result = bnx_task_cancel_is_new(self) ? bnx_task_cancel_check_slow(self) : 0;
    if (result != 0) {
        return result;
    }
    bnx_lock_acquire(&chan->lock); /* L1 */
    return finish(chan, item, direction, worker);
}

static BNX_NOINLINE int yield_transferred(void) {
    bnx_yield();
    return 0;
}

/*
 * The usual one: a task's, with nothing cancelled lately, the lock free, and of the usual kind. All
 * else leaves by a tail call, with each argument where it is: so this needs no frame, and takes
 * half the instructions of the general way. Inlined into both directions.
 */
static BNX_ALWAYS_INLINE int transfer(struct bnx_chan *chan, enum bnx_chan_direction direction,
                                      void *item) {
    struct bnx_worker *worker = bnx_worker_current();
    struct bnx_task *self = worker != NULL ? worker->current : NULL;
    if (bnx_unlikely(self == NULL)) {
        return transfer_on_thread(chan, item, direction);
    }
    BNX_SUSPENSION(self);
    /* A receiver may do without; a sender of eight bytes has an item. */
    bool has_item = direction == BNX_CHAN_SEND || item != NULL;
    if (bnx_unlikely(!has_item || bnx_task_cancel_is_new(self) || !bnx_lock_try(&chan->lock))) {
        return transfer_checked(chan, item, direction, worker);
    }
    if (bnx_unlikely(!move_usual(chan, direction, item))) {
        return finish(chan, item, direction, worker);
    }
    bnx_lock_release(&chan->lock); /* L1 */
    /* By the sign it is one instruction on the word; the task has one operation more. */
    bool is_spent = --worker->budget < 0 && !BNX_PLANT(sched_no_budget);
    return bnx_unlikely(is_spent) ? yield_transferred() : 0;
}

/* Read only: a sender's item is not written through this pointer. */
static inline void *item_of(const void *item) {
    return (void *)(uintptr_t)item;
}

int bnx_chan_send(struct bnx_chan *chan, const void *item) {
    if (bnx_unlikely(item == NULL) && chan->elem_bytes != 0) {
        return -EINVAL;
    }
    return transfer(chan, BNX_CHAN_SEND, item_of(item));
}

int bnx_chan_recv(struct bnx_chan *chan, void *out_item) {
    return transfer(chan, BNX_CHAN_RECV, out_item);
}

int bnx_chan_try_send(struct bnx_chan *chan, const void *item) {
    if (item == NULL && chan->elem_bytes != 0) {
        return -EINVAL;
    }
    int result = 0;
    return bnx_chan_take(chan, BNX_CHAN_SEND, item_of(item), &result) ? result : -EAGAIN;
}

int bnx_chan_try_recv(struct bnx_chan *chan, void *out_item) {
    int result = 0;
    return bnx_chan_take(chan, BNX_CHAN_RECV, out_item, &result) ? result : -EAGAIN;
}

/* ---- Many items ---- */

static unsigned char *item_at(const struct bnx_chan *chan, unsigned char *items, size_t index) {
    return items == NULL ? NULL : items + index * chan->elem_bytes;
}

/*
 * Moves up to count items, MOVES_MAX at most, in one hold of the lock; wakes whom that has served.
 * Returns how many; *out_result < 0: the channel is closed.
 */
static size_t move_some(struct bnx_chan *chan, enum bnx_chan_direction direction,
                        unsigned char *items, size_t count, int *out_result) {
    struct bnx_wakee wakees[MOVES_MAX];
    size_t done = 0;
    *out_result = 0;
    bnx_lock_acquire(&chan->lock); /* L1 */
    while (done < count && done < MOVES_MAX) {
        wakees[done] = (struct bnx_wakee){NULL, NULL};
        unsigned char *item = item_at(chan, items, done);
        if (!take_locked(chan, direction, item, out_result, &wakees[done])) {
            *out_result = 0;
            break;
        }
        if (*out_result != 0) {
            break;
        }
        done++;
    }
    bnx_lock_release(&chan->lock); /* L1 */
    for (size_t i = 0; i < done; i++) {
        bnx_wakee_wake(&wakees[i]);
    }
    return done;
}

static size_t move_many(struct bnx_chan *chan, enum bnx_chan_direction direction,
                        unsigned char *items, size_t count, int *out_result) {
    size_t done = 0;
    size_t moved;
    do { /* ends: a round that moves fewer than it may is the last */
        moved = move_some(chan, direction, item_at(chan, items, done), count - done, out_result);
        done += moved;
    } while (moved == MOVES_MAX && done < count);
    return done;
}

static ssize_t transfer_many(struct bnx_chan *chan, enum bnx_chan_direction direction,
                             unsigned char *items, size_t count) {
    if (items == NULL && chan->elem_bytes != 0) {
        return -EINVAL;
    }
    if (count == 0) {
        return 0;
    }
    struct bnx_task *self = bnx_task_current();
    int result = self != NULL ? bnx_task_cancel_check(self) : 0;
    if (result != 0) {
        return result;
    }
    size_t done = move_many(chan, direction, items, count, &result);
    if (done == 0) {
        /* Waits for the first one as a single transfer does; then takes what has come meanwhile. */
        result = result != 0 ? result : transfer(chan, direction, items);
        if (result != 0) {
            return result;
        }
        items = item_at(chan, items, 1);
        return (ssize_t)(1 + move_many(chan, direction, items, count - 1, &result));
    }
    if (self != NULL) {
        bnx_task_spend(self);
    }
    return (ssize_t)done;
}

ssize_t bnx_chan_send_many(struct bnx_chan *chan, const void *items, size_t count) {
    return transfer_many(chan, BNX_CHAN_SEND, item_of(items), count);
}

ssize_t bnx_chan_recv_many(struct bnx_chan *chan, void *out_items, size_t count) {
    return transfer_many(chan, BNX_CHAN_RECV, out_items, count);
}

/* ---- Closing ---- */

void bnx_chan_close(struct bnx_chan *chan) {
    struct bnx_wakee wakees[MOVES_MAX];
    size_t count;
    do { /* ends: nobody begins to wait on a closed channel */
        count = 0;
        bnx_lock_acquire(&chan->lock); /* L1 */
        chan->is_closed = 1;
        chan->usual_capacity = chan->alone_capacity = 0;
        while (count < MOVES_MAX && !BNX_PLANT(chan_close_forgets)) {
            wakees[count] = (struct bnx_wakee){NULL, NULL};
            if (claim(&chan->senders, -EPIPE, &wakees[count]) == NULL &&
                claim(&chan->receivers, -ENODATA, &wakees[count]) == NULL) {
                break;
            }
            count++;
        }
        bnx_lock_release(&chan->lock); /* L1 */
        for (size_t i = 0; i < count; i++) {
            bnx_wakee_wake(&wakees[i]);
        }
    } while (count == MOVES_MAX);
}
