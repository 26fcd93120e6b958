/* SPDX-License-Identifier: MIT */
/* bonxie-load: runs the threads, reports rate, latency, CPU and errors. */
#include "bench/load/load.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

static const char *const error_names[BNX_LOAD_ERRORS] = {"connect", "send",   "receive", "closed",
                                                         "status",  "format", "content", "stall"};

struct result {
    uint64_t answered;
    uint64_t unanswered;
    uint64_t received_bytes;
    uint64_t error_count;
    double seconds; /* from the first start to the last end */
    uint64_t own_cpu_ns;
    uint64_t server_cpu_ns; /* 0: not known */
    uint64_t errors[BNX_LOAD_ERRORS];
    struct bnx_histogram latency;
    struct bnx_histogram late;
};

/* Adds what a thread, which has ended, has found. */
static void result_add(struct result *result, const struct bnx_load_thread *thread) {
    result->answered += thread->answered;
    result->unanswered += thread->unanswered;
    result->received_bytes += thread->received_bytes;
    bnx_histogram_merge(&result->latency, &thread->latency);
    bnx_histogram_merge(&result->late, &thread->late);
    for (int kind = 0; kind < BNX_LOAD_ERRORS; kind++) {
        result->errors[kind] += thread->errors[kind];
        result->error_count += thread->errors[kind];
    }
}

/* The shares of the threads: what is left over goes to the first ones. */
static void threads_share(const struct bnx_load_options *options, struct bnx_load_thread *threads) {
    uint32_t count = options->thread_count;
    uint32_t first = 0;
    for (uint32_t i = 0; i < count; i++) {
        threads[i].options = options;
        threads[i].connection_first = first;
        threads[i].connection_count =
            options->connection_count / count + (i < options->connection_count % count);
        threads[i].request_count =
            options->request_count / count + (i < options->request_count % count);
        first += threads[i].connection_count;
    }
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
    threads_share(options, threads);
    for (uint32_t i = 0; i < count; i++) {
        threads[i].start = &start;
        if (pthread_create(&threads[i].handle, NULL, bnx_load_thread_run, &threads[i]) != 0) {
            perror("pthread_create");
            exit(1); /* the others wait at the barrier */
        }
    }
    struct bnx_load_cpu server;
    bnx_load_cpu_init(&server, options->server_pid);
    pthread_barrier_wait(&start);
    uint64_t server_ns = bnx_load_cpu_read(&server);
    uint64_t own_ns = bnx_load_cpu_own();
    pthread_barrier_wait(&start);
    uint64_t started_ns = UINT64_MAX;
    uint64_t ended_ns = 0;
    for (uint32_t i = 0; i < count; i++) {
        pthread_join(threads[i].handle, NULL);
        result_add(result, &threads[i]);
        started_ns = threads[i].started_ns < started_ns ? threads[i].started_ns : started_ns;
        ended_ns = threads[i].ended_ns > ended_ns ? threads[i].ended_ns : ended_ns;
    }
    uint64_t server_after_ns = bnx_load_cpu_read(&server);
    result->own_cpu_ns = bnx_load_cpu_own() - own_ns;
    result->seconds = ended_ns > started_ns ? (double)(ended_ns - started_ns) / 1e9 : 0;
    result->server_cpu_ns = server_after_ns > server_ns ? server_after_ns - server_ns : 0;
    pthread_barrier_destroy(&start);
    free(threads);
    return 0;
}

static double us_per_request(const struct result *result, uint64_t ns) {
    return result->answered > 0 ? (double)ns / 1e3 / (double)result->answered : 0;
}

static double percentile_us(const struct bnx_histogram *histogram, double fraction) {
    return (double)bnx_histogram_percentile(histogram, fraction) / 1e3;
}

static double max_us(const struct bnx_histogram *histogram) {
    return (double)histogram->max_ns / 1e3;
}

