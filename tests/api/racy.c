/* SPDX-License-Identifier: MIT */
/*
 * What a strand protects from: tasks that change one counter, `racy strand` on a strand, `racy
 * free` without. ThreadSanitizer must report the second; see tests/api/racy.sh.
 */
#include <bonxie/bonxie.h>
#include <stdio.h>
#include <string.h>

static struct bnx_strand strand = BNX_STRAND_INIT;
static bool is_on_strand;
static int shelf; /* plain: the strand orders it, or nothing does */

static int buy(void *arg) {
    (void)arg;
    for (int i = 0; i < 100; i++) {
        shelf++;
        bnx_yield();
    }
    return 0;
}

static int shop(void *arg) {
    (void)arg;
    struct bnx_scope scope;
    int error = bnx_scope_open(&scope, NULL);
    for (int i = 0; i < 8 && error == 0; i++) {
        error = is_on_strand ? bnx_strand_spawn(&strand, &scope, buy, NULL)
                             : bnx_spawn(&scope, buy, NULL);
    }
    int result = bnx_scope_close(&scope);
    return error != 0 ? error : result;
}

int main(int argc, char **argv) {
    if (argc != 2 || (strcmp(argv[1], "strand") != 0 && strcmp(argv[1], "free") != 0)) {
        (void)fprintf(stderr, "usage: racy strand|free\n");
        return 2;
    }
    is_on_strand = strcmp(argv[1], "strand") == 0;
    struct bnx_options options = {.worker_count = 3};
    int error = bnx_run(&options, shop, NULL);
    (void)printf("%d\n", shelf);
    return error == 0 ? 0 : 1;
}
