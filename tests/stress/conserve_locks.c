/* SPDX-License-Identifier: MIT */
/* The conservation stress: tokens and locks, and the ways in which a call is ended. */
#include "tests/stress/conserve.h"

/* Overwrites what a call before it has left on the stack: who still writes there is seen. */
static BNX_NOINLINE void trample(void) {
    volatile unsigned char frame[1024];
    for (size_t i = 0; i < sizeof(frame); i++) {
        frame[i] = 0xa5;
    }
}

static int cancel_soon(void *arg) {
    bnx_yield();
    bnx_scope_cancel(arg, 0);
    return 0;
}

int attempt(struct actor *self, uint32_t plain, bnx_task_fn fn, void *arg) {
    uint32_t way = draw(self, 8);
    if (!self->is_task || way < plain) {
        int result = fn(arg);
        trample();
        return result;
    }
    struct bnx_scope scope;
    struct bnx_scope_options options = {.flags = way == 7 ? BNX_SCOPE_SHIELD : 0};
    if (way % 2 == 1) {
        options.deadline_ns = bnx_now() + draw(self, HURRY_NS);
    }
    CHECK_EQ(bnx_scope_open(&scope, &options), 0);
    if (way % 2 == 0) {
        int error = bnx_spawn(&scope, cancel_soon, &scope);
        CHECK(error == 0 || error == -ECANCELED); /* the crew's cancel has come first */
    }
    int result = fn(arg);
    trample();
    (void)bnx_scope_close(&scope); /* cancelled by now, or not */
    return result;
}

void lock_anyway(struct bnx_mutex *mutex) {
    while (bnx_mutex_try_lock(mutex) != 0) { /* ends: its holders do not wait */
        bnx_yield();
    }
}

/* Holds what it has for a while: others come, cancels too. */
static void linger(struct actor *self) {
    uint32_t how = draw(self, 16);
    if (how < 4) {
        bnx_yield();
    } else if (how == 4) {
        (void)bnx_sleep(draw(self, HURRY_NS)); /* a cancel ends it */
    }
}

/* ---- Tokens ---- */

struct acquire {
    struct crew *crew;
    uint32_t count;
    const void *borrower; /* NULL: the caller */
};

static int acquire_tokens(void *arg) {
    const struct acquire *acquire = arg;
    return acquire->count == 1 ? bnx_sem_acquire(&acquire->crew->sem)
                               : bnx_sem_acquire_n(&acquire->crew->sem, acquire->count);
}

static int use_tokens(struct actor *self) {
    struct acquire acquire = {self->crew, 1 + draw(self, 3), NULL};
    struct bnx_sem *sem = &self->crew->sem;
    int result;
    if (draw(self, 8) == 0) {
        acquire.count = 1;
        result = bnx_sem_try_acquire(sem);
    } else {
        result = attempt(self, 5, acquire_tokens, &acquire);
    }
    if (result == 0) {
        book(self, TOKENS_TAKEN, acquire.count);
        use_begin(&self->crew->sem_used, acquire.count, SEM_TOKENS);
        linger(self);
        use_end(&self->crew->sem_used, acquire.count);
        CHECK_EQ(bnx_sem_release_n(sem, acquire.count), 0);
        book(self, TOKENS_RETURNED, acquire.count);
    }
    return result;
}

static int borrow_token(void *arg) {
    const struct acquire *acquire = arg;
    struct bnx_limiter *limiter = &acquire->crew->limiter;
    return acquire->borrower == NULL ? bnx_limiter_acquire(limiter)
                                     : bnx_limiter_acquire_for(limiter, acquire->borrower);
}

