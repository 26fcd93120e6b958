/* SPDX-License-Identifier: MIT */
/*
 * producer_consumer: a consumer that has had enough finishes, and its producer sees that.
 *
 * Type: producer_consumer
 */
#include "runtime/examples/generators.h"

static int consumer(struct bnx_gen *gen, void *arg) {
    (void)arg;
    for (;;) {
        void *item = NULL;
        int error = bnx_gen_yield(gen, NULL, &item);
        if (error < 0) {
            return error;
        }
        printf("Got %d!\n", (int)(intptr_t)item);
        if ((intptr_t)item == 3) {
            printf("I only want 3, 4 and 5\n");
            return 0;
        }
    }
}

static void produce(struct bnx_gen *to, intptr_t first) {
    for (intptr_t n = first; n > 0; n--) {
        if (bnx_gen_send(to, (void *)n, NULL) <= 0) {
            break; /* it has finished */
        }
    }
    printf("The end\n");
}

int main(int argc, char **argv) {
    bnx_help(argc, argv, "a consumer ends its producer");
    struct bnx_gen_options options = {.flags = BNX_GEN_PRIMED};
    struct bnx_gen *to = NULL;
    bnx_must(bnx_gen_create(&to, consumer, NULL, &options), "bnx_gen_create");
    produce(to, 5);
    bnx_gen_destroy(to);
    return 0;
}
