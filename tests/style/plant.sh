#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# plant.sh NAME COMMAND...: the command must pass, and must fail, or hang for 30 seconds, with
# BONXIE_PLANT=NAME. Exit 0 when both hold, 77 when the command skips.
set -u

plant=$1
shift
unset BONXIE_PLANT

timeout -k 5 120 "$@"
code=$?
if [[ $code == 77 ]]; then
    exit 77
fi
if [[ $code != 0 ]]; then
    echo "fails without the plant (exit $code)"
    exit 1
fi

echo "-- BONXIE_PLANT=$plant"
BONXIE_PLANT=$plant timeout -k 5 30 "$@"
code=$?
case $code in
    0)
        echo "passes with the plant $plant: the test does not notice"
        exit 1
        ;;
    77)
        echo "skips with the plant $plant"
        exit 1
        ;;
    124 | 137) echo "hung with the plant, as it should" ;;
    *) echo "failed with the plant (exit $code), as it should" ;;
esac
