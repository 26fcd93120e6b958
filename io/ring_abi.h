/* SPDX-License-Identifier: MIT */
/* io_uring constants that are newer than the packaged header. Values are kernel ABI. */
#ifndef BNX_IO_RING_ABI_H
#define BNX_IO_RING_ABI_H

#ifndef IORING_ENTER_NO_IOWAIT
#define IORING_ENTER_NO_IOWAIT (1U << 7) /* Linux 6.15: an idle wait is not shown as iowait */
#endif
#ifndef IORING_FEAT_NO_IOWAIT
#define IORING_FEAT_NO_IOWAIT (1U << 17)
#endif

#ifndef IORING_FEAT_MIN_TIMEOUT
#define IORING_FEAT_MIN_TIMEOUT (1U << 15) /* Linux 6.12: a wait has a shortest time */
#endif

/* struct io_uring_getevents_arg as of Linux 6.12. */
struct bnx_ring_wait_arg {
    uint64_t sigmask;
    uint32_t sigmask_bytes;
    uint32_t min_wait_us;
    uint64_t timeout; /* pointer to a timespec */
};

/* Of opcodes there are enumerators, which no #ifndef sees. */
#define BNX_RING_OP_READ_MULTISHOT 49 /* Linux 6.7 */
#define BNX_RING_OP_WAITID 50         /* Linux 6.7 */
#define BNX_RING_OP_FUTEX_WAIT 51     /* Linux 6.7, as the next two */
#define BNX_RING_OP_FUTEX_WAKE 52
#define BNX_RING_OP_FUTEX_WAITV 53
#define BNX_RING_OP_RECV_ZC 58               /* Linux 6.15; always multishot */
#define BNX_RING_OP_PIPE 62                  /* Linux 6.16 */
#define BNX_RING_OP_LAST_KNOWN 62            /* Linux 6.16 */
#define BNX_RING_TIMEOUT_MULTISHOT (1U << 6) /* Linux 6.4 */
#define BNX_RING_CMD_MULTISHOT (1U << 1)     /* Linux 6.18 */

#endif
