/* SPDX-License-Identifier: MIT */
/* All of bonxie's runtime headers. I/O has headers of its own: <bonxie/net.h> and friends. */
#ifndef BONXIE_BONXIE_H
#define BONXIE_BONXIE_H

#include <bonxie/base.h>
#include <bonxie/broadcast.h>
#include <bonxie/chan.h>
#include <bonxie/defer.h>
#include <bonxie/dump.h>
#include <bonxie/fork.h>
#include <bonxie/future.h>
#include <bonxie/gen.h>
#include <bonxie/iter.h>
#include <bonxie/kind.h>
#include <bonxie/local.h>
#include <bonxie/offload.h>
#include <bonxie/oneshot.h>
#include <bonxie/progress.h>
#include <bonxie/runtime.h>
#include <bonxie/scope.h>
#include <bonxie/select.h>
#include <bonxie/stack.h>
#include <bonxie/sync.h>
#include <bonxie/task.h>
#include <bonxie/ticker.h>
#include <bonxie/time.h>
#include <bonxie/timer.h>
#include <bonxie/waitable.h>
#include <bonxie/watch.h>

#endif
