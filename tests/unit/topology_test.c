/* SPDX-License-Identifier: MIT */
/*
 * The CPU topology and the affinity.
 *
 * Method: each claim writes a small tree of /sys files and lets the module read it as its root.
 * What must come out is written down by hand from the layout of the machine that the tree
 * describes. One claim reads the machine it runs on.
 */
#include "tests/support/test.h"
#include "tests/support/tree.h"

#include "runtime/os.h"
#include "runtime/topology.h"

#include <errno.h>
#include <stdio.h>

/* ---- the trees ---- */

static void cache_add(unsigned cpu, unsigned index, const char *level, const char *type,
                      const char *cpus) {
    bnx_tree_add(level, "/sys/devices/system/cpu/cpu%u/cache/index%u/level", cpu, index);
    bnx_tree_add(type, "/sys/devices/system/cpu/cpu%u/cache/index%u/type", cpu, index);
    bnx_tree_add(cpus, "/sys/devices/system/cpu/cpu%u/cache/index%u/shared_cpu_list", cpu, index);
}

/*
 * Two sockets, each a node of four LLCs with two cores of two threads: 32 CPUs. As on most machines
 * the first threads are CPUs 0-15 (socket 0: 0-7) and their siblings 16 above them.
 */
#define SERVER_CPUS 32

static void server_create(void) {
    bnx_tree_create();
    bnx_tree_add("0-31\n", "/sys/devices/system/cpu/online");
    bnx_tree_add("0-1\n", "/sys/devices/system/node/online");
    bnx_tree_add("0-7,16-23\n", "/sys/devices/system/node/node0/cpulist");
    bnx_tree_add("8-15,24-31\n", "/sys/devices/system/node/node1/cpulist");
    for (unsigned cpu = 0; cpu < SERVER_CPUS; cpu++) {
        unsigned core = cpu % 16;
        unsigned llc = core / 2 * 2;
        char siblings[32];
        char sharers[64];
        (void)snprintf(siblings, sizeof(siblings), "%u,%u\n", core, core + 16);
        (void)snprintf(sharers, sizeof(sharers), "%u-%u,%u-%u\n", llc, llc + 1, llc + 16, llc + 17);
        bnx_tree_add(siblings, "/sys/devices/system/cpu/cpu%u/topology/thread_siblings_list", cpu);
        cache_add(cpu, 0, "1\n", "Data\n", siblings);
        cache_add(cpu, 1, "1\n", "Instruction\n", siblings);
        cache_add(cpu, 2, "2\n", "Unified\n", siblings);
        cache_add(cpu, 3, "3\n", "Unified\n", sharers);
    }
}

static cpu_set_t cpus_below(unsigned count) {
    cpu_set_t set;
    CPU_ZERO(&set);
    for (unsigned cpu = 0; cpu < count; cpu++) {
        CPU_SET(cpu, &set);
    }
    return set;
}

static void topology_load(struct bnx_topology *topology, const cpu_set_t *allowed) {
    CHECK_EQ(bnx_topology_load(topology, bnx_tree_root, allowed, sizeof(*allowed)), 0);
    bnx_topology_check(topology);
}

/* ---- topology ---- */

/* The tiers of a two-socket machine, and the placement: cores LLC by LLC and node by node, then the
 * siblings the same way. */
