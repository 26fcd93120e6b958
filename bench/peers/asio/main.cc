/* SPDX-License-Identifier: MIT */
/*
 * The peer asio (standalone): its echo and HTTP /plaintext servers. It has no rows of its own.
 *
 * An io_context for each thread, without locks, as servers that count cycles run it. Sessions are
 * kept alive by the handlers that hold them, as in asio's own examples.
 */
#include "bench/peers/server.h"

#include "bench/peers/peer.h"

#include <asio.hpp>

#include <cstddef>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

/* asio.hpp defines it as MAJOR * 100000 + MINOR * 100 + PATCH. */
#define ASIO_MAJOR (ASIO_VERSION / 100000)
#define ASIO_MINOR (ASIO_VERSION / 100 % 1000)
#define ASIO_PATCH (ASIO_VERSION % 100)

struct Worker {
    explicit Worker(const server_options &options)
        : is_http(options.is_http), context(ASIO_CONCURRENCY_HINT_UNSAFE) {
    }

    const bool is_http;
    asio::io_context context;
    server_answer answer{};
};

/* A connection; Protocol is asio::ip::tcp or asio::local::stream_protocol. */
template <typename Protocol>
class Session : public std::enable_shared_from_this<Session<Protocol>> {
  public:
    Session(Worker &worker, typename Protocol::socket socket)
        : worker_(worker), socket_(std::move(socket)) {
        buffers_.in_bytes = 0;
        buffers_.out_bytes = 0;
    }

    void receive() {
        auto self = this->shared_from_this();
        auto room =
            asio::buffer(buffers_.in + buffers_.in_bytes, sizeof(buffers_.in) - buffers_.in_bytes);
        socket_.async_read_some(room, [self](asio::error_code error, std::size_t bytes) {
            if (!error) {
                self->serve(bytes);
            }
        });
    }

  private:
    void serve(std::size_t bytes) {
        if (worker_.is_http) {
            buffers_.in_bytes += bytes;
            answer();
        } else {
            send(buffers_.in, bytes);
        }
    }

    void answer() {
        int result = server_http_answer(&worker_.answer, &buffers_);
        if (result > 0) {
            send(buffers_.out, buffers_.out_bytes);
        } else if (result == 0) {
            receive();
        } /* else the last reference goes, and with it the connection */
    }

    void send(const char *data, std::size_t bytes) {
        auto self = this->shared_from_this();
        asio::async_write(socket_, asio::buffer(data, bytes),
                          [self](asio::error_code error, std::size_t) {
                              if (!error) {
                                  self->sent();
                              }
                          });
    }

    void sent() {
        buffers_.out_bytes = 0;
        if (buffers_.in_bytes > 0) {
            answer();
        } else {
            receive();
        }
    }

    Worker &worker_;
    typename Protocol::socket socket_;
    server_buffers buffers_; /* echo sends from .in */
};

template <typename Protocol>
static void accept(Worker &worker, typename Protocol::acceptor &acceptor) {
    acceptor.async_accept([&](asio::error_code error, typename Protocol::socket socket) {
        if (!error) {
            server_nodelay(socket.native_handle());
            std::make_shared<Session<Protocol>>(worker, std::move(socket))->receive();
        }
        accept<Protocol>(worker, acceptor);
    });
}

template <typename Protocol> static void serve(server_options &options, const Protocol &protocol) {
    std::vector<std::unique_ptr<Worker>> workers;
    std::vector<std::unique_ptr<typename Protocol::acceptor>> acceptors;
    std::vector<std::thread> threads;
    for (int i = 0; i < options.worker_count; i++) {
        workers.push_back(std::make_unique<Worker>(options));
        acceptors.push_back(std::make_unique<typename Protocol::acceptor>(
            workers.back()->context, protocol, server_listen(&options, SOCK_NONBLOCK)));
        accept<Protocol>(*workers.back(), *acceptors.back());
    }
    server_announce(&options);
    for (std::size_t i = 1; i < workers.size(); i++) {
        threads.emplace_back([&workers, i] { workers[i]->context.run(); });
    }
    workers[0]->context.run();
}

static void print_version() {
    std::printf("asio %d.%d.%d, %s\n", ASIO_MAJOR, ASIO_MINOR, ASIO_PATCH, PEER_COMPILER);
}

int server_main(int argc, char **argv) {
    server_options options;
    server_options_parse(&options, argc, argv);
    try {
        if (options.address.any.sa_family == AF_UNIX) {
            serve(options, asio::local::stream_protocol());
        } else {
            serve(options, asio::ip::tcp::v4());
        }
    } catch (const std::exception &error) {
        std::fprintf(stderr, "%s: %s\n", argv[0], error.what());
        return 1;
    }
    return 0;
}

int main(int argc, char **argv) {
    static const peer_row rows[] = {{nullptr, nullptr, nullptr}};
    const peer asio_peer = {print_version, rows, server_main};
    return peer_main(&asio_peer, argc, argv);
}
