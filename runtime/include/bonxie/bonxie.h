/* SPDX-License-Identifier: MIT */
/* All of bonxie's runtime headers. I/O has headers of its own: <bonxie/net.h> and friends. */
#ifndef BONXIE_BONXIE_H
#define BONXIE_BONXIE_H

#include <bonxie/base.h>
#include <bonxie/dump.h>
#include <bonxie/fork.h>
#include <bonxie/future.h>
#include <bonxie/offload.h>
#include <bonxie/runtime.h>
#include <bonxie/scope.h>
#include <bonxie/stack.h>
#include <bonxie/task.h>
#include <bonxie/time.h>
#include <bonxie/waitable.h>

#endif
