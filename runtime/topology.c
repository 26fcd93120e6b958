/* SPDX-License-Identifier: MIT */
/*
 * Reads the CPU topology from sysfs, and the affinity of the process.
 *
 * Concepts
 *   A core and an LLC are read once, through their lowest allowed CPU, and then given to all their
 *   members. So a machine of 256 CPUs costs hundreds of small files instead of thousands, and the
 *   groups are disjoint even where the files contradict each other.
 */
#include "runtime/topology.h"

#include "runtime/check.h"
#include "runtime/os.h"
#include "runtime/textfile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define UNKNOWN UINT32_MAX /* an id that has not been read yet */

/* Cache leaves of a CPU (4 is usual), and the kernel's limit of nodes (CONFIG_NODES_SHIFT = 10). */
#define CACHES_MAX 16
#define NODES_MAX 1024
/* CPU_SETSIZE first; the end is far beyond the 8192 CPUs that kernels are built for. */
#define AFFINITY_BYTES_MIN sizeof(cpu_set_t)
#define AFFINITY_BYTES_MAX ((size_t)64 * 1024)

/* Two files at a time: one is walked while others are read. */
struct scan {
    struct bnx_textfile outer;
    struct bnx_textfile inner;
};

enum group { GROUP_CORE, GROUP_LLC, GROUP_NODE };

static uint32_t *id_of(struct bnx_topology_cpu *cpu, enum group group) {
    switch (group) {
    case GROUP_CORE:
        return &cpu->core_id;
    case GROUP_LLC:
        return &cpu->llc_id;
    case GROUP_NODE:
        return &cpu->node_id;
    }
    return NULL;
}

