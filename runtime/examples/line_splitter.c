/* SPDX-License-Identifier: MIT */
/*
 * line_splitter: lines are sent to a generator, lists of their fields come back from the same call.
 *
 * Type: line_splitter
 */
#include "runtime/examples/generators.h"

#define FIELDS_MAX 8

struct fields {
    char *texts[FIELDS_MAX];
    int count;
};

/* Cuts a line at each delimiter. */
static void split(char *line, const char *delimiter, struct fields *out_fields) {
    out_fields->count = 0;
    while (line != NULL && out_fields->count < FIELDS_MAX) {
        out_fields->texts[out_fields->count++] = strsep(&line, delimiter);
    }
}

static int line_splitter(struct bnx_gen *gen, void *arg) {
    printf("Ready to split\n");
    struct fields fields;
    void *result = NULL;
    for (;;) {
        void *line = NULL;
        int error = bnx_gen_yield(gen, result, &line);
        if (error < 0) {
            return error;
        }
        split(line, arg, &fields);
        result = &fields;
    }
}

static void send(struct bnx_gen *splitter, char *line) {
    void *value = NULL;
    bnx_must(bnx_gen_send(splitter, line, &value), "bnx_gen_send");
    const struct fields *fields = value;
    for (int i = 0; i < fields->count; i++) {
        printf("%s\n", fields->texts[i]);
    }
}

int main(int argc, char **argv) {
    bnx_help(argc, argv, "a generator is sent lines and gives back their fields");
    char comma[] = ",";
    char letters[] = "A,B,C";
    char numbers[] = "100, 200, 300";
    struct bnx_gen *splitter = bnx_gen_make(line_splitter, comma);
    void *value = NULL;
    bnx_must(bnx_gen_next(splitter, &value), "bnx_gen_next");
    printf("%s\n", value == NULL ? "None" : "?");
    printf("begin splitting\n");
    send(splitter, letters);
    send(splitter, numbers);
    bnx_gen_destroy(splitter);
    return 0;
}
