#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# refused.sh REFUSE WHAT DRIVER TEST...: runs whole test programs where WHAT is refused (the launcher
# tests/support/refuse.c), with nothing said about the driver: the runtime has to find out. Its own
# claim is first: DRIVER is what a runtime then has; "any": either.
set -u

refuse=$1
what=$2
driver=$3
shift 3
unset BONXIE_DRIVER
export BONXIE_SCALE=${BONXIE_SCALE:-0.05}
cd /tmp || exit 1 # where anybody may write

for program in "$@"; do
    arguments=()
    if [[ $(basename "$program") == fallback_test ]]; then
        arguments=(driver.is_chosen "$driver")
    fi
    output=$("$refuse" "$what" "$program" "${arguments[@]}" 2>&1)
    code=$?
    echo "$output"
    if [[ $code == 77 ]]; then
        exit 77
    fi
    if [[ $code != 0 ]]; then
        echo "$(basename "$program") exits $code where $what is refused"
        exit 1
    fi
done
