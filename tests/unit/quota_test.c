/* SPDX-License-Identifier: MIT */
/*
 * How many workers a process may use, and where they run.
 *
 * Method: each row of a table is a tree of /proc and cgroup files as a process would see them in
 * some container or on some host, and the number of workers that follows, worked out by hand. One
 * claim makes a real cgroup and enters it; another asks the workers where they may run.
 */
#include "tests/support/test.h"
#include "tests/support/tree.h"

#include "runtime/idle.h"
#include "runtime/os.h"
#include "runtime/topology.h"

#include <bonxie/offload.h>
#include <bonxie/runtime.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct count_case {
    const char *name;
    uint32_t expected;     /* of 8 allowed CPUs */
    const char *cgroup;    /* /proc/self/cgroup; NULL = missing */
    const char *mountinfo; /* /proc/self/mountinfo; NULL = missing */
    const char *files[12]; /* pairs of path and text */
};

#define V2_MOUNT "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
#define V1_MOUNT                                                                                   \
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"                                   \
    "33 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"                            \
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
#define V1_SELF "12:cpuset:/a\n4:cpu,cpuacct:/a/b\n1:name=systemd:/x\n"
#define V2_A "/sys/fs/cgroup/a"
#define V1_A "/sys/fs/cgroup/cpu,cpuacct/a"
#define QUOTA "/cpu.cfs_quota_us"
#define PERIOD "/cpu.cfs_period_us"

