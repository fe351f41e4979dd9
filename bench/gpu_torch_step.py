#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The peer to compare with on a GPU: a training step of GPT-2 or of a Llama in PyTorch, written the way a careful user would.

    bench/gpu_torch_step.py gpt2 [--batch 16] [--seq 1024] [--steps 20] [--mode compile] [--wait]

torch.compile, bf16 autocast over f32 parameters, scaled_dot_product_attention, gradients clipped to norm 1, fused AdamW; dropout
0; TF32 allowed where f32 products remain. The step is zero_grad, forward, backward, clip, update; a figure is the median time
between synchronisations, as tgf's own is. Sizes are those of tests/gpu/prepare. --wait: compiles, prints {"ready": ...} and
measures after a line on standard input, so that what compiles does not disturb what is being measured.
"""
import argparse
import json
import statistics
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F


class GPT2Block(nn.Module):
    def __init__(self, head, dim):
        super().__init__()
        self.head, self.dim = head, dim
        width = head * dim
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.c_attn, self.attn_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.c_fc, self.mlp_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):  # [batch, seq, width]
        b, t, width = x.shape
        q, k, v = self.c_attn(self.ln_1(x)).split(width, dim=2)
        q, k, v = (z.view(b, t, self.head, self.dim).transpose(1, 2) for z in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attn_proj(y.transpose(1, 2).reshape(b, t, width))
        return x + self.mlp_proj(F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh"))


class GPT2(nn.Module):
    def __init__(self, vocab, seq, layer, head, dim):
        super().__init__()
        width = head * dim
        self.wte, self.wpe = nn.Embedding(vocab, width), nn.Embedding(seq, width)
        self.h = nn.ModuleList(GPT2Block(head, dim) for _ in range(layer))
        self.ln_f = nn.LayerNorm(width)

    def forward(self, tokens, labels):
        x = self.wte(tokens) + self.wpe.weight
        for block in self.h:
            x = block(x)
        logits = F.linear(self.ln_f(x), self.wte.weight)
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), labels.view(-1))


class LlamaBlock(nn.Module):
    def __init__(self, head, kvhead, dim, hidden):
        super().__init__()
        self.head, self.kvhead, self.dim = head, kvhead, dim
        width = head * dim
        self.norm_1, self.norm_2 = nn.RMSNorm(width, eps=1e-5), nn.RMSNorm(width, eps=1e-5)
        self.wqkv = nn.Linear(width, (head + 2 * kvhead) * dim, bias=False)
        self.wo = nn.Linear(width, width, bias=False)
        self.w13, self.w2 = nn.Linear(width, 2 * hidden, bias=False), nn.Linear(hidden, width, bias=False)

    def forward(self, x, cos, sin):
        b, t, width = x.shape
        q, k, v = self.wqkv(self.norm_1(x)).split((self.head * self.dim, self.kvhead * self.dim, self.kvhead * self.dim), dim=2)

        def rope(z, heads):
            z = z.view(b, t, heads, self.dim).transpose(1, 2)
            low, high = z.chunk(2, dim=3)
            return torch.cat((low * cos - high * sin, low * sin + high * cos), dim=3).to(z.dtype)

        q, k = rope(q, self.head), rope(k, self.kvhead)
        v = v.view(b, t, self.kvhead, self.dim).transpose(1, 2)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        x = x + self.wo(y.transpose(1, 2).reshape(b, t, width))
        gate, up = self.w13(self.norm_2(x)).chunk(2, dim=2)
        return x + self.w2(F.silu(gate) * up)


class Llama(nn.Module):
    def __init__(self, vocab, seq, layer, head, kvhead, dim, hidden):
        super().__init__()
        width = head * dim
        self.embed, self.out = nn.Embedding(vocab, width), nn.Linear(width, vocab, bias=False)
        self.layers = nn.ModuleList(LlamaBlock(head, kvhead, dim, hidden) for _ in range(layer))
        self.norm = nn.RMSNorm(width, eps=1e-5)
        angle = torch.outer(torch.arange(seq).float(), 10000.0 ** (-torch.arange(0, dim, 2).float() / dim))
        self.register_buffer("cos", angle.cos())
        self.register_buffer("sin", angle.sin())

    def forward(self, tokens, labels):
        x = self.embed(tokens)
        for block in self.layers:
            x = block(x, self.cos, self.sin)
        logits = self.out(self.norm(x))
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), labels.view(-1))


def build(a):
    if a.model == "gpt2":
        return GPT2(50257, a.seq, 12, 12, 64), 50257
    return Llama(32000, a.seq, 24, 16, 4, 64, 3072), 32000


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("model", choices=("gpt2", "llama"))
    p.add_argument("--batch", type=int, default=16)
    p.add_argument("--seq", type=int, default=1024)
    p.add_argument("--steps", type=int, default=20)
    p.add_argument("--mode", choices=("compile", "eager", "reduce-overhead"), default="compile")
    p.add_argument("--wait", action="store_true", help="measure after a line on standard input")
    a = p.parse_args()
    torch.manual_seed(1)
    torch.set_float32_matmul_precision("high")
    with torch.device("cuda"):
        model, vocab = build(a)
    for name, w in model.named_parameters():
        if w.dim() >= 2:
            nn.init.normal_(w, std=0.02)
        elif name.endswith("bias"):
            nn.init.zeros_(w)
    groups = [{"params": [w for w in model.parameters() if w.dim() >= 2], "weight_decay": 0.1},
              {"params": [w for w in model.parameters() if w.dim() < 2], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=6e-4, betas=(0.9, 0.95), eps=1e-8, fused=True)
    run = model
    if a.mode != "eager":
        run = torch.compile(model, mode="reduce-overhead" if a.mode == "reduce-overhead" else None)
    data = torch.randint(0, vocab, (a.batch, a.seq + 1), device="cuda")
    tokens, labels = data[:, :-1].contiguous(), data[:, 1:].contiguous()

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda", torch.bfloat16):
            loss = run(tokens, labels)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss

    start = time.perf_counter()
    first = float(step())
    if a.wait:
        print(json.dumps({"ready": a.model, "seconds": time.perf_counter() - start}), flush=True)
        sys.stdin.readline()
    for _ in range(5):
        step()
    torch.cuda.synchronize()
    times = []
    for _ in range(a.steps):
        start = time.perf_counter()
        loss = step()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    print(json.dumps({"name": f"torch {a.model} {a.mode}", "ok": True, "why": "", "median_ms": 1e3 * statistics.median(times),
                      "min_ms": 1e3 * min(times), "max_ms": 1e3 * max(times), "tokens": a.batch * a.seq, "batch": a.batch,
                      "seq": a.seq, "parameters": sum(w.numel() for w in model.parameters()), "loss_first": first,
                      "loss": float(loss), "peak_gb": torch.cuda.max_memory_allocated() / 1e9, "torch": torch.__version__}),
          flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
