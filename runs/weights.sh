#!/usr/bin/env bash
# The weights that come with the package, and their rows in RESULTS.md: under an hour on two CPU cores.
set -eu
cd "$(dirname "$0")/.."
gqn=.venv/bin/gqn
ship() { # NAME RUN
    $gqn eval "$2" --context 1,2,3,4,6
    $gqn export "$2" --to safetensors --dtype bf16 --out "src/gqn/weights/$1"
    row "$1" "$1" # as it is shipped: this is what the table shows
}
row() { # NAME MODEL
    $gqn eval "$2" --context 1,3,5 --devices 2
    cp "log/$(basename "$2")/eval.json" "runs/results/$1.json"
}
mkdir -p runs/results
$gqn train demo --devices 2
OMP_NUM_THREADS=1 $gqn train fast -d rooms_ring_camera &
OMP_NUM_THREADS=1 $gqn train fast -t 80000 & # its latents fall silent (dev/LOG.md): a row, and no weights
wait -n
wait -n
ship sm5-32 log/demo-shepard_metzler_5_parts-32px
ship rooms-32 log/fast-rooms_ring_camera-32px
row sm5-32-longer log/fast-shepard_metzler_5_parts-32px
.venv/bin/python runs/results.py
