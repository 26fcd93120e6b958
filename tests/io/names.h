/* SPDX-License-Identifier: MIT */
/*
 * A resolver for tests, in the place of getaddrinfo(3): it counts, it can hang, it answers what the
 * test wants.
 *
 * What a name is answered with is in the name: "held..." waits for the gate first; "error-N..." is
 * the EAI_ code -N; "from-N..." has the address 192.0.2.N; any other has those of names_answers, or
 * 192.0.2.K where K is the number of the call. A service has the port 777.
 */
#ifndef BNX_TESTS_IO_NAMES_H
#define BNX_TESTS_IO_NAMES_H

#include "tests/io/fixture.h"

#include <bonxie/dns.h>

#include <netdb.h>

#define NAMES_PORT 777
#define NAMES_SYSTEM_ERROR (-EMFILE) /* of EAI_SYSTEM */
#define NAMES_NO_GATE 0u
#define NAMES_GATE_SHUT 1u

struct names {
    uint32_t calls;             /* futex: calls begun */
    uint32_t ended;             /* futex: of those, ended */
    uint32_t gate;              /* futex: shut, calls for held names wait */
    const char *const *answers; /* addresses, up to a NULL; written while nobody asks */
};
static struct names names;

static inline struct addrinfo *names_info(const char *text, struct addrinfo *next) {
    struct {
        struct addrinfo info;
        struct sockaddr_storage storage;
    } *made = calloc(1, sizeof(*made));
    CHECK(made != NULL);
    struct sockaddr_in *ipv4 = (void *)&made->storage;
    struct sockaddr_in6 *ipv6 = (void *)&made->storage;
    bool is_ipv4 = inet_pton(AF_INET, text, &ipv4->sin_addr) == 1;
    CHECK(is_ipv4 || inet_pton(AF_INET6, text, &ipv6->sin6_addr) == 1);
    made->storage.ss_family = is_ipv4 ? AF_INET : AF_INET6;
    made->info.ai_family = made->storage.ss_family;
    made->info.ai_addr = (void *)&made->storage;
    made->info.ai_addrlen = is_ipv4 ? sizeof(*ipv4) : sizeof(*ipv6);
    made->info.ai_next = next;
    return &made->info;
}

/* The addresses of the family that was asked for, in their order. */
static inline struct addrinfo *names_list(const char *const *texts, int family) {
    if (texts[0] == NULL) {
        return NULL;
    }
    struct addrinfo *rest = names_list(texts + 1, family);
    bool is_ipv6 = strchr(texts[0], ':') != NULL;
    bool is_other = family != AF_UNSPEC && (family == AF_INET6) != is_ipv6;
    return is_other ? rest : names_info(texts[0], rest);
}

static inline void names_wait_for_gate(const char *host) {
    while (strncmp(host, "held", 4) == 0 &&
           bnx_load_acquire(&names.gate) == NAMES_GATE_SHUT) { /* ends: the test opens it */
        (void)bnx_os.futex_wait(&names.gate, NAMES_GATE_SHUT, BNX_NEVER_NS);
    }
}

static inline int names_answer(const char *host, uint32_t call, int family,
                               struct addrinfo **out_list) {
    char text[32];
    const char *one[] = {text, NULL};
    unsigned number = call % 256;
    if (sscanf(host, "error-%u", &number) == 1) {
        return -(int)number;
    }
    bool is_numbered = sscanf(host, "from-%u", &number) == 1;
    (void)snprintf(text, sizeof(text), "192.0.2.%u", number);
    *out_list = names_list(names.answers != NULL && !is_numbered ? names.answers : one, family);
    return *out_list != NULL ? 0 : EAI_ADDRFAMILY;
}

static inline int names_getaddrinfo(const char *host, const char *service,
                                    const struct addrinfo *hints, struct addrinfo **out_list,
                                    int *out_error) {
    uint32_t call = bnx_fetch_add_seq_cst(&names.calls, 1);
    (void)bnx_os.futex_wake(&names.calls, INT_MAX);
    CHECK_EQ(hints->ai_socktype, SOCK_STREAM);
    CHECK((host == NULL) != (service == NULL));
    *out_error = NAMES_SYSTEM_ERROR;
    int code = 0;
    if (service == NULL) {
        names_wait_for_gate(host);
        code = names_answer(host, call + 1, hints->ai_family, out_list);
    } else if (strcmp(service, "known") == 0) {
        *out_list = names_info("127.0.0.1", NULL);
        ((struct sockaddr_in *)(void *)(*out_list)->ai_addr)->sin_port = htons(NAMES_PORT);
    } else {
        code = EAI_SERVICE;
    }
    sched_post(&names.ended);
    return code;
}

static inline void names_freeaddrinfo(struct addrinfo *list) {
    while (list != NULL) { /* ends: one fewer each round */
        struct addrinfo *next = list->ai_next;
        free(list);
        list = next;
    }
}

/** From now on this is the resolver. Before the first runtime. */
static inline void names_install(void) {
    bnx_os.getaddrinfo = names_getaddrinfo;
    bnx_os.freeaddrinfo = names_freeaddrinfo;
}

static inline void names_shut(void) {
    bnx_store_release(&names.gate, NAMES_GATE_SHUT);
}

static inline void names_open(void) {
    bnx_store_release(&names.gate, NAMES_NO_GATE);
    (void)bnx_os.futex_wake(&names.gate, INT_MAX);
}

static inline uint32_t names_calls(void) {
    return bnx_load_acquire(&names.calls);
}

/** Yields until so many calls have begun. */
static inline void names_await_calls(uint32_t count) {
    while (names_calls() < count) { /* ends: threads are on their way */
        bnx_yield();
    }
}

/** Looks up a name that has one address, 192.0.2.N. Returns N, or the error. */
static inline int names_look_up(const char *host) {
    struct bnx_address found;
    int count = bnx_resolve(host, NULL, &found, 1);
    if (count < 0) {
        return count;
    }
    CHECK_EQ(count, 1);
    const struct sockaddr_in *ipv4 = (const void *)&found.storage;
    CHECK_EQ(ipv4->sin_family, AF_INET);
    return (int)(ntohl(ipv4->sin_addr.s_addr) & 255);
}

static inline int names_look_up_task(void *arg) {
    return names_look_up(arg);
}

#endif
