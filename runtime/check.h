/* SPDX-License-Identifier: MIT */
/* Checks of our own and the caller's logic, and the plants that prove the tests can fail. */
#ifndef BNX_RUNTIME_CHECK_H
#define BNX_RUNTIME_CHECK_H

#include "runtime/compiler.h"

#include <stdbool.h>

/**
 * Writes "file:line: message" to stderr in one write(2) and aborts.
 * Context: anywhere, signal handlers included. Never returns.
 */
void bnx_panic(const char *file, int line, const char *format, ...)
    BNX_PRINTF(3, 4) BNX_NORETURN BNX_COLD;

/* Always on: cold paths, misuse of the API, corrupt state. Programmer errors only. */
#define BNX_CHECK(condition)                                                                       \
    do {                                                                                           \
        if (bnx_unlikely(!(condition))) {                                                          \
            bnx_panic(__FILE__, __LINE__, "check failed: %s", #condition);                         \
        }                                                                                          \
    } while (0)

/* Debug builds: hot paths. The condition is compiled, not evaluated, in the others. */
#if defined(BNX_DEBUG) && BNX_DEBUG
#define BNX_ASSERT(condition) BNX_CHECK(condition)
#else
#define BNX_ASSERT(condition) ((void)sizeof(!(condition)))
#endif

/*
 * A plant is a rule that can be taken out at run time, to show that its test notices:
 * `if (BNX_PLANT(no_rescue)) { return; }` at the place where the rule stands. It is constant false
 * unless the build says -DBONXIE_PLANTS=ON; there it is true when the environment's BONXIE_PLANT
 * names it. tests/plants.txt lists each plant with the test that must fail.
 */
#if BNX_PLANTS
bool bnx_plant_is_set(const char *name);
#define BNX_PLANT(name) bnx_plant_is_set(#name)
#else
#define BNX_PLANT(name) 0
#endif

/* A place where a task may wait (suspension.h): tests cancel it there, in builds with plants. */
#if BNX_PLANTS
#define BNX_SUSPENSION(task) bnx_suspension_point(task)
#else
#define BNX_SUSPENSION(task) ((void)(task))
#endif

#endif
