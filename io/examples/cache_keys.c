/* SPDX-License-Identifier: MIT */
/* The commands of the cache that work on keys. */
#include "io/examples/cache_commands.h"
#include "io/examples/cache_list.h"

#include <bonxie/time.h>

#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S INT64_C(1000000000)

static void place_lock(struct bnx_cache_call *call, uint32_t index, struct bnx_cache_place *place) {
    struct bnx_cache_arg key = bnx_cache_arg(call, index);
    bnx_cache_lock(&call->cache->store, key.data, key.bytes, place);
}

static void old_free(struct bnx_cache_call *call, struct bnx_cache_entry *old) {
    if (old != NULL) {
        bnx_cache_entry_free(&call->cache->store.budget, old);
    }
}

static void reply_wrong_type(struct bnx_cache_call *call) {
    BNX_RESP_LITERAL(call->reply,
                     "-WRONGTYPE Operation against a key holding the wrong kind of value");
}

static void reply_string(struct bnx_cache_call *call, const struct bnx_cache_entry *entry) {
    bnx_resp_bulk(call->reply, entry->data + entry->key_bytes, entry->value_bytes);
}

void bnx_cache_get(struct bnx_cache_call *call) {
    struct bnx_cache_place place;
    place_lock(call, 1, &place);
    const struct bnx_cache_entry *entry = bnx_cache_entry_of(&place);
    place.shard->hits += entry != NULL;
    place.shard->misses += entry == NULL;
    if (entry == NULL) {
        bnx_resp_nil(call->reply);
    } else if (entry->kind != BNX_CACHE_STRING) {
        reply_wrong_type(call);
    } else {
        reply_string(call, entry);
    }
    bnx_cache_unlock(&place);
}

/* Reads a time from now in units. Returns false when it is no number or lies beyond the clock. */
static bool time_parse(struct bnx_cache_arg text, int64_t unit_ns, int64_t *out_ns) {
    int64_t number = 0;
    return bnx_resp_number(text.data, text.bytes, &number) &&
           !__builtin_mul_overflow(number, unit_ns, out_ns) && *out_ns < INT64_MAX / 2;
}

struct set_options {
    int64_t lasts_ns; /* 0: for ever */
    bool is_if_absent;
    bool is_if_present;
};

/* Reads what follows the value. Returns false, with the reply written, when it makes no sense. */
static bool set_options_parse(struct bnx_cache_call *call, struct set_options *options) {
    for (uint32_t i = 3; i < call->arg_count; i++) {
        bool is_seconds = bnx_cache_arg_is(call, i, "EX");
        if (bnx_cache_arg_is(call, i, "NX")) {
            options->is_if_absent = true;
        } else if (bnx_cache_arg_is(call, i, "XX")) {
            options->is_if_present = true;
        } else if ((is_seconds || bnx_cache_arg_is(call, i, "PX")) && i + 1 < call->arg_count &&
                   options->lasts_ns == 0) {
            int64_t unit_ns = is_seconds ? NS_PER_S : NS_PER_MS;
            if (!time_parse(bnx_cache_arg(call, ++i), unit_ns, &options->lasts_ns) ||
                options->lasts_ns <= 0) {
                BNX_RESP_LITERAL(call->reply, "-ERR invalid expire time in 'set' command");
                return false;
            }
        } else {
            options->is_if_present = options->is_if_absent = true; /* refused below */
        }
    }
    if (options->is_if_present && options->is_if_absent) {
        BNX_RESP_LITERAL(call->reply, "-ERR syntax error");
        return false;
    }
    return true;
}

