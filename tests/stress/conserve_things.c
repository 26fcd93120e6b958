/* SPDX-License-Identifier: MIT */
/* The conservation stress: items, messages, values and tasks. */
#include "tests/stress/conserve.h"

/* ---- Items in channels ---- */

static void book_sent(struct actor *self, uint64_t item) {
    book(self, ITEMS_SENT, 1);
    book(self, SUM_SENT, item);
    book(self, SQUARES_SENT, item * item);
}

static void book_received(struct actor *self, uint64_t item) {
    book(self, ITEMS_RECEIVED, 1);
    book(self, SUM_RECEIVED, item);
    book(self, SQUARES_RECEIVED, item * item);
}

struct transfer {
    struct bnx_chan *chan;
    uint64_t items[3];
    size_t count; /* 1: the plain call, else the one for many */
};

static int send_items(void *arg) {
    struct transfer *transfer = arg;
    return transfer->count == 1
               ? bnx_chan_send(transfer->chan, transfer->items)
               : (int)bnx_chan_send_many(transfer->chan, transfer->items, transfer->count);
}

static int recv_items(void *arg) {
    struct transfer *transfer = arg;
    return transfer->count == 1
               ? bnx_chan_recv(transfer->chan, transfer->items)
               : (int)bnx_chan_recv_many(transfer->chan, transfer->items, transfer->count);
}

static struct transfer transfer_make(struct actor *self) {
    struct crew *crew = self->crew;
    struct transfer transfer = {.chan = crew->chans[draw(self, CHANS)], .count = 1};
    if (draw(self, 4) == 0) {
        transfer.count = 1 + draw(self, BNX_ARRAY_COUNT(transfer.items));
    }
    return transfer;
}

/* How many items a call has moved that returned result. */
static size_t transfer_moved(const struct transfer *transfer, int result) {
    return result < 0 ? 0 : transfer->count == 1 ? 1 : (size_t)result;
}

static uint64_t new_items(struct actor *self, uint64_t count) {
    return bnx_fetch_add_relaxed(&self->crew->next_item, count); /* a number and no more */
}

static int send_some(struct actor *self) {
    struct transfer transfer = transfer_make(self);
    uint64_t first = new_items(self, transfer.count);
    for (size_t i = 0; i < transfer.count; i++) {
        transfer.items[i] = first + i;
    }
    int result = transfer.count == 1 && draw(self, 4) == 0
                     ? bnx_chan_try_send(transfer.chan, transfer.items)
                     : attempt(self, 2, send_items, &transfer);
    for (size_t i = 0; i < transfer_moved(&transfer, result); i++) {
        book_sent(self, first + i);
    }
    return result;
}

static int recv_some(struct actor *self) {
    struct transfer transfer = transfer_make(self);
    int result = transfer.count == 1 && draw(self, 4) == 0
                     ? bnx_chan_try_recv(transfer.chan, transfer.items)
                     : attempt(self, 2, recv_items, &transfer);
    for (size_t i = 0; i < transfer_moved(&transfer, result); i++) {
        book_received(self, transfer.items[i]);
    }
    return result;
}

/* A select over everything. Off a task it gives up by itself. */
struct choice {
    struct bnx_case cases[4];
    unsigned flags;
};

static int select_case(void *arg) {
    struct choice *choice = arg;
    return bnx_select(choice->cases, BNX_ARRAY_COUNT(choice->cases), choice->flags);
}

static int choose(struct actor *self) {
    struct crew *crew = self->crew;
    uint32_t side = draw(self, CHANS);
    uint64_t item = new_items(self, 1);
    uint64_t got = 0;
    bool is_hurried = !self->is_task || draw(self, 2) == 0;
    struct choice choice = {
        .cases =
            {
                BNX_CASE_SEND(crew->chans[side], &item),
                draw(self, 2) == 0 ? BNX_CASE_RECV(crew->chans[CHANS - 1 - side], &got)
                                   : BNX_CASE_SEND(crew->chans[CHANS - 1 - side], &item),
                BNX_CASE_WAIT(draw(self, 2) == 0 ? bnx_sem_waitable(&crew->sem) : NULL),
                is_hurried ? BNX_CASE_AFTER(draw(self, HURRY_NS)) : bnx_case_deadline(UINT64_MAX),
            },
        .flags = draw(self, 8) == 0 ? BNX_SELECT_TRY : 0,
    };
    int index = attempt(self, 4, select_case, &choice);
    if (index < 0) {
        return index;
    }
    int result = choice.cases[index].result;
    if (index == 3) {
        return -ETIMEDOUT;
    }
    if (index == 2) {
        CHECK_EQ(result, 0);
        book(self, TOKENS_TAKEN, 1);
        use_begin(&crew->sem_used, 1, SEM_TOKENS);
        use_end(&crew->sem_used, 1);
        CHECK_EQ(bnx_sem_release(&crew->sem), 0);
        book(self, TOKENS_RETURNED, 1);
    } else if (result == 0 && choice.cases[index].kind == BNX_CASE_KIND_SEND) {
        book_sent(self, item);
    } else if (result == 0) {
        book_received(self, got);
    }
    return result;
}

