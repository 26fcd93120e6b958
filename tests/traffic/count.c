/* SPDX-License-Identifier: MIT */
/* A table of cache lines: who has each since its last write, how often its words were touched. */
#include "tests/traffic/count.h"

#include "runtime/check.h"
#include "runtime/sim_pvt.h"

#include <stdlib.h>
#include <string.h>

#define LINE_BYTES 64
#define WORD_BYTES 4
#define LINES_MAX (1u << 17) /* a power of two; the work here touches some ten thousand */
#define MASK_WORDS (BNX_SIM_THREADS_MAX / 64)

struct line {
    uintptr_t number;             /* address / LINE_BYTES; 0: the slot is free */
    uint64_t holders[MASK_WORDS]; /* bit i: thread i has it, as written last */
    struct traffic words[LINE_BYTES / WORD_BYTES];
};

static struct line *lines;
static uint32_t lines_count;
static struct traffic total;
static int played = -1; /* the thread whose accesses these are said to be */

static struct line *find_line(uintptr_t number) {
    uint32_t at = (uint32_t)(number * UINT64_C(0x9e3779b97f4a7c15) >> 40);
    for (;;) { /* ends: the table is never full */
        struct line *line = &lines[at++ % LINES_MAX];
        if (line->number == 0) {
            BNX_CHECK(++lines_count < LINES_MAX / 2);
            line->number = number;
        }
        if (line->number == number) {
            return line;
        }
    }
}

/* True when others than the thread hold the line, who lose it now. */
static bool take_line(struct line *line, uint32_t thread) {
    uint64_t others = 0;
    for (uint32_t i = 0; i < MASK_WORDS; i++) {
        uint64_t own = thread / 64 == i ? UINT64_C(1) << thread % 64 : 0;
        others |= line->holders[i] & ~own;
        line->holders[i] = own;
    }
    return others != 0;
}

static void add(struct traffic *to, enum bnx_access access, bool is_contended) {
    to->loads += access == BNX_ACCESS_LOAD;
    to->writes += access != BNX_ACCESS_LOAD;
    to->locked += access == BNX_ACCESS_RMW || access == BNX_ACCESS_STORE_SEQ_CST;
    to->contended += is_contended;
}

static void count(uint32_t thread, uintptr_t word, enum bnx_access access) {
    thread = played >= 0 ? (uint32_t)played : thread;
    struct line *line = find_line(word / LINE_BYTES);
    bool is_contended = false;
    if (access == BNX_ACCESS_LOAD) {
        line->holders[thread / 64] |= UINT64_C(1) << thread % 64;
    } else {
        is_contended = take_line(line, thread);
    }
    add(&line->words[word % LINE_BYTES / WORD_BYTES], access, is_contended);
    add(&total, access, is_contended);
}

void traffic_start(void) {
    if (lines == NULL) {
        lines = malloc(LINES_MAX * sizeof(*lines));
        BNX_CHECK(lines != NULL);
    }
    memset(lines, 0, LINES_MAX * sizeof(*lines));
    memset(&total, 0, sizeof(total));
    lines_count = 0;
    bnx_sim_counter = count;
}

void traffic_stop(void) {
    bnx_sim_counter = NULL;
}

struct traffic traffic_so_far(void) {
    return total;
}

void traffic_as(int thread) {
    played = thread;
}

void traffic_each_word(void (*fn)(uintptr_t address, const struct traffic *word)) {
    for (uint32_t i = 0; i < LINES_MAX; i++) {
        for (uint32_t at = 0; at < LINE_BYTES / WORD_BYTES; at++) {
            const struct traffic *word = &lines[i].words[at];
            if (word->loads + word->writes > 0) {
                fn(lines[i].number * LINE_BYTES + at * WORD_BYTES, word);
            }
        }
    }
}
