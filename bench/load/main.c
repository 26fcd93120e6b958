/* SPDX-License-Identifier: MIT */
/* bonxie-load: reads the flags, runs the threads, reports rate, latency, CPU and errors. */
#include "bench/load/load.h"

#include <dirent.h>
#include <getopt.h>
#include <inttypes.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static const char *const error_names[BNX_LOAD_ERRORS] = {"connect", "send",   "receive", "closed",
                                                         "status",  "format", "content", "stall"};

struct result {
    uint64_t answered;
    uint64_t received_bytes;
    uint64_t error_count;
    double seconds; /* from the first start to the last end */
    uint64_t own_cpu_ns;
    uint64_t server_cpu_ns;
    bool has_server_cpu;
    uint64_t errors[BNX_LOAD_ERRORS];
    struct bnx_histogram latency;
};

static void usage_print(const char *program, FILE *to) {
    fprintf(
        to,
        "%s [FLAGS] URL|ADDRESS:PORT: a closed-loop load generator\n\nFlags:\n"
        "  --connections N\n      Connections in all (64).\n"
        "  --threads N\n      Threads that share them (1).\n"
        "  --duration S\n      Seconds, with a fraction if wanted (10).\n"
        "  --requests N\n      Stop after so many answers instead.\n"
        "  --pipeline D\n      Requests in flight on each connection (1).\n"
        "  --mode http|echo\n      What to send (http).\n"
        "  --bytes B\n      echo: of a message (64). http: content length wanted of each answer\n"
        "      (that of the first).\n"
        "  --pid P\n      Report the CPU time of this process as well: the server's.\n"
        "  --json\n      Report as one JSON object.\n"
        "  --help\n      Print this and exit.\n"
        "Exits with 1 when any answer is wrong or missing.\n",
        program);
}

/* Nanoseconds of CPU that all threads of a process have used; 0 when they cannot be read. Threads
 * that end in between are lost: servers keep theirs. */
static uint64_t process_cpu(int pid) {
    char path[320];
    uint64_t total_ns = 0;
    snprintf(path, sizeof(path), "/proc/%d/task", pid);
    DIR *tasks = opendir(path);
    if (tasks == NULL) {
        return 0;
    }
    for (struct dirent *entry = NULL; (entry = readdir(tasks)) != NULL;) {
        snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", pid, entry->d_name);
        FILE *file = entry->d_name[0] != '.' ? fopen(path, "re") : NULL;
        uint64_t ns = 0;
        if (file != NULL) {
            total_ns += fscanf(file, "%" SCNu64, &ns) == 1 ? ns : 0;
            fclose(file);
        }
    }
    closedir(tasks);
    return total_ns;
}

static uint64_t own_cpu(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return ((uint64_t)usage.ru_utime.tv_sec + (uint64_t)usage.ru_stime.tv_sec) * 1000000000u +
           ((uint64_t)usage.ru_utime.tv_usec + (uint64_t)usage.ru_stime.tv_usec) * 1000u;
}

/* Splits "http://HOST:PORT/PATH", "HOST:PORT/PATH" or "HOST:PORT" and resolves it. The request is
 * allocated and lives as long as the program. Returns 0, or -1 after a message. */
