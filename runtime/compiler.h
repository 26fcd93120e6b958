/* SPDX-License-Identifier: MIT */
/* The compiler's vocabulary: attributes, sanitizer detection and the annotations they need. */
#ifndef BNX_RUNTIME_COMPILER_H
#define BNX_RUNTIME_COMPILER_H

#include <stddef.h>
#include <stdint.h>

#define bnx_likely(x) __builtin_expect(!!(x), 1)
#define bnx_unlikely(x) __builtin_expect(!!(x), 0)
#define BNX_NOINLINE __attribute__((noinline))
#define BNX_ALWAYS_INLINE inline __attribute__((always_inline))
#define BNX_COLD __attribute__((cold, noinline))
/* Tells the compiler what its caller has checked. */
#define BNX_ASSUME(condition)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            __builtin_unreachable();                                                               \
        }                                                                                          \
    } while (0)
#define BNX_NORETURN __attribute__((noreturn))
#define BNX_MUST_USE __attribute__((warn_unused_result))
#define BNX_PRINTF(at, first) __attribute__((format(printf, at, first)))
#define BNX_UNUSED __attribute__((unused))

/* Two lines: the adjacent-line prefetcher of x86 pulls them in pairs. */
#define BNX_CACHELINE_BYTES 64
#define BNX_APART_BYTES 128
#define BNX_APART __attribute__((aligned(BNX_APART_BYTES)))

#define BNX_CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define BNX_ARRAY_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define BNX_IS_POWER_OF_TWO(x) ((x) != 0 && ((x) & ((x)-1)) == 0)

/* Orders the compiler only; the CPU may still reorder. */
#define bnx_compiler_barrier() __asm__ volatile("" ::: "memory")

#ifndef __has_feature
#define __has_feature(x) 0
#endif

#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define BNX_ASAN 1
#else
#define BNX_ASAN 0
#endif

#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
#define BNX_TSAN 1
#else
#define BNX_TSAN 0
#endif

#ifndef __has_attribute
#define __has_attribute(x) 0
#endif

/* A function that goes back to its caller by a jump, not a return (context.h). The jump is the one
 * of runtime/arch; where the compiler cannot, it returns. */
#if defined(__x86_64__) && __has_attribute(function_return) && !BNX_TSAN
#define BNX_RETURN_JUMPS 1
#define BNX_RETURNS_BY_JUMP __attribute__((function_return("thunk-extern")))
#else
#define BNX_RETURN_JUMPS 0
#define BNX_RETURNS_BY_JUMP
#endif

/* Build options that change behaviour everywhere; CMake defines them as 1, absence means 0. */
#ifndef BNX_SIM
#define BNX_SIM 0
#endif
#ifndef BNX_SHRINK
#define BNX_SHRINK 0
#endif
#ifndef BNX_FORCE_MIGRATE
#define BNX_FORCE_MIGRATE 0
#endif
#ifndef BNX_PLANTS
#define BNX_PLANTS 0
#endif

/* A capacity that the shrink build makes tiny, so that wrap-around and overflow happen at once. */
#if BNX_SHRINK
#define BNX_CAPACITY(normal, shrunk) (shrunk)
#else
#define BNX_CAPACITY(normal, shrunk) (normal)
#endif

/* AddressSanitizer keeps a fake stack per real one and must be told of every switch. */
#if BNX_ASAN
void __sanitizer_start_switch_fiber(void **fake_stack_save, const void *bottom, size_t size);
void __sanitizer_finish_switch_fiber(void *fake_stack_save, const void **bottom_old,
                                     size_t *size_old);
void __asan_poison_memory_region(void const volatile *addr, size_t size);
void __asan_unpoison_memory_region(void const volatile *addr, size_t size);
#define bnx_asan_switch_start(save, bottom, size) __sanitizer_start_switch_fiber(save, bottom, size)
#define bnx_asan_switch_finish(save, bottom, size)                                                 \
    __sanitizer_finish_switch_fiber(save, bottom, size)
#define bnx_asan_poison(addr, size) __asan_poison_memory_region(addr, size)
#define bnx_asan_unpoison(addr, size) __asan_unpoison_memory_region(addr, size)
#define BNX_NO_ASAN __attribute__((no_sanitize_address))
#else
#define bnx_asan_switch_start(save, bottom, size) ((void)(save), (void)(bottom), (void)(size))
#define bnx_asan_switch_finish(save, bottom, size) ((void)(save), (void)(bottom), (void)(size))
#define bnx_asan_poison(addr, size) ((void)(addr), (void)(size))
#define bnx_asan_unpoison(addr, size) ((void)(addr), (void)(size))
#define BNX_NO_ASAN
#endif

/* ThreadSanitizer models a stackful task as a fiber. The switch synchronises the two fibers: what
 * runs on one OS thread is in order. An edge to another one must come from queues and on_cpu. */
#if BNX_TSAN
void *__tsan_get_current_fiber(void);
void *__tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void *fiber);
void __tsan_switch_to_fiber(void *fiber, unsigned flags);
void __tsan_acquire(void *addr);
void __tsan_release(void *addr);
#define BNX_TSAN_SWITCH_SYNC 0u
#define bnx_tsan_fiber_current() __tsan_get_current_fiber()
#define bnx_tsan_fiber_create() __tsan_create_fiber(0)
#define bnx_tsan_fiber_destroy(fiber) __tsan_destroy_fiber(fiber)
#define bnx_tsan_fiber_switch(fiber) __tsan_switch_to_fiber(fiber, BNX_TSAN_SWITCH_SYNC)
#define bnx_tsan_acquire(addr) __tsan_acquire((void *)(addr))
#define bnx_tsan_release(addr) __tsan_release((void *)(addr))
#define BNX_NO_TSAN __attribute__((no_sanitize("thread")))
/* Of a function that switches stacks: alone, because the shadow stack has changed just before. */
#define BNX_SWITCH_FUNCTION __attribute__((noinline, no_sanitize("thread")))
#else
#define bnx_tsan_fiber_current() ((void *)0)
#define bnx_tsan_fiber_create() ((void *)0)
#define bnx_tsan_fiber_destroy(fiber) ((void)(fiber))
#define bnx_tsan_fiber_switch(fiber) ((void)(fiber))
#define bnx_tsan_acquire(addr) ((void)(addr))
#define bnx_tsan_release(addr) ((void)(addr))
#define BNX_NO_TSAN
#define BNX_SWITCH_FUNCTION BNX_ALWAYS_INLINE
#endif

/* valgrind follows a switch only between stacks that it was told of. Outside of it a request is a
 * handful of instructions that do nothing. */
#ifdef BNX_VALGRIND
#include <valgrind/valgrind.h>
#define bnx_valgrind_is_running() (RUNNING_ON_VALGRIND != 0)
#define bnx_valgrind_stack_register(low, high) ((unsigned)VALGRIND_STACK_REGISTER(low, high))
#define bnx_valgrind_stack_deregister(id) VALGRIND_STACK_DEREGISTER(id)
#else
#define bnx_valgrind_is_running() false
#define bnx_valgrind_stack_register(low, high) ((void)(low), (void)(high), 0u)
#define bnx_valgrind_stack_deregister(id) ((void)(id))
#endif

#endif