TEST(two_sockets, "topology.two_sockets_llc_smt") {
    server_create();
    cpu_set_t allowed = cpus_below(SERVER_CPUS);
    struct bnx_topology topology;
    topology_load(&topology, &allowed);
    CHECK_EQ(topology.cpu_count, SERVER_CPUS);

    for (uint32_t a = 0; a < SERVER_CPUS; a++) {
        for (uint32_t b = 0; b < SERVER_CPUS; b++) {
            uint32_t expected = BNX_TIER_REMOTE;
            if (a == b) {
                expected = BNX_TIER_SELF;
            } else if (a % 16 == b % 16) {
                expected = BNX_TIER_SMT;
            } else if (a % 16 / 2 == b % 16 / 2) {
                expected = BNX_TIER_LLC;
            } else if (a % 16 / 8 == b % 16 / 8) {
                expected = BNX_TIER_NODE;
            }
            CHECK_EQ(bnx_topology_distance(&topology, a, b), expected);
        }
    }
    CHECK_EQ(bnx_topology_distance(&topology, 0, 99), BNX_TIER_REMOTE);
    CHECK_EQ(bnx_topology_distance(&topology, 99, 99), BNX_TIER_REMOTE);

    for (uint32_t worker = 0; worker < SERVER_CPUS; worker++) {
        CHECK_EQ(bnx_topology_worker_cpu(&topology, worker), worker);
        CHECK_EQ(bnx_topology_worker_cpu(&topology, worker + SERVER_CPUS), worker);
    }
    const struct bnx_topology_cpu *cpu = bnx_topology_find(&topology, 29);
    CHECK(cpu != NULL);
    CHECK_EQ(cpu->core_id, 13);
    CHECK_EQ(cpu->llc_id, 12);
    CHECK_EQ(cpu->node_id, 1);
    CHECK_EQ(cpu->smt_rank, 1);
    bnx_topology_fini(&topology);
    bnx_topology_fini(&topology);
    bnx_tree_remove();
}

/* Threads that belong on this CPU may run on the others, all of them, and nowhere else. */
static void expect_neighbours(const struct bnx_topology *topology, uint32_t cpu, uint32_t count,
                              const uint32_t *others) {
    cpu_set_t set;
    bnx_topology_neighbours(topology, cpu, &set, sizeof(set));
    CHECK_EQ(CPU_COUNT(&set), count);
    for (uint32_t at = 0; at < count; at++) {
        CHECK(CPU_ISSET(others[at], &set));
    }
}

/* A worker's neighbours: the CPUs of its last-level cache, of whichever core; where each core shows
 * a cache of its own as the last, and where a CPU is alone in its cache, those of the node. */
TEST(neighbours, "topology.neighbours") {
    server_create();
    cpu_set_t allowed = cpus_below(SERVER_CPUS);
    struct bnx_topology topology;
    topology_load(&topology, &allowed);
    expect_neighbours(&topology, 0, 4, (const uint32_t[]){0, 1, 16, 17});
    expect_neighbours(&topology, 31, 4, (const uint32_t[]){14, 15, 30, 31});
    bnx_topology_fini(&topology);
    bnx_tree_remove();

    bnx_tree_create();
    bnx_tree_add("0-1\n", "/sys/devices/system/node/online");
    bnx_tree_add("0,2\n", "/sys/devices/system/node/node0/cpulist");
    bnx_tree_add("1,3\n", "/sys/devices/system/node/node1/cpulist");
    for (unsigned cpu = 0; cpu < 4; cpu++) {
        char own[8];
        (void)snprintf(own, sizeof(own), "%u\n", cpu);
        cache_add(cpu, 0, "1\n", "Data\n", own);
        cache_add(cpu, 1, "2\n", "Unified\n", own);
    }
    allowed = cpus_below(4);
    topology_load(&topology, &allowed);
    expect_neighbours(&topology, 1, 2, (const uint32_t[]){1, 3});
    expect_neighbours(&topology, 2, 2, (const uint32_t[]){0, 2});
    bnx_topology_fini(&topology);
    bnx_tree_remove();
}

/* Siblings that are neighbours in number (0-1, 2-3), nodes and LLCs that alternate: the order comes
 * from the files, not from the numbers. */
