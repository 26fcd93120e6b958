/* SPDX-License-Identifier: MIT */
/* The crash handler beside other handlers, other faults and other owners of the alternate stack. */
#include "runtime/crash.h"

#include "runtime/os.h"
#include "tests/support/test.h"
#include "tests/unit/stack_fixture.h"

#include <errno.h>
#include <sys/mman.h>

static size_t describe_any(void *owner, char *buffer, size_t bytes) {
    (void)owner;
    CHECK(bytes > 8);
    memcpy(buffer, "somebody", 8);
    return 8;
}

static size_t describe_too_much(void *owner, char *buffer, size_t bytes) {
    (void)owner;
    memset(buffer, 'x', bytes);
    return bytes + 1000;
}

/* A stack whose guard the tests below hit from outside: no need to run on it. */
static struct bnx_stack *stack_with_owner(void *owner) {
    static struct fixture fixture;
    fixture_open(&fixture, 0);
    struct bnx_stack *stack = bnx_stack_alloc(&fixture.cache, BNX_STACK_64K);
    CHECK(stack != NULL);
    bnx_store_relaxed(&stack->owner, owner);
    return stack;
}

static void hit_guard(const struct bnx_stack *stack) {
    *(volatile char *)(stack->low - 1) = 1;
}

static void wild_fault(void *arg) {
    (void)arg;
    CHECK_EQ(bnx_crash_install(describe_any), 0);
    void *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(page != MAP_FAILED);
    *(volatile char *)page = 1;
}

/* Claim: a fault elsewhere ends the process as without us, in silence. Method: a child writes to
 * memory that it may not write. */
TEST(other_faults_pass, "crash.other_faults_pass") {
    struct death death;
    die_in_child(wild_fault, NULL, &death);
    check_killed_by(&death, SIGSEGV);
    CHECK_STR(death.text, "");
}

static void sent_signal(void *arg) {
    CHECK_EQ(bnx_crash_install(describe_any), 0);
    (void)raise(*(int *)arg);
}

/* Claim: a SIGSEGV or SIGBUS that was sent kills as without us. Method: children raise them. */
TEST(sent_signal_kills, "crash.sent_signal_kills") {
    int signos[] = {SIGSEGV, SIGBUS};
    for (int i = 0; i < 2; i++) {
        struct death death;
        die_in_child(sent_signal, &signos[i], &death);
        check_killed_by(&death, signos[i]);
        CHECK_STR(death.text, "");
    }
}

static void ignored_signal(void *arg) {
    (void)arg;
    (void)signal(SIGSEGV, SIG_IGN);
    CHECK_EQ(bnx_crash_install(describe_any), 0);
    (void)raise(SIGSEGV);
    (void)raise(SIGSEGV);
    _exit(7);
}

/* Claim: where the program ignores the signal, one that was sent stays ignored. Method: a child
 * raises. */
TEST(ignored_stays_ignored, "crash.ignored_stays_ignored") {
    struct death death;
    die_in_child(ignored_signal, NULL, &death);
    CHECK(WIFEXITED(death.status));
    CHECK_EQ(WEXITSTATUS(death.status), 7);
}

static void own_handler(int signo, siginfo_t *info, void *context) {
    (void)context;
    _exit(signo == SIGSEGV && info->si_addr != NULL ? 9 : 10);
}

static void own_plain_handler(int signo) {
    _exit(signo == SIGSEGV ? 8 : 10);
}

static void chain_to_own(void *arg) {
    struct sigaction action = {.sa_flags = SA_SIGINFO};
    action.sa_sigaction = own_handler;
    if (arg != NULL) {
        action.sa_flags = 0;
        action.sa_handler = own_plain_handler;
    }
    (void)sigaction(SIGSEGV, &action, NULL);
    CHECK_EQ(bnx_crash_install(describe_any), 0);
    hit_guard(stack_with_owner(&action));
}

/* Claim: the program's own handler, of either kind, runs after the report. Method: it exits with a
 * code. */
TEST(chains_to_handler, "crash.chains_to_handler") {
    int plain = 1;
    struct death death;
    die_in_child(chain_to_own, NULL, &death);
    CHECK(WIFEXITED(death.status));
    CHECK_EQ(WEXITSTATUS(death.status), 9);
    CHECK(strstr(death.text, "bonxie: stack overflow: somebody;") != NULL);
    die_in_child(chain_to_own, &plain, &death);
    CHECK(WIFEXITED(death.status));
    CHECK_EQ(WEXITSTATUS(death.status), 8);
}

struct report_case {
    bnx_crash_describe_fn describe;
    void *owner;
};

static void report(void *arg) {
    const struct report_case *report_case = arg;
    CHECK_EQ(bnx_crash_install(report_case->describe), 0);
    hit_guard(stack_with_owner(report_case->owner));
}

/* Claim: a stack without an owner, and a description that does not fit, still give one line.
 * Method: both. */