/* ---- Messages to all ---- */

static int lock_announcements(void *arg) {
    struct crew *crew = arg;
    return bnx_mutex_lock(&crew->announce_mutex);
}

static int announce(struct actor *self) {
    struct crew *crew = self->crew;
    int result = attempt(self, 6, lock_announcements, crew);
    if (result == 0) {
        result = bnx_broadcast_send(crew->broadcast, &crew->next_message);
        crew->next_message += result == 0 ? 1 : 0;
        bnx_mutex_unlock(&crew->announce_mutex);
    }
    return result;
}

/* What a receive has returned: the message must be the next one, after those it says are lost. */
static void book_message(struct actor *self, int result, uint64_t message, uint64_t lost) {
    if (result == 0) {
        CHECK_EQ(message, self->next_message);
        self->next_message++;
        book(self, MESSAGES_GOT, 1);
    } else if (result == -EOVERFLOW) {
        CHECK(lost > 0);
        self->next_message += lost;
        book(self, MESSAGES_GOT, lost);
    }
}

static int listen_once(void *arg) {
    struct actor *self = arg;
    uint64_t message = UINT64_MAX;
    uint64_t lost = 0;
    int result = bnx_broadcast_recv(&self->subscription, &message, &lost);
    book_message(self, result, message, lost);
    return result == -EOVERFLOW ? 0 : result;
}

void unsubscribe(struct actor *self) {
    struct crew *crew = self->crew;
    if (self->subscription.broadcast == NULL) {
        return;
    }
    lock_anyway(&crew->announce_mutex);
    int result;
    do { /* ends: no more messages come */
        uint64_t message = UINT64_MAX;
        uint64_t lost = 0;
        result = bnx_broadcast_try_recv(&self->subscription, &message, &lost);
        book_message(self, result, message, lost);
    } while (result == 0 || result == -EOVERFLOW);
    CHECK(result == -EAGAIN || result == -ENODATA);
    CHECK_EQ(self->next_message, crew->next_message);
    book(self, MESSAGES_DUE, crew->next_message);
    bnx_broadcast_unsubscribe(&self->subscription);
    bnx_mutex_unlock(&crew->announce_mutex);
}

static int listen_or_leave(struct actor *self) {
    struct crew *crew = self->crew;
    if (self->subscription.broadcast != NULL) {
        if (draw(self, 16) == 0) {
            unsubscribe(self);
            return 0;
        }
        return attempt(self, 2, listen_once, self);
    }
    int result = attempt(self, 6, lock_announcements, crew);
    if (result == 0) {
        bnx_broadcast_subscribe(crew->broadcast, &self->subscription);
        self->next_message = crew->next_message;
        book(self, MESSAGES_DUE, -crew->next_message); /* less those before it came */
        bnx_mutex_unlock(&crew->announce_mutex);
    }
    return result;
}

/* ---- One value ---- */

struct sender {
    struct crew *crew;
    struct bnx_oneshot *oneshot;
    uint32_t how;
};

static int send_oneshot(void *arg) {
    struct sender *sender = arg;
    uint64_t value = (uintptr_t)sender;
    if (sender->how % 2 == 0) {
        bnx_yield();
    }
    if (sender->how % 4 != 3) {
        CHECK_EQ(bnx_oneshot_send(sender->oneshot, &value), 0);
        crew_book(sender->crew, ONESHOTS_SENT, 1);
    }
    bnx_oneshot_drop_sender(sender->oneshot);
    crew_book(sender->crew, ENDED, 1);
    return 0;
}