/* Index of the first entry whose number is not below the given one; cpu_count when none is. */
static uint32_t lower_bound(const struct bnx_topology *topology, uint64_t cpu) {
    uint32_t low = 0;
    uint32_t high = topology->cpu_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (topology->cpus[middle].cpu < cpu) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Gives the id to every CPU of a valid list that is in no such group yet. The CPU that names a core
 * has its id already, and rank 0. */
static void group_assign(struct bnx_topology *topology, enum group group, const char *list,
                         uint32_t id) {
    struct bnx_range range;
    uint32_t smt_rank = 1;
    while (bnx_range_take(&list, &range) > 0) {
        uint32_t at = lower_bound(topology, range.first);
        for (; at < topology->cpu_count && topology->cpus[at].cpu <= range.last; at++) {
            struct bnx_topology_cpu *cpu = &topology->cpus[at];
            if (*id_of(cpu, group) != UNKNOWN) {
                continue;
            }
            *id_of(cpu, group) = id;
            if (group == GROUP_CORE) {
                cpu->smt_rank = smt_rank++;
            }
        }
    }
}

/* The CPUs that share the last-level cache with this one, in scan->outer; NULL when unknown. */
static const char *llc_list(struct scan *scan, uint32_t cpu) {
    uint64_t level_best = 0;
    unsigned index_best = 0;
    for (unsigned index = 0; index < CACHES_MAX; index++) {
        const char *line = bnx_textfile_line(
            &scan->inner, "/sys/devices/system/cpu/cpu%u/cache/index%u/level", cpu, index);
        uint64_t level = 0;
        if (line == NULL || !bnx_number_take(&line, &level)) {
            break;
        }
        if (level <= level_best) {
            continue;
        }
        line = bnx_textfile_line(&scan->inner, "/sys/devices/system/cpu/cpu%u/cache/index%u/type",
                                 cpu, index);
        if (line == NULL || strcmp(line, "Instruction") != 0) {
            level_best = level;
            index_best = index;
        }
    }
    if (level_best == 0) {
        return NULL;
    }
    return bnx_textfile_line(&scan->outer,
                             "/sys/devices/system/cpu/cpu%u/cache/index%u/shared_cpu_list", cpu,
                             index_best);
}

static void cores_load(struct bnx_topology *topology, struct scan *scan) {
    for (uint32_t at = 0; at < topology->cpu_count; at++) {
        struct bnx_topology_cpu *cpu = &topology->cpus[at];
        if (cpu->core_id != UNKNOWN) {
            continue;
        }
        cpu->core_id = cpu->cpu;
        const char *list = bnx_textfile_line(
            &scan->inner, "/sys/devices/system/cpu/cpu%u/topology/thread_siblings_list", cpu->cpu);
        if (bnx_list_is_valid(list)) {
            group_assign(topology, GROUP_CORE, list, cpu->cpu);
        }
    }
}

static void nodes_load(struct bnx_topology *topology, struct scan *scan) {
    const char *nodes = bnx_textfile_line(&scan->outer, "/sys/devices/system/node/online");
    struct bnx_range range;
    while (bnx_list_is_valid(nodes) && bnx_range_take(&nodes, &range) > 0) {
        for (uint64_t node = range.first; node <= range.last && node < NODES_MAX; node++) {
            const char *list = bnx_textfile_line(
                &scan->inner, "/sys/devices/system/node/node%u/cpulist", (unsigned)node);
            if (bnx_list_is_valid(list)) {
                group_assign(topology, GROUP_NODE, list, (uint32_t)node);
            }
        }
    }
    for (uint32_t at = 0; at < topology->cpu_count; at++) {
        struct bnx_topology_cpu *cpu = &topology->cpus[at];
        cpu->node_id = cpu->node_id == UNKNOWN ? 0 : cpu->node_id;
    }
}

/* After nodes_load: a CPU whose caches are unknown shares one with the others of its node. */
static void llcs_load(struct bnx_topology *topology, struct scan *scan) {
    for (uint32_t at = 0; at < topology->cpu_count; at++) {
        struct bnx_topology_cpu *cpu = &topology->cpus[at];
        const char *list = cpu->llc_id == UNKNOWN ? llc_list(scan, cpu->cpu) : NULL;
        if (bnx_list_is_valid(list) && !BNX_PLANT(topology_ignores_llc)) {
            cpu->llc_id = cpu->cpu;
            group_assign(topology, GROUP_LLC, list, cpu->cpu);
        }
    }
    for (uint32_t at = 0; at < topology->cpu_count; at++) {
        struct bnx_topology_cpu *first = &topology->cpus[at];
        if (first->llc_id != UNKNOWN) {
            continue;
        }
        for (uint32_t other = at; other < topology->cpu_count; other++) {
            struct bnx_topology_cpu *cpu = &topology->cpus[other];
            if (cpu->llc_id == UNKNOWN && cpu->node_id == first->node_id) {
                cpu->llc_id = first->cpu;
            }
        }
    }
}

/* The kernel masks an affinity by the active CPUs, but a set may be older than a hot-unplug. */
static void offline_remove(struct bnx_topology *topology, struct scan *scan) {
    const char *online = bnx_textfile_line(&scan->inner, "/sys/devices/system/cpu/online");
    if (!bnx_list_is_valid(online) || BNX_PLANT(topology_keeps_offline)) {
        return;
    }
    uint32_t kept = 0;
    for (uint32_t at = 0; at < topology->cpu_count; at++) {
        if (bnx_list_contains(online, topology->cpus[at].cpu)) {
            topology->cpus[kept++] = topology->cpus[at];
        }
    }
    /* A file that knows none of the CPUs we run on is about another machine. */
    topology->cpu_count = kept == 0 ? topology->cpu_count : kept;
}

/*
 * Placement. Workers trade tasks all the time, and a stolen task's data comes from the victim's
 * caches: so few workers share one LLC, more fill the node before they cross to another. A sibling
 * comes after all whole cores, even remote ones: it brings no execution units of its own, and two
 * workers on one core both run slower while another core idles.
 */
static int placement_compare(const void *left, const void *right, void *arg) {
    const struct bnx_topology_cpu *cpus = arg;
    const struct bnx_topology_cpu *a = &cpus[*(const uint32_t *)left];
    const struct bnx_topology_cpu *b = &cpus[*(const uint32_t *)right];
    if (a->smt_rank != b->smt_rank && !BNX_PLANT(topology_ignores_smt)) {
        return a->smt_rank < b->smt_rank ? -1 : 1;
    }
    if (a->node_id != b->node_id) {
        return a->node_id < b->node_id ? -1 : 1;
    }
    if (a->llc_id != b->llc_id) {
        return a->llc_id < b->llc_id ? -1 : 1;
    }
    return a->cpu < b->cpu ? -1 : a->cpu > b->cpu;
}

int bnx_topology_load(struct bnx_topology *out, const char *root, const cpu_set_t *allowed,
                      size_t set_bytes) {
    uint32_t count = (uint32_t)CPU_COUNT_S(set_bytes, allowed);
    BNX_CHECK(count > 0);
    struct bnx_topology topology = {.cpu_count = 0};
    topology.cpus = bnx_os.allocate(count * sizeof(*topology.cpus), _Alignof(uint32_t));
    topology.order = bnx_os.allocate(count * sizeof(*topology.order), _Alignof(uint32_t));
    struct scan *scan = bnx_os.allocate(sizeof(*scan), _Alignof(struct scan));
    if (topology.cpus == NULL || topology.order == NULL || scan == NULL) {
        bnx_os.release(scan);
        bnx_topology_fini(&topology);
        return -ENOMEM;
    }
    scan->outer.root = root;
    scan->inner.root = root;

    for (uint32_t cpu = 0; topology.cpu_count < count; cpu++) {
        if (CPU_ISSET_S(cpu, set_bytes, allowed)) {
            topology.cpus[topology.cpu_count++] = (struct bnx_topology_cpu){
                .cpu = cpu, .core_id = UNKNOWN, .llc_id = UNKNOWN, .node_id = UNKNOWN};
        }
    }
    offline_remove(&topology, scan);
    cores_load(&topology, scan);
    nodes_load(&topology, scan);
    llcs_load(&topology, scan);
    bnx_os.release(scan);

    for (uint32_t at = 0; at < topology.cpu_count; at++) {
        topology.order[at] = at;
    }
    qsort_r(topology.order, topology.cpu_count, sizeof(*topology.order), placement_compare,
            topology.cpus);
    *out = topology;
    return 0;
}

void bnx_topology_fini(struct bnx_topology *topology) {
    bnx_os.release(topology->cpus);
    bnx_os.release(topology->order);
    *topology = (struct bnx_topology){.cpu_count = 0};
}

const struct bnx_topology_cpu *bnx_topology_find(const struct bnx_topology *topology,
                                                 uint32_t cpu) {
    uint32_t at = lower_bound(topology, cpu);
    return at < topology->cpu_count && topology->cpus[at].cpu == cpu ? &topology->cpus[at] : NULL;
}

uint32_t bnx_topology_distance(const struct bnx_topology *topology, uint32_t cpu_a,
                               uint32_t cpu_b) {
    const struct bnx_topology_cpu *a = bnx_topology_find(topology, cpu_a);
    const struct bnx_topology_cpu *b = bnx_topology_find(topology, cpu_b);
    if (a == NULL || b == NULL) {
        return BNX_TIER_REMOTE;
    }
    if (a == b) {
        return BNX_TIER_SELF;
    }
    if (a->core_id == b->core_id) {
        return BNX_TIER_SMT;
    }
    /* Before the node: a cache may span several nodes of one package (sub-NUMA clustering), and
     * what a thief pays is the cache. */
    if (a->llc_id == b->llc_id) {
        return BNX_TIER_LLC;
    }
    return a->node_id == b->node_id ? BNX_TIER_NODE : BNX_TIER_REMOTE;
}

uint32_t bnx_topology_worker_cpu(const struct bnx_topology *topology, uint32_t worker_index) {
    return topology->cpus[topology->order[worker_index % topology->cpu_count]].cpu;
}

uint32_t bnx_topology_within(const struct bnx_topology *topology, uint32_t cpu, enum bnx_tier tier,
                             cpu_set_t *out_set, size_t set_bytes) {
    uint32_t count = 0;
    CPU_ZERO_S(set_bytes, out_set);
    for (uint32_t at = 0; at < topology->cpu_count; at++) {
        uint32_t other = topology->cpus[at].cpu;
        if (bnx_topology_distance(topology, cpu, other) <= (uint32_t)tier) {
            CPU_SET_S(other, set_bytes, out_set);
            count++;
        }
    }
    return count;
}

void bnx_topology_neighbours(const struct bnx_topology *topology, uint32_t cpu, cpu_set_t *out_set,
                             size_t set_bytes) {
    uint32_t of_core = bnx_topology_within(topology, cpu, BNX_TIER_SMT, out_set, set_bytes);
    uint32_t of_llc = bnx_topology_within(topology, cpu, BNX_TIER_LLC, out_set, set_bytes);
    if (of_llc == of_core && !BNX_PLANT(topology_trusts_llc)) {
        (void)bnx_topology_within(topology, cpu, BNX_TIER_NODE, out_set, set_bytes);
    }
}

void bnx_topology_check(const struct bnx_topology *topology) {
    BNX_CHECK(topology->cpu_count >= 1);
    for (uint32_t at = 0; at < topology->cpu_count; at++) {
        const struct bnx_topology_cpu *cpu = &topology->cpus[at];
        BNX_CHECK(at == 0 || topology->cpus[at - 1].cpu < cpu->cpu);
        BNX_CHECK((cpu->smt_rank == 0) == (cpu->core_id == cpu->cpu));
        /* The comparison is a strict order, so indices that ascend by it are all different. */
        BNX_CHECK(topology->order[at] < topology->cpu_count);
        BNX_CHECK(at == 0 || placement_compare(&topology->order[at - 1], &topology->order[at],
                                               topology->cpus) < 0);
    }
}

int bnx_affinity_load(cpu_set_t **out_set, size_t *out_bytes) {
    int error = -EINVAL;
    /* The kernel answers -EINVAL while the set is smaller than its own. */
    for (size_t bytes = AFFINITY_BYTES_MIN; bytes <= AFFINITY_BYTES_MAX; bytes *= 2) {
        cpu_set_t *set = bnx_os.allocate(bytes, _Alignof(cpu_set_t));
        if (set == NULL) {
            return -ENOMEM;
        }
        memset(set, 0, bytes);
        error = bnx_os.affinity_get(set, bytes);
        if (error >= 0) {
            *out_set = set;
            *out_bytes = bytes;
            return 0;
        }
        bnx_os.release(set);
        if (error != -EINVAL || BNX_PLANT(affinity_does_not_grow)) {
            return error;
        }
    }
    return error;
}
