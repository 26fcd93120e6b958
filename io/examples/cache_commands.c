/* SPDX-License-Identifier: MIT */
/* Finds a command by its name; those that work on no key. */
#include "io/examples/cache_commands.h"

#include <bonxie/bonxie.h>

#include <inttypes.h>
#include <stdio.h>

#define INFO_BYTES_MAX 1024

static void run_ping(struct bnx_cache_call *call) {
    if (call->arg_count > 2) {
        BNX_RESP_LITERAL(call->reply, "-ERR wrong number of arguments for 'ping' command");
    } else if (call->arg_count == 2) {
        struct bnx_cache_arg text = bnx_cache_arg(call, 1);
        bnx_resp_bulk(call->reply, text.data, text.bytes);
    } else {
        BNX_RESP_LITERAL(call->reply, "+PONG");
    }
}

static void run_echo(struct bnx_cache_call *call) {
    struct bnx_cache_arg text = bnx_cache_arg(call, 1);
    bnx_resp_bulk(call->reply, text.data, text.bytes);
}

static void run_quit(struct bnx_cache_call *call) {
    BNX_RESP_LITERAL(call->reply, "+OK");
    call->is_last = true;
}

static void run_select(struct bnx_cache_call *call) {
    struct bnx_cache_arg index = bnx_cache_arg(call, 1);
    int64_t number = 0;
    if (!bnx_resp_number(index.data, index.bytes, &number)) {
        BNX_RESP_LITERAL(call->reply, "-ERR value is not an integer or out of range");
    } else if (number != 0) {
        BNX_RESP_LITERAL(call->reply, "-ERR DB index is out of range");
    } else {
        BNX_RESP_LITERAL(call->reply, "+OK");
    }
}

static void run_flushall(struct bnx_cache_call *call) {
    for (size_t i = 0; i < BNX_CACHE_SHARDS; i++) {
        bnx_cache_shard_flush(&call->cache->store, i);
        (void)bnx_checkpoint(); /* gives way; a cancel is no reason to keep the rest */
    }
    BNX_RESP_LITERAL(call->reply, "+OK");
}

/* Its frame is large: a function of its own, so that the others' stack stays one page. */
static __attribute__((noinline)) void run_info(struct bnx_cache_call *call) {
    struct bnx_cache *cache = call->cache;
    struct bnx_cache_sums sums;
    bnx_cache_store_sum(&cache->store, &sums);
    char text[INFO_BYTES_MAX];
    int bytes = snprintf(
        text, sizeof(text),
        "# Server\r\nserver_name:bonxie cache\r\nworkers:%" PRIu32 "\r\n"
        "uptime_in_seconds:%" PRIu64 "\r\n"
        "\r\n# Clients\r\nconnected_clients:%zu\r\nmaxclients:%" PRIu32 "\r\n"
        "blocked_clients:0\r\n"
        "\r\n# Memory\r\nused_memory:%zu\r\nmaxmemory:%zu\r\nused_by_messages:%zu\r\n"
        "\r\n# Stats\r\ntotal_connections_received:%" PRIu64 "\r\n"
        "total_commands_processed:%" PRIu64 "\r\nexpired_keys:%" PRIu64 "\r\n"
        "keyspace_hits:%" PRIu64 "\r\nkeyspace_misses:%" PRIu64 "\r\n"
        "\r\n# Keyspace\r\ndb0:keys=%" PRIu64 ",expires=%" PRIu64 "\r\n",
        bnx_runtime_worker_count(bnx_runtime_current()),
        (bnx_now() - cache->start_ns) / UINT64_C(1000000000),
        atomic_load_explicit(&cache->connections, memory_order_relaxed), cache->connections_max,
        atomic_load_explicit(&cache->store.budget.used, memory_order_relaxed),
        cache->store.budget.max, atomic_load_explicit(&cache->messages.used, memory_order_relaxed),
        atomic_load_explicit(&cache->accepted, memory_order_relaxed),
        atomic_load_explicit(&cache->commands, memory_order_relaxed), sums.expired, sums.hits,
        sums.misses, sums.keys, sums.expiring);
    bnx_resp_bulk(call->reply, text, (size_t)bytes);
}

