#!/usr/bin/env bash
# The paper's preset on several machines under SLURM: `sbatch --nodes 2 --gpus-per-node 4 --ntasks-per-node 4 runs/slurm.sh`.
# Flags after the script's name go to gqn train; the run folder must lie on a disk that all machines share.
# Resubmitting the job resumes the run. It has not been tried on a cluster yet. With torchrun, on each machine:
#   torchrun --nnodes 2 --nproc-per-node 4 --rdzv-backend c10d --rdzv-endpoint HOST:29500 \
#       .venv/bin/gqn train paper --gpu --devices 4 --num-nodes 2
#SBATCH --job-name=gqn
#SBATCH --signal=TERM@120
set -eu
cd "${SLURM_SUBMIT_DIR:-$(dirname "$0")/..}"
srun .venv/bin/gqn train paper --gpu --num-nodes "$SLURM_NNODES" --devices "$SLURM_NTASKS_PER_NODE" --batch-size 64 "$@"
