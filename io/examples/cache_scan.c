/* SPDX-License-Identifier: MIT */
/* The commands of the cache that ask what is there: DBSIZE, KEYS, TYPE. */
#include "io/examples/cache_commands.h"

#include <bonxie/bonxie.h>

void bnx_cache_dbsize(struct bnx_cache_call *call) {
    size_t count = atomic_load_explicit(&call->cache->store.keys, memory_order_relaxed);
    bnx_resp_integer(call->reply, ':', (int64_t)count);
}

void bnx_cache_type(struct bnx_cache_call *call) {
    struct bnx_cache_arg key = bnx_cache_arg(call, 1);
    struct bnx_cache_place place;
    bnx_cache_lock(&call->cache->store, key.data, key.bytes, &place);
    const struct bnx_cache_entry *entry = bnx_cache_entry_of(&place);
    if (entry == NULL) {
        BNX_RESP_LITERAL(call->reply, "+none");
    } else if (entry->kind == BNX_CACHE_STRING) {
        BNX_RESP_LITERAL(call->reply, "+string");
    } else if (entry->kind == BNX_CACHE_LIST) {
        BNX_RESP_LITERAL(call->reply, "+list");
    } else {
        BNX_RESP_LITERAL(call->reply, "+set");
    }
    bnx_cache_unlock(&place);
}

/* ---- Patterns ---- */

/* Matches one byte against [...], of which `at` is the first inside. *out_rest is what follows; the
 * end of the pattern ends an open one. */
static bool is_in_set(const char *at, const char *end, char byte, const char **out_rest) {
    bool is_negated = at < end && *at == '^';
    bool is_hit = false;
    at += is_negated;
    while (at < end && *at != ']') { /* ends with the pattern */
        at += *at == '\\' && at + 1 < end;
        unsigned char first = (unsigned char)*at++;
        unsigned char last = first;
        if (at + 1 < end && at[0] == '-' && at[1] != ']') {
            last = (unsigned char)at[1];
            at += 2;
        }
        unsigned char low = first < last ? first : last;
        unsigned char high = first < last ? last : first;
        is_hit |= (unsigned char)byte >= low && (unsigned char)byte <= high;
    }
    *out_rest = at < end ? at + 1 : end;
    return is_hit != is_negated;
}

/* The same against whatever stands there, but a star. */
static bool is_one(const char *at, const char *end, char byte, const char **out_rest) {
    *out_rest = at + 1;
    if (*at == '?') {
        return true;
    }
    if (*at == '[') {
        return is_in_set(at + 1, end, byte, out_rest);
    }
    if (*at == '\\' && at + 1 < end) {
        *out_rest = at + 2;
        return at[1] == byte;
    }
    return *at == byte;
}

/* As redis does: ? [set] [^set] [a-z] \c, and * for any bytes. Of several stars the last alone is
 * tried again further on, so it takes no more than key times pattern. */
static bool is_match(struct bnx_cache_arg pattern, const char *key, size_t key_bytes) {
    const char *at = pattern.data;
    const char *end = at + pattern.bytes;
    const char *key_end = key + key_bytes;
    const char *star = NULL; /* behind the last one */
    const char *star_key = NULL;
    while (key < key_end) { /* ends: each round takes a byte, or gives one more to a star */
        const char *rest = NULL;
        if (at < end && *at == '*') {
            star = ++at;
            star_key = key;
        } else if (at < end && is_one(at, end, *key, &rest)) {
            at = rest;
            key++;
        } else if (star != NULL) {
            at = star;
            key = ++star_key;
        } else {
            return false;
        }
    }
    while (at < end && *at == '*') { /* ends with the pattern */
        at++;
    }
    return at == end;
}

/* ---- Keys ---- */

struct scan {
    struct bnx_cache_arg pattern;
    struct bnx_cache_text found; /* bulk strings */
    size_t count;
};

static void consider(void *arg, const struct bnx_cache_entry *entry) {
    struct scan *scan = arg;
    if (is_match(scan->pattern, entry->data, entry->key_bytes)) {
        bnx_resp_bulk(&scan->found, entry->data, entry->key_bytes);
        scan->count++;
    }
}

/* A shard at a time: no cut in time, as with any command on several keys. */
void bnx_cache_list_keys(struct bnx_cache_call *call) {
    char small[64];
    struct scan scan = {.pattern = bnx_cache_arg(call, 1)};
    bnx_cache_text_init(&scan.found, &call->cache->messages, small, sizeof(small));
    for (size_t i = 0; i < BNX_CACHE_SHARDS && !scan.found.has_failed; i++) {
        bnx_cache_shard_walk(&call->cache->store, i, consider, &scan);
        (void)bnx_checkpoint(); /* gives way; a cancel ends the connection after the reply */
    }
    if (scan.found.has_failed) {
        bnx_cache_reply_oom(call->reply);
    } else {
        bnx_resp_array(call->reply, scan.count);
        bnx_cache_text_append(call->reply, scan.found.data, scan.found.bytes);
    }
    bnx_cache_text_reset(&scan.found);
}