struct receiver {
    struct bnx_oneshot *oneshot;
    uint64_t value;
};

static int recv_oneshot(void *arg) {
    struct receiver *receiver = arg;
    return bnx_oneshot_recv(receiver->oneshot, &receiver->value);
}

/* Only a cancel refuses a child. */
static bool spawn_counted(struct crew *crew, struct bnx_scope *scope, bnx_task_fn fn, void *arg,
                          struct bnx_task **out_task) {
    int error = bnx_spawn_with(scope, NULL, fn, arg, out_task);
    CHECK(error == 0 || error == -ECANCELED);
    crew_book(crew, SPAWNED, error == 0 ? 1 : 0);
    return error == 0;
}

static int ask_oneshot(struct actor *self) {
    struct receiver receiver = {NULL, 0};
    CHECK_EQ(bnx_oneshot_create(sizeof(receiver.value), &receiver.oneshot), 0);
    struct sender sender = {self->crew, receiver.oneshot, draw(self, 8)};
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    if (!spawn_counted(self->crew, &scope, send_oneshot, &sender, NULL)) {
        bnx_oneshot_drop_sender(receiver.oneshot);
    }
    int result = attempt(self, 4, recv_oneshot, &receiver);
    (void)bnx_scope_close(&scope);
    int late = bnx_oneshot_try_recv(receiver.oneshot, &receiver.value);
    CHECK(late == 0 ? result != 0 : late == -ENODATA);
    if (result == 0 || late == 0) {
        CHECK_EQ(receiver.value, (uintptr_t)&sender);
        book(self, ONESHOTS_RECEIVED, 1);
    }
    bnx_oneshot_drop_receiver(receiver.oneshot);
    return result;
}

struct setter {
    struct crew *crew;
    struct bnx_future *future;
    uint32_t how;
    bool has_set;
};

static int set_future(void *arg) {
    struct setter *setter = arg;
    if (setter->how % 2 == 0) {
        bnx_yield();
    }
    int error = setter->how % 3 == 0 ? bnx_future_fail(setter->future, -EPROTO)
                                     : bnx_future_set(setter->future, setter);
    CHECK(error == 0 || error == -EALREADY);
    setter->has_set = error == 0;
    crew_book(setter->crew, FUTURES_SET, error == 0 ? 1 : 0);
    crew_book(setter->crew, ENDED, 1);
    return 0;
}

static int await_future(void *arg) {
    return bnx_future_await(arg, NULL);
}

/* Two set it, one of them wins: he is the one whose value is there. */
static int ask_future(struct actor *self) {
    struct crew *crew = self->crew;
    struct bnx_future *future = NULL;
    CHECK_EQ(bnx_future_create(&future), 0);
    struct setter setters[2];
    struct bnx_scope scope;
    bool is_coming = false;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < 2; i++) {
        setters[i] = (struct setter){crew, future, draw(self, 6), false};
        is_coming |= spawn_counted(crew, &scope, set_future, &setters[i], NULL);
    }
    int result = attempt(self, 4, await_future, future);
    (void)bnx_scope_close(&scope);
    void *value = NULL;
    int found = bnx_future_poll(future, &value);
    CHECK_EQ(found == -EAGAIN, !is_coming);
    if (found != -EAGAIN) {
        const struct setter *winner = &setters[setters[0].has_set ? 0 : 1];
        CHECK(winner->has_set && setters[0].has_set != setters[1].has_set);
        CHECK(found == 0 ? value == winner : found == -EPROTO);
        book(self, FUTURES_READ, 1);
    }
    bnx_promise_drop(future);
    return result == -EPROTO ? 0 : result;
}

/* An OS thread asks a task. */
static int ask_runtime(struct actor *self) {
    struct crew *crew = self->crew;
    struct setter setter = {crew, NULL, draw(self, 6), false};
    struct bnx_future *ended = NULL;
    CHECK_EQ(bnx_future_create(&setter.future), 0);
    CHECK_EQ(bnx_runtime_spawn(crew->runtime, set_future, &setter, &ended), 0);
    book(self, SPAWNED, 1);
    CHECK_EQ(bnx_future_await(ended, NULL), 0);
    int found = bnx_future_poll(setter.future, NULL);
    CHECK(setter.has_set && (found == 0 || found == -EPROTO));
    book(self, FUTURES_READ, 1);
    bnx_future_unref(setter.future);
    bnx_future_unref(ended);
    return 0;
}

