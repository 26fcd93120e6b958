/* SPDX-License-Identifier: MIT */
/*
 * Which CPUs this process may use, how near they are to each other, how many workers that makes.
 *
 * Concepts
 *   core   the CPUs that share execution units (SMT siblings)
 *   LLC    the CPUs that share the last-level cache: the highest cache level that holds data
 *   node   the CPUs that share a memory controller
 *   tier   how far a stolen task travels: enum bnx_tier
 *
 *   Cores and LLCs are named by the lowest allowed CPU in them, because the kernel's own core_id is
 *   unique only inside a package. Nodes keep the kernel's number.
 *
 *   Everything is read from text files under /sys and /proc. What is missing or malformed (a
 *   container without /sys, an odd kernel) makes the answer flatter and is never an error: each CPU
 *   is then its own core, an unknown LLC is the node's, an unknown node is node 0.
 *
 * Invariants (bnx_topology_check)
 *   cpu_count >= 1, and cpus[] ascends strictly by CPU number
 *   order[] is a permutation of 0 .. cpu_count - 1
 *   smt_rank is 0 exactly where core_id is the CPU's own number
 *
 * Rejected
 *   A snapshot that follows CPU hotplug (a sequence lock around the struct). Nobody writes after
 *   the load: workers are placed once, and when a CPU goes away the kernel moves its threads by
 *   itself. So the struct is immutable, and starting a thread is all the synchronisation it needs.
 */
#ifndef BNX_RUNTIME_TOPOLOGY_H
#define BNX_RUNTIME_TOPOLOGY_H

#include "runtime/compiler.h"

#include <sched.h>
#include <stddef.h>
#include <stdint.h>

/* Distance between two CPUs, nearest first. A thief searches its victims in this order. */
enum bnx_tier {
    BNX_TIER_SELF,   /* the same CPU */
    BNX_TIER_SMT,    /* siblings of one core: shared L1 */
    BNX_TIER_LLC,    /* shared last-level cache */
    BNX_TIER_NODE,   /* shared memory controller */
    BNX_TIER_REMOTE, /* another node, or a CPU that is not in the topology */
    BNX_TIER_COUNT,
};

/* One allowed CPU. Immutable after the load; any thread reads. */
struct bnx_topology_cpu {
    uint32_t cpu;      /* the kernel's number */
    uint32_t core_id;  /* lowest allowed CPU of its core */
    uint32_t llc_id;   /* lowest allowed CPU of its last-level cache */
    uint32_t node_id;  /* the kernel's node number */
    uint32_t smt_rank; /* 0 for the first allowed CPU of the core, 1 for the second, … */
};

/* Immutable after the load; any thread reads. Zeroed = nothing loaded, good for _fini only. */
struct bnx_topology {
    uint32_t cpu_count;            /* allowed CPUs that are online */
    struct bnx_topology_cpu *cpus; /* cpu_count entries, ascending by number; owned */
    uint32_t *order;               /* placement: order[worker] is an index into cpus; owned */
};

/**
 * Reads the topology of the allowed CPUs.
 * @param out        filled; untouched on failure
 * @param root       prefix of /sys, "" but in tests; not NULL
 * @param allowed    the CPUs to describe, at least one; those that are offline are left out
 * @param set_bytes  size of allowed
 * Returns: 0; -ENOMEM.
 * Context: any thread; reads files, does not suspend.
 * Ownership: bnx_topology_fini frees what out points to.
 */
int bnx_topology_load(struct bnx_topology *out, const char *root, const cpu_set_t *allowed,
                      size_t set_bytes) BNX_MUST_USE;

/** Frees what the load allocated. A zeroed topology is allowed, and so is a second call. */
void bnx_topology_fini(struct bnx_topology *topology);

/**
 * Finds one CPU.
 * Returns: its entry, borrowed until _fini; NULL when it is not in the topology.
 * Context: any thread, O(log cpu_count), never suspends.
 */
const struct bnx_topology_cpu *bnx_topology_find(const struct bnx_topology *topology, uint32_t cpu);

/**
 * Says how far two CPUs, given by the kernel's numbers, are apart.
 * Returns: an enum bnx_tier; BNX_TIER_REMOTE when one of them is not in the topology.
 * Context: any thread, O(log cpu_count), never suspends.
 */
uint32_t bnx_topology_distance(const struct bnx_topology *topology, uint32_t cpu_a, uint32_t cpu_b);

/**
 * Says which CPU a worker belongs on: distinct cores of one LLC first, then the other LLCs of the
 * node, then the other nodes, SMT siblings last. More workers than CPUs start again at the front.
 * Returns: the kernel's number of the CPU.
 * Context: any thread, never suspends.
 */
uint32_t bnx_topology_worker_cpu(const struct bnx_topology *topology, uint32_t worker_index);

/**
 * Fills the set with the CPUs that are no farther than that tier from one of the topology.
 * @param set_bytes  room for the topology's last CPU
 * Returns: how many they are.
 * Context: any thread, O(cpu_count log cpu_count), never suspends.
 */
uint32_t bnx_topology_within(const struct bnx_topology *topology, uint32_t cpu, enum bnx_tier tier,
                             cpu_set_t *out_set, size_t set_bytes);

/**
 * Says where a thread that belongs on this CPU may run without moving away from its data: the CPUs
 * that share the last-level cache; those of the node where that cache is one core's own, as on
 * machines, most of them virtual, that do not show their shared one.
 * @param cpu        of the topology
 * @param set_bytes  room for the topology's last CPU
 * Context: as above.
 */
void bnx_topology_neighbours(const struct bnx_topology *topology, uint32_t cpu, cpu_set_t *out_set,
                             size_t set_bytes);

/** Panics unless the invariants in the file head hold. */
void bnx_topology_check(const struct bnx_topology *topology);

/**
 * Reads the calling thread's affinity, however many CPUs the kernel knows.
 * @param out_set    the set; untouched on failure
 * @param out_bytes  its size for the CPU_*_S macros
 * Returns: 0; -ENOMEM; whatever sched_getaffinity(2) returned besides -EINVAL; -EINVAL when even a
 * set for half a million CPUs is too small for it.
 * Context: any thread.
 * Ownership: the caller gives *out_set to bnx_os.release.
 */
int bnx_affinity_load(cpu_set_t **out_set, size_t *out_bytes) BNX_MUST_USE;

/**
 * Says how many workers the process may use: its allowed CPUs, or fewer where a cgroup's CPU quota
 * is smaller. A quota of one and a half CPUs makes two workers: the half would else be lost.
 * The smallest quota between the process' cgroup and the root counts, in cgroup v1 and v2; "max",
 * -1 and files that are missing or malformed are no limit. A cpuset is in the affinity already.
 * @param root       prefix of /proc and of the cgroup mounts, "" but in tests; not NULL
 * @param allowed    the CPUs of the process
 * @param set_bytes  size of allowed
 * @param out_count  at least 1; untouched on failure
 * Returns: 0; -ENOMEM.
 * Context: any thread; reads files, does not suspend.
 */
int bnx_worker_count(const char *root, const cpu_set_t *allowed, size_t set_bytes,
                     uint32_t *out_count) BNX_MUST_USE;

#endif
