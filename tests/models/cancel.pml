/* SPDX-License-Identifier: MIT */
/*
 * Cancel against wake: the wait record of a task, and the one CAS that decides who resumes it.
 *
 * Who
 *   A task that waits twice. The first wait has two wakers, as a wait with a timeout has; the second
 *   has one. Each waker and the canceller act once, at any time, or never.
 *
 * Protocol (each numbered line is one seq_cst access or one section under the queue's lock)
 *   The record is one word {seq, state}; every wait takes a new seq.
 *   task       T1 on entry: cancelled already, refuse
 *              T2 store {seq, WAITING}
 *              T3 enqueue with each waker under its lock; it has fired already: withdraw (T5)
 *              T4 re-read the cancel word; set: withdraw (T5)
 *              T5 withdraw: CAS {seq, WAITING} -> {seq, IDLE}; it fails: somebody has claimed the
 *                 wait and will ready the task, so park as usual
 *              T6 park until readied; the claimer has left the result
 *   waker      W1 under the lock: fire, and take the waiter's seq off the queue
 *              W2 CAS {seq, WAITING} -> {seq, CLAIMED}; won: result = woken, ready the task
 *   canceller  C1 store the cancel word
 *              C2 load the record; not WAITING: the task sees the word at T1 or T4
 *              C3 CAS it to CLAIMED; won: result = cancelled, ready the task
 *   Either C2 sees T2, or T4 sees C1.
 *
 * Properties
 *   A task is readied at most once a park, and never while it does not wait for it (that would be in
 *   two queues at once). When nothing can move any more and the task has not ended: it is not
 *   cancelled and nobody it waits for has fired. The result is that of the one who won the CAS, and
 *   "woken" only where a waker of this very wait has fired. There is no infinite run.
 *
 * Plants, each of which must be found
 *   NO_REREAD         T4 is left out
 *   NO_SEQ            the state alone, without a generation: an old waker claims a later wait
 *   BLIND_WITHDRAW    T5 stores IDLE instead of comparing
 *   LATE_PUBLISH      T2 after T4: what a missing StoreLoad order does
 *   CANCEL_OVERRIDES  after a park the task looks at the cancel word before the result
 */
#define WAITS 2
#define WAKERS 3

mtype = { IDLE, WAITING, CLAIMED };
mtype = { NOTHING, WOKEN, CANCELLED };

/* The record. */
byte record_seq;
mtype record_state = IDLE;

bool cancel;          /* the cancel word */
bool fired[WAKERS];   /* under the waker's lock */
byte queued[WAKERS];  /* under the waker's lock: seq of the waiter, 0 = none */
byte ready;           /* times the task is in a run queue */
mtype result;         /* left by who claimed the wait; read by the task after it was readied */

/* Ghosts: what the properties are stated with. */
mtype winner = NOTHING; /* who won the current wait's CAS */
byte waits_done;
bool is_ended;

/* Waker w serves wait 0 (w = 0, 1) or wait 1 (w = 2). */
#define WAIT_OF(w) ((w) / 2)

#ifdef NO_SEQ
#define MATCHES(seq) (record_state == WAITING)
#else
#define MATCHES(seq) (record_state == WAITING && record_seq == (seq))
#endif

/* W2 and C3, then the two steps of the winner. */
inline claim(seq, outcome) {
    d_step {
        won = MATCHES(seq);
        if
        :: won -> record_state = CLAIMED; winner = outcome
        :: else
        fi
    }
    if
    :: won ->
        result = outcome;
        assert(ready == 0 && record_state == CLAIMED);
        ready++
    :: else
    fi
}

proctype waker(byte w) {
    bool won;
    byte seq;
    if
    :: true -> skip /* never fires */
    :: true ->
        d_step { fired[w] = true; seq = queued[w]; queued[w] = 0 } /* W1 */
        if
        :: seq != 0 -> claim(seq, WOKEN) /* W2 */
        :: else
        fi
    fi
}

proctype canceller() {
    bool won;
    byte seq;
    mtype state;
    if
    :: true -> skip /* never cancels */
    :: true ->
        cancel = true; /* C1 */
        d_step { seq = record_seq; state = record_state } /* C2 */
        if
        :: state == WAITING -> claim(seq, CANCELLED) /* C3 */
        :: else
        fi
    fi
}

inline publish() {
    d_step { record_seq = seq; record_state = WAITING } /* T2 */
}

/* T3 for one waker. */
inline enqueue(w) {
    d_step {
        if
        :: fired[w] -> has_fired = true
        :: else -> queued[w] = seq
        fi
    }
}

/* T3 to T5; is_parking says whether the task must wait to be readied. */
inline prepare() {
    has_fired = false;
    if
    :: seq == 1 -> enqueue(0); enqueue(1)
    :: else -> enqueue(2)
    fi
    must_leave = has_fired;
#ifndef NO_REREAD
    must_leave = must_leave || cancel; /* T4 */
#endif
#ifdef LATE_PUBLISH
    publish();
#endif
    is_parking = true;
    if
    :: must_leave ->
#ifdef BLIND_WITHDRAW
        record_state = IDLE;
        is_parking = false
#else
        d_step { /* T5 */
            if
            :: record_state == WAITING -> record_state = IDLE; is_parking = false
            :: else
            fi
        }
#endif
    :: else
    fi
}

proctype task() {
    byte seq;
    bool has_fired, must_leave, is_parking;
    mtype got;
    do
    :: waits_done == WAITS -> break
    :: else ->
        if
        :: cancel -> break /* T1 */
        :: else
        fi
        seq++;
        winner = NOTHING;
#ifndef LATE_PUBLISH
        publish();
#endif
        prepare();
        if
        :: is_parking ->
end_parked:
            d_step { ready > 0 -> ready-- } /* T6 */
            got = result;
#ifdef CANCEL_OVERRIDES
            if
            :: cancel -> got = CANCELLED
            :: else
            fi
#endif
            assert(got == winner);
            record_state = IDLE
        :: else ->
            assert(winner == NOTHING);
            got = (has_fired -> WOKEN : CANCELLED)
        fi
        assert(got != CANCELLED || cancel);
        assert(got != WOKEN || (seq == 1 && (fired[0] || fired[1])) || (seq == 2 && fired[2]));
        /* A node is unlinked before its frame dies; a waker that holds the seq already is stale. */
        d_step { queued[0] = 0; queued[1] = 0; queued[2] = 0 }
        waits_done++
    od
    is_ended = true
}

init {
    atomic {
        run task();
        run waker(0);
        run waker(1);
        run waker(2);
        run canceller()
    }
    /* True when nothing else can move. */
    timeout;
    assert(ready == 0);
    assert(is_ended || !cancel);
    assert(is_ended || waits_done != 0 || (!fired[0] && !fired[1]));
    assert(is_ended || waits_done != 1 || !fired[2])
}
