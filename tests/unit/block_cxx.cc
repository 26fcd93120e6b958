/* SPDX-License-Identifier: MIT */
/* The blocks of bonxie/defer.h in C++. */
#include <bonxie/defer.h>
#include <bonxie/task.h>

extern "C" {
#define BLOCK_FUNCTION(name) cxx_##name
#include "tests/unit/block_ways.h"
}
