#!/usr/bin/env bash
# The runs behind docs/gallery.md, one process each, then its pictures and, beside each, its numbers.
set -eu
cd "$(dirname "$0")/.."
rooms="-d rooms_ring_camera --max-objects 1"
.venv/bin/gqn train demo --devices 2 --run-suffix=_gallery
.venv/bin/gqn train demo $rooms --hold-out --run-suffix=_held_out
.venv/bin/gqn train demo $rooms -c 5 --representation pyramid --activation relu --kernel-size 5 -u 48 --num-canvas-maps 16 \
    -s 4 -l 3 --optimizer adam -pi 4 -pf 1 --pixel-std-fraction 0.8 -ri 2e-3 -rf 5e-4 -t 80000 -f 8000 --run-suffix=_pyramid
.venv/bin/gqn train demo -d mazes --query overhead --num-views 16 -c 8 -t 24000 -f 6000 --run-suffix=_map

figure() { # NAME RUN [PICTURE]
    .venv/bin/gqn figure "$1" "log/$2" --out "docs/gallery/${3:-$1}.webp"
}
mkdir -p docs/gallery
for name in predictions orbit rotation steps context uncertainty surprise nextview; do
    figure "$name" demo-shepard_metzler_5_parts-32px_gallery
done
for name in tsne factorisation algebra; do
    figure "$name" demo-rooms_ring_camera-32px_pyramid
    figure "$name" demo-rooms_ring_camera-32px_held_out "${name}_lattice"
done
figure composition demo-rooms_ring_camera-32px_held_out
figure mazemap demo-mazes-32px_map
rm docs/gallery/*.npz
