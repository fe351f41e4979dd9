# SPDX-License-Identifier: Apache-2.0
# What the scripts of this folder share: running the tools, checks that are counted, small models and data.
import os
import random
import subprocess
import sys
import tempfile

TGFC, TGF, BUILD = (os.path.abspath(os.environ[name]) for name in ("TGFC", "TGF", "TGF_BUILD"))
ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
with open(os.path.join(BUILD, "CMakeCache.txt")) as cache:
    SANITIZED = "TGF_SANITIZE:BOOL=ON" in cache.read()

SMALL = [word for size in ("layer=2", "head=2", "dim=8", "seq=16", "batch=4") for word in ("-D", size)]
# Compiles in a moment: for tests of everything but the model.
TINY_MODEL = """
axis vocab = 256, seq = 16, layer = 2, width = 8

model tiny {
    input tokens, labels : i32[batch, seq]
    param wte [vocab, width] = normal(0.02) as "wte.weight"
    x = take(wte, tokens, vocab)
    repeat layer as "h.{layer}" {
        param b [width] = 0 as "b"
        x = x + b
    }
    loss = cross_entropy(dot(x, wte, width), labels, vocab)
}

train {
    optimizer adamw lr = constant(1e-3)
    batch = 4
}
"""
_failures = 0


def example(name):
    return os.path.join(ROOT, "examples", name + ".tgf")


def run(*args, timeout=200, **more):
    """One command; its outputs as text. A signal's status is negative, as in subprocess. One that hangs ends the test."""
    try:
        return subprocess.run([str(a) for a in args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout,
                              text=True, errors="replace", stdin=subprocess.DEVNULL, **more)
    except subprocess.TimeoutExpired as hung:
        sys.exit(f"FAILED: no end after {timeout} s of {' '.join(map(str, args))}\n{hung.stderr!r:.400}")


def check(good, what, *shown):
    global _failures
    if not good:
        _failures += 1
        print("FAILED:", what, *(f"\n    {line}" for text in shown for line in str(text).splitlines()[:12]))
    return good


def succeeds(*args, **more):
    r = run(*args, **more)
    check(r.returncode == 0, f"exit status {r.returncode} of {' '.join(map(str, args))}", r.stdout, r.stderr)
    return r


def refused(status, message, *args, lines=1, **more):
    """The command fails with this status, says `message` on stderr in so many lines, and nothing on stdout."""
    r = run(*args, **more)
    told = r.stderr.splitlines()
    good = r.returncode == status and message in r.stderr and not r.stdout and (lines is None or len(told) == lines)
    check(good, f"expected status {status} and '{message}' of {' '.join(map(str, args))}",
          f"status {r.returncode}", r.stdout, r.stderr)
    return r


def read(path):
    with open(path, "rb") as f:
        return f.read()


def write(path, data):
    with open(path, "wb") as f:
        f.write(data.encode() if isinstance(data, str) else data)
    return path


def text_data(path, sentences=600):
    return write(path, "".join(f"the quick brown fox jumps over {i * i % 97} lazy dogs. " for i in range(sentences)))


def same_file(a, b, what):
    return check(read(a) == read(b), f"{what}: {a} and {b} differ")


def scratch():
    return tempfile.TemporaryDirectory(prefix="tgf-cli-")


def seed():
    """A new seed each time; TGF_TEST_SEED repeats a run."""
    value = int(os.environ.get("TGF_TEST_SEED") or random.SystemRandom().randrange(1 << 30))
    random.seed(value)
    print(f"TGF_TEST_SEED={value}")


def done():
    print("failed" if _failures else "ok")
    sys.exit(1 if _failures else 0)
