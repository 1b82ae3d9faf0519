#!/usr/bin/env bash
# A slice of the founding run: `runs/founding.sh SECONDS [FLAGS OF TRAIN]` on any machine with a GPU.
#
# It goes on with the run in LOGDIR (default: log), or else with the parts that an earlier slice left in FROM (default:
# OUT), and leaves the run's parts in OUT (default: log/gpu): founding.tar.gz.part-*, at most 15 MiB each, and their
# checksums, founding.sha256. `DRY=1` is at toy size, on the CPU.
set -uo pipefail
cd "$(dirname "$0")/.."

seconds=${1:?"how many seconds?"}
shift
export OUT=${OUT:-log/gpu} PYTHONPATH=$PWD/src${PYTHONPATH:+:$PYTHONPATH}
from=${FROM:-$OUT} logdir=${LOGDIR:-log} packed=founding.tar.gz.part-
PYTHON=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
flags=(--gpu --precision bf16-mixed -t 7000000 -f 200000) size=64
if [ -n "${DRY:-}" ]; then
    flags=(--image-size 16 -c 2 --representation tower --representation-maps 8 -s 1 -u 4 --num-canvas-maps 4
        --precision 32-true -b 2 -t 7000000 -f 500 -v 2 --workers 1)
    size=16
fi
run=$logdir/founding-shepard_metzler_5_parts-${size}px

fail() {
    echo "founding.sh: $*" >&2
    exit 1
}

join() { # the run, out of its parts
    (cd "$from" && sha256sum --check --status founding.sha256 2>/dev/null) ||
        fail "a part of $from/$packed* is damaged or missing: copy them again"
    rm -rf "$run.part" && mkdir -p "$run.part" && cat "$from/$packed"* | tar -C "$run.part" -xz &&
        rm -rf "$run" && mv "$run.part" "$run"
}

pack() { # all that it needs to go on
    local new=$OUT/.founding
    rm -rf "$new" && mkdir -p "$new" &&
        tar -C "$run" --exclude "events*" --exclude best.ckpt --exclude previous.ckpt -I "gzip -1" -c . |
        split -b 15M - "$new/$packed" && (cd "$new" && sha256sum "$packed"* >founding.sha256) &&
        rm -f "$OUT/$packed"* && mv "$new"/* "$OUT" && rmdir "$new"
}

if [ ! -f "$run/config.json" ] && compgen -G "$from/founding.*" >/dev/null; then
    join || fail "cannot write $run"
fi
timeout --preserve-status -k 60 "$seconds" "$PYTHON" -m gqn train founding "${flags[@]}" --logdir "$logdir" "$@"
code=$?
[ -f "$run/latest.ckpt" ] || fail "the run has not come to its first checkpoint"
pack || fail "cannot write the parts to $OUT"
"$PYTHON" runs/parts.py slice "$run"
[ $code = 0 ] || [ $code = 143 ] # 143: stopped when its time was over, and saved
