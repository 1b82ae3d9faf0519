#!/usr/bin/env bash
# The demo's preset for about half an hour on two CPU cores: how far does it get? (numbers and picture: dev/LOG.md, README)
set -eu
cd "$(dirname "$0")/.."
run=log/demo-shepard_metzler_5_parts-32px_long
.venv/bin/gqn train demo --devices 2 --num-train-samples 128000 --val-freq 16000 --run-suffix=_long
.venv/bin/gqn eval "$run"
.venv/bin/gqn figure predictions "$run"
