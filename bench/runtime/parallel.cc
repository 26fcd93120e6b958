/* SPDX-License-Identifier: MIT */
/*
 * Work that is split among the workers.
 *   BM_NqueensForks/N/WORKERS  all ways to put N queens on a board; one operation is one queen put,
 *                              each of which is forked
 *   BM_Matmul/N/WORKERS        a product of two N x N matrices of doubles by bnx_parallel_for over
 *                              its rows; one operation is one multiplication with its addition
 *   BM_BareMatmul/N/THREADS    limit: the same product by plain threads, each with its share of
 *                              the rows on a CPU of its own: the most that two workers can bring
 *   BM_Quicksort/N/WORKERS     N numbers, the lower part of each split forked; one operation is one
 *                              number
 */
#include "bench/runtime/harness.h"

#include <algorithm>
#include <numeric>
#include <sched.h>
#include <thread>
#include <vector>

/* ---- Queens ---- */

static const int queens_max = 16;

/* A board whose upper rows are filled: what they forbid in the next one, a bit for each column. */
struct board {
    uint32_t all; /* the columns there are */
    uint32_t columns;
    uint32_t left;     /* diagonals that go on to the left */
    uint32_t right;    /* and to the right */
    int64_t solutions; /* out */
};

static struct board with_queen(const struct board *board, uint32_t queen) {
    return {board->all, board->columns | queen, ((board->left | queen) << 1) & board->all,
            (board->right | queen) >> 1, 0};
}

static uint32_t free_columns(const struct board *board) {
    return board->all & ~(board->columns | board->left | board->right);
}

static int put_queens(void *arg) {
    struct board *board = static_cast<struct board *>(arg);
    if (board->columns == board->all) {
        board->solutions = 1;
        return 0;
    }
    struct board nexts[queens_max];
    struct bnx_fork forks[queens_max];
    int count = 0;
    for (uint32_t left = free_columns(board); left != 0; left &= left - 1) {
        nexts[count] = with_queen(board, left & -left);
        bnx_bench_require(bnx_fork(&forks[count], put_queens, &nexts[count]) == 0, "bnx_fork");
        count++;
    }
    int error = 0;
    while (count-- > 0) {
        error |= bnx_fork_join(&forks[count]);
        board->solutions += nexts[count].solutions;
    }
    return error;
}

static int64_t count_queens(const struct board *board) {
    int64_t count = 0;
    for (uint32_t left = free_columns(board); left != 0; left &= left - 1) {
        struct board next = with_queen(board, left & -left);
        count += 1 + count_queens(&next);
    }
    return count;
}

static void BM_NqueensForks(benchmark::State &state) {
    const int64_t solutions[] = {1, 1, 0, 0, 2, 10, 4, 40, 92, 352, 724, 2680, 14200};
    const struct board empty = {(UINT32_C(1) << state.range(0)) - 1, 0, 0, 0, 0};
    const int64_t queens = count_queens(&empty);
    bnx_bench_run_workers(state.range(1), [&] {
        while (state.KeepRunningBatch(queens)) {
            struct board board = empty;
            int error = put_queens(&board);
            bnx_bench_require(error == 0 && board.solutions == solutions[state.range(0)],
                              "BM_NqueensForks");
        }
    });
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_NqueensForks)->Args({12, 1})->Args({12, 2})->UseRealTime();

/* ---- Matrices ---- */

/* Small whole numbers, so that every sum is exact. */
struct product {
    size_t n;
    std::vector<double> a;
    std::vector<double> b;
    std::vector<double> c; /* out */
};

static void multiply_rows(size_t begin, size_t end, void *arg) {
    struct product *product = static_cast<struct product *>(arg);
    size_t n = product->n;
    for (size_t row = begin; row < end; row++) {
        double *out = &product->c[row * n];
        std::fill(out, out + n, 0);
        for (size_t k = 0; k < n; k++) {
            double factor = product->a[row * n + k];
            const double *in = &product->b[k * n];
            for (size_t column = 0; column < n; column++) {
                out[column] += factor * in[column];
            }
        }
    }
}

