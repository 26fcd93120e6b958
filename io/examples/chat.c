/* SPDX-License-Identifier: MIT */
/*
 * A chat: what one says in a line all others get. Try it with two terminals:
 *
 *     nc 127.0.0.1 8082
 *
 * The first line is one's name. /nick NAME changes it, /who tells who is there, /quit leaves, as
 * the end of the input does.
 *
 * Concepts
 *   A client has a task that receives, the handler, and one that sends. Between the room and the
 *   sender is a queue with a bound: who does not take his lines while it fills up is dropped, so
 *   that nobody waits for the slowest.
 *   The room's list is under a lock that nobody holds over a call that waits.
 *   SIGINT or SIGTERM: bnx_serve ends everybody's input, so that all leave in the usual way.
 */
#include "io/examples/options.h"

#include <bonxie/bonxie.h>
#include <bonxie/net.h>
#include <bonxie/serve.h>

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define LINE_BYTES 512
#define NAME_BYTES 25       /* with its NUL */
#define QUEUE_LINES 64      /* that a client may be behind */
#define WHO_LINES 16u       /* names in an answer */
#define FLUSH_NS 500000000u /* for one who leaves to take the rest of his queue */

struct line {
    size_t bytes; /* of text, with the newline */
    char text[LINE_BYTES];
};

struct client {
    struct client *next; /* in the room; under its lock */
    struct room *room;
    int fd;
    char name[NAME_BYTES];  /* empty: not in the room yet; under the room's lock */
    struct bnx_chan *queue; /* of struct line: from the room to the sender */
    struct bnx_scope scope; /* of both tasks; cancelled to drop the client */
    char input[LINE_BYTES]; /* received, not yet taken */
    size_t input_bytes;
};

struct room {
    pthread_mutex_t lock;
    struct client *first;
    const char *address; /* immutable */
};

/* ---- The room ---- */

/* Writes a line, as printf does; what is too long loses its end. */
static void __attribute__((format(printf, 2, 3)))
line_write(struct line *line, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int bytes = vsnprintf(line->text, sizeof(line->text) - 1, format, args);
    va_end(args);
    size_t room = sizeof(line->text) - 2;
    line->bytes = bytes < 0 ? 0 : (size_t)bytes < room ? (size_t)bytes : room;
    line->text[line->bytes++] = '\n';
}

/* Gives a line to a client, or drops the client. Under the room's lock; never suspends. */
static void give(struct client *client, const struct line *line) {
    if (bnx_chan_try_send(client->queue, line) == -EAGAIN) {
        bnx_scope_cancel(&client->scope, -ETIMEDOUT);
    }
}

/* Gives a line to all in the room but one, who may be NULL. */
static void tell(struct room *room, const struct client *but, const struct line *line) {
    pthread_mutex_lock(&room->lock);
    for (struct client *at = room->first; at != NULL; at = at->next) {
        if (at != but) {
            give(at, line);
        }
    }
    pthread_mutex_unlock(&room->lock);
}

/* A line for one client alone. */
static void say(struct client *client, const struct line *line) {
    pthread_mutex_lock(&client->room->lock);
    give(client, line);
    pthread_mutex_unlock(&client->room->lock);
}

static bool is_name(const char *text) {
    size_t bytes = strlen(text);
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] <= ' ' || text[i] == 0x7f) {
            return false;
        }
    }
    return bytes > 0 && bytes < NAME_BYTES && text[0] != '/';
}

/* Takes a name that nobody else has; who had none before enters the room. */
static bool name_take(struct client *client, const char *name) {
    struct room *room = client->room;
    bool is_free = is_name(name);
    pthread_mutex_lock(&room->lock);
    for (struct client *at = room->first; at != NULL && is_free; at = at->next) {
        is_free = at == client || strcmp(at->name, name) != 0;
    }
    if (is_free) {
        if (client->name[0] == '\0') {
            client->next = room->first;
            room->first = client;
        }
        memcpy(client->name, name, strlen(name) + 1);
    }
    pthread_mutex_unlock(&room->lock);
    return is_free;
}

static void leave(struct client *client) {
    struct room *room = client->room;
    struct line line;
    if (client->name[0] == '\0') {
        return;
    }
    pthread_mutex_lock(&room->lock);
    struct client **link = &room->first;
    while (*link != client) { /* ends: it is there */
        link = &(*link)->next;
    }
    *link = client->next;
    pthread_mutex_unlock(&room->lock);
    line_write(&line, "* %s left", client->name);
    tell(room, NULL, &line);
}

/* No more lines than leave room in the queue: an answer shall not drop who has asked. */
static void tell_who(struct client *client) {
    struct line line;
    unsigned count = 0;
    pthread_mutex_lock(&client->room->lock);
    for (struct client *at = client->room->first; at != NULL; at = at->next) {
        if (count++ < WHO_LINES) {
            line_write(&line, "* %s", at->name);
            give(client, &line);
        }
    }
    if (count > WHO_LINES) {
        line_write(&line, "* and %u more", count - WHO_LINES);
        give(client, &line);
    }
    pthread_mutex_unlock(&client->room->lock);
}

/* ---- A client ---- */

/* Sends what is in the queue until that is closed. */
static int send_lines(void *arg) {
    struct client *client = arg;
    struct line line;
    int error;
    while ((error = bnx_chan_recv(client->queue, &line)) == 0) {
        if (bnx_send_all(client->fd, line.text, line.bytes) != (ssize_t)line.bytes) {
            error = -EPIPE;
            break;
        }
    }
    return error == -ENODATA ? 0 : error; /* an error ends the receiver as well */
}

