#!/usr/bin/env bash
# The runs behind docs/gallery.md, one process each, and its pictures: numbers are kept in the .json beside each picture.
set -eu
cd "$(dirname "$0")/.."
rooms="-d rooms_ring_camera --max-objects 1"
.venv/bin/gqn train demo --run-suffix=_gallery
.venv/bin/gqn train demo $rooms --hold-out --run-suffix=_held_out
.venv/bin/gqn train demo $rooms -c 5 --representation pyramid --activation relu --kernel-size 5 -u 48 --num-canvas-maps 16 \
    -ri 1.5e-3 -t 60000 -f 6000 --run-suffix=_pyramid
.venv/bin/gqn train demo -d mazes --query overhead --num-views 16 -c 8 -t 24000 -f 6000 --run-suffix=_map

for name in predictions orbit rotation steps context uncertainty surprise nextview; do
    .venv/bin/gqn figure "$name" log/demo-shepard_metzler_5_parts-32px_gallery
done
for name in tsne factorisation algebra; do
    .venv/bin/gqn figure "$name" log/demo-rooms_ring_camera-32px_pyramid
done
.venv/bin/gqn figure composition log/demo-rooms_ring_camera-32px_held_out
.venv/bin/gqn figure mazemap log/demo-mazes-32px_map
