/* SPDX-License-Identifier: MIT */
/*
 * chain_flatten: one generator gives what others give: by a loop, by delegation, and recursively.
 *
 * A chain of "ABC" and 0..2, twice; then nested lists, flattened by a generator that delegates to
 * itself. Strings stay whole. Type: chain_flatten
 */
#include "runtime/examples/generators.h"

/* Something printable: a text, a number, or (both absent) a list. */
struct node {
    const char *text;
    const struct node *items; /* of a list */
    size_t count;             /* of a list */
    int number;
};

static void print(const struct node *node) {
    if (node->text != NULL) {
        printf("%s\n", node->text);
    } else {
        printf("%d\n", node->number);
    }
}

/* The items of a list. arg: the list */
static int each(struct bnx_gen *gen, void *arg) {
    const struct node *list = arg;
    int error = 0;
    for (size_t i = 0; i < list->count && error == 0; i++) {
        error = bnx_gen_yield(gen, (void *)(uintptr_t)&list->items[i], NULL);
    }
    return error;
}

/* arg: a list of lists */
static int chain_by_hand(struct bnx_gen *gen, void *arg) {
    const struct node *lists = arg;
    int error = 0;
    for (size_t i = 0; i < lists->count && error == 0; i++) {
        struct bnx_gen *inner = bnx_gen_make(each, (void *)(uintptr_t)&lists->items[i]);
        void *value = NULL;
        while (error == 0 && bnx_gen_next(inner, &value) > 0) {
            error = bnx_gen_yield(gen, value, NULL);
        }
        bnx_gen_destroy(inner);
    }
    return error;
}

static int chain_by_delegation(struct bnx_gen *gen, void *arg) {
    const struct node *lists = arg;
    int error = 0;
    for (size_t i = 0; i < lists->count && error == 0; i++) {
        struct bnx_gen *inner = bnx_gen_make(each, (void *)(uintptr_t)&lists->items[i]);
        error = bnx_gen_yield_from(gen, inner, NULL);
        bnx_gen_destroy(inner);
    }
    return error;
}

static int flatten(struct bnx_gen *gen, void *arg) {
    const struct node *list = arg;
    int error = 0;
    for (size_t i = 0; i < list->count && error == 0; i++) {
        void *item = (void *)(uintptr_t)&list->items[i];
        if (list->items[i].items == NULL) {
            error = bnx_gen_yield(gen, item, NULL);
            continue;
        }
        struct bnx_gen *inner = bnx_gen_make(flatten, item);
        error = bnx_gen_yield_from(gen, inner, NULL);
        bnx_gen_destroy(inner);
    }
    return error;
}

static void print_all(bnx_gen_fn fn, const struct node *arg) {
    struct bnx_gen *gen = bnx_gen_make(fn, (void *)(uintptr_t)arg);
    struct bnx_iter iter;
    BNX_FOR_EACH(value, bnx_iter_from_gen(&iter, gen)) {
        print(value);
    }
    bnx_gen_destroy(gen);
}

#define NUMBER(n)                                                                                  \
    { .number = (n) }
#define TEXT(t)                                                                                    \
    { .text = (t) }
#define LIST(array)                                                                                \
    { .items = (array), .count = sizeof(array) / sizeof((array)[0]) }

static const struct node letters[] = {TEXT("A"), TEXT("B"), TEXT("C")};
static const struct node numbers[] = {NUMBER(0), NUMBER(1), NUMBER(2)};
static const struct node both[] = {LIST(letters), LIST(numbers)};

static const struct node five_six[] = {NUMBER(5), NUMBER(6)};
static const struct node to_seven[] = {NUMBER(3), NUMBER(4), LIST(five_six), NUMBER(7)};
static const struct node words[] = {TEXT("hij"), TEXT("klmn")};
static const struct node nested[] = {NUMBER(1),   NUMBER(2),    LIST(to_seven), NUMBER(8),
                                     TEXT("abc"), TEXT("defg"), LIST(words)};

int main(int argc, char **argv) {
    bnx_help(argc, argv, "generators that give what other generators give");
    const struct node chain = LIST(both);
    const struct node tree = LIST(nested);
    print_all(chain_by_hand, &chain);
    print_all(chain_by_delegation, &chain);
    print_all(flatten, &tree);
    return 0;
}
