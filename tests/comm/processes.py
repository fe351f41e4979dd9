# SPDX-License-Identifier: Apache-2.0
# What the scripts of this folder share: a model whose strategies have four ranks, runs of several processes, and what
# every way of starting them has to show.
import os
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
from cli import *

STEPS = 12
FOUR = """
strategy four {
    mesh data = 2, tensor = 2
    split batch over data
    split head, hidden, vocab over tensor
}

strategy stages {
    mesh pipe = 2, tensor = 2
    split layer over pipe  schedule = 1f1b, microbatches = 4
    split head, hidden, vocab over tensor
}

train {"""
NAMES = ("metrics.jsonl", "model.safetensors", "optimizer.safetensors", "state.json")


def four_model(folder):
    with open(example("novel")) as f:
        return write(f"{folder}/novel.tgf", f.read().replace("\ntrain {", FOUR, 1))


def train(folder, *more, save=None, steps=STEPS, strategy="four"):
    return [TGF, "train", f"{folder}/novel.tgf", *SMALL, "--strategy", strategy, "--data", f"{folder}/text.txt",
            "--steps", str(steps), "--eval-every", "5", "--eval-batches", "2", *(["--save", save] if save else []), *more]


def clean_environment():
    drop = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_", "OMPI_COMM", "PMI_", "PMIX_", "SLURM_", "TGF_NONCE")
    return {k: v for k, v in os.environ.items() if not k.startswith(drop)}


def free_port():
    with socket.socket() as s:
        s.bind(("", 0))
        return s.getsockname()[1]


def begin(command, rank, size, port, host="localhost", before=(), **more):
    env = clean_environment() | {"RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": host, "MASTER_PORT": str(port)}
    return subprocess.Popen([*before, *command], env=env | more, text=True, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def end_all(processes, timeout=120):
    """[(exit status, stdout, stderr)]; those that hang are killed, with status None."""
    limit, out = time.monotonic() + timeout, []
    for p in processes:
        try:
            text = p.communicate(timeout=max(0.1, limit - time.monotonic()))
            out.append((p.returncode, *text))
        except subprocess.TimeoutExpired:
            p.kill()
            out.append((None, *p.communicate()))
    return out


def by_hand(command, size=4, **more):
    port = free_port()
    return end_all([begin(command, r, size, port, **more) for r in range(size)])


def all_succeed(ends, what):
    check(all(code == 0 for code, _, _ in ends), what, *(err for code, _, err in ends if code))
    check(all(not out and not err for _, out, err in ends[1:]), f"{what}: rank 0 alone speaks", ends[1:])


def same_run(a, b, what):
    for name in NAMES:
        same_file(f"{a}/{name}", f"{b}/{name}", what)


def lines_of(path):
    try:
        return read(path).count(b"\n")
    except FileNotFoundError:
        return 0


def wait_lines(path, count, processes, seconds=60):
    limit = time.monotonic() + seconds
    while lines_of(path) < count and time.monotonic() < limit and all(p.poll() is None for p in processes):
        time.sleep(0.01)
    return check(lines_of(path) >= count, f"{path} comes to {count} steps")