void bnx_cache_set(struct bnx_cache_call *call) {
    struct set_options options = {0};
    if (call->arg_count > 3 && !set_options_parse(call, &options)) {
        return;
    }
    struct bnx_cache_arg value = bnx_cache_arg(call, 2);
    struct bnx_cache_entry *old = NULL;
    struct bnx_cache_place place;
    place_lock(call, 1, &place);
    bool is_there = bnx_cache_entry_of(&place) != NULL;
    if (is_there ? options.is_if_absent : options.is_if_present) {
        bnx_resp_nil(call->reply);
    } else if (!bnx_cache_put(&place, value.data, value.bytes, &old)) {
        bnx_cache_reply_oom(call->reply);
    } else {
        if (options.lasts_ns > 0) {
            bnx_cache_expires_set(&place, bnx_now() + (uint64_t)options.lasts_ns);
        }
        BNX_RESP_LITERAL(call->reply, "+OK");
    }
    bnx_cache_unlock(&place);
    old_free(call, old);
}

void bnx_cache_del(struct bnx_cache_call *call) {
    int64_t count = 0;
    for (uint32_t i = 1; i < call->arg_count; i++) {
        struct bnx_cache_place place;
        place_lock(call, i, &place);
        struct bnx_cache_entry *old = place.link != NULL ? bnx_cache_detach(&place) : NULL;
        bnx_cache_unlock(&place);
        count += old != NULL;
        old_free(call, old);
    }
    bnx_resp_integer(call->reply, ':', count);
}

void bnx_cache_exists(struct bnx_cache_call *call) {
    int64_t count = 0;
    for (uint32_t i = 1; i < call->arg_count; i++) {
        struct bnx_cache_place place;
        place_lock(call, i, &place);
        count += place.link != NULL;
        place.shard->hits += place.link != NULL;
        place.shard->misses += place.link == NULL;
        bnx_cache_unlock(&place);
    }
    bnx_resp_integer(call->reply, ':', count);
}

/* Writes a number into the entry of a place; its time stays. Returns false: no memory. */
static bool number_put(struct bnx_cache_place *place, int64_t number,
                       struct bnx_cache_entry **out_old) {
    char text[20];
    size_t bytes = bnx_resp_decimal(text, number);
    struct bnx_cache_entry *entry = bnx_cache_entry_of(place);
    uint64_t expires_ns = entry != NULL ? entry->expires_ns : 0;
    if (!bnx_cache_put(place, text, bytes, out_old)) {
        return false;
    }
    bnx_cache_expires_set(place, expires_ns);
    return true;
}

static void number_add(struct bnx_cache_call *call, int64_t step) {
    struct bnx_cache_entry *old = NULL;
    struct bnx_cache_place place;
    place_lock(call, 1, &place);
    const struct bnx_cache_entry *entry = bnx_cache_entry_of(&place);
    int64_t number = 0;
    if (entry != NULL && entry->kind != BNX_CACHE_STRING) {
        reply_wrong_type(call);
    } else if (entry != NULL &&
               !bnx_resp_number(entry->data + entry->key_bytes, entry->value_bytes, &number)) {
        BNX_RESP_LITERAL(call->reply, "-ERR value is not an integer or out of range");
    } else if (__builtin_add_overflow(number, step, &number)) {
        BNX_RESP_LITERAL(call->reply, "-ERR increment or decrement would overflow");
    } else if (!number_put(&place, number, &old)) {
        bnx_cache_reply_oom(call->reply);
    } else {
        bnx_resp_integer(call->reply, ':', number);
    }
    bnx_cache_unlock(&place);
    old_free(call, old);
}

void bnx_cache_incr(struct bnx_cache_call *call) {
    number_add(call, 1);
}

void bnx_cache_decr(struct bnx_cache_call *call) {
    number_add(call, -1);
}

void bnx_cache_expire(struct bnx_cache_call *call) {
    int64_t lasts_ns = 0;
    if (!time_parse(bnx_cache_arg(call, 2), NS_PER_S, &lasts_ns)) {
        BNX_RESP_LITERAL(call->reply, "-ERR value is not an integer or out of range");
        return;
    }
    struct bnx_cache_entry *old = NULL;
    struct bnx_cache_place place;
    place_lock(call, 1, &place);
    bool is_there = place.link != NULL;
    if (is_there && lasts_ns <= 0) {
        old = bnx_cache_detach(&place);
    } else if (is_there) {
        bnx_cache_expires_set(&place, bnx_now() + (uint64_t)lasts_ns);
    }
    bnx_cache_unlock(&place);
    old_free(call, old);
    bnx_resp_integer(call->reply, ':', is_there);
}

