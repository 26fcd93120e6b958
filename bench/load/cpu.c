/* SPDX-License-Identifier: MIT */
/* CPU time of the generator, and of the server that it drives. */
#include "bench/load/load.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The parent of a process, or -1. */
static int parent_read(const char *pid) {
    char path[64];
    char text[512];
    int parent = -1;
    (void)snprintf(path, sizeof(path), "/proc/%.20s/stat", pid);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return -1;
    }
    size_t bytes = fread(text, 1, sizeof(text) - 1, file);
    (void)fclose(file);
    text[bytes] = '\0';
    /* The name is in parentheses and may have any byte: "PID (NAME) STATE PARENT ...". */
    const char *rest = strrchr(text, ')');
    return rest != NULL && sscanf(rest, ") %*c %d", &parent) == 1 ? parent : -1;
}

void bnx_load_cpu_init(struct bnx_load_cpu *cpu, int pid) {
    cpu->process_count = 0;
    DIR *processes = pid > 0 ? opendir("/proc") : NULL;
    if (processes == NULL) {
        return;
    }
    cpu->pids[cpu->process_count++] = pid;
    for (struct dirent *entry = NULL; (entry = readdir(processes)) != NULL;) {
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' &&
            cpu->process_count < BNX_LOAD_PROCESSES_MAX && parent_read(entry->d_name) == pid) {
            cpu->pids[cpu->process_count++] = atoi(entry->d_name);
        }
    }
    (void)closedir(processes);
}

static uint64_t clock_ns(clockid_t clock) {
    struct timespec time;
    if (clock_gettime(clock, &time) != 0) {
        return 0;
    }
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

uint64_t bnx_load_cpu_read(const struct bnx_load_cpu *cpu) {
    uint64_t total_ns = 0;
    for (int i = 0; i < cpu->process_count; i++) {
        clockid_t clock = 0;
        /* Of all threads, those that have ended as well, to the ns. */
        uint64_t ns = clock_getcpuclockid(cpu->pids[i], &clock) == 0 ? clock_ns(clock) : 0;
        if (ns == 0) {
            return 0;
        }
        total_ns += ns;
    }
    return total_ns;
}

uint64_t bnx_load_cpu_own(void) {
    return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}
