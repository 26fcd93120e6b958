/* SPDX-License-Identifier: MIT */
/* The handler of SIGSEGV and SIGBUS, and the alternate stack that it needs. */
#include "runtime/crash.h"

#include "runtime/atomic.h"
#include "runtime/check.h"
#include "runtime/lock.h"
#include "runtime/os.h"
#include "runtime/stack.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#define REPORT_BYTES 1024
#define SIGNALS 2

static const int signals[SIGNALS] = {SIGSEGV, SIGBUS};

static struct {
    struct bnx_lock lock;             /* install and uninstall */
    unsigned installs;                /* under the lock */
    bool is_hooked[SIGNALS];          /* our handler is in the chain; under the lock */
    struct sigaction before[SIGNALS]; /* written before E1, read by the handler */
    bnx_crash_describe_fn describe;   /* E1; NULL until the first install, never NULL again */
} crash;

/* ---- the report ---- */

struct report {
    char text[REPORT_BYTES];
    size_t used;
};

static void append(struct report *report, const char *text) {
    size_t bytes = strlen(text);
    size_t room = sizeof(report->text) - report->used;
    bytes = bytes < room ? bytes : room;
    memcpy(report->text + report->used, text, bytes);
    report->used += bytes;
}

static void append_number(struct report *report, uint64_t value, unsigned base) {
    char digits[24];
    size_t at = sizeof(digits) - 1;
    digits[at] = '\0';
    /* Ends: 20 digits at most. */
    do {
        digits[--at] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value != 0);
    append(report, base == 16 ? "0x" : "");
    append(report, digits + at);
}

static void append_owner(struct report *report, const struct bnx_stack *stack) {
    void *owner =
        bnx_load_relaxed(&stack->owner); /* set by this very thread, or a moment's truth */
    bnx_crash_describe_fn describe = bnx_load_acquire(&crash.describe); /* E1 */
    if (owner == NULL) {
        append(report, "a stack without a task");
        return;
    }
    size_t room = sizeof(report->text) - report->used;
    size_t said = describe(owner, report->text + report->used, room);
    report->used += said < room ? said : room;
}

static void report_overflow(uintptr_t address, const struct bnx_stack *stack) {
    struct report report = {.used = 0};
    append(&report, "bonxie: stack overflow: ");
    append_owner(&report, stack);
    append(&report, "; fault at ");
    append_number(&report, address, 16);
    append(&report, ", ");
    append_number(&report, (uintptr_t)stack->top - address, 10);
    append(&report, " bytes deep on a stack of ");
    append_number(&report, bnx_stack_usable_bytes(stack), 10);
    if (report.used == sizeof(report.text)) {
        report.used--;
    }
    report.text[report.used++] = '\n';
    (void)bnx_os.write(STDERR_FILENO, report.text, report.used);
}

/* ---- the handler ---- */

static void chain(const struct sigaction *before, int signo, siginfo_t *info, void *context) {
    if ((before->sa_flags & SA_SIGINFO) != 0) {
        before->sa_sigaction(signo, info, context);
        return;
    }
    if (before->sa_handler != SIG_DFL && before->sa_handler != SIG_IGN) {
        before->sa_handler(signo);
        return;
    }
    bool is_fault = info->si_code > 0;
    if (!is_fault && before->sa_handler == SIG_IGN) {
        return;
    }
    (void)sigaction(signo, before, NULL);
    if (!is_fault) {
        /* Sent by somebody: no instruction will raise it again. It waits until the handler returns.
         * */
        (void)bnx_os.thread_signal(bnx_os.thread_id(), signo);
    }
}

static void on_fault(int signo, siginfo_t *info, void *context) {
    int errno_before = errno;
    if (info->si_code > 0) {
        uintptr_t address = (uintptr_t)info->si_addr;
        const struct bnx_stack *stack = bnx_stack_find(address);
        if (stack != NULL && address < (uintptr_t)stack->low) {
            report_overflow(address, stack);
        }
    }
    (void)bnx_load_acquire(&crash.describe); /* E1: the dispositions are there */
    chain(&crash.before[signo == SIGSEGV ? 0 : 1], signo, info, context);
    errno = errno_before;
}

/* ---- install ---- */

