/* SPDX-License-Identifier: MIT */
/* Looking at a descriptor for the first time (hint.h). */
#include "io/hint.h"

#include "runtime/check.h"
#include "runtime/os.h"

#include <linux/major.h>
#include <sys/sysmacros.h>

void bnx_hint_look(int fd) {
    struct stat status;
    if (bnx_hint_has(fd, BNX_HINT_SEEN) || bnx_hint_has(fd, BNX_HINT_SOCKET) ||
        (unsigned)fd >= BNX_HINT_FDS || bnx_os.fstat(fd, &status) != 0) {
        return;
    }
    if (S_ISREG(status.st_mode) || S_ISBLK(status.st_mode)) {
        int flags = bnx_os.fcntl(fd, F_GETFL, 0);
        bool is_direct = flags >= 0 && (flags & O_DIRECT) != 0 && !BNX_PLANT(direct_not_seen);
        bnx_hint_set(fd, is_direct ? BNX_HINT_DIRECT : BNX_HINT_CACHED, true);
    }
    bool is_memory = major(status.st_rdev) == MEM_MAJOR; /* /dev/null and its like */
    if (S_ISCHR(status.st_mode) && !is_memory && !BNX_PLANT(uring_blocks)) {
        bnx_hint_set(fd, BNX_HINT_WAITS, true);
    }
    bnx_hint_set(fd, BNX_HINT_SEEN, true);
}

/* Not inlined: the caller may go on in another thread, and must not keep the counter's address. */
static BNX_NOINLINE bool is_due(void) {
    static _Thread_local uint32_t reads;
    return ++reads % BNX_HINT_READS == 0 && !BNX_PLANT(hint_for_ever);
}

bool bnx_hint_is_cached(int fd) {
    if (bnx_hint_has(fd, BNX_HINT_CACHED) && is_due()) {
        bnx_hint_set(fd, BNX_HINT_CACHED, false);
        bnx_hint_set(fd, BNX_HINT_SEEN, false);
    }
    bnx_hint_look(fd);
    return bnx_hint_has(fd, BNX_HINT_CACHED);
}
