/* SPDX-License-Identifier: MIT */
/* Tests what look-ups of names answer, and how long that is kept (bonxie/dns.h). */
#include "tests/io/names.h"

/* ---- Answers ---- */

static const char *const both_families[] = {"2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2",
                                            NULL};

static void check_address(const struct bnx_address *address, const char *expected) {
    char text[BNX_ADDRESS_TEXT_BYTES];
    CHECK(bnx_address_format(address, text, sizeof(text)) > 0);
    CHECK_STR(text, expected);
}

static int read_answers(void *arg) {
    (void)arg;
    struct bnx_address found[8];
    struct bnx_resolve_options options = {.service = "80"};
    CHECK_EQ(bnx_resolve("host", &options, found, 8), 4);
    check_address(&found[0], "[2001:db8::1]:80");
    check_address(&found[1], "192.0.2.1:80");
    check_address(&found[2], "[2001:db8::2]:80");
    check_address(&found[3], "192.0.2.2:80");

    struct bnx_address untouched = found[2];
    options.service = "known";
    CHECK_EQ(bnx_resolve("host", &options, found, 2), 2);
    check_address(&found[1], "192.0.2.1:777");
    CHECK(memcmp(&found[2], &untouched, sizeof(untouched)) == 0);

    options.family = AF_INET;
    CHECK_EQ(bnx_resolve("host", &options, found, 8), 2);
    check_address(&found[1], "192.0.2.2:777");
    options = (struct bnx_resolve_options){.family = AF_INET6};
    CHECK_EQ(bnx_resolve("host", &options, found, 8), 2);
    check_address(&found[1], "[2001:db8::2]:0");
    CHECK_EQ(names_calls(), 4); /* one a family, one for the service */
    return 0;
}

/* The resolver's order, the caller's room, its family and its port; of a name or a number. */
TEST(dns_answer, "dns.answer") {
    names_install();
    names.answers = both_families;
    sched_run(2, read_answers, NULL);
}

static int read_many(void *arg) {
    (void)arg;
    static struct bnx_address found[64];
    CHECK_EQ(bnx_resolve("many", NULL, found, 64), BNX_RESOLVE_ADDRESSES_MAX);
    check_address(&found[BNX_RESOLVE_ADDRESSES_MAX - 1], "192.0.2.9:0");
    return 0;
}

/* Of a name with more addresses the first ones are kept. */
TEST(dns_many_addresses, "dns.many_addresses") {
    static const char *many[BNX_RESOLVE_ADDRESSES_MAX + 8];
    for (size_t i = 0; i + 1 < BNX_ARRAY_COUNT(many); i++) {
        many[i] = i + 1 == BNX_RESOLVE_ADDRESSES_MAX ? "192.0.2.9" : "192.0.2.1";
    }
    names_install();
    names.answers = many;
    sched_run(1, read_many, NULL);
}

/* What needs no look-up makes none. */
static int read_numbers(void *arg) {
    (void)arg;
    struct bnx_address found[2];
    struct bnx_resolve_options options = {.service = "65535"};
    CHECK_EQ(bnx_resolve("127.0.0.1", &options, found, 2), 1);
    check_address(&found[0], "127.0.0.1:65535");
    CHECK_EQ(bnx_resolve("::1", &options, found, 2), 1);
    check_address(&found[0], "[::1]:65535");
    options.family = AF_INET;
    CHECK_EQ(bnx_resolve("::1", &options, found, 2), -ENODATA);
    CHECK_EQ(names_calls(), 0);
    return 0;
}

