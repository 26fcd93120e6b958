/* SPDX-License-Identifier: MIT */
/* The rescue signal and its handler (rescue.h). */
#include "runtime/rescue.h"

#include "runtime/lock.h"
#include "runtime/worker.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>

static struct {
    struct bnx_lock lock; /* install, uninstall; and X1 */
    int users;
    int signo;           /* 0 = none taken */
    int interrupt_signo; /* likewise; immutable while there are users */
} rescue = {.lock = {CK_SPINLOCK_FAS_INITIALIZER}};

static void on_signal(int signo) {
    (void)signo;
    int saved_errno = errno;
    struct bnx_worker *worker = bnx_worker_current();
    if (worker != NULL && bnx_load_relaxed(&worker->is_live) != 0) { /* this thread writes it */
        bnx_store_release(&worker->is_signalled, 0);                 /* X2 */
        if (worker->driver->ops->nudge != NULL) {
            worker->driver->ops->nudge(worker->driver);
        }
    }
    errno = saved_errno;
}

/* The signal has done its work by ending the call. */
static void on_interrupt(int signo) {
    (void)signo;
}

/* From the top: programs that use real-time signals begin at SIGRTMIN. */
static int take_free_signal(void (*handler)(int), int flags) {
    for (int signo = SIGRTMAX; signo >= SIGRTMIN; signo--) {
        struct sigaction before;
        if (sigaction(signo, NULL, &before) != 0 || before.sa_handler != SIG_DFL) {
            continue;
        }
        struct sigaction ours = {.sa_handler = handler, .sa_flags = flags};
        sigfillset(&ours.sa_mask);
        if (sigaction(signo, &ours, NULL) == 0) {
            return signo;
        }
    }
    return 0;
}

int bnx_rescue_install(void) {
    bnx_lock_acquire(&rescue.lock); /* L1 */
    if (rescue.users == 0) {
        rescue.signo = take_free_signal(on_signal, SA_ONSTACK | SA_RESTART);
        rescue.interrupt_signo = take_free_signal(on_interrupt, SA_ONSTACK);
    }
    bool is_taken = rescue.signo != 0;
    rescue.users += is_taken ? 1 : 0;
    bnx_lock_release(&rescue.lock); /* L1 */
    return is_taken ? 0 : -EBUSY;
}

/* Unless somebody has taken it over since. */
static void give_back(int *signo, void (*handler)(int)) {
    struct sigaction current;
    if (*signo != 0 && sigaction(*signo, NULL, &current) == 0 && current.sa_handler == handler) {
        (void)signal(*signo, SIG_DFL);
    }
    *signo = 0;
}

void bnx_rescue_uninstall(void) {
    bnx_lock_acquire(&rescue.lock); /* L1 */
    if (--rescue.users == 0) {
        give_back(&rescue.signo, on_signal);
        give_back(&rescue.interrupt_signo, on_interrupt);
    }
    bnx_lock_release(&rescue.lock); /* L1 */
}

static void mask(int how, int signo) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signo);
    (void)pthread_sigmask(how, &set, NULL); /* cannot fail for a valid set */
}

void bnx_rescue_worker_enter(struct bnx_worker *worker) {
    if (rescue.signo == 0) {
        return;
    }
    bnx_lock_acquire(&rescue.lock);         /* X1 */
    bnx_store_relaxed(&worker->is_live, 1); /* under the lock */
    bnx_lock_release(&rescue.lock);         /* X1 */
    mask(SIG_UNBLOCK, rescue.signo);
}

void bnx_rescue_worker_leave(struct bnx_worker *worker) {
    if (rescue.signo == 0) {
        return;
    }
    mask(SIG_BLOCK, rescue.signo);
    bnx_lock_acquire(&rescue.lock);         /* X1 */
    bnx_store_relaxed(&worker->is_live, 0); /* under the lock */
    bnx_lock_release(&rescue.lock);         /* X1 */
}

void bnx_rescue_signal(struct bnx_worker *worker) {
    bnx_lock_acquire(&rescue.lock);                            /* X1 */
    if (bnx_load_relaxed(&worker->is_live) != 0 &&             /* under the lock */
        bnx_exchange_seq_cst(&worker->is_signalled, 1) == 0) { /* X2 */
        if (bnx_os.thread_signal((int)worker->tid, rescue.signo) != 0) {
            bnx_store_release(&worker->is_signalled,
                              0); /* X2: the queue of signals is full; again later */
        }
    }
    bnx_lock_release(&rescue.lock); /* X1 */
}

void bnx_rescue_thread_enter(void) {
    if (rescue.interrupt_signo != 0) {
        mask(SIG_UNBLOCK, rescue.interrupt_signo);
    }
}

void bnx_rescue_thread_leave(void) {
    if (rescue.interrupt_signo != 0) {
        mask(SIG_BLOCK, rescue.interrupt_signo);
    }
}

void bnx_rescue_interrupt(uint32_t tid) {
    if (rescue.interrupt_signo != 0) {
        (void)bnx_os.thread_signal((int)tid, rescue.interrupt_signo); /* refused: again later */
    }
}
