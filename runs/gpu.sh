#!/usr/bin/env bash
# All that a GPU is needed for, in ten minutes of one, on a machine that has the checkout and Python with PyTorch:
#
#   OUT=FOLDER runs/gpu.sh           # SECONDS_PARTS=240 for all but the founding run, SECONDS_FOUNDING=300 for that
#   PARTS="tests resume" runs/gpu.sh
#   runs/gpu.sh --dry                # the same on the CPU, at toy size
#   PYTHON=... runs/gpu.sh --numba   # the compiled renderer in numba.tar, for the same versions of Python and numba
#
# The parts run in order of worth, each with a time limit. What one has found is packed before the next begins:
# OUT/results.tar.gz (logs, figures, numba.tar), OUT/summary.txt and, of the founding run, OUT/founding.*, from which
# another machine goes on (FROM=FOLDER, see runs/founding.sh). If wheels in .whl or numba.tar are there, they are used.
# The exit code is 1 if a part failed.
set -u
cd "$(dirname "$0")/.."
case "${1:-}" in
    --dry | --numba | "") mode=${1:-} ;;
    *) echo "gpu.sh: unknown argument $1 (known: --dry, --numba)" >&2 && exit 2 ;;
esac

OUT=$(realpath -m "${OUT:-log/gpu}")
PARTS=${PARTS:-render tests resume paper unshared founding fast commands tasks workers run}
PYTHON=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
work=$(mktemp -d)
site=$work/site kept=$work/results cache='' pid='' end=$((SECONDS + ${SECONDS_PARTS:-240}))
LOGDIR=$work/log PYTHONPATH=$PWD/src:$site${PYTHONPATH:+:$PYTHONPATH}
if [ "$mode" = --dry ]; then
    export OMP_NUM_THREADS=1
    DRY=1 SECONDS_FOUNDING=${SECONDS_FOUNDING:-8} GPU='' SIDE=16 LENGTH=6
    BENCH="--toy --rounds 1 --batch 2" TASKS=--toy
    TRAIN="--image-size 16 -c 2 --representation tower --representation-maps 8 -s 1 -u 4 --num-canvas-maps 4 -b 3 -v 2
        --workers 1"
else
    DRY='' SECONDS_FOUNDING=${SECONDS_FOUNDING:-300} GPU=--gpu SIDE=32 LENGTH=400
    BENCH="--gpu --rounds 2" TASKS="--batch 16 --images 300" TRAIN=--gpu
    # numba looks for compiled code by the checkout's place, the time of the file, and the kind of processor
    export NUMBA_CACHE_DIR=$work/numba NUMBA_CPU_NAME=x86-64-v3 NUMBA_CPU_FEATURES=
    cache=$NUMBA_CACHE_DIR/scenes_$(printf %s "$PWD/src/gqn/scenes" | sha1sum | cut -d " " -f 1)
    touch -d 2000-01-01 src/gqn/scenes/raycast.py
    mkdir -p "$cache"
fi
mkdir -p "$OUT" "$kept" "$site"

say() {
    echo "$*" | tee -a "$OUT/summary.txt"
}

pack() {
    [ -n "$cache" ] && tar -C "$cache" -cf "$kept/numba.tar" .
    tar -C "$work" -czf "$work/results.tar.gz" results && cp "$work/results.tar.gz" "$OUT/.results" &&
        mv "$OUT/.results" "$OUT/results.tar.gz"
}

part() { # NAME SECONDS COMMAND...
    local name=$1 limit=$2 began=$SECONDS code
    shift 2
    case " $PARTS " in *" $name "*) ;; *) return ;; esac
    [ "$name" != run ] && ((limit > end - began)) && limit=$((end - began))
    if ((limit <= 0)); then
        say "$name: FAILED, as there is no time left"
        return
    fi
    timeout -k 10 "$limit" bash -c '"$@"' part "$@" >"$kept/$name.log" 2>&1 </dev/null &
    pid=$!
    wait $pid
    code=$? pid=
    case $code in
        0) code=ok ;;
        124 | 137) code="FAILED, as it took more than $limit s" ;;
        *) code="FAILED with $code" ;;
    esac
    say "$name: $code, $((SECONDS - began)) s: $(tail -n 1 "$kept/$name.log" | cut -c -300)"
    pack
}

stop() {
    trap - INT TERM
    [ -n "$pid" ] && kill "$pid" && wait "$pid"
    say "FAILED: it was stopped"
    pack
    rm -r "$work"
    exit 1
}

# shellcheck disable=SC2046,SC2086  # flags are words
tests() { # not with conftest.py, which imports what only other tests need
    $PYTHON -m pytest --noconftest -p no:cacheprovider -m gpu -ra $(grep -rl --include="test_*.py" "^@needs_gpu" tests)
}

# shellcheck disable=SC2086
step() { # NAME FLAGS
    $PYTHON -m gqn bench step $BENCH "${@:2}" --json "$kept/$1.json" && $PYTHON runs/parts.py figures "$kept/$1.json"
}

# shellcheck disable=SC2086
commands() {
    local run=$LOGDIR/demo-shepard_metzler_5_parts-${SIDE}px
    $PYTHON -m gqn train demo $TRAIN -t $LENGTH --logdir "$LOGDIR" &&
        $PYTHON -m gqn eval "$run" $GPU --scenes 8 --samples 1 --importance-samples 1 --context 2 &&
        $PYTHON -m gqn figure predictions "$run" --context 2 --rows 2 &&
        $PYTHON -m gqn bench sampling --toy $GPU --rounds 1 &&
        $PYTHON -m gqn bench muon --toy $GPU --rounds 1 && echo "train, eval, figure, bench sampling, bench muon"
}

# shellcheck disable=SC2086
tasks() {
    $PYTHON -m gqn bench tasks $TASKS --json "$kept/tasks.json"
}

export OUT PYTHON PYTHONPATH LOGDIR DRY GPU SIDE LENGTH BENCH TASKS TRAIN kept
export -f tests step commands tasks

if [ "$mode" = --numba ]; then
    "$PYTHON" runs/parts.py render && tar -C "$cache" -cf numba.tar . && rm -r "$work"
    exit
fi
: >"$OUT/summary.txt"
trap stop INT TERM
if [ -d .whl ]; then
    $PYTHON -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$site" .whl/*.whl ||
        say "wheels: FAILED"
fi
for tar in numba.tar numba.tar.gz; do
    [ -n "$cache" ] && [ -f $tar ] && tar -C "$cache" -xf $tar
done

part render 60 "$PYTHON" runs/parts.py render
part tests 60 tests
part resume 90 "$PYTHON" runs/parts.py resume
part paper 60 step paper --preset paper --context 5
part unshared 60 step unshared --preset paper --unshared --context 5
part founding 60 step founding --preset founding --context 6
part fast 60 step fast --preset fast --size $((2 * SIDE)) --context 4 ${GPU:+--batch 64}
part commands 60 commands
part tasks 60 tasks
part workers 120 "$PYTHON" runs/parts.py workers
((SECONDS_FOUNDING)) && part run $((SECONDS_FOUNDING + 90)) runs/founding.sh "$SECONDS_FOUNDING"

rm -r "$work"
! grep -q FAILED "$OUT/summary.txt"