void bnx_cache_ttl(struct bnx_cache_call *call) {
    struct bnx_cache_place place;
    place_lock(call, 1, &place);
    const struct bnx_cache_entry *entry = bnx_cache_entry_of(&place);
    int64_t seconds = entry == NULL ? -2 : -1;
    if (entry != NULL && entry->expires_ns != 0) {
        int64_t left_ns = (int64_t)(entry->expires_ns - bnx_now());
        seconds = left_ns > 0 ? (left_ns + NS_PER_S / 2) / NS_PER_S : 0; /* to the nearest */
    }
    bnx_cache_unlock(&place);
    bnx_resp_integer(call->reply, ':', seconds);
}

void bnx_cache_mget(struct bnx_cache_call *call) {
    bnx_resp_array(call->reply, call->arg_count - 1);
    for (uint32_t i = 1; i < call->arg_count && !call->reply->has_failed; i++) {
        struct bnx_cache_place place;
        place_lock(call, i, &place);
        const struct bnx_cache_entry *entry = bnx_cache_entry_of(&place);
        place.shard->hits += entry != NULL;
        place.shard->misses += entry == NULL;
        if (entry != NULL && entry->kind == BNX_CACHE_STRING) {
            reply_string(call, entry);
        } else {
            bnx_resp_nil(call->reply);
        }
        bnx_cache_unlock(&place);
    }
}

void bnx_cache_mset(struct bnx_cache_call *call) {
    if (call->arg_count % 2 == 0) {
        BNX_RESP_LITERAL(call->reply, "-ERR wrong number of arguments for 'mset' command");
        return;
    }
    bool is_done = true;
    for (uint32_t i = 1; i < call->arg_count && is_done; i += 2) {
        struct bnx_cache_arg value = bnx_cache_arg(call, i + 1);
        struct bnx_cache_entry *old = NULL;
        struct bnx_cache_place place;
        place_lock(call, i, &place);
        is_done = bnx_cache_put(&place, value.data, value.bytes, &old);
        bnx_cache_unlock(&place);
        old_free(call, old);
    }
    if (is_done) {
        BNX_RESP_LITERAL(call->reply, "+OK");
    } else {
        bnx_cache_reply_oom(call->reply);
    }
}

void bnx_cache_lpush(struct bnx_cache_call *call) {
    struct bnx_cache_budget *budget = &call->cache->store.budget;
    struct bnx_cache_entry *old = NULL;
    struct bnx_cache_place place;
    place_lock(call, 1, &place);
    struct bnx_cache_entry *entry = bnx_cache_entry_of(&place);
    if (entry != NULL && entry->kind != BNX_CACHE_LIST) {
        reply_wrong_type(call);
        bnx_cache_unlock(&place);
        return;
    }
    entry = entry != NULL ? entry : bnx_cache_add(&place, BNX_CACHE_LIST);
    bool is_done = entry != NULL;
    for (uint32_t i = 2; i < call->arg_count && is_done; i++) {
        struct bnx_cache_arg item = bnx_cache_arg(call, i);
        is_done = bnx_cache_list_push(budget, entry->list, item.data, item.bytes);
    }
    if (is_done) {
        bnx_resp_integer(call->reply, ':', (int64_t)entry->list->count);
    } else {
        bnx_cache_reply_oom(call->reply);
        old = entry != NULL && entry->list->count == 0 ? bnx_cache_detach(&place) : NULL;
    }
    bnx_cache_unlock(&place);
    old_free(call, old);
}

void bnx_cache_lpop(struct bnx_cache_call *call) {
    struct bnx_cache_entry *old = NULL;
    struct bnx_cache_place place;
    place_lock(call, 1, &place);
    struct bnx_cache_entry *entry = bnx_cache_entry_of(&place);
    if (entry == NULL) {
        bnx_resp_nil(call->reply);
    } else if (entry->kind != BNX_CACHE_LIST) {
        reply_wrong_type(call);
    } else {
        size_t bytes = 0;
        const char *item = bnx_cache_list_head(entry->list, &bytes);
        bnx_resp_bulk(call->reply, item, bytes);
        if (!call->reply->has_failed) { /* or it would be lost */
            bnx_cache_list_drop(&call->cache->store.budget, entry->list);
            old = entry->list->count == 0 ? bnx_cache_detach(&place) : NULL;
        }
    }
    bnx_cache_unlock(&place);
    old_free(call, old);
}

