#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The peer to compare with: one GPT-2 training step in PyTorch on the CPU, written the way a careful user would.

    python3 -m venv build-ref/torch && build-ref/torch/bin/pip install torch numpy setuptools
    build-ref/torch/bin/python bench/pytorch_gpt2.py [--batch 4] [--seq 256] [--steps 5] [--threads 2]
                                                     [--modes eager,eager+huge,compile,compile+huge]

The model is GPT-2 124M: pre-LN, tanh gelu, tied head, fused scaled_dot_product_attention, f32, dropout 0; the step is
zero_grad, forward, backward, clip_grad_norm_(1.0), fused AdamW. `+huge` gives the allocator huge pages and stops it
from returning memory between steps, which is where most of PyTorch's time goes otherwise; quote both.

Every mode runs in a process of its own, since the allocator reads its settings once. One JSON line a mode on stdout:
ms is the median of the measured steps, peak_rss_mb is VmHWM of that process.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time

HUGE = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",         # madvise(MADV_HUGEPAGE) for what malloc maps
    "MALLOC_TOP_PAD_": str(256 << 20),                  # bytes asked for beyond each growth of the heap
    "MALLOC_TRIM_THRESHOLD_": str(64 << 30),            # never give the heap's end back
    "MALLOC_MMAP_THRESHOLD_": str(32 << 30),            # never serve a request by a mapping of its own
    "THP_MEM_ALLOC_ENABLE": "1",                        # PyTorch's own: 2 MB alignment and madvise
}
MODES = ("eager", "eager+huge", "compile", "compile+huge")


def arguments():
    p = argparse.ArgumentParser(description="ms of a GPT-2 training step in PyTorch on the CPU")
    p.add_argument("--batch", type=int, default=4)
    p.add_argument("--seq", type=int, default=256)
    p.add_argument("--layer", type=int, default=12)
    p.add_argument("--head", type=int, default=12)
    p.add_argument("--dim", type=int, default=64)
    p.add_argument("--vocab", type=int, default=50257)
    p.add_argument("--steps", type=int, default=5, help="measured steps (default 5)")
    p.add_argument("--warmup", type=int, default=2, help="steps before measuring (default 2)")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--modes", default=",".join(MODES))
    p.add_argument("--child", choices=MODES, help=argparse.SUPPRESS)
    a = p.parse_args()
    for mode in a.modes.split(","):
        if mode not in MODES:
            p.error(f"unknown mode '{mode}'; the modes are {', '.join(MODES)}")
    return a


def peak_rss_mb():
    with open("/proc/self/status") as f:
        for line in f:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    raise RuntimeError("no VmHWM in /proc/self/status")


def measure(a):
    import torch
    from torch import nn
    from torch.nn import functional as F

    torch.set_num_threads(a.threads)
    torch.manual_seed(1)
    width = a.head * a.dim

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.ln_1 = nn.LayerNorm(width)
            self.c_attn = nn.Linear(width, 3 * width)
            self.attn_proj = nn.Linear(width, width)
            self.ln_2 = nn.LayerNorm(width)
            self.c_fc = nn.Linear(width, 4 * width)
            self.mlp_proj = nn.Linear(4 * width, width)

        def forward(self, x):  # x [batch, seq, width]
            B, T, _ = x.shape
            q, k, v = self.c_attn(self.ln_1(x)).split(width, dim=2)
            q, k, v = (t.view(B, T, a.head, a.dim).transpose(1, 2) for t in (q, k, v))  # [batch, head, seq, dim]
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.attn_proj(y.transpose(1, 2).reshape(B, T, width))
            return x + self.mlp_proj(F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh"))

    class GPT2(nn.Module):
        def __init__(self):
            super().__init__()
            self.wte = nn.Embedding(a.vocab, width)
            self.wpe = nn.Embedding(a.seq, width)
            self.h = nn.ModuleList(Block() for _ in range(a.layer))
            self.ln_f = nn.LayerNorm(width)
            for name, p in self.named_parameters():
                if p.dim() >= 2:
                    nn.init.normal_(p, std=0.02)
                elif name.endswith("bias"):
                    nn.init.zeros_(p)

        def forward(self, tokens, labels):
            x = self.wte(tokens) + self.wpe.weight
            for block in self.h:
                x = block(x)
            logits = F.linear(self.ln_f(x), self.wte.weight)
            return F.cross_entropy(logits.view(-1, a.vocab), labels.view(-1), ignore_index=-1)

    model = GPT2()
    decay = [p for p in model.parameters() if p.dim() >= 2]
    plain = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": decay, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
    kind = "fused"
    try:
        optimizer = torch.optim.AdamW(groups, lr=6e-4, betas=(0.9, 0.95), eps=1e-8, fused=True)
    except RuntimeError:
        kind = "foreach"
        optimizer = torch.optim.AdamW(groups, lr=6e-4, betas=(0.9, 0.95), eps=1e-8, foreach=True)
    run = torch.compile(model) if a.child.startswith("compile") else model

    data = torch.randint(0, a.vocab, (a.batch, a.seq + 1))
    tokens, labels = data[:, :-1].contiguous(), data[:, 1:].contiguous()

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = run(tokens, labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    start = time.perf_counter()
    first_loss = step()
    first = time.perf_counter() - start
    for _ in range(a.warmup - 1):
        step()
    ms, loss = [], 0.0
    for _ in range(a.steps):
        start = time.perf_counter()
        loss = step()
        ms.append(1e3 * (time.perf_counter() - start))
    median = statistics.median(ms)
    print(json.dumps({
        "mode": a.child, "torch": torch.__version__, "batch": a.batch, "seq": a.seq, "layer": a.layer,
        "width": width, "vocab": a.vocab, "params": sum(p.numel() for p in model.parameters()),
        "threads": a.threads, "adamw": kind, "steps": a.steps, "ms": round(median, 1), "ms_min": round(min(ms), 1),
        "ms_max": round(max(ms), 1), "tokens_per_s": round(a.batch * a.seq / median * 1e3, 1),
        "first_step_ms": round(1e3 * first, 1), "peak_rss_mb": round(peak_rss_mb(), 1),
        "loss_first": round(first_loss, 4), "loss_last": round(loss, 4),
    }), flush=True)


def main():
    a = arguments()
    if a.child:
        measure(a)
        return 0
    status = 0
    for mode in a.modes.split(","):
        env = {k: v for k, v in os.environ.items() if k not in HUGE}
        if mode.endswith("+huge"):
            env.update(HUGE)
        env["OMP_NUM_THREADS"] = str(a.threads)
        done = subprocess.run([sys.executable, os.path.abspath(__file__), *sys.argv[1:], "--child", mode], env=env)
        if done.returncode:
            print(f"pytorch_gpt2: mode {mode} failed with status {done.returncode}", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
