/* SPDX-License-Identifier: MIT */
/* Runs a benchmark's loop inside the main task of a fresh runtime. */
#ifndef BNX_BENCH_RUNTIME_HARNESS_H
#define BNX_BENCH_RUNTIME_HARNESS_H

#include <benchmark/benchmark.h>

/* A function and a struct of one name are two things in C, and a constructor hidden in C++. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
#include <bonxie/bonxie.h>
#pragma GCC diagnostic pop

#include <cstdio>
#include <unistd.h>

/*
 * Every benchmark adds up what its operations did and compares the sum. A wrong one ends the
 * program: the time of a wrong result is no measurement.
 */
static inline void bnx_bench_require(bool is_right, const char *what) {
    if (!is_right) {
        std::fprintf(stderr, "bonxie-bench: %s: wrong result\n", what);
        _exit(1); /* from whatever thread and stack this is */
    }
}

/* Calls body() as the main task. It may refer to the caller's frame, which waits for it. */
template <class Body> void bnx_bench_run(const struct bnx_options &options, Body body) {
    int result = bnx_run(
        &options,
        [](void *arg) {
            (*static_cast<Body *>(arg))();
            return 0;
        },
        &body);
    bnx_bench_require(result == 0, "bnx_run");
}

/* The usual case: defaults, and as many workers as asked for. */
template <class Body> void bnx_bench_run_workers(int64_t workers, Body body) {
    struct bnx_options options = {};
    options.worker_count = static_cast<uint32_t>(workers);
    bnx_bench_run(options, body);
}

/* A scope of the calling task. */
class bnx_bench_scope {
  public:
    bnx_bench_scope() {
        bnx_bench_require(bnx_scope_open(&scope, nullptr) == 0, "bnx_scope_open");
    }

    void spawn(bnx_task_fn fn, void *arg) {
        bnx_bench_require(bnx_spawn(&scope, fn, arg) == 0, "bnx_spawn");
    }

    void spawn_pinned(uint32_t worker, bnx_task_fn fn, void *arg) {
        struct bnx_spawn_options options = {};
        options.worker = worker;
        options.flags = BNX_SPAWN_PINNED;
        bnx_bench_require(bnx_spawn_with(&scope, &options, fn, arg, nullptr) == 0,
                          "bnx_spawn_with");
    }

    void close() {
        bnx_bench_require(bnx_scope_close(&scope) == 0, "bnx_scope_close");
    }

  private:
    struct bnx_scope scope;
};

#endif