static const struct count_case count_cases[] = {
    {"no files at all", 8, NULL, NULL, {NULL}},
    {"no mountinfo", 8, "0::/a\n", NULL, {V2_A "/cpu.max", "100000 100000\n"}},
    {"no cgroup", 8, NULL, V2_MOUNT, {V2_A "/cpu.max", "100000 100000\n"}},
    {"v2, whole", 3, "0::/a\n", V2_MOUNT, {V2_A "/cpu.max", "300000 100000\n"}},
    {"v2, fraction", 3, "0::/a\n", V2_MOUNT, {V2_A "/cpu.max", "250000 100000\n"}},
    {"v2, a hair more", 3, "0::/a\n", V2_MOUNT, {V2_A "/cpu.max", "200001 100000\n"}},
    {"v2, below one", 1, "0::/a\n", V2_MOUNT, {V2_A "/cpu.max", "1000 100000\n"}},
    {"v2, other period", 5, "0::/a\n", V2_MOUNT, {V2_A "/cpu.max", "100000 20000\n"}},
    {"v2, above the affinity", 8, "0::/a\n", V2_MOUNT, {V2_A "/cpu.max", "6400000 100000\n"}},
    {"v2, max", 8, "0::/a\n", V2_MOUNT, {V2_A "/cpu.max", "max 100000\n"}},
    {"v2, no newline", 3, "0::/a", V2_MOUNT, {V2_A "/cpu.max", "300000 100000"}},
    {"v2, the parent is tighter",
     2,
     "0::/a/b/c\n",
     V2_MOUNT,
     {V2_A "/b/c/cpu.max", "600000 100000\n", V2_A "/b/cpu.max", "max 100000\n", V2_A "/cpu.max",
      "150000 100000\n"}},
    {"v2, the child is tighter",
     3,
     "0::/a/b\n",
     V2_MOUNT,
     {V2_A "/b/cpu.max", "150000 50000\n", V2_A "/cpu.max", "600000 100000\n"}},
    {"v2, a sibling does not count",
     4,
     "0::/a/b\n",
     V2_MOUNT,
     {V2_A "/b/cpu.max", "400000 100000\n", V2_A "/bb/cpu.max", "100000 100000\n"}},
    {"v2, only the top", 5, "0::/a/b\n", V2_MOUNT, {"/sys/fs/cgroup/cpu.max", "500000 100000\n"}},
    {"v2, namespace root", 2, "0::/\n", V2_MOUNT, {"/sys/fs/cgroup/cpu.max", "200000 100000\n"}},
    {"v2, outside the namespace",
     8,
     "0::/../other\n",
     V2_MOUNT,
     {"/sys/fs/cgroup/cpu.max", "200000 100000\n", "/sys/fs/other/cpu.max", "100000 100000\n"}},
    {"v2, mounted from above the namespace",
     3,
     "0::/\n",
     "30 23 0:26 /../.. /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
     {"/sys/fs/cgroup/cpu.max", "300000 100000\n"}},
    {"v2, above the namespace, process above as well",
     3,
     "0::/../../a/b\n",
     "30 23 0:26 /../.. /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
     {V2_A "/b/cpu.max", "300000 100000\n"}},
    {"v2, process above the mount",
     8,
     "0::/../..\n",
     "30 23 0:26 /.. /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
     {"/sys/fs/cgroup/cpu.max", "300000 100000\n"}},
    {"v2, colon and space in the path",
     3,
     "0::/a:b/c d\n",
     "30 23 0:26 / /sys/fs/cg\\040roup rw - cgroup2 cgroup2 rw\n",
     {"/sys/fs/cg roup/a:b/c d/cpu.max", "300000 100000\n"}},
    {"v2, malformed", 8, "0::/a\n", V2_MOUNT, {V2_A "/cpu.max", "lots 100000\n"}},
    {"v2, one number", 8, "0::/a\n", V2_MOUNT, {V2_A "/cpu.max", "100000\n"}},
    {"v2, three words", 8, "0::/a\n", V2_MOUNT, {V2_A "/cpu.max", "100000 100000 1\n"}},
    {"v2, negative", 8, "0::/a\n", V2_MOUNT, {V2_A "/cpu.max", "-1 100000\n"}},
    {"v2, period of zero", 8, "0::/a\n", V2_MOUNT, {V2_A "/cpu.max", "100000 0\n"}},
    {"v2, quota of zero", 8, "0::/a\n", V2_MOUNT, {V2_A "/cpu.max", "0 100000\n"}},
    {"v2, beyond 64 bits",
     8,
     "0::/a\n",
     V2_MOUNT,
     {V2_A "/cpu.max", "100000000000000000000 100000000000000000000\n"}},
    {"v2, empty", 8, "0::/a\n", V2_MOUNT, {V2_A "/cpu.max", ""}},
    {"nonsense in proc", 8, "0:\n::\nx\n\n0::a\n", "1 2 3\n\n- - -\n" V2_MOUNT, {NULL}},
    {"v1, quota and period",
     4,
     V1_SELF,
     V1_MOUNT,
     {V1_A "/b" QUOTA, "350000\n", V1_A "/b" PERIOD, "100000\n"}},
    {"v1, unlimited",
     8,
     V1_SELF,
     V1_MOUNT,
     {V1_A "/b" QUOTA, "-1\n", V1_A "/b" PERIOD, "100000\n"}},
    {"v1, no period", 8, V1_SELF, V1_MOUNT, {V1_A "/b" QUOTA, "100000\n"}},
    {"v1, malformed",
     8,
     V1_SELF,
     V1_MOUNT,
     {V1_A "/b" QUOTA, "100000x\n", V1_A "/b" PERIOD, "100000\n"}},
    {"v1, the parent is tighter",
     2,
     V1_SELF,
     V1_MOUNT,
     {V1_A "/b" QUOTA, "-1\n", V1_A "/b" PERIOD, "100000\n", V1_A QUOTA, "20000\n", V1_A PERIOD,
      "10000\n"}},
    {"v1, a container without a namespace",
     2,
     "4:cpu,cpuacct:/docker/f00\n",
     "32 31 0:29 /docker/f00 /sys/fs/cgroup/cpu ro master:9 - cgroup cgroup rw,cpu,cpuacct\n",
     {"/sys/fs/cgroup/cpu" QUOTA, "150000\n", "/sys/fs/cgroup/cpu" PERIOD, "100000\n"}},
    {"v1, a mount of another cgroup",
     8,
     "4:cpu,cpuacct:/docker/f00f\n",
     "32 31 0:29 /docker/f00 /sys/fs/cgroup/cpu ro master:9 - cgroup cgroup rw,cpu,cpuacct\n",
     {"/sys/fs/cgroup/cpu" QUOTA, "150000\n", "/sys/fs/cgroup/cpu" PERIOD, "100000\n"}},
    {"v1, cpuset and cpuacct are not cpu",
     8,
     "12:cpuset:/a\n5:cpuacct:/a\n",
     "33 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
     "34 31 0:32 / /sys/fs/cgroup/cpuacct rw - cgroup cgroup rw,cpuacct\n",
     {"/sys/fs/cgroup/cpuset/a" QUOTA, "100000\n", "/sys/fs/cgroup/cpuset/a" PERIOD, "100000\n",
      "/sys/fs/cgroup/cpuacct/a" QUOTA, "100000\n", "/sys/fs/cgroup/cpuacct/a" PERIOD, "100000\n"}},
    {"hybrid, cpu in v1",
     5,
     V1_SELF "0::/user.slice\n",
     V1_MOUNT "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
     {V1_A "/b" QUOTA, "500000\n", V1_A "/b" PERIOD, "100000\n",
      "/sys/fs/cgroup/unified/user.slice/cgroup.procs", "1\n"}},
    {"hybrid, cpu in v2",
     6,
     "1:name=systemd:/x\n0::/user.slice\n",
     "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n"
     "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
     {"/sys/fs/cgroup/unified/user.slice/cpu.max", "600000 100000\n"}},
};