/* ---- Tasks that fail ---- */

struct family {
    struct crew *crew;
    uint64_t failed; /* children that returned an error of their own */
};

struct child {
    struct family *family;
    uint32_t nap_ns;
    bool fails;
};

/* A child works with a token, or sleeps, or does nothing. */
static int work(struct crew *crew, uint32_t nap_ns) {
    if (nap_ns % 4 > 1) {
        return 0;
    }
    if (nap_ns % 4 == 0) {
        return bnx_sleep(nap_ns);
    }
    int error = bnx_sem_acquire(&crew->sem);
    if (error == 0) {
        crew_book(crew, TOKENS_TAKEN, 1);
        use_begin(&crew->sem_used, 1, SEM_TOKENS);
        bnx_yield();
        use_end(&crew->sem_used, 1);
        crew_book(crew, TOKENS_RETURNED, 1);
        CHECK_EQ(bnx_sem_release(&crew->sem), 0);
    }
    return error;
}

static int live(void *arg) {
    struct child child = *(const struct child *)arg;
    struct crew *crew = child.family->crew;
    int error = work(crew, child.nap_ns);
    crew_book(crew, ENDED, 1);
    if (child.fails) {
        bnx_fetch_add_relaxed(&child.family->failed, 1); /* read after the close */
        return -EIO;
    }
    return error; /* because of a cancel: no error to the scope */
}

static int join_child(void *arg) {
    return bnx_join(arg, NULL);
}

static int raise_family(struct actor *self) {
    struct family family = {self->crew, 0};
    struct child children[3];
    struct bnx_task *last = NULL;
    struct bnx_scope scope;
    struct bnx_scope_options options = {.policy = (enum bnx_scope_policy)draw(self, 4),
                                        .flags = draw(self, 4) == 0 ? BNX_SCOPE_SHIELD : 0};
    if (draw(self, 4) == 0) {
        options.deadline_ns = bnx_now() + draw(self, HURRY_NS);
    }
    CHECK_EQ(bnx_scope_open(&scope, &options), 0);
    for (size_t i = 0; i < BNX_ARRAY_COUNT(children); i++) {
        children[i] = (struct child){&family, draw(self, HURRY_NS), draw(self, 3) == 0};
        (void)spawn_counted(self->crew, &scope, live, &children[i], &last);
    }
    int result = last != NULL && draw(self, 2) == 0 ? attempt(self, 4, join_child, last) : 0;
    if (draw(self, 4) == 0) {
        bnx_scope_cancel(&scope, -EPROTO);
    }
    (void)bnx_scope_close(&scope); /* by policy: what it counts is what matters here */
    book(self, FAILED, family.failed);
    book(self, ERRORS_COUNTED, bnx_scope_error_count(&scope));
    CHECK_EQ(bnx_scope_error_count(&scope), family.failed);
    return result;
}

/* ---- Rest, and disturbing others ---- */

static int nap(void *arg) {
    return bnx_sleep(draw(arg, HURRY_NS));
}

static int disturb(struct actor *self) {
    struct crew *crew = self->crew;
    uint32_t what = draw(self, 2048);
    if (what < 8 && self->is_task) {
        struct bnx_task *member = bnx_load_acquire(&crew->members[draw(self, MEMBERS)]);
        if (member != NULL) { /* valid: the scope of both is open */
            bnx_cancel(member, -EPROTO);
        }
    } else if (what == 8) {
        bnx_chan_close(crew->chans[draw(self, CHANS)]);
    }
    return bnx_checkpoint();
}

int operate_on_things(struct actor *self, enum op op) {
    switch ((int)op) {
    case OP_SEND:
        return send_some(self);
    case OP_RECV:
        return recv_some(self);
    case OP_SELECT:
        return choose(self);
    case OP_ANNOUNCE:
        return announce(self);
    case OP_LISTEN:
        return listen_or_leave(self);
    case OP_ONESHOT:
        return self->is_task ? ask_oneshot(self) : ask_runtime(self);
    case OP_FUTURE:
        return self->is_task ? ask_future(self) : ask_runtime(self);
    case OP_FAMILY:
        return self->is_task ? raise_family(self) : ask_runtime(self);
    case OP_REST:
        return attempt(self, 4, nap, self);
    default:
        return disturb(self);
    }
}
