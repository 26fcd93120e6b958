/* SPDX-License-Identifier: MIT */
/*
 * The run queue of runtime/runq.h: no item is taken twice, none is lost, no slot is read that is
 * being written.
 *
 * A weakly ordered CPU is modelled where the edges of the header forbid it to be one: the owner's
 * stores of slots and tail reach the thieves late, and the release edges wait for them. Two slots,
 * one owner, two thieves; a thief runs what it steals. Indices count modulo 256.
 *
 * Plants, each of which must be found
 *   TAIL_BEFORE_SLOT  without E1: tail is seen before the slot
 *   EARLY_FINISH      without E2: the slots are given back before they are read
 *   TAIL_LATE         without E3: head is seen before tail
 *   NO_MARK           a claim moves steal along with real
 */
#define SLOTS 2
#define PUSHES 4 /* at most */
#define STEPS 7  /* of the owner: pushes and pops in any order */
#define STEALS 2

/* Memory, as thieves see it. Item numbers start at 1. steal and real are one word. */
byte steal;
byte real;
byte tail;
byte slots[SLOTS];

/* What the owner has stored, seen by others or not. */
byte own_tail;
byte own_slots[SLOTS];

byte taken[PUSHES + 1];
byte finished;

inline take(number) {
    assert(number != 0);
    taken[number]++;
    assert(taken[number] == 1)
}

/* The CPU lets the owner's stores out: any slot at any time, tail after the slots (E1). */
active proctype propagate() {
end:
    do
    :: atomic { slots[0] != own_slots[0] -> slots[0] = own_slots[0] }
    :: atomic { slots[1] != own_slots[1] -> slots[1] = own_slots[1] }
#ifdef TAIL_BEFORE_SLOT
    :: atomic { tail != own_tail -> tail = own_tail }
#else
    :: atomic {
        tail != own_tail && slots[0] == own_slots[0] && slots[1] == own_slots[1] -> tail = own_tail
    }
#endif
    od
}

/* A compare-and-swap of the owner on head: with release, what it stored before is seen before. */
inline owner_pop() {
    seen_steal = steal; seen_real = real; /* not atomic in the model: the cas below checks both */
    if
    :: seen_real == own_tail
    :: else ->
#ifndef TAIL_LATE
        tail == own_tail;
#endif
        atomic {
            if
            :: steal == seen_steal && real == seen_real ->
                real++;
                if
                :: seen_steal == seen_real -> steal++
                :: else
                fi;
                take(own_slots[seen_real % SLOTS])
            :: else
            fi
        }
    fi
}

active proctype owner() {
    byte pushed, steps, seen_steal, seen_real;
    do
    :: steps < STEPS && pushed < PUSHES ->
        steps++;
        seen_steal = steal;
        if
        :: own_tail - seen_steal < SLOTS ->
            pushed++;
            own_slots[own_tail % SLOTS] = pushed;
            own_tail++
        :: else
        fi
    :: steps < STEPS ->
        steps++;
        owner_pop()
    :: steps == STEPS -> break
    od;
    finished == 2;
    do
    :: real != own_tail -> owner_pop()
    :: else -> break
    od;
    assert(steal == real);
    do
    :: pushed > 0 ->
        assert(taken[pushed] == 1);
        pushed--
    :: else -> break
    od
}

active [2] proctype thief() {
    byte tries, seen_real, count, i;
    bool is_claimed;
    do
    :: tries < STEALS ->
        tries++;
        is_claimed = false;
        atomic {
            seen_real = real;
            count = (steal == real -> 1 : 0)
        }
        if
        :: count != 0 ->
            count = tail - seen_real; /* modulo 256: huge when tail is older than real */
            count = count - count / 2;
            count = (count > SLOTS -> SLOTS : count)
        :: else
        fi;
        if
        :: count != 0 ->
            atomic {
                if
                :: steal == seen_real && real == seen_real ->
                    real = real + count;
#ifdef NO_MARK
                    steal = real;
#endif
                    is_claimed = true
                :: else
                fi
            }
        :: else
        fi;
        if
        :: is_claimed ->
#ifdef EARLY_FINISH
            atomic { steal = real }
#endif
            i = 0;
            do
            :: i < count ->
                take(slots[(seen_real + i) % SLOTS]);
                i++
            :: else -> break
            od;
            atomic { steal = real }
        :: else
        fi
    :: else -> break
    od;
    finished++
}