static int use_limiter(struct actor *self) {
    struct acquire acquire = {self->crew, 1, draw(self, 2) == 0 ? self : NULL};
    struct bnx_limiter *limiter = &self->crew->limiter;
    int result = draw(self, 8) == 0 && acquire.borrower == NULL
                     ? bnx_limiter_try_acquire(limiter)
                     : attempt(self, 5, borrow_token, &acquire);
    if (result == 0) {
        book(self, BORROWED, 1);
        use_begin(&self->crew->limiter_used, 1, LIMITER_TOKENS);
        int again = borrow_token(&acquire);
        CHECK(again == -EDEADLK || again == -ECANCELED || again == -ETIMEDOUT); /* he has one */
        linger(self);
        use_end(&self->crew->limiter_used, 1);
        CHECK_EQ(acquire.borrower == NULL ? bnx_limiter_release(limiter)
                                          : bnx_limiter_release_for(limiter, acquire.borrower),
                 0);
        book(self, REPAID, 1);
    }
    return result;
}

/* ---- Locks ---- */

static int lock_mutex(void *arg) {
    return bnx_mutex_lock(arg);
}

static int use_mutex(struct actor *self) {
    struct crew *crew = self->crew;
    int result = draw(self, 8) == 0 ? bnx_mutex_try_lock(&crew->mutex)
                                    : attempt(self, 6, lock_mutex, &crew->mutex);
    if (result == 0) {
        uint64_t count = crew->mutex_count;
        linger(self);
        crew->mutex_count = count + 1;
        bnx_mutex_unlock(&crew->mutex);
        book(self, MUTEX_SECTIONS, 1);
    }
    return result;
}

static int lock_to_read(void *arg) {
    return bnx_rwlock_read_lock(arg);
}

static int lock_to_write(void *arg) {
    return bnx_rwlock_write_lock(arg);
}

static int use_rwlock(struct actor *self) {
    struct crew *crew = self->crew;
    bool is_writer = draw(self, 4) == 0;
    int result = attempt(self, 6, is_writer ? lock_to_write : lock_to_read, &crew->rwlock);
    if (result != 0) {
        return result;
    }
    uint64_t count = crew->rwlock_count;
    linger(self);
    CHECK_EQ(crew->rwlock_count, count);
    if (is_writer) {
        crew->rwlock_count = count + 1;
        bnx_rwlock_write_unlock(&crew->rwlock);
        book(self, RWLOCK_WRITES, 1);
    } else {
        bnx_rwlock_read_unlock(&crew->rwlock);
    }
    return 0;
}

/* ---- A store behind a mutex and a condition ---- */

static int deposit(struct actor *self) {
    struct crew *crew = self->crew;
    int result = attempt(self, 6, lock_mutex, &crew->store_mutex);
    if (result == 0) {
        crew->stored++;
        bnx_cond_signal(&crew->not_empty);
        bnx_mutex_unlock(&crew->store_mutex);
        book(self, DEPOSITED, 1);
    }
    return result;
}

static int take_from_store(void *arg) {
    const struct actor *self = arg;
    struct crew *crew = self->crew;
    int error = bnx_mutex_lock(&crew->store_mutex);
    if (error != 0) {
        return error;
    }
    while (error == 0 && crew->stored == 0) { /* ends: a deposit, or a cancel */
        error = self->is_task ? bnx_cond_wait(&crew->not_empty, &crew->store_mutex) : -EAGAIN;
    }
    if (error == 0) {
        crew->stored--;
    }
    bnx_mutex_unlock(&crew->store_mutex);
    return error;
}

static int withdraw(struct actor *self) {
    int result = attempt(self, 2, take_from_store, self);
    book(self, WITHDRAWN, result == 0 ? 1 : 0);
    return result;
}

int operate(struct actor *self, enum op op) {
    switch (op) {
    case OP_SEM:
        return use_tokens(self);
    case OP_LIMITER:
        return use_limiter(self);
    case OP_MUTEX:
        return use_mutex(self);
    case OP_RWLOCK:
        return use_rwlock(self);
    case OP_DEPOSIT:
        return deposit(self);
    case OP_WITHDRAW:
        return withdraw(self);
    case OP_SEND:
    case OP_RECV:
    case OP_SELECT:
    case OP_ANNOUNCE:
    case OP_LISTEN:
    case OP_ONESHOT:
    case OP_FUTURE:
    case OP_FAMILY:
    case OP_REST:
    case OP_DISTURB:
    case OP_COUNT:
        break;
    }
    return operate_on_things(self, op);
}