static int target_parse(struct bnx_load_options *options, const char *target) {
    const char *at = strncmp(target, "http://", 7) == 0 ? target + 7 : target;
    size_t authority_bytes = strcspn(at, "/");
    const char *path = at[authority_bytes] != '\0' ? at + authority_bytes : "/";
    char authority[256];
    if (authority_bytes >= sizeof(authority)) {
        fprintf(stderr, "address too long: %s\n", target);
        return -1;
    }
    memcpy(authority, at, authority_bytes);
    authority[authority_bytes] = '\0';
    char *request = NULL;
    int request_length = asprintf(&request, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, authority);
    if (request_length < 0) {
        return -1;
    }
    options->request = request;
    options->request_bytes = (size_t)request_length;

    char *colon = strrchr(authority, ':');
    char *host = authority;
    const char *port = "80";
    if (colon != NULL && strchr(colon, ']') == NULL) {
        *colon = '\0';
        port = colon + 1;
    }
    if (host[0] == '[' && host[strlen(host) - 1] == ']') {
        host[strlen(host) - 1] = '\0';
        host++;
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int error = getaddrinfo(host, port, &hints, &found);
    if (error != 0) {
        fprintf(stderr, "%s: %s\n", target, gai_strerror(error));
        return -1;
    }
    memcpy(&options->address, found->ai_addr, found->ai_addrlen);
    options->address_bytes = found->ai_addrlen;
    freeaddrinfo(found);
    return 0;
}

static bool number_parse(const char *text, double min, double max, double *out) {
    char *end = NULL;
    *out = strtod(text, &end);
    return end != text && *end == '\0' && *out >= min && *out <= max;
}

/* Returns 0 to go on, 1 after the help, 2 after a message. */
static int options_parse(int argc, char **argv, struct bnx_load_options *options) {
    static const struct option flags[] = {
        {"connections", required_argument, NULL, 'c'},
        {"threads", required_argument, NULL, 't'},
        {"duration", required_argument, NULL, 'd'},
        {"requests", required_argument, NULL, 'n'},
        {"pipeline", required_argument, NULL, 'p'},
        {"mode", required_argument, NULL, 'm'},
        {"bytes", required_argument, NULL, 'b'},
        {"pid", required_argument, NULL, 'P'},
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    bool is_good = true;
    for (int flag = 0; (flag = getopt_long(argc, argv, "", flags, NULL)) != -1;) {
        double number = 0;
        if (flag == 'h') {
            usage_print(argv[0], stdout);
            return 1;
        } else if (flag == 'j') {
            options->is_json = true;
        } else if (flag == 'm') {
            options->is_echo = strcmp(optarg, "echo") == 0;
            is_good = is_good && (options->is_echo || strcmp(optarg, "http") == 0);
        } else if (flag == 'c' && number_parse(optarg, 1, BNX_LOAD_CONNECTIONS_MAX, &number)) {
            options->connection_count = (uint32_t)number;
        } else if (flag == 't' && number_parse(optarg, 1, BNX_LOAD_THREADS_MAX, &number)) {
            options->thread_count = (uint32_t)number;
        } else if (flag == 'd' && number_parse(optarg, 0.01, 1e6, &number)) {
            options->duration_s = number;
        } else if (flag == 'n' && number_parse(optarg, 1, 1e15, &number)) {
            options->request_count = (uint64_t)number;
        } else if (flag == 'p' && number_parse(optarg, 1, BNX_LOAD_PIPELINE_MAX, &number)) {
            options->pipeline = (uint32_t)number;
        } else if (flag == 'b' && number_parse(optarg, 1, BNX_LOAD_BYTES_MAX, &number)) {
            options->message_bytes = (uint32_t)number;
        } else if (flag == 'P' && number_parse(optarg, 1, 1e9, &number)) {
            options->server_pid = (int)number;
        } else {
            is_good = false;
        }
    }
    if (!is_good || optind + 1 != argc) {
        usage_print(argv[0], stderr);
        return 2;
    }
    if (options->is_echo && options->message_bytes == 0) {
        options->message_bytes = 64;
    }
    if (options->thread_count > options->connection_count) {
        options->thread_count = options->connection_count;
    }
    return target_parse(options, argv[optind]) < 0 ? 2 : 0;
}

/* Runs all threads and adds up what they found. Returns 0, or -1 when they cannot be started. */
static int load_run(const struct bnx_load_options *options, struct result *result) {
    uint32_t count = options->thread_count;
    struct bnx_load_thread *threads = calloc(count, sizeof(*threads));
    pthread_barrier_t start;
    if (threads == NULL || pthread_barrier_init(&start, NULL, count + 1) != 0) {
        free(threads);
        return -1;
    }
    for (uint32_t i = 0; i < count; i++) {
        threads[i].options = options;
        threads[i].start = &start;
        threads[i].connection_count =
            options->connection_count / count + (i < options->connection_count % count);
        threads[i].request_count =
            options->request_count / count + (i < options->request_count % count);
        if (pthread_create(&threads[i].handle, NULL, bnx_load_thread_run, &threads[i]) != 0) {
            perror("pthread_create");
            exit(1); /* the others wait at the barrier */
        }
    }
    uint64_t server_ns = options->server_pid > 0 ? process_cpu(options->server_pid) : 0;
    uint64_t own_ns = own_cpu();
    pthread_barrier_wait(&start);
    uint64_t started_ns = UINT64_MAX;
    uint64_t ended_ns = 0;
    for (uint32_t i = 0; i < count; i++) {
        pthread_join(threads[i].handle, NULL);
        result->answered += threads[i].answered;
        result->received_bytes += threads[i].received_bytes;
        bnx_histogram_merge(&result->latency, &threads[i].latency);
        for (int kind = 0; kind < BNX_LOAD_ERRORS; kind++) {
            result->errors[kind] += threads[i].errors[kind];
            result->error_count += threads[i].errors[kind];
        }
        started_ns = threads[i].started_ns < started_ns ? threads[i].started_ns : started_ns;
        ended_ns = threads[i].ended_ns > ended_ns ? threads[i].ended_ns : ended_ns;
    }
    result->own_cpu_ns = own_cpu() - own_ns;
    result->seconds = ended_ns > started_ns ? (double)(ended_ns - started_ns) / 1e9 : 0;
    if (server_ns > 0) {
        uint64_t after_ns = process_cpu(options->server_pid);
        result->has_server_cpu = after_ns > server_ns;
        result->server_cpu_ns = after_ns - server_ns;
    }
    pthread_barrier_destroy(&start);
    free(threads);
    return 0;
}

static double us_per_request(const struct result *result, uint64_t ns) {
    return result->answered > 0 ? (double)ns / 1e3 / (double)result->answered : 0;
}

static double percentile_us(const struct result *result, double fraction) {
    return (double)bnx_histogram_percentile(&result->latency, fraction) / 1e3;
}

static void report_print(const struct bnx_load_options *options, const struct result *result,
                         double rate) {
    printf("%" PRIu32 " connections, %" PRIu32 " thread%s, pipeline %" PRIu32 ", %.2f s\n",
           options->connection_count, options->thread_count, options->thread_count == 1 ? "" : "s",
           options->pipeline, result->seconds);
    printf("requests    %" PRIu64 "  (%.0f/s, %.2f MB/s received)\n", result->answered, rate,
           result->seconds > 0 ? (double)result->received_bytes / 1e6 / result->seconds : 0);
    printf("latency us  p50 %.1f  p90 %.1f  p99 %.1f  p99.9 %.1f  max %.1f\n",
           percentile_us(result, 0.5), percentile_us(result, 0.9), percentile_us(result, 0.99),
           percentile_us(result, 0.999), (double)result->latency.max_ns / 1e3);
    printf("CPU us/req  generator %.2f", us_per_request(result, result->own_cpu_ns));
    if (result->has_server_cpu) {
        printf("  server %.2f", us_per_request(result, result->server_cpu_ns));
    }
    printf("\nerrors      %" PRIu64, result->error_count);
    for (int kind = 0; kind < BNX_LOAD_ERRORS; kind++) {
        if (result->errors[kind] > 0) {
            printf("  %s %" PRIu64, error_names[kind], result->errors[kind]);
        }
    }
    printf("\n");
}

static void json_print(const struct bnx_load_options *options, const struct result *result,
                       double rate) {
    printf("{\"mode\":\"%s\",\"connections\":%" PRIu32 ",\"threads\":%" PRIu32
           ",\"pipeline\":%" PRIu32 ",\"seconds\":%.6f,\"requests\":%" PRIu64
           ",\"requests_per_s\":%.1f,\"received_bytes\":%" PRIu64,
           options->is_echo ? "echo" : "http", options->connection_count, options->thread_count,
           options->pipeline, result->seconds, result->answered, rate, result->received_bytes);
    printf(",\"latency_us\":{\"p50\":%.3f,\"p90\":%.3f,\"p99\":%.3f,\"p99_9\":%.3f,\"max\":%.3f}",
           percentile_us(result, 0.5), percentile_us(result, 0.9), percentile_us(result, 0.99),
           percentile_us(result, 0.999), (double)result->latency.max_ns / 1e3);
    printf(",\"generator_cpu_us_per_request\":%.4f", us_per_request(result, result->own_cpu_ns));
    if (result->has_server_cpu) {
        printf(",\"server_cpu_us_per_request\":%.4f",
               us_per_request(result, result->server_cpu_ns));
    }
    printf(",\"errors\":{\"total\":%" PRIu64, result->error_count);
    for (int kind = 0; kind < BNX_LOAD_ERRORS; kind++) {
        printf(",\"%s\":%" PRIu64, error_names[kind], result->errors[kind]);
    }
    printf("}}\n");
}

int main(int argc, char **argv) {
    struct bnx_load_options options = {
        .connection_count = 64,
        .thread_count = 1,
        .pipeline = 1,
        .duration_s = 10,
    };
    int status = options_parse(argc, argv, &options);
    if (status != 0) {
        return status == 1 ? 0 : 2;
    }
    static struct result result; /* too large for a stack frame's taste: the histogram has 30 KB */
    if (load_run(&options, &result) < 0) {
        fprintf(stderr, "out of memory\n");
        return 1;
    }
    double rate = result.seconds > 0 ? (double)result.answered / result.seconds : 0;
    if (options.is_json) {
        json_print(&options, &result, rate);
    } else {
        report_print(&options, &result, rate);
    }
    return result.error_count > 0 || result.answered == 0 ? 1 : 0;
}
