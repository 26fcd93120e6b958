/* SPDX-License-Identifier: MIT */
/* All of bonxie's synchronisation objects. */
#ifndef BONXIE_SYNC_H
#define BONXIE_SYNC_H

#include <bonxie/barrier.h>
#include <bonxie/cond.h>
#include <bonxie/event.h>
#include <bonxie/limiter.h>
#include <bonxie/mutex.h>
#include <bonxie/once.h>
#include <bonxie/rwlock.h>
#include <bonxie/sem.h>
#include <bonxie/strand.h>
#include <bonxie/waitgroup.h>

#endif
