/* SPDX-License-Identifier: MIT */
/* The threads that ask for names, and the table of what was asked (lookup.h). */
#include "io/lookup.h"

#include "runtime/check.h"
#include "runtime/clock.h"
#include "runtime/lock.h"
#include "runtime/thread_pool.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>

#define THREADS_MAX BNX_CAPACITY(8u, 2u) /* a resolver that hangs holds one for some 30 s */
#define IDLE_NS (UINT64_C(5) * BNX_NS_PER_S)
#define BUCKETS 256 /* as many as names are kept by default */
_Static_assert(BNX_IS_POWER_OF_TWO(BUCKETS), "a mask chooses one");

enum state { QUEUED, ASKED, KEPT, ENDED };

/* All under the lock, but jobs_posted. */
static struct {
    struct bnx_lock lock;
    CK_LIST_HEAD(bucket, bnx_lookup) buckets[BUCKETS];
    struct bnx_lookup_link jobs; /* oldest first */
    struct bnx_lookup_link kept; /* least recently used first */
    uint32_t job_count;
    uint32_t kept_count;
    uint32_t thread_count; /* alive or starting */
    uint32_t busy_count;   /* of those, asking */
    uint64_t positive_ns;  /* how long an answer is kept */
    uint64_t negative_ns;
    uint32_t kept_max;
    uint32_t jobs_posted; /* futex: jobs pushed so far; O1 */
} table = {
    .lock = {CK_SPINLOCK_FAS_INITIALIZER},
    .jobs = {&table.jobs, &table.jobs},
    .kept = {&table.kept, &table.kept},
    .positive_ns = BNX_LOOKUP_POSITIVE_NS,
    .negative_ns = BNX_LOOKUP_NEGATIVE_NS,
    .kept_max = BNX_LOOKUP_KEPT_MAX,
};

/* ---- Lists and references; all under the lock ---- */

static void link_last(struct bnx_lookup_link *list, struct bnx_lookup_link *link) {
    link->next = list;
    link->prev = list->prev;
    list->prev->next = link;
    list->prev = link;
}

static void link_remove(struct bnx_lookup_link *link) {
    link->prev->next = link->next;
    link->next->prev = link->prev;
}

static struct bnx_lookup *lookup_of(struct bnx_lookup_link *link) {
    return BNX_CONTAINER_OF(link, struct bnx_lookup, link);
}

/* Drops a reference; the last one puts it onto the list of the dead, to be freed after unlock. */
static void drop(struct bnx_lookup *lookup, struct bnx_lookup **dead) {
    if (--lookup->references == 0) {
        lookup->next_dead = *dead;
        *dead = lookup;
    }
}

/* Takes it out of the table, and of those kept. */
static void forget(struct bnx_lookup *lookup, struct bnx_lookup **dead) {
    if (!lookup->is_listed) {
        return;
    }
    lookup->is_listed = false;
    CK_LIST_REMOVE(lookup, in_bucket);
    if (lookup->state == KEPT) {
        lookup->state = ENDED;
        link_remove(&lookup->link);
        table.kept_count--;
    }
    drop(lookup, dead);
}

static void evict(struct bnx_lookup **dead) {
    while (table.kept_count > table.kept_max && !BNX_PLANT(dns_keeps_all)) { /* ends: one fewer */
        forget(lookup_of(table.kept.next), dead);
    }
}

static void free_dead(struct bnx_lookup *dead) {
    while (dead != NULL) { /* ends: one fewer each round */
        struct bnx_lookup *next = dead->next_dead;
        bnx_future_unref(dead->done);
        if (dead->addresses != NULL) {
            bnx_os.release(dead->addresses);
        }
        bnx_os.release(dead);
        dead = next;
    }
}

/* ---- Asking ---- */

static int error_of(int code, int system_error) {
    switch (code) {
    case EAI_NONAME:
        return -ENOENT;
    case EAI_NODATA:
    case EAI_ADDRFAMILY:
        return -ENODATA;
    case EAI_SERVICE:
        return -EPROTONOSUPPORT;
    case EAI_AGAIN:
        return -EAGAIN;
    case EAI_FAMILY:
        return -EAFNOSUPPORT;
    case EAI_MEMORY:
        return -ENOMEM;
    case EAI_OVERFLOW:
        return -EOVERFLOW;
    case EAI_SYSTEM:
        return system_error < 0 ? system_error : -EIO;
    default:
        return -EIO;
    }
}