TEST(interleaved, "topology.placement_ignores_numbers") {
    static const uint32_t order[] = {0, 4, 2, 6, 1, 5, 3, 7};
    bnx_tree_create();
    bnx_tree_add("0-1\n", "/sys/devices/system/node/online");
    bnx_tree_add("0-1,4-5\n", "/sys/devices/system/node/node0/cpulist");
    bnx_tree_add("2-3,6-7\n", "/sys/devices/system/node/node1/cpulist");
    for (unsigned cpu = 0; cpu < 8; cpu++) {
        char siblings[32];
        (void)snprintf(siblings, sizeof(siblings), "%u-%u\n", cpu / 2 * 2, cpu / 2 * 2 + 1);
        bnx_tree_add(siblings, "/sys/devices/system/cpu/cpu%u/topology/thread_siblings_list", cpu);
        cache_add(cpu, 0, "2\n", "Unified\n", cpu % 4 < 2 ? "0-1,4-5\n" : "2-3,6-7\n");
        cache_add(cpu, 1, "1\n", "Data\n", siblings);
        cache_add(cpu, 2, "3\n", "Instruction\n", "0-7\n");
    }
    cpu_set_t allowed = cpus_below(8);
    struct bnx_topology topology;
    topology_load(&topology, &allowed);
    for (uint32_t worker = 0; worker < BNX_ARRAY_COUNT(order); worker++) {
        CHECK_EQ(bnx_topology_worker_cpu(&topology, worker), order[worker]);
    }
    CHECK_EQ(bnx_topology_distance(&topology, 0, 5), BNX_TIER_LLC);
    CHECK_EQ(bnx_topology_distance(&topology, 0, 2), BNX_TIER_REMOTE);
    bnx_topology_fini(&topology);
    bnx_tree_remove();

    /* No siblings, one node, the even and the odd CPUs share a cache each. */
    static const uint32_t order_of_caches[] = {0, 2, 1, 3};
    bnx_tree_create();
    for (unsigned cpu = 0; cpu < 4; cpu++) {
        cache_add(cpu, 0, "3\n", "Unified\n", cpu % 2 == 0 ? "0,2\n" : "1,3\n");
    }
    allowed = cpus_below(4);
    topology_load(&topology, &allowed);
    for (uint32_t worker = 0; worker < BNX_ARRAY_COUNT(order_of_caches); worker++) {
        CHECK_EQ(bnx_topology_worker_cpu(&topology, worker), order_of_caches[worker]);
    }
    bnx_topology_fini(&topology);
    bnx_tree_remove();
}

static void expect_flat(const cpu_set_t *allowed, uint32_t count) {
    struct bnx_topology topology;
    topology_load(&topology, allowed);
    CHECK_EQ(topology.cpu_count, count);
    for (uint32_t at = 0; at < count; at++) {
        CHECK_EQ(topology.cpus[at].core_id, topology.cpus[at].cpu);
        CHECK_EQ(topology.cpus[at].llc_id, topology.cpus[0].cpu);
        CHECK_EQ(topology.cpus[at].node_id, 0);
        CHECK_EQ(topology.cpus[at].smt_rank, 0);
        CHECK_EQ(bnx_topology_worker_cpu(&topology, at), topology.cpus[at].cpu);
    }
    bnx_topology_fini(&topology);
}

/* Without files, and with files of nonsense, each CPU is a core, all in one LLC and one node. */
TEST(missing, "topology.missing_files_are_flat") {
    static const char *const nonsense[] = {"\n",     "",       "0-\n",   "3-0\n",
                                           "0,,1\n", "zero\n", "0-3 \n", "99999999999999999999\n"};
    bnx_tree_create();
    cpu_set_t allowed = cpus_below(4);
    expect_flat(&allowed, 4);
    CPU_CLR(0, &allowed);
    expect_flat(&allowed, 3);
    for (size_t at = 0; at < BNX_ARRAY_COUNT(nonsense); at++) {
        bnx_tree_add(nonsense[at], "/sys/devices/system/cpu/online");
        bnx_tree_add("0\n", "/sys/devices/system/node/online");
        bnx_tree_add(nonsense[at], "/sys/devices/system/node/node0/cpulist");
        for (unsigned cpu = 0; cpu < 4; cpu++) {
            bnx_tree_add(nonsense[at],
                         "/sys/devices/system/cpu/cpu%u/topology/thread_siblings_list", cpu);
            cache_add(cpu, 0, "3\n", "Unified\n", nonsense[at]);
        }
        expect_flat(&allowed, 3);
    }
    bnx_tree_remove();
}

