/* SPDX-License-Identifier: MIT */
/*
 * async_context: things that are entered and left, where both take their time.
 *
 * A game loads before it starts and saves when it is left: also on an error, and also when its
 * player is cancelled, for what a scope has deferred runs in a shield and is told why. Then a
 * connection that is borrowed from a pool for a block. Last, without a runtime and by hand, a
 * context that is a generator: it yields once, in its middle.
 * Type: async_context --seconds 0.1
 */
#include "runtime/examples/generators.h"
#include "runtime/examples/seconds.h"

/* ---- A game: its enter and its exit sleep ---- */

#define TICKS_PER_SECOND 10

struct game {
    uint64_t second_ns;         /* how long a second in the game is */
    int ticks;                  /* of the game's clock, played so far */
    struct bnx_event is_played; /* the first tick is over */
};

static void game_exit(void *arg) {
    struct game *game = arg;
    int why = bnx_defer_error();
    printf("game exit...%s%s\n", why < 0 ? " " : "", why < 0 ? strerror(-why) : "");
    if (bnx_sleep(game->second_ns) == 0) { /* no cancel cuts this short: it has its grace */
        printf("saved\n");
    }
}

static int game_enter(struct game *game, struct bnx_scope *scope) {
    printf("game loading...\n");
    int error = bnx_sleep(game->second_ns);
    error = error < 0 ? error : bnx_defer(scope, game_exit, game);
    if (error == 0) {
        printf("game start...\n");
    }
    return error;
}

/* Plays so many ticks. A call like any other: that it waits does not show. */
static int game_play(struct game *game, int ticks) {
    for (int i = 0; i < ticks; i++) {
        int error = bnx_sleep(game->second_ns / TICKS_PER_SECOND);
        if (error < 0) {
            return error;
        }
        game->ticks++;
        bnx_event_set(&game->is_played);
    }
    return 0;
}

/* ---- Three ways out of it ---- */

static int play_to_the_end(struct game *game) {
    int error = game_play(game, 2 * TICKS_PER_SECOND);
    if (error == 0) {
        printf("game time: %.1f\n", (double)game->ticks / TICKS_PER_SECOND);
    }
    return error;
}

static int crash(struct game *game) {
    int error = game_play(game, 1);
    return error < 0 ? error : -EIO;
}

static int play_for_ever(struct game *game) {
    return game_play(game, INT32_MAX);
}

struct player {
    struct game game;
    int (*play)(struct game *game);
};

static int be_in_game(void *arg) {
    struct player *player = arg;
    struct bnx_scope_options options = {.grace_ns = 2 * player->game.second_ns + 1000000000};
    int result = 0;
    BNX_WITH_SCOPE(scope, &options, &result) {
        int error = game_enter(&player->game, &scope);
        error = error < 0 ? error : player->play(&player->game);
        if (error < 0) {
            bnx_scope_fail(&scope, error);
        }
    }
    return result; /* the game has been left */
}

/* Runs a player; with_cancel: and cancels him once he plays. */
static int run_player(uint64_t second_ns, int (*play)(struct game *game), int with_cancel) {
    struct player player = {{.second_ns = second_ns}, play};
    struct bnx_scope_options options = {.policy = BNX_SCOPE_COLLECT,
                                        .grace_ns = 2 * second_ns + 1000000000};
    struct bnx_scope scope;
    int error = bnx_scope_open(&scope, &options);
    if (error < 0) {
        return error;
    }
    error = bnx_spawn(&scope, be_in_game, &player);
    if (error == 0 && with_cancel) {
        error = bnx_event_wait(&player.game.is_played);
        bnx_scope_cancel(&scope, 0);
    }
    int close_error = bnx_scope_close(&scope);
    return error < 0 ? error : close_error;
}

/* ---- A pooled connection ---- */

struct pool {
    struct bnx_sem free; /* as many tokens as connections that nobody has */
    int in_use;          /* under no lock: one task uses the pool */
};

struct connection {
    struct pool *pool; /* NULL: none was to be had */
};

static struct connection pool_take(struct pool *pool) {
    if (bnx_sem_acquire(&pool->free) < 0) {
        return (struct connection){NULL};
    }
    pool->in_use++;
    return (struct connection){pool};
}

static void pool_give(struct connection *connection) {
    if (connection->pool != NULL) {
        connection->pool->in_use--;
        (void)bnx_sem_release(&connection->pool->free);
    }
}

/* Every way out of the block gives the connection back. */
static int query(struct pool *pool) {
    BNX_WITH(struct connection, connection, pool_take(pool), pool_give) {
        if (connection.pool == NULL) {
            return -ECANCELED;
        }
        return printf("a query: %d of 1 in use\n", pool->in_use) < 0 ? -EIO : 0;
    }
    return 0;
}

static int query_twice(void) {
    struct pool pool = {.free = BNX_SEM_INIT(1)};
    int error = query(&pool);
    error = error < 0 ? error : query(&pool); /* with the only one again */
    printf("after it: %d of 1 in use\n", pool.in_use);
    return error;
}

/* ---- By hand, outside a runtime ---- */

static int context(struct bnx_gen *gen, void *arg) {
    (void)arg;
    printf("entering context\n");
    int error = bnx_gen_yield(gen, NULL, NULL);
    printf("exiting context\n");
    return error;
}

static void enter_by_hand(void) {
    struct bnx_gen *gen = bnx_gen_make(context, NULL);
    bnx_must(bnx_gen_next(gen, NULL), "bnx_gen_next");
    printf("body\n");
    bnx_must(bnx_gen_next(gen, NULL), "bnx_gen_next");
    bnx_gen_destroy(gen);
    printf("finished\n");
}

static int run(void *arg) {
    uint64_t second_ns = ((const struct bnx_seconds_options *)arg)->ns;
    int error = run_player(second_ns, play_to_the_end, 0);
    if (error < 0) {
        return error;
    }
    error = run_player(second_ns, crash, 0);
    printf("crashed: %s\n", strerror(-error));
    if (error != -EIO) {
        return error;
    }
    error = run_player(second_ns, play_for_ever, 1);
    printf("cancelled: %s\n", strerror(-error));
    if (bnx_checkpoint() < 0) {
        return error; /* Ctrl-C */
    }
    return query_twice();
}

int main(int argc, char **argv) {
    struct bnx_seconds_options second = {.seconds = "1"};
    int parsed =
        bnx_seconds_parse(argc, argv, "contexts that wait: games, pools, by hand", &second);
    if (parsed != 0) {
        return parsed < 0 ? 2 : 0;
    }
    struct bnx_options options = {.worker_count = second.worker_count};
    int result = bnx_main_with(&options, run, &second);
    if (result == 0) {
        enter_by_hand();
    }
    return result > 0 ? result : result < 0; /* 130 after Ctrl-C */
}
