/* SPDX-License-Identifier: MIT */
/*
 * Selects on unbuffered channels: two that can only serve each other, a plain peer, a cancel.
 *
 * Who
 *   Select 0 sends to channel 0 or receives from channel 1; select 1 does the opposite. Party 2
 *   makes one plain call on channel 0, of either direction. A canceller cancels select 0 at any
 *   time, or never.
 *
 * Protocol (each numbered line is one section under the channel's lock or one access)
 *   P1 take      for each case in any order: claim one who waits at the other end. He who cannot be
 *                claimed is taken out and forgotten. The item moves in the same section.
 *   P2 begin     refuse if cancelled; store WAITING; look at the cancel again
 *   P3 add       for each case in the order of the channels: register, unless somebody waits at the
 *                other end: then withdraw, a CAS of WAITING. It succeeds: remove what was added and
 *                start again. It fails: somebody has claimed us: P4.
 *   P4 sleep     until woken by whoever has claimed us
 *   P5 remove    the registrations that are left, each under its lock
 *   canceller    C1 store the cancel word, C2 claim a wait that is WAITING
 *
 * Properties
 *   What was sent was received, once each, by who says so; nobody is claimed while he is not there;
 *   who returns is registered nowhere. When nothing can move any more no two wait that could serve
 *   each other, and a cancelled select has returned. There is no infinite run: see Progress in
 *   select.c; it stands on the order in P3.
 *
 * Left out: sequence numbers (cancel.pml), buffers, one channel in both directions of one select
 * (parted by random back-off, so not without infinite runs).
 *
 * Plants, each of which must be found
 *   NO_LOOK         P3 registers without looking at the other end
 *   NO_ORDER        select 1 adds its cases the other way round: the two circle
 *   BLIND_WITHDRAW  P3 stores IDLE instead of comparing
 *   BLIND_CLAIM     P1 does not look whether the claim succeeded
 *   LOSERS_STAY     P5 is left out
 */
#define PARTIES 3
#define SEND 0
#define RECV 1

mtype = { IDLE, WAITING, CLAIMED };
mtype = { NOTHING, SENT, RECEIVED, CANCELLED };

mtype state[PARTIES] = IDLE;     /* the wait words */
bool ready[PARTIES];             /* woken */
bool listed[12];                 /* registrations, by channel, direction, party */
byte winner[PARTIES];            /* direction of the case through which it was claimed */
bool by_cancel[PARTIES];         /* claimed by the canceller */
bool cancel;                     /* the cancel word; of select 0 */

/* Ghosts. */
byte received[PARTIES];          /* items copied into its memory */
mtype outcome[PARTIES] = NOTHING;
bool is_back[PARTIES];           /* it has returned */

#define LISTED(place, dir, party) listed[(place) * 6 + (dir) * 3 + (party)]
#define OTHERS(place, dir) \
    ((me != 0 && LISTED(place, dir, 0)) || (me != 1 && LISTED(place, dir, 1)) || \
     (me != 2 && LISTED(place, dir, 2)))

/* P1: what follows when q was found at the other end. */
inline serve(place, dir) {
    LISTED(place, 1 - (dir), q) = false;
    assert(!is_back[q]);
    won = state[q] == WAITING;
    if
    :: won -> state[q] = CLAIMED
    :: else
    fi
#ifdef BLIND_CLAIM
    won = true;
#endif
    if
    :: won ->
        winner[q] = 1 - (dir);
        if
        :: dir == SEND -> received[q]++
        :: else -> received[me]++
        fi
        wakee = q;
        took = true
    :: else
    fi
}

inline take(place, dir) {
    atomic {
        took = false;
        do
        :: !took && me != 0 && LISTED(place, 1 - (dir), 0) -> q = 0; serve(place, dir)
        :: !took && me != 1 && LISTED(place, 1 - (dir), 1) -> q = 1; serve(place, dir)
        :: !took && me != 2 && LISTED(place, 1 - (dir), 2) -> q = 2; serve(place, dir)
        :: else -> break
        od
    }
    if
    :: took ->
        assert(!ready[wakee]);
        ready[wakee] = true;
        outcome[me] = (dir == SEND -> SENT : RECEIVED)
    :: else
    fi
}

/* Sets won: it was still WAITING, and is ours again. */
inline withdraw() {
    d_step {
        won = state[me] == WAITING;
#ifdef BLIND_WITHDRAW
        won = true;
#endif
        if
        :: won -> state[me] = IDLE
        :: else
        fi
    }
}