static int hook(int index) {
    struct sigaction ours = {.sa_flags = SA_SIGINFO | SA_ONSTACK};
    ours.sa_sigaction = on_fault;
    sigemptyset(&ours.sa_mask);
    sigaddset(&ours.sa_mask, SIGSEGV);
    sigaddset(&ours.sa_mask, SIGBUS);
    if (sigaction(signals[index], &ours, NULL) != 0) {
        return -errno;
    }
    crash.is_hooked[index] = true;
    return 0;
}

static void unhook(int index) {
    struct sigaction now;
    if (!crash.is_hooked[index] || sigaction(signals[index], NULL, &now) != 0) {
        return;
    }
    if ((now.sa_flags & SA_SIGINFO) == 0 || now.sa_sigaction != on_fault) {
        return;
    }
    if (sigaction(signals[index], &crash.before[index], NULL) == 0) {
        crash.is_hooked[index] = false;
    }
}

/* The dispositions are read before the hooks stand, so that no fault finds them half written. */
static int hook_all(bnx_crash_describe_fn describe) {
    for (int i = 0; i < SIGNALS; i++) {
        /* Still in somebody's chain since an earlier install: what was before stays so. */
        if (!crash.is_hooked[i] && sigaction(signals[i], NULL, &crash.before[i]) != 0) {
            return -errno;
        }
    }
    bnx_store_release(&crash.describe, describe); /* E1 */
    for (int i = 0; i < SIGNALS; i++) {
        int error = crash.is_hooked[i] ? 0 : hook(i);
        if (error != 0) {
            for (int j = 0; j < i; j++) {
                unhook(j);
            }
            return error;
        }
    }
    return 0;
}

int bnx_crash_install(bnx_crash_describe_fn describe) {
    int error = 0;
    bnx_lock_acquire(&crash.lock); /* E2 */
    if (crash.installs == 0) {
        error = hook_all(describe);
    } else if (bnx_load_relaxed(&crash.describe) != describe) { /* written under the lock */
        error = -EBUSY;
    }
    if (error == 0) {
        crash.installs++;
    }
    bnx_lock_release(&crash.lock); /* E2 */
    return error;
}

void bnx_crash_uninstall(void) {
    bnx_lock_acquire(&crash.lock); /* E2 */
    BNX_CHECK(crash.installs > 0);
    if (--crash.installs == 0) {
        for (int i = 0; i < SIGNALS; i++) {
            unhook(i);
        }
    }
    bnx_lock_release(&crash.lock); /* E2 */
}

/* ---- alternate stacks ---- */

static size_t altstack_bytes(size_t page) {
    size_t frame = (size_t)getauxval(AT_MINSIGSTKSZ);
    size_t bytes = BNX_CRASH_ALTSTACK_BYTES;
    if (frame > BNX_CRASH_FRAME_BYTES) {
        bytes += frame - BNX_CRASH_FRAME_BYTES;
    }
    return (bytes + page - 1) & ~(page - 1);
}

/* The thread's own, set and cleared between tasks: nothing suspends here. */
static _Thread_local struct {
    void *memory;   /* a guard page, then the stack; NULL = none */
    size_t bytes;   /* of both */
    stack_t before; /* what the thread had */
} altstack;

int bnx_crash_altstack_set(void) {
    if (bnx_sim_is_running()) {
        return 0; /* virtual threads would have one between them */
    }
    BNX_CHECK(altstack.memory == NULL);
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t usable = altstack_bytes(page);
    size_t bytes = usable + page;
    int error = 0;
    char *memory = bnx_os.mmap(bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, &error);
    if (memory == MAP_FAILED) {
        return error;
    }
    stack_t ours = {.ss_sp = memory + page, .ss_size = usable};
    ours.ss_flags = BNX_PLANT(crash_no_altstack) ? SS_DISABLE : 0;
    error = bnx_os.mprotect(memory, page, PROT_NONE);
    if (error != 0) {
        goto fail;
    }
    if (sigaltstack(&ours, &altstack.before) != 0) {
        error = -errno;
        goto fail;
    }
    altstack.memory = memory;
    altstack.bytes = bytes;
    return 0;
fail:
    (void)bnx_os.munmap(memory, bytes);
    return error;
}

void bnx_crash_altstack_clear(void) {
    if (altstack.memory == NULL) {
        return;
    }
    BNX_CHECK(sigaltstack(&altstack.before, NULL) == 0);
    (void)bnx_os.munmap(altstack.memory, altstack.bytes);
    altstack.memory = NULL;
}
