/* SPDX-License-Identifier: MIT */
/*
 * BM_FileReadHot         4 KiB of a file in the page cache by bnx_pread
 * BM_PreadHot            limit: the same by pread(2), without a runtime
 * BM_FileReadDirect/TASKS  4 KiB past the page cache (O_DIRECT) at a random offset, by TASKS tasks
 * BM_PreadDirect/THREADS   peer: the same by pread(2) in THREADS threads
 */
#include "bench/runtime/harness.h"

#include <bonxie/file.h>

#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <thread>
#include <vector>

static const size_t read_bytes = 4096;
static const int64_t hot_reads_per_batch = 1000;
static const off_t hot_bytes = 64 << 10;
static const int64_t direct_reads_per_batch = 4096;
static const off_t direct_bytes = 64 << 20;

/* A file without a name whose n-th piece of 4 KiB begins with n; open with more flags. */
class numbered_file {
  public:
    numbered_file(off_t bytes, int flags) {
        char path[] = "/var/tmp/bonxie-bench-XXXXXX";
        int writer = mkstemp(path);
        bnx_bench_require(writer >= 0, "mkstemp");
        char data[read_bytes] = {};
        for (int64_t number = 0; number * static_cast<off_t>(read_bytes) < bytes; number++) {
            std::memcpy(data, &number, sizeof(number));
            bnx_bench_require(write(writer, data, sizeof(data)) == ssize_t{read_bytes}, "write");
        }
        bnx_bench_require(fsync(writer) == 0, "fsync");
        close(writer);
        fd = open(path, O_RDONLY | O_CLOEXEC | flags);
        unlink(path);
    }
    ~numbered_file() {
        if (fd >= 0) {
            bnx_close(fd); /* which forgets what was seen of the number */
        }
    }
    numbered_file(const numbered_file &) = delete;
    numbered_file &operator=(const numbered_file &) = delete;

    int fd; /* -1: the file system refuses the flags */
};

static int64_t number_in(const char *data) {
    int64_t number;
    std::memcpy(&number, data, sizeof(number));
    return number;
}

typedef ssize_t (*read_fn)(int fd, void *buffer, size_t bytes, off_t offset);

static void read_hot(benchmark::State &state, int fd, read_fn read_at) {
    alignas(4096) static char data[read_bytes];
    while (state.KeepRunningBatch(hot_reads_per_batch)) {
        int64_t sum = 0, expected = 0;
        for (int64_t i = 0; i < hot_reads_per_batch; i++) {
            int64_t number = i % (hot_bytes / static_cast<off_t>(read_bytes));
            ssize_t got = read_at(fd, data, read_bytes, number * static_cast<off_t>(read_bytes));
            sum += number_in(data) + (got - ssize_t{read_bytes});
            expected += number;
        }
        bnx_bench_require(sum == expected, "hot read");
    }
    state.SetItemsProcessed(state.iterations());
}

static void BM_FileReadHot(benchmark::State &state) {
    numbered_file file(hot_bytes, 0);
    bnx_bench_run_workers(1, [&] { read_hot(state, file.fd, bnx_pread); });
}
BENCHMARK(BM_FileReadHot)->UseRealTime();

/* By a task too: in a process without other threads the kernel spares itself 60 ns of counting, but
 * a program that uses a runtime is not one. */
static void BM_PreadHot(benchmark::State &state) {
    numbered_file file(hot_bytes, 0);
    bnx_bench_run_workers(1, [&] { read_hot(state, file.fd, pread); });
}
BENCHMARK(BM_PreadHot)->UseRealTime();

/* A share of a batch of direct reads. */
struct reader {
    int fd;
    read_fn read_at;
    int64_t reads;
    uint32_t random;
    char *data;
};

static int read_randomly(void *arg) {
    struct reader *reader = static_cast<struct reader *>(arg);
    for (int64_t i = 0; i < reader->reads; i++) {
        reader->random = reader->random * 1664525 + 1013904223;
        int64_t number = reader->random % (direct_bytes / static_cast<off_t>(read_bytes));
        ssize_t got = reader->read_at(reader->fd, reader->data, read_bytes,
                                      number * static_cast<off_t>(read_bytes));
        bnx_bench_require(got == ssize_t{read_bytes} && number_in(reader->data) == number,
                          "direct read");
    }
    return 0;
}

/* Calls run with the readers of each batch. */
template <class Run> static void read_direct(benchmark::State &state, read_fn read_at, Run run) {
    numbered_file file(direct_bytes, O_DIRECT);
    if (file.fd < 0) {
        state.SkipWithError("no direct I/O in /var/tmp");
        return;
    }
    size_t count = static_cast<size_t>(state.range(0));
    char *memory = static_cast<char *>(std::aligned_alloc(4096, count * read_bytes));
    std::vector<struct reader> readers(count);
    for (size_t i = 0; i < count; i++) {
        readers[i] = {file.fd, read_at, direct_reads_per_batch / state.range(0),
                      static_cast<uint32_t>(i + 1), memory + i * read_bytes};
    }
    run(readers);
    std::free(memory);
    state.SetItemsProcessed(state.iterations());
    state.SetBytesProcessed(state.iterations() * int64_t{read_bytes});
}

static void BM_FileReadDirect(benchmark::State &state) {
    read_direct(state, bnx_pread, [&](std::vector<struct reader> &readers) {
        bnx_bench_run_workers(1, [&] {
            while (state.KeepRunningBatch(direct_reads_per_batch)) {
                bnx_bench_scope scope;
                for (struct reader &reader : readers) {
                    scope.spawn(read_randomly, &reader);
                }
                scope.close();
            }
        });
    });
}
BENCHMARK(BM_FileReadDirect)->Arg(1)->Arg(64)->UseRealTime();

static void BM_PreadDirect(benchmark::State &state) {
    read_direct(state, pread, [&](std::vector<struct reader> &readers) {
        while (state.KeepRunningBatch(direct_reads_per_batch)) {
            std::vector<std::thread> threads;
            for (struct reader &reader : readers) {
                threads.emplace_back(read_randomly, &reader);
            }
            for (std::thread &thread : threads) {
                thread.join();
            }
        }
    });
}
BENCHMARK(BM_PreadDirect)->Arg(1)->Arg(64)->UseRealTime();