/* Makes a position in 0 .. count of one that counts from the end when it is negative. */
static size_t position_of(int64_t index, size_t count) {
    int64_t from_head = index < 0 ? index + (int64_t)count : index;
    if (from_head < 0) {
        return 0;
    }
    return (uint64_t)from_head < count ? (size_t)from_head : count;
}

/* The same of the last index, which is meant with what it names. */
static size_t end_of(int64_t last_index, size_t count) {
    if (last_index < -(int64_t)count) {
        return 0; /* before the head */
    }
    size_t last = position_of(last_index, count);
    return last < count ? last + 1 : count;
}

void bnx_cache_lrange(struct bnx_cache_call *call) {
    struct bnx_cache_arg first = bnx_cache_arg(call, 2);
    struct bnx_cache_arg last = bnx_cache_arg(call, 3);
    int64_t first_index = 0;
    int64_t last_index = 0;
    if (!bnx_resp_number(first.data, first.bytes, &first_index) ||
        !bnx_resp_number(last.data, last.bytes, &last_index)) {
        BNX_RESP_LITERAL(call->reply, "-ERR value is not an integer or out of range");
        return;
    }
    struct bnx_cache_place place;
    place_lock(call, 1, &place);
    const struct bnx_cache_entry *entry = bnx_cache_entry_of(&place);
    if (entry != NULL && entry->kind != BNX_CACHE_LIST) {
        reply_wrong_type(call);
    } else {
        size_t count = entry != NULL ? entry->list->count : 0;
        size_t begin = position_of(first_index, count);
        size_t end = end_of(last_index, count);
        size_t wanted = begin < end ? end - begin : 0;
        bnx_resp_array(call->reply, wanted);
        if (wanted > 0) {
            bnx_cache_list_walk(entry->list, begin, wanted, bnx_resp_bulk, call->reply);
        }
    }
    bnx_cache_unlock(&place);
}

/* Adds the members of the call. Returns how many are new, -1: no memory. */
static int64_t members_add(struct bnx_cache_call *call, struct bnx_cache_table *set) {
    int64_t count = 0;
    for (uint32_t i = 2; i < call->arg_count; i++) {
        struct bnx_cache_arg member = bnx_cache_arg(call, i);
        int added = bnx_cache_set_add(&call->cache->store, set, member.data, member.bytes);
        if (added < 0) {
            return -1;
        }
        count += added;
    }
    return count;
}

void bnx_cache_sadd(struct bnx_cache_call *call) {
    for (uint32_t i = 2; i < call->arg_count; i++) {
        if (call->args[i].bytes > BNX_CACHE_KEY_BYTES_MAX) {
            BNX_RESP_LITERAL(call->reply, "-ERR the member is too long");
            return;
        }
    }
    struct bnx_cache_entry *old = NULL;
    struct bnx_cache_place place;
    place_lock(call, 1, &place);
    struct bnx_cache_entry *entry = bnx_cache_entry_of(&place);
    if (entry != NULL && entry->kind != BNX_CACHE_SET) {
        reply_wrong_type(call);
        bnx_cache_unlock(&place);
        return;
    }
    entry = entry != NULL ? entry : bnx_cache_add(&place, BNX_CACHE_SET);
    int64_t count = entry != NULL ? members_add(call, entry->set) : -1;
    if (count >= 0) {
        bnx_resp_integer(call->reply, ':', count);
    } else {
        bnx_cache_reply_oom(call->reply);
        old = entry != NULL && entry->set->entry_count == 0 ? bnx_cache_detach(&place) : NULL;
    }
    bnx_cache_unlock(&place);
    old_free(call, old);
}
