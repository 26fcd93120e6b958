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

#endif