static void make_factors(struct product *product) {
    for (size_t i = 0; i < product->n * product->n; i++) {
        product->a[i] = static_cast<double>(i % 7);
        product->b[i] = static_cast<double>(i % 11);
    }
}

/* The sum over row i of A B is that over k of a_ik and the sum of row k of B. */
static bool is_product(const struct product *product) {
    size_t n = product->n;
    for (size_t row = 0; row < n; row++) {
        double expected = 0;
        for (size_t k = 0; k < n; k++) {
            const double *in = &product->b[k * n];
            expected += product->a[row * n + k] * std::accumulate(in, in + n, 0.0);
        }
        const double *out = &product->c[row * n];
        if (std::accumulate(out, out + n, 0.0) != expected) {
            return false;
        }
    }
    return true;
}

static void BM_Matmul(benchmark::State &state) {
    const size_t n = static_cast<size_t>(state.range(0));
    struct product product = {n, std::vector<double>(n * n), std::vector<double>(n * n),
                              std::vector<double>(n * n)};
    make_factors(&product);
    bnx_bench_run_workers(state.range(1), [&] {
        while (state.KeepRunningBatch(static_cast<int64_t>(n * n * n))) {
            bnx_bench_require(bnx_parallel_for(0, n, 0, multiply_rows, &product) == 0,
                              "bnx_parallel_for");
        }
    });
    bnx_bench_require(is_product(&product), "BM_Matmul");
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_Matmul)->Args({256, 1})->Args({256, 2})->UseRealTime();

/* The rows of one product, cut into equal shares, for threads that meet after each product. */
struct crowd {
    struct product *product;
    uint64_t threads;
    cpu_set_t allowed;           /* the CPUs of the process */
    alignas(128) uint64_t asked; /* products begun; the caller's; UINT64_MAX: no more */
    alignas(128) uint64_t done;  /* shares of the others that have been multiplied, ever */
};

/* A thread that waits gives way after so many looks: both may be on one CPU. */
static void look_again(uint64_t *looks) {
    if (++*looks % 10000 == 0) {
        std::this_thread::yield();
    }
}

static void multiply_share(struct crowd *crowd, uint64_t which) {
    size_t n = crowd->product->n;
    multiply_rows(which * n / crowd->threads, (which + 1) * n / crowd->threads, crowd->product);
}

/* Puts the thread on one of the CPUs, where there are that many. */
static void take_cpu(const struct crowd *crowd, uint64_t which) {
    uint64_t seen = 0;
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &crowd->allowed) && seen++ == which) {
            cpu_set_t set;
            CPU_ZERO(&set);
            CPU_SET(cpu, &set);
            bnx_bench_require(sched_setaffinity(0, sizeof(set), &set) == 0, "sched_setaffinity");
        }
    }
}

static void help(struct crowd *crowd, uint64_t which) {
    take_cpu(crowd, which);
    uint64_t looks = 0;
    for (uint64_t seen = 0;;) { /* ends: no more */
        uint64_t asked = __atomic_load_n(&crowd->asked, __ATOMIC_ACQUIRE);
        if (asked == UINT64_MAX) {
            return;
        }
        if (asked == seen) {
            look_again(&looks);
            continue;
        }
        seen = asked;
        multiply_share(crowd, which);
        __atomic_fetch_add(&crowd->done, 1, __ATOMIC_RELEASE);
    }
}

static void multiply_together(struct crowd *crowd) {
    uint64_t asked = crowd->asked + 1;
    __atomic_store_n(&crowd->asked, asked, __ATOMIC_RELEASE);
    multiply_share(crowd, 0);
    uint64_t looks = 0;
    while (__atomic_load_n(&crowd->done, __ATOMIC_ACQUIRE) != asked * (crowd->threads - 1)) {
        look_again(&looks); /* ends: the others need as long */
    }
}