/* Nodes without caches: an unknown LLC is the node's, never shared between nodes. */
TEST(no_caches, "topology.unknown_llc_is_the_node") {
    bnx_tree_create();
    bnx_tree_add("0-1\n", "/sys/devices/system/node/online");
    bnx_tree_add("0,2\n", "/sys/devices/system/node/node0/cpulist");
    bnx_tree_add("1,3\n", "/sys/devices/system/node/node1/cpulist");
    cpu_set_t allowed = cpus_below(4);
    struct bnx_topology topology;
    topology_load(&topology, &allowed);
    CHECK_EQ(bnx_topology_distance(&topology, 0, 2), BNX_TIER_LLC);
    CHECK_EQ(bnx_topology_distance(&topology, 1, 3), BNX_TIER_LLC);
    CHECK_EQ(bnx_topology_distance(&topology, 0, 1), BNX_TIER_REMOTE);
    bnx_topology_fini(&topology);
    bnx_tree_remove();
}

/* Offline CPUs leave holes and are not placed on, even where the set still names them. */
TEST(offline, "topology.offline_cpus") {
    server_create();
    bnx_tree_add("1-15,17-20,31\n", "/sys/devices/system/cpu/online");
    cpu_set_t allowed = cpus_below(SERVER_CPUS);
    struct bnx_topology topology;
    topology_load(&topology, &allowed);
    CHECK_EQ(topology.cpu_count, 20);
    CHECK(bnx_topology_find(&topology, 0) == NULL);
    CHECK(bnx_topology_find(&topology, 30) == NULL);
    CHECK_EQ(bnx_topology_distance(&topology, 1, 17), BNX_TIER_SMT);
    /* LLC 0 has lost the CPU that named it. */
    CHECK_EQ(bnx_topology_find(&topology, 17)->llc_id, 1);
    CHECK_EQ(bnx_topology_worker_cpu(&topology, 0), 1);
    CHECK_EQ(bnx_topology_worker_cpu(&topology, 14), 15);
    CHECK_EQ(bnx_topology_worker_cpu(&topology, 15), 17);
    CHECK_EQ(bnx_topology_worker_cpu(&topology, 19), 31);
    bnx_topology_fini(&topology);

    /* A list of other CPUs than ours says nothing about ours. */
    bnx_tree_add("40-50\n", "/sys/devices/system/cpu/online");
    topology_load(&topology, &allowed);
    CHECK_EQ(topology.cpu_count, SERVER_CPUS);
    bnx_topology_fini(&topology);
    bnx_tree_remove();
}

static void *(*allocate_real)(size_t bytes, size_t alignment);
static int allocations_left;

static void *allocate_some(size_t bytes, size_t alignment) {
    return allocations_left-- > 0 ? allocate_real(bytes, alignment) : NULL;
}

/* Every allocation that fails is -ENOMEM, leaves the output alone and leaks nothing (ASan). */
TEST(no_memory, "topology.no_memory") {
    bnx_tree_create();
    cpu_set_t allowed = cpus_below(4);
    allocate_real = bnx_os.allocate;
    bnx_os.allocate = allocate_some;
    struct bnx_topology topology = {.cpu_count = 77};
    int error = -ENOMEM;
    int tries = 0;
    for (; error == -ENOMEM; tries++) {
        CHECK_EQ(topology.cpu_count, 77);
        allocations_left = tries;
        error = bnx_topology_load(&topology, bnx_tree_root, &allowed, sizeof(allowed));
    }
    CHECK_EQ(error, 0);
    CHECK_EQ(tries, 4);
    CHECK_EQ(topology.cpu_count, 4);
    bnx_topology_fini(&topology);

    uint32_t count = 77;
    allocations_left = 0;
    CHECK_EQ(bnx_worker_count(bnx_tree_root, &allowed, sizeof(allowed), &count), -ENOMEM);
    CHECK_EQ(count, 77);
    cpu_set_t *set = NULL;
    size_t bytes = 0;
    CHECK_EQ(bnx_affinity_load(&set, &bytes), -ENOMEM);
    CHECK(set == NULL);
    bnx_os.allocate = allocate_real;
    bnx_tree_remove();
}

/* ---- affinity ---- */

#define LARGE_CPU 9000

/* A kernel built for more CPUs than a cpu_set_t holds. */
static int affinity_get_large(cpu_set_t *out_set, size_t set_bytes) {
    if (set_bytes < 1280) {
        return -EINVAL;
    }
    CPU_SET_S(LARGE_CPU, set_bytes, out_set);
    return 1280;
}

