#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Whole training steps as CUDA kernels and NCCL collectives, simulated, against one rank on the CPU: `verify.sh MODEL
# [options]`, at small sizes. The run_verify_ scripts beside this draw 200 random strategies in all.
export TGF_CUDA_LIBRARIES="$TGF_BUILD/cudasim" TGF_CUDASIM_SEED="${TGF_CUDASIM_SEED:-1}"
model="examples/$1.tgf"
shift
exec "$TGF" verify "$model" --target=cuda:sm_90a -D layer=2 -D seq=8 -D batch=4 -D vocab=19 --quiet "$@"