static int use_wrongly(void *arg) {
    (void)arg;
    char host[BNX_HOST_BYTES_MAX + 2];
    struct bnx_address found;
    struct bnx_address before;
    memset(&found, 0x5a, sizeof(found));
    before = found;
    memset(host, 'h', sizeof(host));
    host[BNX_HOST_BYTES_MAX + 1] = '\0';
    CHECK_EQ(bnx_resolve(NULL, NULL, &found, 1), -EINVAL);
    CHECK_EQ(bnx_resolve("", NULL, &found, 1), -EINVAL);
    CHECK_EQ(bnx_resolve("host", NULL, NULL, 1), -EINVAL);
    CHECK_EQ(bnx_resolve("host", NULL, &found, 0), -EINVAL);
    CHECK_EQ(bnx_resolve(host, NULL, &found, 1), -ENAMETOOLONG);
    struct bnx_resolve_options options = {.family = AF_UNIX};
    CHECK_EQ(bnx_resolve("host", &options, &found, 1), -EAFNOSUPPORT);
    options = (struct bnx_resolve_options){.service = ""};
    CHECK_EQ(bnx_resolve("host", &options, &found, 1), -EINVAL);
    options.service = "65536";
    CHECK_EQ(bnx_resolve("host", &options, &found, 1), -EINVAL);
    options.service = "99999999999999999999";
    CHECK_EQ(bnx_resolve("host", &options, &found, 1), -EINVAL);
    options.service = host;
    CHECK_EQ(bnx_resolve("host", &options, &found, 1), -ENAMETOOLONG);
    CHECK_EQ(names_calls(), 0);
    CHECK(memcmp(&found, &before, sizeof(found)) == 0);
    host[BNX_HOST_BYTES_MAX] = '\0';
    CHECK_EQ(bnx_resolve(host, NULL, &found, 1), 1);
    struct bnx_dns_options too_many = {.names_max = 4097};
    CHECK_EQ(bnx_dns_configure(&too_many), -EINVAL);
    return 0;
}

TEST(dns_arguments, "dns.arguments") {
    names_install();
    struct bnx_address found;
    CHECK_EQ(bnx_resolve("127.0.0.1", NULL, &found, 1), -EPERM);
    sched_run(1, read_numbers, NULL);
    sched_run(1, use_wrongly, NULL);
}

/* Each code of getaddrinfo is what the header's table says. */
static int read_errors(void *arg) {
    (void)arg;
    static const struct {
        int code;
        int error;
    } table[] = {
        {EAI_NONAME, -ENOENT},       {EAI_NODATA, -ENODATA},
        {EAI_ADDRFAMILY, -ENODATA},  {EAI_SERVICE, -EPROTONOSUPPORT},
        {EAI_AGAIN, -EAGAIN},        {EAI_FAIL, -EIO},
        {EAI_FAMILY, -EAFNOSUPPORT}, {EAI_MEMORY, -ENOMEM},
        {EAI_OVERFLOW, -EOVERFLOW},  {EAI_SYSTEM, NAMES_SYSTEM_ERROR},
        {EAI_SOCKTYPE, -EIO},        {EAI_BADFLAGS, -EIO},
    };
    for (size_t i = 0; i < BNX_ARRAY_COUNT(table); i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "error-%d", -table[i].code);
        CHECK_EQ(names_look_up(name), table[i].error);
    }
    struct bnx_address found;
    struct bnx_resolve_options options = {.service = "unknown"};
    CHECK_EQ(bnx_resolve("host", &options, &found, 1), -EPROTONOSUPPORT);
    return 0;
}

TEST(dns_errors, "dns.errors") {
    names_install();
    sched_run(2, read_errors, NULL);
}

/* ---- What is kept ---- */

/* Looks a name up twice. Returns how many calls that made. */
static uint32_t calls_for(const char *name, int expected) {
    uint32_t before = names_calls();
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(names_look_up(name), expected);
    }
    return names_calls() - before;
}

static void configure(uint64_t positive_ns, uint64_t negative_ns, uint32_t names_max) {
    struct bnx_dns_options options = {positive_ns, negative_ns, names_max};
    CHECK_EQ(bnx_dns_configure(&options), 0);
}