static void report_print(const struct bnx_load_options *options, const struct result *result,
                         double rate) {
    printf("%" PRIu32 " connections, %" PRIu32 " thread%s, pipeline %" PRIu32 ", %.2f s\n",
           options->connection_count, options->thread_count, options->thread_count == 1 ? "" : "s",
           options->pipeline, result->seconds);
    printf("requests    %" PRIu64 "  (%.0f/s, %.2f MB/s received)\n", result->answered, rate,
           result->seconds > 0 ? (double)result->received_bytes / 1e6 / result->seconds : 0);
    printf("latency us  p50 %.1f  p90 %.1f  p99 %.1f  p99.9 %.1f  max %.1f\n",
           percentile_us(&result->latency, 0.5), percentile_us(&result->latency, 0.9),
           percentile_us(&result->latency, 0.99), percentile_us(&result->latency, 0.999),
           max_us(&result->latency));
    if (options->rate > 0) {
        printf("open loop   %.0f/s %s  unanswered %" PRIu64
               "  generator late us  p50 %.1f  p99 %.1f  max %.1f\n",
               options->rate, options->is_poisson ? "poisson" : "even", result->unanswered,
               percentile_us(&result->late, 0.5), percentile_us(&result->late, 0.99),
               max_us(&result->late));
    }
    printf("CPU us/req  generator %.2f", us_per_request(result, result->own_cpu_ns));
    if (result->server_cpu_ns > 0) {
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

/* The buckets that have something: the largest value of each, and how many. */
static void histogram_print(const struct bnx_histogram *histogram) {
    const char *separator = "";
    printf(",\"histogram_us\":[");
    for (size_t i = 0; i < BNX_HISTOGRAM_BUCKETS; i++) {
        if (histogram->counts[i] > 0) {
            printf("%s[%.3f,%" PRIu64 "]", separator, (double)bnx_histogram_top(i) / 1e3,
                   histogram->counts[i]);
            separator = ",";
        }
    }
    printf("]");
}

static void json_print(const struct bnx_load_options *options, const struct result *result,
                       double rate) {
    printf("{\"mode\":\"%s\",\"connections\":%" PRIu32 ",\"threads\":%" PRIu32
           ",\"pipeline\":%" PRIu32 ",\"seconds\":%.6f,\"requests\":%" PRIu64
           ",\"requests_per_s\":%.1f,\"received_bytes\":%" PRIu64,
           options->is_echo ? "echo" : "http", options->connection_count, options->thread_count,
           options->pipeline, result->seconds, result->answered, rate, result->received_bytes);
    printf(",\"latency_us\":{\"p50\":%.3f,\"p90\":%.3f,\"p99\":%.3f,\"p99_9\":%.3f,\"max\":%.3f}",
           percentile_us(&result->latency, 0.5), percentile_us(&result->latency, 0.9),
           percentile_us(&result->latency, 0.99), percentile_us(&result->latency, 0.999),
           max_us(&result->latency));
    if (options->rate > 0) {
        printf(",\"rate\":%.3f,\"arrivals\":\"%s\",\"unanswered\":%" PRIu64
               ",\"generator_late_us\":{\"p50\":%.3f,\"p99\":%.3f,\"max\":%.3f}",
               options->rate, options->is_poisson ? "poisson" : "even", result->unanswered,
               percentile_us(&result->late, 0.5), percentile_us(&result->late, 0.99),
               max_us(&result->late));
    }
    if (options->has_histogram) {
        histogram_print(&result->latency);
    }
    printf(",\"generator_cpu_us_per_request\":%.4f", us_per_request(result, result->own_cpu_ns));
    if (result->server_cpu_ns > 0) {
        printf(",\"server_cpu_us_per_request\":%.4f",
               us_per_request(result, result->server_cpu_ns));
    }
    printf(",\"errors\":{\"total\":%" PRIu64, result->error_count);
    for (int kind = 0; kind < BNX_LOAD_ERRORS; kind++) {
        printf(",\"%s\":%" PRIu64, error_names[kind], result->errors[kind]);
    }
    printf("}}\n");
}

/* As many connections as the hard limit allows. */
static void descriptors_raise(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(int argc, char **argv) {
    struct bnx_load_options options = {
        .connection_count = 64,
        .thread_count = 1,
        .pipeline = 1,
        .duration_s = 10,
        .seed = 1,
    };
    int status = bnx_load_options_parse(argc, argv, &options);
    if (status != 0) {
        return status == 1 ? 0 : 2;
    }
    descriptors_raise();
    static struct result result; /* too large for a stack */
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
