#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# plant.sh NAME COMMAND...: the command must pass, and with BONXIE_PLANT=NAME it must fail, or hang
# for 30 seconds: in one of a hundred runs, each with a seed of its own, within a minute. What a race
# breaks is not broken in every run. Exit 0 when both hold, 77 when the command skips.
set -u

runs_max=100
seconds_max=60
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

SECONDS=0
for ((run = 1; run <= runs_max && SECONDS < seconds_max; run++)); do
    echo "-- BONXIE_PLANT=$plant, run $run"
    BONXIE_PLANT=$plant timeout -k 5 30 "$@"
    code=$?
    case $code in
        0) ;;
        77)
            echo "skips with the plant $plant"
            exit 1
            ;;
        124 | 137)
            echo "hung with the plant, as it should"
            exit 0
            ;;
        *)
            echo "failed with the plant (exit $code), as it should"
            exit 0
            ;;
    esac
    export BONXIE_SEED=$((run * 1000003)) # far apart: a simulation takes the seeds that follow too
done
echo "passes with the plant $plant, $((run - 1)) times: the test does not notice"
exit 1
