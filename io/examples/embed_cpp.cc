/* SPDX-License-Identifier: MIT */
/*
 * embed.c once more, from C++17: what opens in a constructor closes in a destructor, and a job is a
 * lambda. It takes the same flags and prints the same.
 *
 * A task's function is a C function with a void *; here that is a lambda on the heap, and what it
 * throws becomes its error, because no exception may pass through a C frame.
 */
extern "C" {
#include "io/examples/options.h"
}

/* g++ takes a function that is called as a struct for a shadow of its constructor. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
#include <bonxie/bonxie.h>
#include <bonxie/net.h>
#pragma GCC diagnostic pop

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

/* Throws what a call of bonxie, or of POSIX with -errno, has failed with. */
int checked(int result) {
    if (result < 0) {
        throw std::system_error(-result, std::generic_category());
    }
    return result;
}

/* What will become of a job: get() waits for it, on any thread but the host's. */
class Job {
  public:
    explicit Job(bnx_future *future) : future_(future, bnx_future_unref) {
    }

    int get() const {
        void *value = nullptr;
        checked(bnx_future_await(future_.get(), &value));
        return checked(static_cast<int>(reinterpret_cast<std::intptr_t>(value)));
    }

  private:
    std::unique_ptr<bnx_future, decltype(&bnx_future_unref)> future_;
};

/* A runtime in the loop of this program. */
class Guest {
  public:
    Guest() {
        bnx_options options{};
        options.flags = BNX_GUEST;
        checked(bnx_runtime_create(&options, &runtime_));
    }
    Guest(const Guest &) = delete;
    Guest &operator=(const Guest &) = delete;

    /* Runs what is left, cancelled, to its end. */
    ~Guest() {
        bnx_runtime_stop(runtime_);
        bnx_runtime_wait(runtime_, UINT64_MAX);
        bnx_runtime_destroy(runtime_);
    }

    /* Any thread: runs `work` as a task; it returns >= 0, or throws. */
    template <class Work> Job post(Work work) {
        auto owned = std::make_unique<Work>(std::move(work));
        bnx_future *future = nullptr;
        checked(bnx_runtime_spawn(runtime_, run<Work>, owned.get(), &future));
        owned.release(); /* the task's from here on: it is called exactly once */
        return Job(future);
    }

    int fd() const {
        return bnx_runtime_fd(runtime_);
    }
    void poll() {
        checked(bnx_runtime_poll(runtime_, 0));
    }

  private:
    template <class Work> static int run(void *arg) noexcept {
        std::unique_ptr<Work> work(static_cast<Work *>(arg));
        try {
            return (*work)();
        } catch (const std::system_error &error) {
            return -error.code().value();
        } catch (...) {
            return -ENOMEM;
        }
    }

    bnx_runtime *runtime_ = nullptr;
};

/* Two descriptors that belong together: a pipe, or a pair of sockets. */
class Pair {
  public:
    template <class Open> explicit Pair(Open open) {
        if (open(fds_.data()) != 0) {
            throw std::system_error(errno, std::generic_category());
        }
    }
    Pair(const Pair &) = delete;
    Pair &operator=(const Pair &) = delete;
    ~Pair() {
        close(fds_[0]);
        close(fds_[1]);
    }
    int operator[](std::size_t index) const {
        return fds_[index];
    }

  private:
    std::array<int, 2> fds_{};
};

int open_sockets(int *fds) {
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds);
}

/* Answers each number by its square, until nobody asks any more. */
int serve(int fd) {
    std::uint32_t value;
    while (checked(static_cast<int>(bnx_recv_exact(fd, &value, sizeof(value)))) != 0) {
        value *= value;
        checked(static_cast<int>(bnx_send_all(fd, &value, sizeof(value))));
    }
    return 0;
}

int ask(int fd, std::uint32_t value) {
    std::uint32_t square = 0;
    checked(static_cast<int>(bnx_send_all(fd, &value, sizeof(value))));
    checked(static_cast<int>(bnx_recv_exact(fd, &square, sizeof(square))));
    return static_cast<int>(square);
}

/* What a thread has: its end of a pair of sockets, its sum, and what went wrong. */
struct Poster {
    Pair sockets{open_sockets};
    std::uint64_t sum = 0;
    std::exception_ptr error;
    std::thread thread;
};

