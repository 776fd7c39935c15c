#!/usr/bin/env bash
# All checks of the GPU engines on the first GPU, in under five minutes; then the benchmark. Needs cupy, and NCCL 2.30 or newer
# for the nccl engine's part; the last lines say what was left out.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES:-0}
timeout 300 python -m pytest tests/gpu -m gpu -rs "$@"
timeout 120 python tests/bench/gpu.py
