#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A whole GPT-2 124M training step, tgf beside PyTorch, in turns within one run.

    bench/gpt2_step.py --torch build-ref/torch/bin/python [--rounds 3] [--steps 4] [--tgf build/tgf]

Each round runs every program once, in a process of its own, one after the other; a program's figure is the median over the
rounds of its medians. Prints a table: ms, tokens/s, peak memory, and PyTorch's time as a multiple of tgf's.
"""
import argparse
import json
import os
import statistics
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def last_json(command):
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    return json.loads([line for line in done.stdout.splitlines() if line.startswith("{")][-1])


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--torch", required=True, help="python of an environment with PyTorch")
    p.add_argument("--tgf", default="build/tgf")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--steps", type=int, default=4)
    p.add_argument("--batch", type=int, default=4)
    p.add_argument("--seq", type=int, default=256)
    p.add_argument("--modes", default="eager,eager+huge,compile,compile+huge")
    a = p.parse_args()
    size = ["-D", f"batch={a.batch}", "-D", f"seq={a.seq}"]
    programs = {"tgf": [a.tgf, "bench", "examples/gpt2.tgf", *size, "--steps", str(a.steps), "--threads", "2", "--json"]}
    for mode in a.modes.split(","):
        programs["PyTorch " + mode] = [a.torch, "bench/pytorch_gpt2.py", "--batch", str(a.batch), "--seq", str(a.seq), "--steps",
                                       str(a.steps), "--threads", "2", "--modes", mode]
    times = {name: [] for name in programs}
    least = {name: [] for name in programs}
    memory = {name: 0 for name in programs}
    for r in range(a.rounds):
        for name, command in programs.items():
            out = last_json(command)
            times[name].append(out.get("median_ms", out.get("ms")))
            least[name].append(out.get("min_ms", out.get("ms_min")))
            memory[name] = max(memory[name], out["peak_rss_mb"])
            print(f"round {r + 1} {name}: {times[name][-1]:.0f} ms (least {least[name][-1]:.0f})", flush=True)
    own, own_least = statistics.median(times["tgf"]), min(least["tgf"])
    print("\n| program | median ms | least ms | tokens/s | peak RSS, MB | time / tgf's | least / tgf's least |\n|---|---|---|---|---|---|---|")
    for name in programs:
        m = statistics.median(times[name])
        print(f"| {name} | {m:.0f} | {min(least[name]):.0f} | {a.batch * a.seq / m * 1000:.0f} | {memory[name]:.0f} | {m / own:.2f} "
              f"| {min(least[name]) / own_least:.2f} |")


if __name__ == "__main__":
    main()
