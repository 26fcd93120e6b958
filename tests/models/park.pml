/* SPDX-License-Identifier: MIT */
/*
 * Park and wake: how a worker goes to sleep without missing what is sent to it meanwhile.
 *
 * Who
 *   Two workers, a foreign thread that sends items to the inbox of some worker or to the global
 *   queue, and a thread that stops the runtime at any time or never. A worker that takes an item from
 *   the global queue may send one to the other's inbox itself, as tasks do. All send ITEMS together:
 *   3 and 4 were searched as well, find nothing more, and take ten times as long.
 *
 * Protocol (each numbered line is one seq_cst access, so one step here)
 *   sender  S1 publish the item (or the stop flag)
 *           S2 load `parked`; 0: the worker is awake and will look
 *           S3 exchange `parked` to 0; who gets the 1 posts the worker's wake, the others need not
 *   worker  P1 store `parked` = 1
 *           P2 load inbox, global queue and stop flag
 *           P3 something there: exchange `parked` to 0 and go on (if a sender has taken the 1
 *              already, its wake stays and cuts the next sleep short)
 *           P4 else sleep until a wake is posted; consume it and clear `parked`, which still is 1
 *              where the wake was such a left-over
 *   Either S2 sees P1, or P2 sees S1. The wake is sticky: posted between P2 and P4 it ends P4.
 *
 * Properties
 *   When nothing can move any more: without a stop no item is left; after a stop all workers have
 *   ended. There is no infinite run at all (the check for cycles), so that state is always reached.
 *
 * Plants, each of which must be found
 *   NO_RECHECK       P2 does not look at the queues
 *   NO_STOP_RECHECK  P2 does not look at the stop flag
 *   LATE_PARKED      P1 after P2: what a missing StoreLoad order of the worker does
 *   EARLY_LOOK       S2 before S1: the same for the sender
 *   NOT_STICKY       a wake posted before the worker sleeps is lost
 */
#define WORKERS 2
#define ITEMS 2

byte inbox[WORKERS];     /* messages that wait */
byte global;             /* items in the global queue */
bool stop;
bool parked[WORKERS];
bool wake[WORKERS];      /* the sticky wake: a level, as an eventfd that is not zero */
#ifdef NOT_STICKY
bool sleeping[WORKERS];
#endif
byte unsent = ITEMS;
byte ended;              /* workers that have left */

inline post(w) {
#ifdef NOT_STICKY
    d_step {
        if
        :: sleeping[w] -> wake[w] = true
        :: else
        fi
    }
#else
    wake[w] = true
#endif
}

/* S3 where S2 saw a 1; `taken` says whether this sender posted. Locals are cleared after use, here
 * and below: a value that nobody reads any more would only multiply the states. */
inline rouse(w) {
    taken = false;
    if
    :: seen ->
        d_step { taken = parked[w]; parked[w] = false; seen = false }
        if
        :: taken -> post(w)
        :: else
        fi
    :: else
    fi
}

inline send_inbox(w) {
#ifdef EARLY_LOOK
    seen = parked[w];
    inbox[w]++;
#else
    inbox[w]++;         /* S1 */
    seen = parked[w];   /* S2 */
#endif
    rouse(w);
    taken = false
}

/* An item of the global queue needs one worker: the lowest parked one. */
inline send_global() {
    global++; /* S1 */
    at = 0;
    taken = false;
    do
    :: at < WORKERS && !taken ->
        seen = parked[at]; /* S2 */
        rouse(at);
        at++
    :: else -> break
    od;
    at = 0;
    taken = false
}

proctype sender() {
    bool seen, taken;
    byte at;
    do
    :: atomic { unsent > 0 -> unsent-- }
        if
        :: send_inbox(0)
        :: send_inbox(1)
        :: send_global()
        fi
    :: unsent == 0 -> break
    od
}

proctype stopper() {
    bool seen, taken;
    byte at;
    if
    :: true -> skip /* never stopped */
    :: true ->
        stop = true; /* S1 */
        do
        :: at < WORKERS ->
            seen = parked[at]; /* S2 */
            rouse(at);
            taken = false;
            at++
        :: else -> break
        od
    fi
}

inline park() {
#ifndef LATE_PARKED
    parked[me] = true; /* P1 */
#endif
    found = false;
#ifndef NO_RECHECK
    found = found || inbox[me] > 0; /* P2 */
    found = found || global > 0;    /* P2 */
#endif
#ifndef NO_STOP_RECHECK
    found = found || stop;          /* P2 */
#endif
#ifdef LATE_PARKED
    parked[me] = true;
#endif
    if
    :: found -> d_step { parked[me] = false; found = false } /* P3 */
    :: else ->
#ifdef NOT_STICKY
        sleeping[me] = true;
#endif
end_asleep:
        d_step { wake[me] -> wake[me] = false }; /* P4 */
#ifdef NOT_STICKY
        sleeping[me] = false;
#endif
        parked[me] = false
    fi
}

proctype worker(byte me) {
    bool seen, taken, found;
    do
    :: if
       :: atomic { inbox[me] > 0 -> inbox[me]-- }
       :: else ->
            if
            :: atomic { global > 0 -> global-- }
                if
                :: atomic { unsent > 0 -> unsent-- }
                    send_inbox(1 - me)
                :: true
                fi
            :: else ->
                if
                :: stop -> break
                :: else -> park()
                fi
            fi
       fi
    od
    ended++
}

init {
    atomic {
        run worker(0);
        run worker(1);
        run sender();
        run stopper()
    }
    /* True when nothing else can move. */
    timeout;
    assert(stop || (inbox[0] == 0 && inbox[1] == 0 && global == 0));
    assert(!stop || ended == WORKERS)
}