static void BM_BareMatmul(benchmark::State &state) {
    const size_t n = static_cast<size_t>(state.range(0));
    struct product product = {n, std::vector<double>(n * n), std::vector<double>(n * n),
                              std::vector<double>(n * n)};
    make_factors(&product);
    struct crowd crowd = {};
    crowd.product = &product;
    crowd.threads = static_cast<uint64_t>(state.range(1));
    int error = sched_getaffinity(0, sizeof(crowd.allowed), &crowd.allowed);
    bnx_bench_require(error == 0, "sched_getaffinity");
    std::vector<std::thread> helpers;
    for (uint64_t i = 1; i < crowd.threads; i++) {
        helpers.emplace_back(help, &crowd, i);
    }
    take_cpu(&crowd, 0);
    while (state.KeepRunningBatch(static_cast<int64_t>(n * n * n))) {
        multiply_together(&crowd);
    }
    __atomic_store_n(&crowd.asked, UINT64_MAX, __ATOMIC_RELEASE);
    for (std::thread &helper : helpers) {
        helper.join();
    }
    error = sched_setaffinity(0, sizeof(crowd.allowed), &crowd.allowed);
    bnx_bench_require(error == 0 && is_product(&product), "BM_BareMatmul");
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_BareMatmul)->Args({256, 1})->Args({256, 2})->UseRealTime();

/* ---- Quicksort ---- */

static const ptrdiff_t fork_above = 2000; /* numbers; below, a fork costs more than it brings */
static const ptrdiff_t insert_below = 24;

struct stretch {
    int32_t *begin;
    int32_t *end;
};

static void sort_by_insertion(int32_t *begin, int32_t *end) {
    for (int32_t *at = begin + 1; at < end; at++) {
        int32_t number = *at;
        int32_t *hole = at;
        for (; hole > begin && hole[-1] > number; hole--) {
            *hole = hole[-1];
        }
        *hole = number;
    }
}

/* Returns where the upper part begins. Neither part is empty; none below is above any there. */
static int32_t *split_numbers(int32_t *begin, int32_t *end) {
    int32_t first = *begin, middle = begin[(end - begin) / 2], last = end[-1];
    int32_t pivot = std::max(std::min(first, middle), std::min(std::max(first, middle), last));
    int32_t *low = begin;
    int32_t *high = end - 1;
    for (;;) { /* ends: low and high come nearer at each turn */
        while (*low < pivot) {
            low++;
        }
        while (*high > pivot) {
            high--;
        }
        if (low >= high) {
            return low == begin ? begin + 1 : low;
        }
        std::swap(*low++, *high--);
    }
}

static int sort_stretch(void *arg) {
    struct stretch rest = *static_cast<struct stretch *>(arg);
    if (rest.end - rest.begin < insert_below) {
        sort_by_insertion(rest.begin, rest.end);
        return 0;
    }
    int32_t *upper_begin = split_numbers(rest.begin, rest.end);
    struct stretch lower = {rest.begin, upper_begin};
    struct stretch upper = {upper_begin, rest.end};
    if (rest.end - rest.begin < fork_above) {
        return sort_stretch(&lower) | sort_stretch(&upper);
    }
    struct bnx_fork fork;
    int error = bnx_fork(&fork, sort_stretch, &lower);
    error |= sort_stretch(&upper);
    return error | bnx_fork_join(&fork);
}

static int64_t sum_of(const std::vector<int32_t> &numbers) {
    return std::accumulate(numbers.begin(), numbers.end(), int64_t{0});
}

static void BM_Quicksort(benchmark::State &state) {
    std::vector<int32_t> unsorted(static_cast<size_t>(state.range(0)));
    uint32_t random = 1;
    for (int32_t &number : unsorted) {
        random = random * 1664525 + 1013904223;
        number = static_cast<int32_t>(random);
    }
    bnx_bench_run_workers(state.range(1), [&] {
        while (state.KeepRunningBatch(state.range(0))) {
            std::vector<int32_t> numbers = unsorted;
            struct stretch all = {numbers.data(), numbers.data() + numbers.size()};
            uint64_t start_ns = bnx_now();
            int error = sort_stretch(&all);
            state.SetIterationTime(static_cast<double>(bnx_now() - start_ns) / 1e9);
            bnx_bench_require(error == 0 && std::is_sorted(numbers.begin(), numbers.end()) &&
                                  sum_of(numbers) == sum_of(unsorted),
                              "BM_Quicksort");
        }
    });
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_Quicksort)->Args({1000000, 1})->Args({1000000, 2})->UseManualTime();
