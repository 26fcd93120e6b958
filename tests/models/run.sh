#!/bin/bash
# SPDX-License-Identifier: MIT
# Checks a Promela model exhaustively: run.sh MODEL [PLANT | --plants]
#
#   run.sh park             the model holds
#   run.sh park NO_RECHECK  the model with the plant: fails, because spin finds the error
#   run.sh park --plants    every plant of the model is found
#
# Exit: 0 holds; 1 an error was found; 2 usage, or the check itself went wrong; 77 no spin.
# Two searches: assertions and invalid end states, then infinite runs (no model has one: there are no
# progress labels, so every cycle counts).
set -u

folder=$(cd "$(dirname "$0")" && pwd)
model=${1:-}
plant=${2:-}
source=$folder/$model.pml
if [ $# -lt 1 ] || [ $# -gt 2 ] || [ ! -f "$source" ]; then
    sed -n '3,9s/^# \?//p' "$0" >&2
    exit 2
fi
if ! command -v spin >/dev/null; then
    echo "skipped: spin is not installed"
    exit 77
fi

# The names that the model's conditional lines ask for.
plants=$(sed -n 's/^#ifn\{0,1\}def \([A-Z_]*\)$/\1/p' "$source" | sort -u)

if [ "$plant" = --plants ]; then
    missed=0
    for each in $plants; do
        "$0" "$model" "$each" >/dev/null
        status=$?
        if [ $status -ne 1 ]; then
            echo "$model: plant $each is not found (exit $status)"
            missed=1
        else
            echo "$model: plant $each is found"
        fi
    done
    [ -n "$plants" ] && [ $missed -eq 0 ]
    exit
fi
if [ -n "$plant" ] && ! grep -qx "$plant" <<<"$plants"; then
    echo "$model has no plant $plant; it has:" $plants >&2
    exit 2
fi

scratch=$(mktemp -d) || exit 2
trap 'rm -rf "$scratch"' EXIT
cd "$scratch" || exit 2

spin -a ${plant:+-D$plant} "$source" >spin.log 2>&1 || { cat spin.log; exit 2; }

# search NAME DEFINE [PAN-OPTION]: compiles the verifier and runs it to the end.
search() {
    local name=$1 define=$2
    shift 2
    gcc -O2 -w "-D$define" -DVECTORSZ=1024 -o "pan-$name" pan.c 2>gcc.log || { cat gcc.log; exit 2; }
    "./pan-$name" "$@" -m1000000 >"$name.log" 2>&1
    if ! grep -q '^State-vector' "$name.log" || grep -q 'max search depth too small' "$name.log"; then
        cat "$name.log"
        exit 2
    fi
    if ! grep -q 'errors: 0$' "$name.log"; then
        echo "$model${plant:+ with $plant}: an error in the search for $name"
        grep '^pan:' "$name.log"
        # The run that leads to it, last steps last.
        spin -t -p -g ${plant:+-D$plant} "$source" 2>/dev/null | tail -60
        exit 1
    fi
    echo "$model: no error in the search for $name," \
        "$(sed -n 's/^ *\([0-9e.+]*\) states, stored.*/\1/p' "$name.log" | head -1) states"
}

search violations SAFETY
search cycles NP -l
