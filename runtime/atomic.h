/* SPDX-License-Identifier: MIT */
/*
 * Every access to a word that two threads share, the memory order in its name.
 *
 * Concepts
 *   A shared word is a plain integer or pointer that is touched through these names only. The order
 *   stands on the operation, never on a fence: ThreadSanitizer cannot see fences. Each non-relaxed
 *   use carries a tag, as in E1, that pairs it with its partner in the file's Ordering section.
 *
 *   A StoreLoad edge ("I store mine, then read yours; you store yours, then read mine; at least one
 *   of us sees the other") is a pair of seq_cst accesses on both sides. Where one side is hot and
 *   the other rare, the pair may be asymmetric: the hot side uses bnx_store_light and
 *   bnx_load_light, the rare side calls bnx_heavy_barrier between its store and its load. Light
 *   accesses are relaxed plus a compiler barrier when membarrier(2) is there to do the heavy side's
 *   work, seq_cst otherwise; under ThreadSanitizer and in the simulator they are always seq_cst.
 *
 * Simulation
 *   In the sim build each access first passes a yield point, where the seeded scheduler may let
 *   another virtual thread run, and a program may count the accesses (sim_pvt.h). The address of
 *   the word is evaluated twice there: it has no side effect.
 */
#ifndef BNX_RUNTIME_ATOMIC_H
#define BNX_RUNTIME_ATOMIC_H

#include "runtime/compiler.h"

#include <stdbool.h>
#include <stdint.h>

#if BNX_SIM
/* What an access does, for who counts them. */
enum bnx_access {
    BNX_ACCESS_LOAD,
    BNX_ACCESS_STORE,
    BNX_ACCESS_STORE_SEQ_CST, /* which x86 makes by an exchange */
    BNX_ACCESS_RMW            /* a compare-and-swap that fails as well */
};

/** The yield point before an access to the word at an address. */
void bnx_sim_access(uintptr_t word, enum bnx_access access);
/** A yield point beside no access. */
void bnx_sim_point(void);
/** True while the threads are virtual ones: they share what the kernel keeps per OS thread. */
bool bnx_sim_is_running(void);
#define BNX_ATOMIC_POINT(p, kind) bnx_sim_access((uintptr_t)(p), BNX_ACCESS_##kind)
#else
static inline bool bnx_sim_is_running(void) {
    return false;
}
#define BNX_ATOMIC_POINT(p, kind) ((void)0)
#endif

#define bnx_load_relaxed(p) (BNX_ATOMIC_POINT(p, LOAD), __atomic_load_n((p), __ATOMIC_RELAXED))
#define bnx_load_acquire(p) (BNX_ATOMIC_POINT(p, LOAD), __atomic_load_n((p), __ATOMIC_ACQUIRE))
#define bnx_load_seq_cst(p) (BNX_ATOMIC_POINT(p, LOAD), __atomic_load_n((p), __ATOMIC_SEQ_CST))

#define bnx_store_relaxed(p, v)                                                                    \
    (BNX_ATOMIC_POINT(p, STORE), __atomic_store_n((p), (v), __ATOMIC_RELAXED))
#define bnx_store_release(p, v)                                                                    \
    (BNX_ATOMIC_POINT(p, STORE), __atomic_store_n((p), (v), __ATOMIC_RELEASE))
#define bnx_store_seq_cst(p, v)                                                                    \
    (BNX_ATOMIC_POINT(p, STORE_SEQ_CST), __atomic_store_n((p), (v), __ATOMIC_SEQ_CST))

#define bnx_exchange_relaxed(p, v)                                                                 \
    (BNX_ATOMIC_POINT(p, RMW), __atomic_exchange_n((p), (v), __ATOMIC_RELAXED))
#define bnx_exchange_acquire(p, v)                                                                 \
    (BNX_ATOMIC_POINT(p, RMW), __atomic_exchange_n((p), (v), __ATOMIC_ACQUIRE))
#define bnx_exchange_release(p, v)                                                                 \
    (BNX_ATOMIC_POINT(p, RMW), __atomic_exchange_n((p), (v), __ATOMIC_RELEASE))
#define bnx_exchange_acq_rel(p, v)                                                                 \
    (BNX_ATOMIC_POINT(p, RMW), __atomic_exchange_n((p), (v), __ATOMIC_ACQ_REL))
#define bnx_exchange_seq_cst(p, v)                                                                 \
    (BNX_ATOMIC_POINT(p, RMW), __atomic_exchange_n((p), (v), __ATOMIC_SEQ_CST))

#define bnx_fetch_add_relaxed(p, v)                                                                \
    (BNX_ATOMIC_POINT(p, RMW), __atomic_fetch_add((p), (v), __ATOMIC_RELAXED))
#define bnx_fetch_add_release(p, v)                                                                \
    (BNX_ATOMIC_POINT(p, RMW), __atomic_fetch_add((p), (v), __ATOMIC_RELEASE))
#define bnx_fetch_add_acq_rel(p, v)                                                                \
    (BNX_ATOMIC_POINT(p, RMW), __atomic_fetch_add((p), (v), __ATOMIC_ACQ_REL))
