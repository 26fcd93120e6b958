/* SPDX-License-Identifier: MIT */
/*
 * The work-stealing deque of runtime/deque.h: no item is taken twice, none is lost.
 *
 * The owner's stores go through a store buffer, as on x86, so that its pop may read top before its
 * store of bottom is seen. The thief's heavy barrier is a moment at which that buffer is empty.
 * Two slots, so that a slow thief can be lapped; one owner, two thieves. Growing is left out.
 *
 * Plants, each of which must be found
 *   NO_BARRIER   the thief's heavy barrier is left out
 *   NO_LAST_CAS  the owner takes the last item without a compare-and-swap
 *   STORE_LATE   pop reads top before it stores bottom
 */
#define SLOTS 2
#define PUSHES 3 /* at most */
#define STEPS 6  /* of the owner: pushes and pops in any order */
#define STEALS 2

/* Memory, as thieves see it. Item numbers start at 1. */
byte top;
byte bottom;
byte slots[SLOTS];

byte taken[PUSHES + 1];
byte finished;

mtype = {BOTTOM, SLOT};
chan buffer = [4] of {mtype, byte, byte}; /* the owner's stores on their way: what, slot, value */

inline take(number) {
    assert(number != 0);
    taken[number]++;
    assert(taken[number] == 1)
}

/* The CPU lets the owner's stores out, in order. */
active proctype store_buffer() {
    mtype what;
    byte index, value;
end:
    do
    :: atomic {
        buffer?what,index,value ->
        if
        :: what == BOTTOM -> bottom = value
        :: what == SLOT -> slots[index] = value
        fi;
        what = 0; index = 0; value = 0
    }
    od
}

active proctype owner() {
    byte own_bottom, pushed, steps, seen_top;
    byte own_slots[SLOTS]; /* what it has stored, seen or not */
    do
    :: steps < STEPS && pushed < PUSHES ->
        steps++;
        seen_top = top;
        if
        :: own_bottom - seen_top < SLOTS ->
            pushed++;
            own_slots[own_bottom % SLOTS] = pushed;
            buffer!SLOT,own_bottom % SLOTS,pushed;
            own_bottom++;
            buffer!BOTTOM,0,own_bottom
        :: else
        fi
    :: steps < STEPS && own_bottom > 0 ->
        steps++;
#ifdef STORE_LATE
        seen_top = top;
        own_bottom--;
        buffer!BOTTOM,0,own_bottom;
#else
        own_bottom--;
        buffer!BOTTOM,0,own_bottom;
        seen_top = top;
#endif
        if
        :: own_bottom > seen_top -> take(own_slots[own_bottom % SLOTS])
        :: own_bottom < seen_top ->
            own_bottom++;
            buffer!BOTTOM,0,own_bottom
        :: own_bottom == seen_top ->
#ifdef NO_LAST_CAS
            take(own_slots[own_bottom % SLOTS])
#else
            /* A compare-and-swap lets all earlier stores out first. */
            atomic {
                empty(buffer) ->
                if
                :: top == seen_top ->
                    top++;
                    take(own_slots[own_bottom % SLOTS])
                :: else
                fi
            }
            own_bottom++;
            buffer!BOTTOM,0,own_bottom
#endif
        fi
    :: steps == STEPS -> break
    od;
    /* What is left over, once the thieves are done, is what nobody has taken. */
    (finished == 2 && empty(buffer));
    do
    :: own_bottom > top ->
        own_bottom--;
        take(own_slots[own_bottom % SLOTS])
    :: else -> break
    od;
    do
    :: pushed > 0 ->
        assert(taken[pushed] == 1);
        pushed--
    :: else -> break
    od
}

active [2] proctype thief() {
    byte tries, seen_top, seen_bottom, item;
    do
    :: tries < STEALS ->
        tries++;
        seen_top = top;
#ifndef NO_BARRIER
        empty(buffer);
#endif
        seen_bottom = bottom;
        if
        :: seen_bottom > seen_top ->
            item = slots[seen_top % SLOTS];
            atomic {
                if
                :: top == seen_top ->
                    top++;
                    take(item)
                :: else
                fi
            }
        :: else
        fi
    :: else -> break
    od;
    finished++
}
