/* SPDX-License-Identifier: MIT */
/*
 * receiver: a generator that is sent values instead of giving them.
 *
 * It must stand at a yield before something can be sent: by a first next, or because it was created
 * BNX_GEN_PRIMED. What is thrown into it and not caught comes back; a close ends it.
 * Type: receiver
 */
#include "runtime/examples/generators.h"

static int receiver(struct bnx_gen *gen, void *arg) {
    (void)arg;
    printf("Ready to receive\n");
    for (;;) {
        void *item = NULL;
        int error = bnx_gen_yield(gen, NULL, &item);
        if (error == BNX_GEN_CLOSED) {
            printf("Receive done\n");
        }
        if (error < 0) {
            return error;
        }
        printf("Got %s\n", (const char *)item);
    }
}

static void send(struct bnx_gen *gen, char *item) {
    if (bnx_gen_send(gen, item, NULL) == 0) {
        printf("finished\n");
    }
}

int main(int argc, char **argv) {
    bnx_help(argc, argv, "values are sent to a generator");
    char one[] = "1";
    char two[] = "2";
    char hello[] = "hello";
    char greeting[] = "hello, world!";

    struct bnx_gen *first = bnx_gen_make(receiver, NULL);
    if (bnx_gen_send(first, one, NULL) == -EINVAL) {
        printf("not started yet\n");
    }
    bnx_must(bnx_gen_next(first, NULL), "bnx_gen_next");
    send(first, one);
    send(first, two);
    send(first, hello);

    struct bnx_gen_options options = {.flags = BNX_GEN_PRIMED};
    struct bnx_gen *primed = NULL;
    bnx_must(bnx_gen_create(&primed, receiver, NULL, &options), "bnx_gen_create");
    send(primed, greeting);
    if (bnx_gen_throw(primed, -EPROTO, NULL) == -EPROTO) {
        printf("the error came back\n");
    }
    bnx_gen_destroy(primed);

    bnx_must(bnx_gen_close(first), "bnx_gen_close");
    send(first, one);
    bnx_gen_destroy(first);
    return 0;
}
