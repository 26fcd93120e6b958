/* SPDX-License-Identifier: MIT */
/* The seeded random source of one worker: xoshiro-class quality is not needed, replay is. */
#ifndef BNX_RUNTIME_RNG_H
#define BNX_RUNTIME_RNG_H

#include <stdint.h>

/* One per worker, so that a run replays from its seed whatever the other workers draw. */
struct bnx_rng {
    uint64_t state; /* advances by an odd constant each draw; owner only */
};

/** Draws the next 64 random bits (SplitMix64: one add, two multiplies). */
static inline uint64_t bnx_rng_next(struct bnx_rng *rng) {
    rng->state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = rng->state;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/** Seeds the stream; different streams of one seed are independent. */
static inline void bnx_rng_init(struct bnx_rng *rng, uint64_t seed, uint64_t stream) {
    rng->state = seed ^ (stream * UINT64_C(0xd1342543de82ef95));
    (void)bnx_rng_next(rng);
}

/** Draws a number below bound (bound > 0); the bias of the multiply is below 2^-32. */
static inline uint32_t bnx_rng_below(struct bnx_rng *rng, uint32_t bound) {
    return (uint32_t)(((bnx_rng_next(rng) >> 32) * bound) >> 32);
}

#endif
