/* SPDX-License-Identifier: MIT */
/*
 * The commands of the cache: from a parsed request to a reply.
 *
 * A command that fails for want of memory says -OOM and has changed nothing, but that LPUSH and
 * SADD may have added the first of several values.
 */
#ifndef BNX_IO_EXAMPLES_CACHE_COMMANDS_H
#define BNX_IO_EXAMPLES_CACHE_COMMANDS_H

#include "io/examples/cache_store.h"
#include "io/examples/resp.h"

#define BNX_CACHE_ERROR_BYTES 128 /* any error reply fits */

/* What all connections share. */
struct bnx_cache {
    struct bnx_cache_store store;
    struct bnx_cache_budget messages; /* requests and replies that are long */
    uint32_t connections_max;         /* immutable once the server listens */
    uint64_t start_ns;                /* immutable once the server listens */
    atomic_size_t connections;        /* relaxed: numbers for INFO; any thread */
    _Atomic uint64_t accepted;        /* as above */
    _Atomic uint64_t commands; /* as above; added to once for all commands that came together */
};

/* An argument of a call, where it was received. */
struct bnx_cache_arg {
    const char *data;
    size_t bytes;
};

/* One command in execution. */
struct bnx_cache_call {
    struct bnx_cache *cache;
    const char *request; /* its first byte */
    const struct bnx_resp_place *args;
    uint32_t arg_count;           /* > 0; the command's name is the first */
    struct bnx_cache_text *reply; /* has BNX_CACHE_ERROR_BYTES left at least */
    bool is_last;                 /* out: close the connection behind the reply */
};

/* What the table of commands says of one. */
struct bnx_cache_command {
    char name[9];     /* upper case, zeros behind it */
    int8_t arity;     /* arguments with the name; negative: so many or more */
    int8_t first_key; /* index of the first key, 0: none */
    int8_t last_key;  /* of the last; -1: all that come */
    int8_t key_step;  /* 2: keys and values take turns */
    bool is_write;    /* may change keys */
    void (*run)(struct bnx_cache_call *call);
};

/** Runs the command and writes its reply. Suspends in FLUSHALL and KEYS alone, between
 * shards. */
void bnx_cache_execute(struct bnx_cache_call *call);

/** Gives argument index. */
static inline struct bnx_cache_arg bnx_cache_arg(const struct bnx_cache_call *call,
                                                 uint32_t index) {
    const struct bnx_resp_place *place = &call->args[index];
    return (struct bnx_cache_arg){.data = call->request + place->at, .bytes = place->bytes};
}

/** Says whether an argument is that word, which is in upper case, in any case. */
bool bnx_cache_arg_is(const struct bnx_cache_call *call, uint32_t index, const char *word);

/** Replies an error for want of memory. */
void bnx_cache_reply_oom(struct bnx_cache_text *reply);

/* On keys (cache_keys.c). */
void bnx_cache_get(struct bnx_cache_call *call);
void bnx_cache_set(struct bnx_cache_call *call);
void bnx_cache_del(struct bnx_cache_call *call);
void bnx_cache_exists(struct bnx_cache_call *call);
void bnx_cache_incr(struct bnx_cache_call *call);
void bnx_cache_decr(struct bnx_cache_call *call);
void bnx_cache_expire(struct bnx_cache_call *call);
void bnx_cache_ttl(struct bnx_cache_call *call);
void bnx_cache_mget(struct bnx_cache_call *call);
void bnx_cache_mset(struct bnx_cache_call *call);
void bnx_cache_lpush(struct bnx_cache_call *call);
void bnx_cache_lpop(struct bnx_cache_call *call);
void bnx_cache_lrange(struct bnx_cache_call *call);
void bnx_cache_sadd(struct bnx_cache_call *call);

/* On what is there (cache_scan.c). */
void bnx_cache_dbsize(struct bnx_cache_call *call);
void bnx_cache_list_keys(struct bnx_cache_call *call);
void bnx_cache_type(struct bnx_cache_call *call);

#endif