static uint32_t count_in_tree(void) {
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    for (unsigned cpu = 0; cpu < 8; cpu++) {
        CPU_SET(cpu, &allowed);
    }
    uint32_t count = 0;
    CHECK_EQ(bnx_worker_count(bnx_tree_root, &allowed, sizeof(allowed), &count), 0);
    return count;
}

static void count_case_run(const struct count_case *a_case) {
    bnx_tree_create();
    if (a_case->cgroup != NULL) {
        bnx_tree_add(a_case->cgroup, "/proc/self/cgroup");
    }
    if (a_case->mountinfo != NULL) {
        bnx_tree_add(a_case->mountinfo, "/proc/self/mountinfo");
    }
    const char *const *file = a_case->files;
    for (; file < a_case->files + BNX_ARRAY_COUNT(a_case->files) && *file != NULL; file += 2) {
        bnx_tree_add(file[1], "%s", file[0]);
    }
    uint32_t count = count_in_tree();
    if (count != a_case->expected) {
        bnx_test_fail(__FILE__, __LINE__, "%s: %u workers, not %u", a_case->name, count,
                      a_case->expected);
    }
    bnx_tree_remove();
}

/* The process takes as many workers as affinity and CPU quota allow: a table of containers and
 * hosts, each a tree of the files that the process would see there. */
TEST(worker_count, "runtime.worker_count") {
    for (size_t at = 0; at < BNX_ARRAY_COUNT(count_cases); at++) {
        count_case_run(&count_cases[at]);
    }

    /* Lines longer than any buffer, before and behind the one that counts. */
    static char mountinfo[3 * 20000];
    memset(mountinfo, 'x', sizeof(mountinfo) - 1);
    memcpy(mountinfo + 20000, "\n" V2_MOUNT, strlen("\n" V2_MOUNT));
    bnx_tree_create();
    bnx_tree_add("0::/a\n", "/proc/self/cgroup");
    bnx_tree_add(mountinfo, "/proc/self/mountinfo");
    bnx_tree_add("300000 100000\n", V2_A "/cpu.max");
    CHECK_EQ(count_in_tree(), 3);
    bnx_tree_remove();
}

/* In the child: enters the cgroup and counts. 100 + the count, or 1 when it could not enter. */
static int count_inside(const char *folder) {
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/cgroup.procs", folder);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "0", 1) != 1) {
        return 1;
    }
    cpu_set_t *set = NULL;
    size_t bytes = 0;
    uint32_t count = 0;
    CHECK_EQ(bnx_affinity_load(&set, &bytes), 0);
    CHECK_EQ(bnx_worker_count("", set, bytes, &count), 0);
    bnx_os.release(set);
    return (int)(100 + count);
}

/* For real: a cgroup with a quota of one CPU, entered by a child process. Needs the right to make
 * one, and two CPUs to tell the difference. */
TEST(worker_count_real, "runtime.worker_count_real_quota") {
    static const char *const parents[] = {"/sys/fs/cgroup/cpu", "/sys/fs/cgroup"};
    cpu_set_t allowed;
    CHECK_EQ(sched_getaffinity(0, sizeof(allowed), &allowed), 0);
    if (CPU_COUNT(&allowed) < 2) {
        SKIP("needs two CPUs");
    }
    int result = 1;
    for (size_t at = 0; at < BNX_ARRAY_COUNT(parents) && result == 1; at++) {
        char folder[64];
        char quota[96];
        (void)snprintf(folder, sizeof(folder), "%s/bnx-test-%d", parents[at], (int)getpid());
        (void)snprintf(quota, sizeof(quota), "%s/%s", folder,
                       at == 0 ? "cpu.cfs_quota_us" : "cpu.max");
        if (mkdir(folder, 0700) != 0) {
            continue;
        }
        if (access(quota, W_OK) == 0) {
            bnx_file_write(quota, "100000");
            pid_t child = fork();
            CHECK(child >= 0);
            if (child == 0) {
                _exit(count_inside(folder));
            }
            int status = 0;
            CHECK_EQ(waitpid(child, &status, 0), child);
            CHECK(WIFEXITED(status));
            result = WEXITSTATUS(status);
        }
        CHECK_EQ(rmdir(folder), 0);
    }
    if (result == 1) {
        SKIP("no CPU controller that this process may write");
    }
    CHECK_EQ(result, 101);
}

