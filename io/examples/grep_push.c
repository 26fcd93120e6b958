/* SPDX-License-Identifier: MIT */
/*
 * Greps in files, packed or not, with a pipeline that is pushed: each stage is a generator that
 * waits to be sent a value and sends what it makes of it to the next one.
 *
 *     grep_push error '*.log*' /var/log
 *     grep_push -r --from 16 --to 20 '^[0-9]+ ' '*.txt*' books    (matches 16 to 20 alone)
 *     grep_push --help
 *
 *     paths -> open_files -> cat -> match -> slice -> print
 *
 * The loop at the begin drives it all. A stage that has had enough finishes. Then the send to it
 * gives 0, whereupon the stage before it finishes as well, and so on: open_files closes its file.
 */
#include "io/examples/grep.h"
#include "io/examples/unpack.h"

#include <bonxie/bonxie.h>

struct stage {
    struct bnx_grep *grep;
    struct bnx_gen *to; /* the next stage; NULL: there is none */
};

static int open_files(struct bnx_gen *gen, void *arg) {
    const struct stage *stage = arg;
    while (true) { /* ends with an error, of which a close is one, or with the next stage */
        void *path = NULL;
        int result = bnx_gen_yield(gen, NULL, &path);
        if (result < 0) {
            return result;
        }
        struct bnx_grep_file file = {.path = path};
        result = bnx_unpack_open(file.path, &file.stream);
        if (result < 0) {
            result = bnx_grep_skip(stage->grep, file.path, result);
            if (result < 0) {
                return result;
            }
            continue;
        }
        result = bnx_gen_send(stage->to, &file, NULL);
        (void)bnx_stream_close(file.stream); /* nothing was written that could be lost */
        if (result <= 0) {
            return result;
        }
    }
}

/* Returns 1: to the file's end, or as far as it could be read; 0: nobody wants more; < 0. */
static int send_lines(const struct stage *stage, const struct bnx_grep_file *file) {
    struct bnx_grep_line line = {.path = file->path};
    while (true) { /* ends with the file */
        int result = bnx_stream_read_line(file->stream, &line.text, &line.bytes);
        if (result < 0) {
            result = bnx_grep_skip(stage->grep, line.path, result);
            return result < 0 ? result : 1;
        }
        if (result == 0) {
            return 1;
        }
        result = bnx_gen_send(stage->to, &line, NULL);
        if (result <= 0) {
            return result;
        }
    }
}

static int cat(struct bnx_gen *gen, void *arg) {
    while (true) { /* ends as open_files does, as all of them do */
        void *file = NULL;
        int result = bnx_gen_yield(gen, NULL, &file);
        if (result < 0) {
            return result;
        }
        result = send_lines(arg, file);
        if (result <= 0) {
            return result;
        }
    }
}

static int match(struct bnx_gen *gen, void *arg) {
    const struct stage *stage = arg;
    while (true) {
        void *line = NULL;
        int result = bnx_gen_yield(gen, NULL, &line);
        if (result < 0) {
            return result;
        }
        if (bnx_grep_matches(stage->grep, line)) {
            result = bnx_gen_send(stage->to, line, NULL);
            if (result <= 0) {
                return result;
            }
        }
    }
}

static int slice(struct bnx_gen *gen, void *arg) {
    const struct stage *stage = arg;
    const struct bnx_grep *grep = stage->grep;
    for (uint64_t number = 1; grep->last == UINT32_MAX || number <= grep->last; number++) {
        void *line = NULL;
        int result = bnx_gen_yield(gen, NULL, &line);
        if (result < 0) {
            return result;
        }
        if (number >= grep->first) {
            result = bnx_gen_send(stage->to, line, NULL);
            if (result <= 0) {
                return result;
            }
        }
    }
    return 0;
}

static int print(struct bnx_gen *gen, void *arg) {
    const struct stage *stage = arg;
    while (true) {
        void *line = NULL;
        int result = bnx_gen_yield(gen, NULL, &line);
        if (result < 0) {
            return result;
        }
        result = bnx_grep_print(stage->grep, line);
        if (result < 0) {
            return result;
        }
    }
}

/* Returns 0: all are through, or nobody wants more; < 0. */
static int send_paths(const struct bnx_grep *grep, struct bnx_gen *to) {
    for (size_t i = 0; i < grep->path_count; i++) {
        int result = bnx_gen_send(to, grep->paths[i], NULL);
        if (result <= 0) {
            return result;
        }
    }
    return 0;
}

#define STAGES 5

static int push(struct bnx_grep *grep) {
    static const bnx_gen_fn bodies[STAGES] = {print, slice, match, cat, open_files};
    static const struct bnx_gen_options primed = {.flags = BNX_GEN_PRIMED};
    struct stage stages[STAGES];
    struct bnx_gen *gens[STAGES] = {NULL};
    struct bnx_gen *to = NULL;
    int error = 0;
    for (int i = 0; i < STAGES && error == 0; i++) {
        stages[i] = (struct stage){grep, to};
        error = bnx_gen_create(&gens[i], bodies[i], &stages[i], &primed);
        to = gens[i];
    }
    if (error == 0) {
        error = send_paths(grep, to);
    }
    for (int i = STAGES - 1; i >= 0; i--) {
        bnx_gen_destroy(gens[i]); /* ends those that wait for more */
    }
    return error;
}

int main(int argc, char **argv) {
    return bnx_grep_main(argc, argv, "greps with a pipeline of generators", push);
}