TEST(report_is_one_line, "crash.report_is_one_line") {
    struct report_case cases[] = {{describe_any, NULL}, {describe_too_much, cases}};
    const char *const starts[] = {"bonxie: stack overflow: a stack without a task;",
                                  "bonxie: stack overflow: xxxxxxxx"};
    for (size_t i = 0; i < BNX_ARRAY_COUNT(cases); i++) {
        struct death death;
        die_in_child(report, &cases[i], &death);
        check_killed_by(&death, SIGSEGV);
        CHECK(strncmp(death.text, starts[i], strlen(starts[i])) == 0);
        CHECK_EQ(strchr(death.text, '\n') + 1 - death.text, strlen(death.text));
    }
}

static void count_signal(int signo) {
    (void)signo;
}

/* Claim: installs are counted, the last uninstall restores what was before, and a handler that came
 * later is left in place. Method: ask sigaction after each step. */
TEST(uninstall_restores, "crash.uninstall_restores") {
    struct sigaction before, now;
    (void)signal(SIGBUS, count_signal);
    CHECK_EQ(sigaction(SIGSEGV, NULL, &before), 0);
    CHECK_EQ(bnx_crash_install(describe_any), 0);
    CHECK_EQ(bnx_crash_install(describe_any), 0);
    CHECK_EQ(bnx_crash_install(describe_too_much), -EBUSY);
    bnx_crash_uninstall();
    CHECK_EQ(sigaction(SIGBUS, NULL, &now), 0);
    CHECK((now.sa_flags & SA_ONSTACK) != 0 && now.sa_handler != count_signal);
    bnx_crash_uninstall();
    CHECK_EQ(sigaction(SIGBUS, NULL, &now), 0);
    CHECK(now.sa_handler == count_signal);
    CHECK_EQ(sigaction(SIGSEGV, NULL, &now), 0);
    CHECK(now.sa_handler == before.sa_handler);

    CHECK_EQ(bnx_crash_install(describe_too_much), 0);
    (void)signal(SIGBUS, SIG_IGN);
    bnx_crash_uninstall();
    CHECK_EQ(sigaction(SIGBUS, NULL, &now), 0);
    CHECK(now.sa_handler == SIG_IGN);
}

static void (*volatile chained)(int, siginfo_t *, void *);

static void chaining_handler(int signo, siginfo_t *info, void *context) {
    chained(signo, info, context);
}

static void reinstall_under_other(void *arg) {
    (void)arg;
    struct sigaction other = {.sa_flags = SA_SIGINFO}, ours;
    other.sa_sigaction = chaining_handler;
    CHECK_EQ(bnx_crash_install(describe_any), 0);
    (void)sigaction(SIGSEGV, &other, &ours);
    chained = ours.sa_sigaction;
    bnx_crash_uninstall();
    CHECK_EQ(bnx_crash_install(describe_any), 0);
    hit_guard(stack_with_owner(&other));
}

/* Claim: installed again beneath a handler that chains to us, we report once and do not chain in a
 * circle. Method: a child does that and faults. */
TEST(no_circle, "crash.no_circle") {
    struct death death;
    die_in_child(reinstall_under_other, NULL, &death);
    check_killed_by(&death, SIGSEGV);
    const char *first = strstr(death.text, "bonxie: stack overflow: somebody;");
    CHECK(first != NULL);
    CHECK(strstr(first + 1, "bonxie:") == NULL);
}

static int refuse_mprotect(void *start, size_t bytes, int protection) {
    (void)start, (void)bytes, (void)protection;
    return -ENOMEM;
}

static void *refuse_mmap(size_t bytes, int protection, int flags, int *out_error) {
    (void)bytes, (void)protection, (void)flags;
    *out_error = -ENOMEM;
    return MAP_FAILED;
}

/* Claim: an alternate stack has at least 32 KiB, and what the thread had comes back; a failure
 * changes nothing. Method: set, ask, clear, with the kernel willing and refusing. */
TEST(altstack_restores, "crash.altstack_restores") {
    stack_t before, now;
    CHECK_EQ(sigaltstack(NULL, &before), 0);
    bnx_crash_altstack_clear();
    struct bnx_os real = bnx_os;
    bnx_os.mmap = refuse_mmap;
    CHECK_EQ(bnx_crash_altstack_set(), -ENOMEM);
    bnx_os.mmap = real.mmap;
    bnx_os.mprotect = refuse_mprotect;
    CHECK_EQ(bnx_crash_altstack_set(), -ENOMEM);
    bnx_os.mprotect = real.mprotect;
    CHECK_EQ(sigaltstack(NULL, &now), 0);
    CHECK(now.ss_sp == before.ss_sp);

    CHECK_EQ(bnx_crash_altstack_set(), 0);
    CHECK_EQ(sigaltstack(NULL, &now), 0);
    CHECK(now.ss_size >= BNX_CRASH_ALTSTACK_BYTES && now.ss_sp != before.ss_sp);
    bnx_crash_altstack_clear();
    CHECK_EQ(sigaltstack(NULL, &now), 0);
    CHECK(now.ss_sp == before.ss_sp && now.ss_flags == before.ss_flags);
    bnx_crash_altstack_clear();
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