static int affinity_get_never(cpu_set_t *out_set, size_t set_bytes) {
    (void)out_set;
    (void)set_bytes;
    return -EINVAL;
}

/* A subset as taskset makes it: only its CPUs are counted and placed on; a sibling whose partner is
 * not allowed is a whole core. Sets grow with the kernel. */
TEST(affinity, "topology.affinity") {
    server_create();
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    CPU_SET(3, &allowed);
    CPU_SET(16, &allowed);
    CPU_SET(19, &allowed);
    struct bnx_topology topology;
    topology_load(&topology, &allowed);
    CHECK_EQ(topology.cpu_count, 3);
    CHECK_EQ(bnx_topology_worker_cpu(&topology, 0), 3);
    CHECK_EQ(bnx_topology_worker_cpu(&topology, 1), 16);
    CHECK_EQ(bnx_topology_worker_cpu(&topology, 2), 19);
    CHECK_EQ(bnx_topology_find(&topology, 16)->smt_rank, 0);
    CHECK_EQ(bnx_topology_find(&topology, 16)->core_id, 16);
    bnx_topology_fini(&topology);
    uint32_t count = 0;
    CHECK_EQ(bnx_worker_count(bnx_tree_root, &allowed, sizeof(allowed), &count), 0);
    CHECK_EQ(count, 3);
    CPU_ZERO(&allowed);
    CHECK_EQ(bnx_worker_count(bnx_tree_root, &allowed, sizeof(allowed), &count), 0);
    CHECK_EQ(count, 1);

    int (*affinity_get_real)(cpu_set_t *, size_t) = bnx_os.affinity_get;
    cpu_set_t *set = NULL;
    size_t bytes = 0;
    bnx_os.affinity_get = affinity_get_large;
    CHECK_EQ(bnx_affinity_load(&set, &bytes), 0);
    CHECK(bytes >= 1280);
    CHECK_EQ(CPU_COUNT_S(bytes, set), 1);
    CHECK_EQ(bnx_topology_load(&topology, bnx_tree_root, set, bytes), 0);
    CHECK_EQ(bnx_topology_worker_cpu(&topology, 5), LARGE_CPU);
    bnx_topology_fini(&topology);
    bnx_os.release(set);
    bnx_os.affinity_get = affinity_get_never;
    CHECK_EQ(bnx_affinity_load(&set, &bytes), -EINVAL);
    bnx_os.affinity_get = affinity_get_real;
    bnx_tree_remove();
}

/* On the machine that runs the test: the count lies between one and the affinity, and narrowing the
 * affinity to one CPU narrows everything to it. */
TEST(real, "topology.this_machine") {
    cpu_set_t *set = NULL;
    size_t bytes = 0;
    CHECK_EQ(bnx_affinity_load(&set, &bytes), 0);
    struct bnx_topology topology;
    CHECK_EQ(bnx_topology_load(&topology, "", set, bytes), 0);
    bnx_topology_check(&topology);
    CHECK_EQ(topology.cpu_count, CPU_COUNT_S(bytes, set));
    uint32_t count = 0;
    CHECK_EQ(bnx_worker_count("", set, bytes, &count), 0);
    CHECK(count >= 1);
    CHECK(count <= topology.cpu_count);

    uint32_t last = topology.cpus[topology.cpu_count - 1].cpu;
    bnx_topology_fini(&topology);
    CPU_ZERO_S(bytes, set);
    CPU_SET_S(last, bytes, set);
    CHECK_EQ(bnx_os.affinity_set(set, bytes), 0);
    bnx_os.release(set);
    CHECK_EQ(bnx_affinity_load(&set, &bytes), 0);
    CHECK_EQ(bnx_worker_count("", set, bytes, &count), 0);
    CHECK_EQ(count, 1);
    CHECK_EQ(bnx_topology_load(&topology, "", set, bytes), 0);
    CHECK_EQ(topology.cpu_count, 1);
    CHECK_EQ(bnx_topology_worker_cpu(&topology, 0), last);
    bnx_topology_fini(&topology);
    bnx_os.release(set);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