static int keep_and_forget(void *arg) {
    (void)arg;
    configure(3600 * BNX_NS_PER_S, 3600 * BNX_NS_PER_S, 0);
    CHECK_EQ(calls_for("from-1.kept", 1), 1);
    CHECK_EQ(calls_for("From-1.KEPT", 1), 0);
    CHECK_EQ(calls_for("error-2.kept", -ENOENT), 1);   /* EAI_NONAME */
    CHECK_EQ(calls_for("error-3.failed", -EAGAIN), 2); /* EAI_AGAIN says nothing of the name */

    configure(BNX_DNS_KEEP_NEVER, BNX_DNS_KEEP_NEVER, 0);
    CHECK_EQ(calls_for("from-1.kept", 1), 0); /* its time has not come */
    CHECK_EQ(calls_for("from-2.never", 2), 2);
    CHECK_EQ(calls_for("error-2.never", -ENOENT), 2);

    configure(1, 1, 0); /* a ns has passed at the next look */
    CHECK_EQ(calls_for("from-3.shortly", 3), 2);
    CHECK_EQ(calls_for("error-2.shortly", -ENOENT), 2);

    configure(0, 0, 0);
    CHECK_EQ(calls_for("from-4.default", 4), 1);
    CHECK_EQ(bnx_dns_forget("from-1.kept"), 0);
    CHECK_EQ(calls_for("from-4.default", 4), 0);
    CHECK_EQ(calls_for("from-1.kept", 1), 1);
    CHECK_EQ(bnx_dns_forget("From-4.Default"), 0);
    CHECK_EQ(calls_for("from-4.default", 4), 1);
    CHECK_EQ(bnx_dns_forget(NULL), 0);
    CHECK_EQ(calls_for("from-1.kept", 1), 1);
    return 0;
}

/* Answers are kept as long as was set, failures of the resolver not at all; forgotten on demand. */
TEST(dns_kept, "dns.kept_for_a_while") {
    names_install();
    sched_run(2, keep_and_forget, NULL);
}

static int overflow(void *arg) {
    (void)arg;
    configure(0, 0, 2);
    CHECK_EQ(calls_for("from-1", 1), 1);
    CHECK_EQ(calls_for("from-2", 2), 1);
    CHECK_EQ(calls_for("from-1", 1), 0);
    CHECK_EQ(calls_for("from-3", 3), 1); /* the second was used least recently */
    CHECK_EQ(calls_for("from-1", 1), 0);
    CHECK_EQ(calls_for("from-2", 2), 1);
    CHECK_EQ(calls_for("from-3", 3), 1);
    configure(0, 0, 1);
    CHECK_EQ(calls_for("from-3", 3), 0);
    CHECK_EQ(calls_for("from-2", 2), 1);
    return 0;
}

TEST(dns_overflow, "dns.least_recently_used_goes") {
    names_install();
    sched_run(2, overflow, NULL);
}

static int forget_under_way(void *arg) {
    (void)arg;
    struct bnx_scope scope;
    struct bnx_task *first, *second;
    int results[2];
    void *name = (void *)(uintptr_t) "held-forgotten";
    names_shut();
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, names_look_up_task, name, &first), 0);
    names_await_calls(1);
    CHECK_EQ(bnx_dns_forget(name), 0);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, names_look_up_task, name, &second), 0);
    names_await_calls(2);
    names_open();
    CHECK_EQ(bnx_join(first, &results[0]), 0);
    CHECK_EQ(bnx_join(second, &results[1]), 0);
    CHECK_EQ(results[0], 1);
    CHECK_EQ(results[1], 2);
    CHECK_EQ(names_look_up(name), 2);
    CHECK_EQ(names_calls(), 2);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return 0;
}

/* What was forgotten while it was asked is asked anew, and the old answer is not kept. */
TEST(dns_forget_under_way, "dns.forget_under_way") {
    names_install();
    sched_run(2, forget_under_way, NULL);
}

/* ---- The real thing ---- */

static int ask_for_localhost(void *arg) {
    (void)arg;
    struct bnx_address found[8];
    struct bnx_resolve_options options = {.service = "80", .family = AF_INET};
    CHECK(bnx_resolve("localhost", &options, found, 8) >= 1);
    check_address(&found[0], "127.0.0.1:80");
    return 0;
}

/* With the system's resolver, which every system has that name for. */
TEST(dns_localhost, "dns.localhost") {
    sched_run_each(ask_for_localhost, NULL);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