/* The settings that clients ask for. */
static void run_config(struct bnx_cache_call *call) {
    static const char *const names[] = {"save", "appendonly", "maxmemory", "maxclients"};
    if (!bnx_cache_arg_is(call, 1, "GET") || call->arg_count != 3) {
        BNX_RESP_LITERAL(call->reply, "-ERR only CONFIG GET NAME is known");
        return;
    }
    char numbers[2][24];
    snprintf(numbers[0], sizeof(numbers[0]), "%zu", call->cache->store.budget.max);
    snprintf(numbers[1], sizeof(numbers[1]), "%" PRIu32, call->cache->connections_max);
    const char *const values[] = {"", "no", numbers[0], numbers[1]};
    static const char *const upper[] = {"SAVE", "APPENDONLY", "MAXMEMORY", "MAXCLIENTS"};
    bool is_all = bnx_cache_arg_is(call, 2, "*");
    size_t count = 0;
    for (size_t i = 0; i < 4; i++) {
        count += is_all || bnx_cache_arg_is(call, 2, upper[i]);
    }
    bnx_resp_array(call->reply, 2 * count);
    for (size_t i = 0; i < 4; i++) {
        if (is_all || bnx_cache_arg_is(call, 2, upper[i])) {
            bnx_resp_bulk(call->reply, names[i], strlen(names[i]));
            bnx_resp_bulk(call->reply, values[i], strlen(values[i]));
        }
    }
}

static void run_command(struct bnx_cache_call *call);

/* The busiest first: it is searched from the front. */
static const struct bnx_cache_command commands[] = {
    {"GET", 2, 1, 1, 1, false, bnx_cache_get},
    {"SET", -3, 1, 1, 1, true, bnx_cache_set},
    {"INCR", 2, 1, 1, 1, true, bnx_cache_incr},
    {"LPUSH", -3, 1, 1, 1, true, bnx_cache_lpush},
    {"MGET", -2, 1, -1, 1, false, bnx_cache_mget},
    {"MSET", -3, 1, -1, 2, true, bnx_cache_mset},
    {"DEL", -2, 1, -1, 1, true, bnx_cache_del},
    {"EXISTS", -2, 1, -1, 1, false, bnx_cache_exists},
    {"EXPIRE", 3, 1, 1, 1, true, bnx_cache_expire},
    {"TTL", 2, 1, 1, 1, false, bnx_cache_ttl},
    {"DECR", 2, 1, 1, 1, true, bnx_cache_decr},
    {"LPOP", 2, 1, 1, 1, true, bnx_cache_lpop},
    {"LRANGE", 4, 1, 1, 1, false, bnx_cache_lrange},
    {"SADD", -3, 1, 1, 1, true, bnx_cache_sadd},
    {"TYPE", 2, 1, 1, 1, false, bnx_cache_type},
    {"DBSIZE", 1, 0, 0, 0, false, bnx_cache_dbsize},
    {"KEYS", 2, 0, 0, 0, false, bnx_cache_list_keys},
    {"PING", -1, 0, 0, 0, false, run_ping},
    {"ECHO", 2, 0, 0, 0, false, run_echo},
    {"SELECT", 2, 0, 0, 0, false, run_select},
    {"INFO", -1, 0, 0, 0, false, run_info},
    {"CONFIG", -2, 0, 0, 0, false, run_config},
    {"COMMAND", -1, 0, 0, 0, false, run_command},
    {"FLUSHALL", -1, 0, 0, 0, true, run_flushall},
    {"QUIT", -1, 0, 0, 0, false, run_quit},
};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

/* COMMAND lists them all; COMMAND COUNT says how many; COMMAND DOCS, which redis-cli asks for when
 * it starts, has nothing to tell. */
static void run_command(struct bnx_cache_call *call) {
    if (call->arg_count > 1) {
        if (bnx_cache_arg_is(call, 1, "COUNT")) {
            bnx_resp_integer(call->reply, ':', (int64_t)COMMANDS);
        } else if (bnx_cache_arg_is(call, 1, "DOCS")) {
            bnx_resp_array(call->reply, 0);
        } else {
            BNX_RESP_LITERAL(call->reply, "-ERR only COMMAND, COMMAND COUNT and COMMAND DOCS are"
                                          " known");
        }
        return;
    }
    bnx_resp_array(call->reply, COMMANDS);
    for (size_t i = 0; i < COMMANDS; i++) {
        const struct bnx_cache_command *command = &commands[i];
        bnx_resp_array(call->reply, 6);
        bnx_resp_bulk(call->reply, command->name, strlen(command->name));
        bnx_resp_integer(call->reply, ':', command->arity);
        bnx_resp_array(call->reply, 1);
        if (command->is_write) {
            BNX_RESP_LITERAL(call->reply, "+write");
        } else {
            BNX_RESP_LITERAL(call->reply, "+readonly");
        }
        bnx_resp_integer(call->reply, ':', command->first_key);
        bnx_resp_integer(call->reply, ':', command->last_key);
        bnx_resp_integer(call->reply, ':', command->key_step);
    }
}