class Program {
  public:
    Program(std::uint32_t threads, std::uint32_t jobs) : jobs_(jobs), posters_(threads) {
    }

    void run() {
        for (std::uint32_t i = 0; i < posters_.size(); i++) {
            Poster &poster = posters_[i];
            int fd = poster.sockets[1];
            servers_.push_back(guest_.post([fd] { return serve(fd); }));
            poster.thread = std::thread([this, i] { post_jobs(i); });
        }
        loop();
        for (Poster &poster : posters_) {
            poster.thread.join();
        }
        for (std::uint32_t i = 0; i < posters_.size(); i++) {
            if (posters_[i].error) {
                std::rethrow_exception(posters_[i].error);
            }
            std::printf("thread %u: %u jobs, their squares add up to %llu\n", i, jobs_,
                        static_cast<unsigned long long>(posters_[i].sum));
        }
        std::printf("host: %u reports and %u jobs, all in one loop\n", reports_in_, jobs_run_);
    }

  private:
    /* On a thread of its own. */
    void post_jobs(std::uint32_t number) {
        Poster &poster = posters_[number];
        int fd = poster.sockets[0];
        for (std::uint32_t i = 0; i < jobs_; i++) {
            try {
                std::uint32_t value = number * 10 + i;
                Job job = guest_.post([this, fd, value] {
                    int square = ask(fd, value);
                    jobs_run_++; /* no lock: the loop's own thread */
                    return square;
                });
                poster.sum += static_cast<std::uint64_t>(job.get());
            } catch (...) {
                poster.error = std::current_exception();
            }
            char report = i + 1 == jobs_ ? 'l' : 'j';
            if (write(reports_[1], &report, 1) != 1) {
                std::terminate(); /* the loop would wait for it for ever */
            }
        }
    }

    void take_reports() {
        std::array<char, 64> reports;
        ssize_t count = read(reports_[0], reports.data(), reports.size());
        for (ssize_t i = 0; i < count; i++) {
            reports_in_++;
            last_reports_ += reports[static_cast<std::size_t>(i)] == 'l';
        }
    }

    void loop() {
        std::array<pollfd, 2> fds{{{reports_[0], POLLIN, 0}, {guest_.fd(), POLLIN, 0}}};
        while (last_reports_ < posters_.size()) { /* ends: each thread reports its last job */
            if (poll(fds.data(), fds.size(), -1) < 0) {
                continue; /* a signal */
            }
            if ((fds[0].revents & POLLIN) != 0) {
                take_reports();
            }
            if ((fds[1].revents & POLLIN) != 0) {
                guest_.poll();
            }
        }
    }

    std::uint32_t jobs_;
    std::uint32_t jobs_run_ = 0;     /* by tasks */
    std::uint32_t reports_in_ = 0;   /* seen by the loop */
    std::uint32_t last_reports_ = 0; /* of those, the last of a thread */
    Pair reports_{pipe};
    std::vector<Poster> posters_;
    Guest guest_; /* after what its tasks use, so that it ends before */
    std::vector<Job> servers_;
};

} /* namespace */

int main(int argc, char **argv) {
    std::uint32_t threads = 3;
    std::uint32_t jobs = 10;
    const std::array<bnx_flag, 3> flags{{
        {"threads", "N", "Threads that post jobs, 1 to 100 (3).", nullptr, &threads},
        {"jobs", "N", "Jobs of each thread, 1 to 1000 (10).", nullptr, &jobs},
        {nullptr, nullptr, nullptr, nullptr, nullptr},
    }};
    int status =
        bnx_flags_parse(argc, argv, "a runtime in the loop of a C++ program", flags.data());
    if (status != 0) {
        return status > 0 ? 0 : 2;
    }
    if (threads < 1 || threads > 100 || jobs < 1 || jobs > 1000) {
        std::fprintf(stderr, "%s: a number is out of range; see --help\n", argv[0]);
        return 2;
    }
    try {
        Program(threads, jobs).run();
    } catch (const std::exception &error) {
        std::fprintf(stderr, "%s: %s\n", argv[0], error.what());
        return 1;
    }
    return 0;
}
