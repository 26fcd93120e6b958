/* SPDX-License-Identifier: MIT */
/* Accepting from listeners: what to do when it fails. */
#ifndef BNX_IO_LISTENER_H
#define BNX_IO_LISTENER_H

#include "runtime/os.h"

#include <bonxie/net.h>

/* The file of a unix listener. */
struct bnx_socket_file {
    struct bnx_address address; /* .bytes 0: it has none */
    uint64_t inode;
    uint32_t device[2]; /* major, minor */
};

/** Remembers the file of a listener, if it has one: before others know of it. */
void bnx_socket_file_note(struct bnx_socket_file *file, int listener);

/**
 * After the listener was closed: removes the file, if it is the one that it was, and nobody listens
 * on it any more: neither a process that the listener was passed to, nor one that has replaced it.
 */
void bnx_socket_file_remove(const struct bnx_socket_file *file);

/** Accepts a connection that is there: as accept4(2), with no hints left of the number. */
int bnx_accept_try(int listener);

/** Whether an accept has failed because descriptors are out, of the process or of the system. */
bool bnx_accept_is_out_of_fds(int error);

/**
 * After an accept that failed: says whether to go on, and first sleeps where trying again at once
 * would burn the CPU.
 * @param backoff_ns how long the last sleep in a row was; 0 after a success; updated.
 * Returns 0: try again. < 0: error, the listener is of no more use, or the sleep's cancel.
 * Context: task, suspends.
 */
int bnx_accept_back_off(int error, uint64_t *backoff_ns);

#endif
