#!/usr/bin/env bash
# A short run of the demo's preset on every dataset: does each learn? Minutes per dataset; tables end up in dev/LOG.md.
set -eu
cd "$(dirname "$0")/.."
for name in shepard_metzler_5_parts shepard_metzler_7_parts rooms_ring_camera rooms_free_camera_no_object_rotations \
    rooms_free_camera_with_object_rotations jaco mazes; do
    .venv/bin/gqn train demo -d "$name" -t 4000 -f 1000 --run-suffix=_short "$@"
    .venv/bin/gqn eval "log/demo-$name-32px_short" --scenes 200
done