#define bnx_fetch_add_seq_cst(p, v)                                                                \
    (BNX_ATOMIC_POINT(p, RMW), __atomic_fetch_add((p), (v), __ATOMIC_SEQ_CST))
#define bnx_fetch_sub_relaxed(p, v)                                                                \
    (BNX_ATOMIC_POINT(p, RMW), __atomic_fetch_sub((p), (v), __ATOMIC_RELAXED))
#define bnx_fetch_sub_release(p, v)                                                                \
    (BNX_ATOMIC_POINT(p, RMW), __atomic_fetch_sub((p), (v), __ATOMIC_RELEASE))
#define bnx_fetch_sub_acq_rel(p, v)                                                                \
    (BNX_ATOMIC_POINT(p, RMW), __atomic_fetch_sub((p), (v), __ATOMIC_ACQ_REL))
#define bnx_fetch_sub_seq_cst(p, v)                                                                \
    (BNX_ATOMIC_POINT(p, RMW), __atomic_fetch_sub((p), (v), __ATOMIC_SEQ_CST))
#define bnx_fetch_or_acq_rel(p, v)                                                                 \
    (BNX_ATOMIC_POINT(p, RMW), __atomic_fetch_or((p), (v), __ATOMIC_ACQ_REL))
#define bnx_fetch_or_seq_cst(p, v)                                                                 \
    (BNX_ATOMIC_POINT(p, RMW), __atomic_fetch_or((p), (v), __ATOMIC_SEQ_CST))
#define bnx_fetch_and_acq_rel(p, v)                                                                \
    (BNX_ATOMIC_POINT(p, RMW), __atomic_fetch_and((p), (v), __ATOMIC_ACQ_REL))
#define bnx_fetch_and_seq_cst(p, v)                                                                \
    (BNX_ATOMIC_POINT(p, RMW), __atomic_fetch_and((p), (v), __ATOMIC_SEQ_CST))

/*
 * Compare and swap: true when *p was *expected and is now desired; otherwise *expected holds what
 * was there, read relaxed (acquire where the name says so). The strong form: it fails only on a
 * difference.
 */
#define bnx_cas_relaxed(p, expected, desired)                                                      \
    (BNX_ATOMIC_POINT(p, RMW), __atomic_compare_exchange_n((p), (expected), (desired), 0,          \
                                                           __ATOMIC_RELAXED, __ATOMIC_RELAXED))
#define bnx_cas_acquire(p, expected, desired)                                                      \
    (BNX_ATOMIC_POINT(p, RMW), __atomic_compare_exchange_n((p), (expected), (desired), 0,          \
                                                           __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
#define bnx_cas_release(p, expected, desired)                                                      \
    (BNX_ATOMIC_POINT(p, RMW), __atomic_compare_exchange_n((p), (expected), (desired), 0,          \
                                                           __ATOMIC_RELEASE, __ATOMIC_RELAXED))
#define bnx_cas_acq_rel(p, expected, desired)                                                      \
    (BNX_ATOMIC_POINT(p, RMW), __atomic_compare_exchange_n((p), (expected), (desired), 0,          \
                                                           __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
#define bnx_cas_seq_cst(p, expected, desired)                                                      \
    (BNX_ATOMIC_POINT(p, RMW), __atomic_compare_exchange_n((p), (expected), (desired), 0,          \
                                                           __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))

/* The asymmetric StoreLoad pair; see Concepts above. */
#if BNX_TSAN || BNX_SIM
#define bnx_store_light(p, v)                                                                      \
    (BNX_ATOMIC_POINT(p, STORE), __atomic_store_n((p), (v), __ATOMIC_SEQ_CST))
#define bnx_load_light(p) bnx_load_seq_cst(p)
static inline void bnx_heavy_barrier(void) {
}
#else
/* True once the process is registered for membarrier; written once before any worker starts. */
extern bool bnx_membarrier_is_on;
/** Makes every running thread of the process pass a full barrier. One syscall, 0.4 to 5 us. */
void bnx_heavy_barrier(void);
#define bnx_store_light(p, v)                                                                      \
    do {                                                                                           \
        if (bnx_likely(bnx_membarrier_is_on)) {                                                    \
            __atomic_store_n((p), (v), __ATOMIC_RELAXED);                                          \
            bnx_compiler_barrier();                                                                \
        } else {                                                                                   \
            __atomic_store_n((p), (v), __ATOMIC_SEQ_CST);                                          \
        }                                                                                          \
    } while (0)
#define bnx_load_light(p)                                                                          \
    __extension__({                                                                                \
        bnx_compiler_barrier();                                                                    \
        __typeof__(*(p)) light_ = __atomic_load_n((p), __ATOMIC_SEQ_CST);                          \
        light_;                                                                                    \
    })
#endif

/** Tells the CPU that this is a spin loop. 10-30 ns. */
static inline void bnx_pause(void) {
#if BNX_SIM
    bnx_sim_point();
#elif defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    /* yield is a no-op on most cores; isb waits about as long as pause does on x86. */
    __asm__ volatile("isb" ::: "memory");
#endif
}

#endif
