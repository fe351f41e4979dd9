#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Loss curves of examples/novel.tgf on several layouts, beside one rank's and beside what one rank differs from itself.

    bench/loss_curves.py --data build/data/novels.txt [--steps 300] [--out build/curves] [--tgf build/tgf]

Trains one rank, one rank compiled for another instruction set (the same numbers, rounded elsewhere), data x pipeline x tensor
with ZeRO-1 and recomputation, and bf16. Prints the largest difference from one rank up to some steps, and means of the last 20.
"""
import argparse
import json
import os
import subprocess

RUNS = {
    "one rank": [],
    "one rank, haswell": ["-mcpu=haswell"],
    "all3": ["--strategy", "all3"],
    "bf16": ["--strategy", "bf16"],
}


def curve(path):
    with open(path, encoding="utf-8") as lines:
        steps = [json.loads(line) for line in lines]
    return {step["step"]: step["loss"] for step in steps if "loss" in step}


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--data", required=True)
    p.add_argument("--tgf", default="build/tgf")
    p.add_argument("--steps", type=int, default=300)
    p.add_argument("--out", default="build/curves")
    a = p.parse_args()
    curves = {}
    for name, more in RUNS.items():
        folder = os.path.join(a.out, name.replace(", ", "_").replace(" ", "_"))
        subprocess.run([a.tgf, "train", "examples/novel.tgf", "--data", a.data, "--steps", str(a.steps), "--eval-every", "0",
                        "--quiet", "--save", folder, *more], check=True)
        curves[name] = curve(os.path.join(folder, "metrics.jsonl"))
    truth = curves["one rank"]
    marks = [n for n in (50, 100, 125, 150, 200, 300) if n <= a.steps] or [a.steps]
    print(f"{'largest difference up to step':32}" + "".join(f"{n:>12}" for n in marks) + f"{'mean of last 20':>18}")
    for name, losses in curves.items():
        worst = [max(abs(losses[i] - truth[i]) for i in truth if i <= n) for n in marks]
        last = [sum(c[i] for i in sorted(c)[-20:]) / 20 for c in (losses, truth)]
        print(f"{name:32}" + "".join(f"{w:12.2e}" for w in worst) + f"{last[0]:11.4f} {100 * (last[0] / last[1] - 1):+.2f}%")


if __name__ == "__main__":
    main()