inline add(place, dir) {
    d_step {
        can_go = OTHERS(place, 1 - (dir));
#ifdef NO_LOOK
        can_go = false;
#endif
        if
        :: !can_go -> LISTED(place, dir, me) = true
        :: else
        fi
    }
}

inline remove_all() {
    LISTED(0, dir0, me) = false;
    LISTED(1, dir1, me) = false
}

/* Case 0 is dir0 at channel 0; case 1, if there is one, dir1 at channel 1. */
proctype party(byte me; byte dir0; byte dir1; bool has_two) {
    bool took, won, can_go;
    byte q, wakee;
again:
    if
    :: true ->
        take(0, dir0);
        if
        :: !took && has_two -> take(1, dir1)
        :: else
        fi
    :: has_two ->
        take(1, dir1);
        if
        :: !took -> take(0, dir0)
        :: else
        fi
    fi
    if
    :: took -> goto out
    :: else
    fi
    if
    :: me == 0 && cancel -> outcome[me] = CANCELLED; goto out /* P2 */
    :: else
    fi
    state[me] = WAITING;
    if
    :: me == 0 && cancel ->
        withdraw();
        if
        :: won -> outcome[me] = CANCELLED; goto out
        :: else -> goto sleep
        fi
    :: else
    fi
#ifdef NO_ORDER
    if
    :: me == 1 -> add(1, dir1)
    :: else -> add(0, dir0)
    fi
#else
    add(0, dir0);
#endif
    if
    :: !can_go && has_two ->
#ifdef NO_ORDER
        if
        :: me == 1 -> add(0, dir0)
        :: else -> add(1, dir1)
        fi
#else
        add(1, dir1)
#endif
    :: else
    fi
    if
    :: can_go ->
        withdraw();
        if
        :: won -> remove_all(); goto again
        :: else
        fi
    :: else
    fi
sleep:
    skip;
end_asleep:
    atomic { ready[me] -> ready[me] = false } /* P4 */
    assert(state[me] == CLAIMED);
    state[me] = IDLE;
#ifndef LOSERS_STAY
    remove_all(); /* P5: the winner's is out already */
#endif
    if
    :: by_cancel[me] -> outcome[me] = CANCELLED
    :: else -> outcome[me] = (winner[me] == SEND -> SENT : RECEIVED)
    fi
out:
    assert(outcome[me] != CANCELLED || cancel);
    d_step {
        assert(!LISTED(0, dir0, me) && !LISTED(1, dir1, me));
        is_back[me] = true
    }
}

proctype canceller() {
    bool won;
    if
    :: true -> skip /* never cancels */
    :: true ->
        cancel = true; /* C1 */
        d_step { /* C2 */
            won = state[0] == WAITING;
            if
            :: won -> state[0] = CLAIMED; by_cancel[0] = true
            :: else
            fi
        }
        if
        :: won -> assert(!ready[0]); ready[0] = true
        :: else
        fi
    fi
}

#define COUNT(what) \
    ((outcome[0] == what -> 1 : 0) + (outcome[1] == what -> 1 : 0) + (outcome[2] == what -> 1 : 0))
#define HAS_RIGHT_ITEMS(p) (received[p] == (outcome[p] == RECEIVED -> 1 : 0))
#define WAITS_AT(place, dir) \
    ((LISTED(place, dir, 0) && state[0] == WAITING) || \
     (LISTED(place, dir, 1) && state[1] == WAITING) || (LISTED(place, dir, 2) && state[2] ==
WAITING)) 
init {
    atomic {
        run party(0, SEND, RECV, true);
        run party(1, RECV, SEND, true);
        if
        :: true -> run party(2, SEND, SEND, false)
        :: true -> run party(2, RECV, RECV, false)
        fi
        run canceller()
    }
    /* True when nothing else can move. */
    timeout;
    assert(!ready[0] && !ready[1] && !ready[2]);
    assert(HAS_RIGHT_ITEMS(0) && HAS_RIGHT_ITEMS(1) && HAS_RIGHT_ITEMS(2));
    assert(COUNT(SENT) == COUNT(RECEIVED));
    assert(is_back[0] || !cancel);
    assert(!(WAITS_AT(0, SEND) && WAITS_AT(0, RECV)));
    assert(!(WAITS_AT(1, SEND) && WAITS_AT(1, RECV)))
}