static bool is_usable(const struct addrinfo *info) {
    return (info->ai_family == AF_INET || info->ai_family == AF_INET6) &&
           info->ai_addrlen <= sizeof(struct sockaddr_storage);
}

static int copy_answer(struct bnx_lookup *lookup, const struct addrinfo *list) {
    uint32_t count = 0;
    for (const struct addrinfo *at = list; at != NULL; at = at->ai_next) {
        count += is_usable(at);
    }
    if (count == 0) {
        return -ENODATA;
    }
    count = count < BNX_RESOLVE_ADDRESSES_MAX ? count : BNX_RESOLVE_ADDRESSES_MAX;
    lookup->addresses =
        bnx_os.allocate(count * sizeof(*lookup->addresses), _Alignof(struct bnx_address));
    if (lookup->addresses == NULL) {
        return -ENOMEM;
    }
    memset(lookup->addresses, 0, count * sizeof(*lookup->addresses));
    for (const struct addrinfo *at = list; lookup->count < count; at = at->ai_next) {
        if (is_usable(at)) {
            struct bnx_address *address = &lookup->addresses[lookup->count++];
            memcpy(&address->storage, at->ai_addr, at->ai_addrlen);
            address->bytes = at->ai_addrlen;
        }
    }
    return 0;
}

/* Without AI_ADDRCONFIG: on a host that has the loopback alone it would hide that. An address of a
 * family that has no route is sorted last, and refuses a connect at once. */