/* As a task: where its worker may run. */
static int affinity_note(void *arg) {
    return sched_getaffinity(0, sizeof(cpu_set_t), arg) == 0 ? 0 : -errno;
}

static int (*affinity_set_real)(const cpu_set_t *set, size_t set_bytes);

/* Every second call of a thread keeps it on one CPU, as if that shared its cache with no other. */
static int affinity_set_narrow(const cpu_set_t *set, size_t set_bytes) {
    static _Thread_local unsigned calls;
    cpu_set_t one;
    CPU_ZERO(&one);
    CHECK(set_bytes <= sizeof(one));
    memcpy(&one, set, set_bytes);
    for (size_t cpu = 0, seen = 0; cpu < set_bytes * 8 && calls % 2 == 0; cpu++) {
        if (CPU_ISSET_S(cpu, set_bytes, &one) && seen++ > 0) {
            CPU_CLR_S(cpu, set_bytes, &one);
        }
    }
    calls++;
    return affinity_set_real(&one, set_bytes);
}

struct whereabouts {
    cpu_set_t of_worker;
    cpu_set_t of_job;
    cpu_set_t of_worker_after;
};

static int visit_a_thread(void *arg) {
    struct whereabouts *seen = arg;
    CHECK_EQ(affinity_note(&seen->of_worker), 0);
    CHECK_EQ(bnx_offload(affinity_note, &seen->of_job), 0);
    return affinity_note(&seen->of_worker_after);
}

/* Workers as many as the CPUs stay with the neighbours of one of them, and never on a single CPU
 * while it has neighbours. Fewer workers, and those that ask for it, run on every CPU. */
TEST(placement, "runtime.placement") {
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) {
        SKIP("more CPUs than a cpu_set_t has room for");
    }
    struct bnx_topology topology;
    CHECK_EQ(bnx_topology_load(&topology, "", &allowed, sizeof(allowed)), 0);
    uint32_t cpus = topology.cpu_count;
    if (cpus < 2 || cpus > BNX_WORKERS_MAX) {
        SKIP("needs two CPUs, and as many workers as CPUs");
    }
    cpu_set_t seen;
    struct bnx_options options = {.worker_count = cpus - 1};
    CHECK_EQ(bnx_run(&options, affinity_note, &seen), 0);
    CHECK(CPU_EQUAL(&seen, &allowed));
    options = (struct bnx_options){.worker_count = cpus, .flags = BNX_NO_AFFINITY};
    CHECK_EQ(bnx_run(&options, affinity_note, &seen), 0);
    CHECK(CPU_EQUAL(&seen, &allowed));

    options = (struct bnx_options){.worker_count = cpus};
    CHECK_EQ(bnx_run(&options, affinity_note, &seen), 0);
    bool is_someones = false;
    for (uint32_t at = 0; at < cpus; at++) {
        cpu_set_t near;
        bnx_topology_neighbours(&topology, topology.cpus[at].cpu, &near, sizeof(near));
        is_someones = is_someones || CPU_EQUAL(&seen, &near);
    }
    CHECK(is_someones);
    bnx_topology_fini(&topology);

    /* A thread that a worker starts for the library runs on every CPU all the same. */
    struct whereabouts where;
    affinity_set_real = bnx_os.affinity_set;
    bnx_os.affinity_set = affinity_set_narrow;
    int error = bnx_run(&options, visit_a_thread, &where);
    bnx_os.affinity_set = affinity_set_real;
    CHECK_EQ(error, 0);
    CHECK_EQ(CPU_COUNT(&where.of_worker), 1);
    CHECK(CPU_EQUAL(&where.of_job, &allowed));
    CHECK_EQ(CPU_COUNT(&where.of_worker_after), 1);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