/* Takes a line of so many bytes out of the input, and its end with it. */
static void line_take(struct client *client, size_t bytes, char out[LINE_BYTES]) {
    size_t taken = bytes < client->input_bytes ? bytes + 1 : bytes;
    memcpy(out, client->input, bytes);
    out[bytes > 0 && out[bytes - 1] == '\r' ? bytes - 1 : bytes] = '\0';
    client->input_bytes -= taken;
    memmove(client->input, client->input + taken, client->input_bytes);
}

/* Takes the next line out of the input, without its end; the last one may have none. Suspends.
 * Returns 1 with the line, 0 at the end, < 0 an error; a line that is too long is one. */
static int line_receive(struct client *client, char out[LINE_BYTES]) {
    while (true) { /* ends: with a line, or with the buffer */
        const char *end = memchr(client->input, '\n', client->input_bytes);
        if (end != NULL) {
            line_take(client, (size_t)(end - client->input), out);
            return 1;
        }
        if (client->input_bytes == sizeof(client->input)) {
            return -EMSGSIZE;
        }
        ssize_t got = bnx_recv(client->fd, client->input + client->input_bytes,
                               sizeof(client->input) - client->input_bytes, 0);
        if (got == 0 && client->input_bytes > 0) {
            line_take(client, client->input_bytes, out);
            return 1;
        }
        if (got <= 0) {
            return (int)got;
        }
        client->input_bytes += (size_t)got;
    }
}

/* Does what a line says. Returns whether its author stays. */
static bool line_obey(struct client *client, const char *text) {
    struct line line;
    char name[NAME_BYTES];
    if (strcmp(text, "/quit") == 0) {
        return false;
    }
    if (strcmp(text, "/who") == 0) {
        tell_who(client);
    } else if (strncmp(text, "/nick ", 6) == 0) {
        memcpy(name, client->name, sizeof(name)); /* nobody else writes it */
        if (name_take(client, text + 6)) {
            line_write(&line, "* %s is now %s", name, client->name);
            tell(client->room, NULL, &line);
        } else {
            line_write(&line, "* not that name");
            say(client, &line);
        }
    } else if (text[0] != '\0') {
        line_write(&line, "%s: %s", client->name, text);
        tell(client->room, client, &line);
    }
    return true;
}

/* Receives until the client leaves. Suspends. */
static void talk(struct client *client) {
    char text[LINE_BYTES];
    struct line line;
    line_write(&line, "* your name?");
    say(client, &line);
    while (line_receive(client, text) > 0) { /* ends with the client, or with its scope */
        if (client->name[0] != '\0') {
            if (!line_obey(client, text)) {
                return;
            }
        } else if (name_take(client, text)) {
            line_write(&line, "* %s joined", client->name);
            tell(client->room, NULL, &line);
        } else {
            line_write(&line, "* not that name; another?");
            say(client, &line);
        }
    }
}

static int wait_for_sender(void *arg) {
    return bnx_join(arg, NULL);
}

/* The handler of bnx_serve. */
static int chat(int fd, void *arg) {
    struct client client = {.room = arg, .fd = fd};
    struct bnx_task *sender;
    int error = bnx_chan_create(sizeof(struct line), QUEUE_LINES, &client.queue);
    if (error != 0) {
        return error;
    }
    error = bnx_scope_open(&client.scope, NULL);
    if (error != 0) {
        bnx_chan_destroy(client.queue);
        return error;
    }
    error = bnx_spawn_with(&client.scope, NULL, send_lines, &client, &sender);
    if (error == 0) {
        talk(&client);
        leave(&client);
        bnx_chan_close(client.queue);
        if (bnx_timeout(FLUSH_NS, wait_for_sender, sender) != 0) {
            bnx_scope_cancel(&client.scope, 0);
        }
    }
    (void)bnx_scope_close(&client.scope); /* a peer that is gone or slow is no news */
    bnx_chan_destroy(client.queue);
    return error;
}

static int announce(const int *listeners, size_t listener_count, void *arg) {
    (void)listener_count;
    (void)arg;
    return bnx_announce(listeners[0]);
}

static int serve(void *arg) {
    struct room *room = arg;
    struct bnx_serve_options options = {
        .flags = BNX_SERVE_END_INPUT, .name = "client", .on_listening = announce};
    int error = bnx_serve(NULL, room->address, chat, room, &options);
    if (error == -ECANCELED) {
        return 0;
    }
    fprintf(stderr, "cannot serve on %s: %s\n", room->address, strerror(-error));
    return 1;
}

int main(int argc, char **argv) {
    struct room room = {.lock = PTHREAD_MUTEX_INITIALIZER, .address = "127.0.0.1:8082"};
    struct bnx_options options = {0};
    const struct bnx_flag flags[] = {
        {"listen", "ADDRESS:PORT", "Where to listen (127.0.0.1:8082).", &room.address, NULL},
        {"workers", "N", "Worker threads; 0: one per CPU (0).", NULL, &options.worker_count},
        {NULL, NULL, NULL, NULL, NULL},
    };
    int status = bnx_flags_parse(argc, argv, "passes lines between all who are connected", flags);
    if (status != 0) {
        return status > 0 ? 0 : 2;
    }
    status = bnx_main_with(&options, serve, &room);
    if (status < 0) {
        fprintf(stderr, "%s: %s\n", argv[0], strerror(-status));
        return 1;
    }
    return status;
}