static int ask(struct bnx_lookup *lookup) {
    bool is_service = lookup->kind == BNX_LOOKUP_SERVICE;
    int family = is_service || lookup->kind == BNX_LOOKUP_HOST_IPV4 ? AF_INET
                 : lookup->kind == BNX_LOOKUP_HOST_IPV6             ? AF_INET6
                                                                    : AF_UNSPEC;
    /* A type of socket: without, each address would come three times. */
    struct addrinfo hints = {.ai_family = family, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    int error = 0;
    int code = bnx_os.getaddrinfo(is_service ? NULL : lookup->name,
                                  is_service ? lookup->name : NULL, &hints, &list, &error);
    if (code != 0) {
        return error_of(code, error);
    }
    error = copy_answer(lookup, list);
    if (list != NULL) {
        bnx_os.freeaddrinfo(list);
    }
    return error;
}

static uint64_t keep_ns(const struct bnx_lookup *lookup) {
    switch (lookup->error) {
    case 0:
        return table.positive_ns;
    case -ENOENT:
    case -ENODATA:
    case -EPROTONOSUPPORT:
        return table.negative_ns;
    default: /* it says nothing of the name */
        return BNX_PLANT(dns_keeps_failures) ? table.negative_ns : 0;
    }
}

/* The look-up is over: tells those who wait, and keeps it or not. Drops its thread's reference. */
static void finish(struct bnx_lookup *lookup, int error) {
    struct bnx_lookup *dead = NULL;
    uint64_t now_ns = bnx_clock_now();
    lookup->error = error;
    bnx_lock_acquire(&table.lock); /* L1 */
    table.busy_count--;
    uint64_t left_ns = keep_ns(lookup);
    lookup->state = ENDED;
    if (lookup->is_listed && left_ns != 0) {
        lookup->state = KEPT;
        lookup->expires_ns = bnx_clock_after(now_ns, left_ns);
        link_last(&table.kept, &lookup->link);
        table.kept_count++;
        evict(&dead);
    } else {
        forget(lookup, &dead);
    }
    bnx_lock_release(&table.lock); /* L1 */
    (void)bnx_future_set(lookup->done, NULL);
    bnx_lock_acquire(&table.lock); /* L1 */
    drop(lookup, &dead);
    bnx_lock_release(&table.lock); /* L1 */
    free_dead(dead);
}

/* ---- The threads ---- */

/* Takes the oldest job; the caller is then busy with it. Under the lock. */
static struct bnx_lookup *pop_job(void) {
    if (table.job_count == 0) {
        return NULL;
    }
    struct bnx_lookup *lookup = lookup_of(table.jobs.next);
    link_remove(&lookup->link);
    table.job_count--;
    table.busy_count++;
    lookup->state = ASKED;
    return lookup;
}

/* The next job of a thread; NULL: it has been idle too long, and does not count any more. */
static struct bnx_lookup *wait_for_job(void) {
    uint64_t deadline_ns = bnx_clock_after(bnx_clock_now(), IDLE_NS);
    bool is_late = false;
    bnx_lock_acquire(&table.lock); /* L1 */
    struct bnx_lookup *lookup = pop_job();
    while (lookup == NULL && !is_late) {                      /* ends with a job or with time */
        uint32_t seen = bnx_load_seq_cst(&table.jobs_posted); /* O1 */
        bnx_lock_release(&table.lock);                        /* L1 */
        is_late = bnx_os.futex_wait(&table.jobs_posted, seen, deadline_ns) == -ETIMEDOUT;
        bnx_lock_acquire(&table.lock); /* L1 */
        lookup = pop_job();
    }
    if (lookup == NULL) { /* now, or the next job would count on it */
        table.thread_count -= !BNX_PLANT(dns_leaves_early);
    }
    bnx_lock_release(&table.lock); /* L1 */
    return lookup;
}

static void thread_main(void *arg) {
    (void)arg;
    struct bnx_lookup *lookup;
    while ((lookup = wait_for_job()) != NULL) { /* ends: see there */
        finish(lookup, ask(lookup));
    }
}

/* No thread lives that could make the jobs: the error is their answer. */
static void refuse_jobs(int error) {
    for (;;) {                         /* ends: one fewer each round */
        bnx_lock_acquire(&table.lock); /* L1 */
        struct bnx_lookup *lookup = table.thread_count == 0 ? pop_job() : NULL;
        bnx_lock_release(&table.lock); /* L1 */
        if (lookup == NULL) {
            return;
        }
        finish(lookup, error);
    }
}

/* The stack is the system's default: modules of nsswitch may want some of it. */
static void start_thread(void) {
    static struct bnx_os_thread thread = {
        .entry = thread_main, .name = "bnx-resolve", .is_detached = true};
    int error = bnx_thread_start(&thread);
    if (error != 0) {
        bnx_lock_acquire(&table.lock); /* L1 */
        table.thread_count--;
        bnx_lock_release(&table.lock); /* L1 */
        refuse_jobs(error);
    }
}

/* ---- Questions ---- */

/* FNV-1a. */
static uint32_t hash_of(enum bnx_lookup_kind kind, const char *name) {
    uint32_t hash = (UINT32_C(2166136261) ^ (uint32_t)kind) * UINT32_C(16777619);
    for (; *name != '\0'; name++) {
        hash = (hash ^ (unsigned char)*name) * UINT32_C(16777619);
    }
    return hash;
}

static struct bucket *bucket_of(uint32_t hash) {
    return &table.buckets[hash & (BUCKETS - 1)];
}

static struct bnx_lookup *create(enum bnx_lookup_kind kind, const char *name, uint32_t hash) {
    size_t name_bytes = strlen(name) + 1;
    struct bnx_lookup *lookup =
        bnx_os.allocate(sizeof(*lookup) + name_bytes, _Alignof(struct bnx_lookup));
    if (lookup == NULL) {
        return NULL;
    }
    memset(lookup, 0, sizeof(*lookup));
    memcpy(lookup->name, name, name_bytes);
    lookup->kind = kind;
    lookup->hash = hash;
    if (bnx_future_create(&lookup->done) != 0) {
        bnx_os.release(lookup);
        return NULL;
    }
    return lookup;
}

/* Finds it in the table, where it has not expired. Under the lock. */
static struct bnx_lookup *find(enum bnx_lookup_kind kind, const char *name, uint32_t hash,
                               struct bnx_lookup **dead) {
    struct bnx_lookup *lookup;
    CK_LIST_FOREACH(lookup, bucket_of(hash), in_bucket) {
        if (lookup->hash == hash && lookup->kind == kind && strcmp(lookup->name, name) == 0) {
            break;
        }
    }
    if (lookup == NULL || (lookup->state != KEPT && !BNX_PLANT(dns_all_ask))) {
        return lookup;
    }
    bool is_late = bnx_clock_now() >= lookup->expires_ns && !BNX_PLANT(dns_never_expires);
    if (is_late || lookup->state != KEPT) {
        forget(lookup, dead);
        return NULL;
    }
    if (!BNX_PLANT(dns_hit_is_no_use)) {
        link_remove(&lookup->link);
        link_last(&table.kept, &lookup->link);
    }
    return lookup;
}

/* Lists and queues a new look-up. Returns whether a thread is to be started. Under the lock. */
static bool post(struct bnx_lookup *lookup) {
    CK_LIST_INSERT_HEAD(bucket_of(lookup->hash), lookup, in_bucket);
    lookup->is_listed = true;
    lookup->state = QUEUED;
    lookup->references = 2; /* the table's and its thread's */
    link_last(&table.jobs, &lookup->link);
    table.job_count++;
    uint32_t threads_max = BNX_PLANT(dns_one_thread) ? 1 : THREADS_MAX;
    bool is_needed =
        table.thread_count - table.busy_count < table.job_count && table.thread_count < threads_max;
    table.thread_count += is_needed;
    (void)bnx_fetch_add_seq_cst(&table.jobs_posted, 1); /* O1 */
    return is_needed;
}

/* One try, with a look-up to post if there is none; *out_lookup NULL: there is, and was, none. */
static bool find_or_post(enum bnx_lookup_kind kind, const char *name, struct bnx_lookup *fresh,
                         struct bnx_lookup **out_lookup) {
    struct bnx_lookup *dead = NULL;
    bool is_needed = false;
    uint32_t hash = fresh != NULL ? fresh->hash : hash_of(kind, name);
    bnx_lock_acquire(&table.lock); /* L1 */
    struct bnx_lookup *lookup = find(kind, name, hash, &dead);
    if (lookup == NULL && fresh != NULL) {
        is_needed = post(fresh);
        lookup = fresh;
    }
    bool is_done = false;
    if (lookup != NULL) {
        lookup->references++;
        lookup->users++;
        is_done = lookup->state == KEPT;
    }
    bnx_lock_release(&table.lock); /* L1 */
    if (lookup != NULL && lookup == fresh) {
        (void)bnx_os.futex_wake(&table.jobs_posted, 1);
    }
    if (is_needed) {
        start_thread();
    }
    free_dead(dead);
    *out_lookup = lookup;
    return is_done;
}

int bnx_lookup_get(enum bnx_lookup_kind kind, const char *name, struct bnx_lookup **out_lookup,
                   bool *out_is_done) {
    *out_is_done = find_or_post(kind, name, NULL, out_lookup);
    if (*out_lookup != NULL) {
        return 0;
    }
    struct bnx_lookup *fresh = create(kind, name, hash_of(kind, name));
    if (fresh == NULL) {
        return -ENOMEM;
    }
    *out_is_done = find_or_post(kind, name, fresh, out_lookup);
    if (*out_lookup != fresh) { /* somebody was faster */
        free_dead(fresh);
    }
    return 0;
}

void bnx_lookup_put(struct bnx_lookup *lookup) {
    struct bnx_lookup *dead = NULL;
    bnx_lock_acquire(&table.lock); /* L1 */
    lookup->users--;
    if (lookup->users == 0 && lookup->state == QUEUED && !BNX_PLANT(dns_asks_for_nobody)) {
        link_remove(&lookup->link);
        table.job_count--;
        lookup->state = ENDED;
        forget(lookup, &dead);
        drop(lookup, &dead); /* the thread's */
    }
    drop(lookup, &dead);
    bnx_lock_release(&table.lock); /* L1 */
    free_dead(dead);
}

void bnx_lookup_forget(const char *host) {
    struct bnx_lookup *dead = NULL;
    bnx_lock_acquire(&table.lock); /* L1 */
    for (uint32_t i = 0; i < BUCKETS; i++) {
        struct bnx_lookup *lookup, *next;
        CK_LIST_FOREACH_SAFE(lookup, &table.buckets[i], in_bucket, next) {
            bool is_host = lookup->kind != BNX_LOOKUP_SERVICE;
            bool is_it = host == NULL || (is_host && strcmp(lookup->name, host) == 0);
            if (is_it && (lookup->state == KEPT || !BNX_PLANT(dns_keeps_forgotten))) {
                forget(lookup, &dead);
            }
        }
    }
    bnx_lock_release(&table.lock); /* L1 */
    free_dead(dead);
}

void bnx_lookup_limits_set(uint64_t positive_ns, uint64_t negative_ns, uint32_t kept_max) {
    struct bnx_lookup *dead = NULL;
    bnx_lock_acquire(&table.lock); /* L1 */
    table.positive_ns = positive_ns;
    table.negative_ns = negative_ns;
    table.kept_max = kept_max;
    evict(&dead);
    bnx_lock_release(&table.lock); /* L1 */
    free_dead(dead);
}