/* Upper case of a letter; no other byte becomes one. */
#define FOLD_BYTE 0xdfu
#define FOLD_WORD UINT64_C(0xdfdfdfdfdfdfdfdf)

bool bnx_cache_arg_is(const struct bnx_cache_call *call, uint32_t index, const char *word) {
    struct bnx_cache_arg arg = bnx_cache_arg(call, index);
    for (size_t i = 0; i < arg.bytes; i++) {
        unsigned byte = (unsigned char)arg.data[i];
        unsigned folded = byte >= 'a' && byte <= 'z' ? byte & FOLD_BYTE : byte;
        if (word[i] == '\0' || folded != (unsigned char)word[i]) {
            return false;
        }
    }
    return word[arg.bytes] == '\0';
}

static const struct bnx_cache_command *command_find(struct bnx_cache_arg name) {
    uint64_t wanted = 0;
    if (name.bytes == 0 || name.bytes > sizeof(wanted)) {
        return NULL;
    }
    for (size_t i = 0; i < name.bytes; i++) { /* the zeros behind it stay zeros */
        ((char *)&wanted)[i] = name.data[i];
    }
    wanted &= FOLD_WORD;
    for (size_t i = 0; i < COMMANDS; i++) {
        uint64_t word;
        memcpy(&word, commands[i].name, sizeof(word));
        if (word == wanted &&
            commands[i].name[name.bytes - 1] != '\0') { /* a blank folds to zero */
            return &commands[i];
        }
    }
    return NULL;
}

static void reply_unknown(struct bnx_cache_call *call) {
    struct bnx_cache_arg name = bnx_cache_arg(call, 0);
    bnx_cache_text_append(call->reply, "-ERR unknown command '", 22);
    for (size_t i = 0; i < name.bytes && i < 64; i++) {
        char c = name.data[i]; /* what is no text could end the line */
        c = c >= ' ' && c <= '~' ? c : '?';
        bnx_cache_text_append(call->reply, &c, 1);
    }
    BNX_RESP_LITERAL(call->reply, "'");
}

/* Says why the command cannot run with these arguments. Returns whether it can. */
static bool call_check(struct bnx_cache_call *call, const struct bnx_cache_command *command) {
    int count = (int)call->arg_count;
    if (command->arity >= 0 ? count != command->arity : count < -command->arity) {
        bnx_cache_text_append(call->reply, "-ERR wrong number of arguments for '", 36);
        for (const char *at = command->name; *at != '\0'; at++) {
            char c = (char)(*at | 0x20);
            bnx_cache_text_append(call->reply, &c, 1);
        }
        BNX_RESP_LITERAL(call->reply, "' command");
        return false;
    }
    int end = command->last_key < 0 ? count : command->last_key + 1;
    for (int i = command->first_key; i > 0 && i < end; i += command->key_step) {
        if (call->args[i].bytes > BNX_CACHE_KEY_BYTES_MAX) {
            BNX_RESP_LITERAL(call->reply, "-ERR the key is too long");
            return false;
        }
    }
    return true;
}

void bnx_cache_reply_oom(struct bnx_cache_text *reply) {
    BNX_RESP_LITERAL(reply, "-OOM command not allowed when used memory > 'maxmemory'.");
}

void bnx_cache_execute(struct bnx_cache_call *call) {
    struct bnx_cache_text *reply = call->reply;
    size_t begin = reply->bytes;
    const struct bnx_cache_command *command = command_find(bnx_cache_arg(call, 0));
    if (command == NULL) {
        reply_unknown(call);
        return;
    }
    if (!call_check(call, command)) {
        return;
    }
    command->run(call);
    if (reply->has_failed) { /* the reply is longer than the memory left: an error in its place */
        reply->has_failed = false;
        reply->bytes = begin;
        bnx_cache_reply_oom(reply);
    }
}
