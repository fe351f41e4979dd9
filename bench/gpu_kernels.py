#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tgf's products and attention kernels on this machine's GPU, each beside PyTorch's for the same operands.

    bench/gpu_kernels.py --launch libgpu_launch.so [--from N] [--seconds S] KIT
    bench/gpu_kernels.py --ceilings
    bench/gpu_kernels.py --launch libgpu_launch.so --check KIT        no PyTorch: small kernels against plain Python

PyTorch's side: torch.matmul (cuBLASLt) and scaled_dot_product_attention with the fastest of its backends. Both sides run over
the same tensors, on the same stream, in turns; before each run the L2 cache is swept and the GPU kept busy until the launch
has arrived; a figure is the median of CUDA events' times. Results are compared: operands are random, outputs begin as NaN.
A line of JSON a kernel; tests/gpu/run makes a table of them.
"""
import argparse
import ctypes
import json
import math
import random
import statistics
import struct
import sys
import time


def say(**what):
    print(json.dumps(what), flush=True)


class Launcher:
    """libgpu_launch.so (tests/gpu/launch.c)."""

    def __init__(self, path):
        self.lib = ctypes.CDLL(path)
        for name in ("open", "bind", "run", "device", "allocate", "copy"):
            getattr(self.lib, "launch_" + name).restype = ctypes.c_char_p

    def call(self, name, *args):
        said = getattr(self.lib, "launch_" + name)(*args)
        if said:
            raise RuntimeError(said.decode())

    def open(self, kit, number):
        handle = ctypes.c_void_p()
        self.call("open", kit.encode(), ctypes.c_int(number), ctypes.byref(handle))
        return handle

    def bind(self, handle, addresses):
        array = (ctypes.c_void_p * len(addresses))(*addresses)
        self.call("bind", handle, array, ctypes.c_int(len(addresses)))

    def run(self, handle, stream=0):
        self.call("run", handle, ctypes.c_void_p(stream))

    def close(self, handle):
        self.lib.launch_close(handle)


def cases_of(path):
    """The kit's cases as dictionaries of their texts (see tests/gpu/kit.h)."""
    cases = []
    with open(path, "rb") as f:
        data = f.read()
    at = 0
    while at < len(data):
        end = data.index(b"\n", at)
        size, name = data[at:end].decode().split(" ", 1)
        size, name = int(size), name.rstrip()
        if name == "case":
            cases.append({})
        cases[-1][name] = data[end + 1:end + 1 + size].decode() if name not in ("cubin", "maps") else size
        at = end + 1 + size + 1
    return cases


# ---- beside PyTorch -----------------------------------------------------------------------------------------------------------

class Bench:
    def __init__(self, seconds):
        import torch
        self.torch = torch
        self.seconds = seconds  # of measuring, a kernel
        self.sweep = torch.empty(256 << 20, dtype=torch.uint8, device="cuda")

    def times(self, functions):
        """Median milliseconds of each function, run in turns."""
        torch = self.torch
        for f in functions:
            for _ in range(3):
                f()
        torch.cuda.synchronize()
        start = time.perf_counter()
        for f in functions:
            f()
        torch.cuda.synchronize()
        once = time.perf_counter() - start
        rounds = max(7, min(40, int(self.seconds / (once + 0.002 * len(functions)))))
        events = [[(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in functions]
                  for _ in range(rounds)]
        for row in events:
            for f, (begin, end) in zip(functions, row):
                self.sweep.zero_()
                torch.cuda._sleep(1500000)  # cycles: longer than the host needs to say what comes next
                begin.record()
                f()
                end.record()
        torch.cuda.synchronize()
        return [statistics.median(row[i][0].elapsed_time(row[i][1]) for row in events) for i in range(len(functions))]

    def apart(self, x, y):
        """Relative distance of tensors; inf where there are NaNs."""
        x, y = x.float(), y.float()
        d = float((x - y).norm() / y.norm().clamp_min(1e-30))
        return d if math.isfinite(d) else 1e30

    def product(self, case, run):
        torch = self.torch
        m, n, k, a_t, b_t = map(int, case["shape"].split())
        a = torch.randn((k, m) if a_t else (m, k), device="cuda").bfloat16()
        b = torch.randn((n, k) if b_t else (k, n), device="cuda").bfloat16()
        c = torch.full((m, n), float("nan"), dtype=torch.bfloat16, device="cuda")
        x, y = a.t() if a_t else a, b.t() if b_t else b
        other = torch.empty_like(c)
        ours = run(a, b, c)
        ours()
        torch.matmul(x, y, out=other)
        # f32 beside both; large results by a part of their rows
        rows = slice(0, m, max(1, m * n // (1 << 27)))
        want = x[rows].float() @ y.float()
        error, error_other = self.apart(c[rows], want), self.apart(other[rows], want)
        del want
        whole = self.apart(c, other)
        ms, ms_other = self.times([ours, lambda: torch.matmul(x, y, out=other)])
        return {"ms": ms, "other_ms": ms_other, "other": "torch.matmul", "error": max(error, whole), "other_error": error_other,
                "ok": error < 5e-3 and whole < 1e-2}

    def sdpa(self, q, k, v, causal, backend):
        from torch.nn.attention import SDPBackend, sdpa_kernel
        kind = {"flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION,
                "efficient": SDPBackend.EFFICIENT_ATTENTION}[backend]
        with sdpa_kernel(kind):
            return self.torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=0.125)

    def operands(self, case, count):
        b, h, s, d, causal = map(int, case["shape"].split())
        made = [self.torch.randn((b, s, h, d), device="cuda").bfloat16() for _ in range(count)]
        return made, (b, h, s, d, bool(causal))

    def exact(self, tensors, s, causal):
        """The same of the first batch and two heads, in f32: y, or with dy as the fourth dq, dk, dv."""
        torch = self.torch
        q, k, v, *dy = [t[:1, :, :2].transpose(1, 2).float() for t in tensors]
        if dy:
            q, k, v = (t.detach().requires_grad_() for t in (q, k, v))
        scores = q @ k.transpose(2, 3) * 0.125
        if causal:
            scores = scores.masked_fill(torch.ones(s, s, dtype=torch.bool, device="cuda").triu(1), float("-inf"))
        y = scores.softmax(3) @ v
        if not dy:
            return [y.transpose(1, 2)]
        return [t.transpose(1, 2) for t in torch.autograd.grad(y, (q, k, v), dy[0])]

    def best(self, make, ours):
        """ours beside each of PyTorch's backends: (ms, other's ms, its name)."""
        found = {}
        for backend in ("flash", "cudnn", "efficient"):
            try:
                f = make(backend)
                f()
                self.torch.cuda.synchronize()
                found[backend] = f
            except Exception as e:  # a backend that does not take these shapes
                print(f"{backend}: {str(e).splitlines()[0]}", file=sys.stderr)
        names = list(found)
        ms, *others = self.times([ours] + [found[n] for n in names])
        best = min(range(len(names)), key=lambda i: others[i])
        return ms, others[best], "SDPA " + names[best]

    def attend(self, case, run):
        torch = self.torch
        (q, k, v), (b, h, s, d, causal) = self.operands(case, 3)
        y = torch.full_like(q, float("nan"))
        lse = torch.full((b, h, s), float("nan"), device="cuda")
        heads = [t.transpose(1, 2) for t in (q, k, v)]
        ours = run(q, k, v, y, lse)
        ours()
        flash = torch.ops.aten._scaled_dot_product_flash_attention(*heads, 0.0, causal, False, scale=0.125)
        error = self.apart(y[:1, :, :2], self.exact((q, k, v), s, causal)[0])
        whole = max(self.apart(y, flash[0].transpose(1, 2)), self.apart(lse, flash[1]))
        ms, other, name = self.best(lambda backend: lambda: self.sdpa(*heads, causal, backend), ours)
        return {"ms": ms, "other_ms": other, "other": name, "error": max(error, whole), "ok": error < 1e-2 and whole < 2e-2}

    def attend_back(self, case, run):
        torch = self.torch
        (q, k, v, dy), (b, h, s, d, causal) = self.operands(case, 4)
        heads = [t.transpose(1, 2) for t in (q, k, v)]
        y, lse = torch.ops.aten._scaled_dot_product_flash_attention(*heads, 0.0, causal, False, scale=0.125)[:2]
        y = y.transpose(1, 2).contiguous()
        grads = [torch.full_like(q, float("nan")) for _ in range(3)]
        ours = run(q, k, v, y, lse, dy, *grads)
        ours()
        wants = self.exact((q, k, v, dy), s, causal)
        error = max(self.apart(g[:1, :, :2], w) for g, w in zip(grads, wants))
        del wants

        leaves = [t.detach().clone().transpose(1, 2).requires_grad_() for t in (q, k, v)]

        def make(backend):
            out = self.sdpa(*leaves, causal, backend)
            return lambda: torch.autograd.grad(out, leaves, dy.transpose(1, 2), retain_graph=True)

        whole = max(self.apart(g, t.transpose(1, 2)) for g, t in zip(grads, make("flash")()))
        ms, other, name = self.best(make, ours)
        return {"ms": ms, "other_ms": other, "other": name, "error": max(error, whole), "ok": error < 2e-2 and whole < 2e-2}


def measure(a):
    import torch
    torch.manual_seed(1)
    torch.zeros(1, device="cuda")
    bench, launcher = Bench(a.seconds), Launcher(a.launch)
    for number, case in enumerate(cases_of(a.kit)):
        if number < a.begin:
            continue
        name = case["case"]
        say(begin=name)

        def run(*tensors):
            launcher.bind(handle, [t.data_ptr() for t in tensors])
            stream = torch.cuda.current_stream().cuda_stream
            return lambda: launcher.run(handle, stream)

        handle = launcher.open(a.kit, number)
        try:
            found = getattr(bench, case["kind"])(case, run)
        except torch.cuda.OutOfMemoryError:
            say(name=name, number=number, ok=False, why="no memory for this size")
            torch.cuda.empty_cache()
            continue
        except RuntimeError as e:
            say(name=name, number=number, ok=False, why=str(e).splitlines()[0])
            try:
                torch.cuda.synchronize()
            except RuntimeError:
                return 3  # the context is lost: whoever called goes on behind this case
            continue
        flops = float(case["work"].split()[0])
        say(name=name, number=number, kind=case["kind"], why="" if found["ok"] else "wrong numbers", use=case["use"],
            tflops=flops / found["ms"] * 1e-9, other_tflops=flops / found["other_ms"] * 1e-9, **found)
        launcher.close(handle)
        torch.cuda.empty_cache()
    return 0


def ceilings(a):
    import torch
    bench = Bench(1.0)
    best = 0
    for n in (8192, 16384):
        x, y = (torch.randn(n, n, device="cuda").bfloat16() for _ in range(2))
        out = torch.empty_like(x)
        ms, = bench.times([lambda: torch.matmul(x, y, out=out)])
        best = max(best, 2 * n ** 3 / ms * 1e-9)
    x = torch.empty(4 << 30, dtype=torch.uint8, device="cuda")
    y = torch.empty_like(x)
    ms, = bench.times([lambda: y.copy_(x)])
    say(name="ceilings", ok=True, why="", matmul_tflops=best, copy_tbs=2 * x.numel() / ms * 1e-9, torch=torch.__version__,
        device=torch.cuda.get_device_name(0))
    return 0


# ---- without PyTorch: small sizes, by the book --------------------------------------------------------------------------------

def bf16(x):
    bits = struct.unpack("<I", struct.pack("<f", x))[0]
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16


def from_bf16(b):
    return struct.unpack("<f", struct.pack("<I", b << 16))[0]


class Check:
    """A kernel over memory of the library's own, its results against these functions."""

    def __init__(self, launcher):
        self.launcher = launcher
        self.random = random.Random(1)
        launcher.call("device")

    def upload(self, data):
        at = ctypes.c_void_p()
        self.launcher.call("allocate", ctypes.c_size_t(len(data)), ctypes.byref(at))
        self.launcher.call("copy", at, data, ctypes.c_size_t(len(data)), ctypes.c_int(1))
        return at.value

    def draw(self, count):
        """Values that bf16 holds, and their address."""
        raw = [bf16(self.random.gauss(0, 1)) for _ in range(count)]
        return [from_bf16(b) for b in raw], self.upload(struct.pack(f"<{count}H", *raw))

    def empty(self, count, size):
        return self.upload(b"\xff" * (count * size))

    def read(self, at, count, size):
        data = ctypes.create_string_buffer(count * size)
        self.launcher.call("copy", data, ctypes.c_void_p(at), ctypes.c_size_t(count * size), ctypes.c_int(0))
        if size == 4:
            return list(struct.unpack(f"<{count}f", data.raw))
        return [from_bf16(b) for b in struct.unpack(f"<{count}H", data.raw)]

    @staticmethod
    def apart(got, want):
        d = math.sqrt(sum((g - w) ** 2 for g, w in zip(got, want)) / max(1e-30, sum(w * w for w in want)))
        return d if math.isfinite(d) else 1e30

    def product(self, case, handle):
        m, n, k, a_t, b_t = map(int, case["shape"].split())
        (a, a_at), (b, b_at), c_at = self.draw(m * k), self.draw(k * n), self.empty(m * n, 2)
        self.launcher.bind(handle, [a_at, b_at, c_at])
        self.launcher.run(handle)
        got = self.read(c_at, m * n, 2)
        if any(x != x for x in got):
            return 1e30
        some = range(m) if m * n * k < 1 << 23 else sorted({0, m - 1, *self.random.sample(range(m), 40)})
        rows = [[a[x * m + i] if a_t else a[i * k + x] for x in range(k)] for i in some]
        columns = [[b[j * k + x] if b_t else b[x * n + j] for x in range(k)] for j in range(n)]
        return self.apart([x for i in some for x in got[i * n:i * n + n]], [sum(x * y for x, y in zip(r, c)) for r in rows for c in columns])

    @staticmethod
    def attention(q, k, v, dy, b, h, s, d, causal):
        """y, lse and, with dy, dq, dk, dv; operands [b, s, h, d], lse [b, h, s]."""
        y, lse = [0.0] * len(q), [0.0] * (b * h * s)
        dq, dk, dv = ([0.0] * len(q) for _ in range(3))
        for o in range(b * h):
            def row(t, x):
                at = ((o // h * s + x) * h + o % h) * d
                return slice(at, at + d)
            for i in range(s):
                to = i + 1 if causal else s
                qi = q[row(q, i)]
                score = [0.125 * sum(x * z for x, z in zip(qi, k[row(k, t)])) for t in range(to)]
                most = max(score)
                total = sum(math.exp(x - most) for x in score)
                lse[o * s + i] = most + math.log(total)
                p = [math.exp(x - most) / total for x in score]
                yi = [sum(p[t] * v[row(v, t).start + c] for t in range(to)) for c in range(d)]
                y[row(y, i)] = yi
                if dy is None:
                    continue
                g = dy[row(dy, i)]
                part = sum(x * z for x, z in zip(g, yi))
                for t in range(to):
                    at, here = row(k, t).start, row(q, i).start
                    ds = 0.125 * p[t] * (sum(x * z for x, z in zip(g, v[at:at + d])) - part)
                    for c in range(d):
                        dv[at + c] += p[t] * g[c]
                        dk[at + c] += ds * qi[c]
                        dq[here + c] += ds * k[at + c]
        return y, lse, dq, dk, dv

    def attend(self, case, handle):
        b, h, s, d, causal = map(int, case["shape"].split())
        n = b * h * s * d
        (q, q_at), (k, k_at), (v, v_at) = (self.draw(n) for _ in range(3))
        y_at, lse_at = self.empty(n, 2), self.empty(b * h * s, 4)
        self.launcher.bind(handle, [q_at, k_at, v_at, y_at, lse_at])
        self.launcher.run(handle)
        y, lse, *_ = self.attention(q, k, v, None, b, h, s, d, causal)
        return max(self.apart(self.read(y_at, n, 2), y), self.apart(self.read(lse_at, b * h * s, 4), lse))

    def attend_back(self, case, handle):
        b, h, s, d, causal = map(int, case["shape"].split())
        n = b * h * s * d
        (q, q_at), (k, k_at), (v, v_at), (dy, dy_at) = (self.draw(n) for _ in range(4))
        y, lse, *wants = self.attention(q, k, v, dy, b, h, s, d, causal)
        y_at = self.upload(struct.pack(f"<{n}H", *map(bf16, y)))
        lse_at = self.upload(struct.pack(f"<{len(lse)}f", *lse))
        outs = [self.empty(n, 2) for _ in range(3)]
        self.launcher.bind(handle, [q_at, k_at, v_at, y_at, lse_at, dy_at, *outs])
        self.launcher.run(handle)
        return max(self.apart(self.read(at, n, 2), want) for at, want in zip(outs, wants))


def check(a):
    launcher = Launcher(a.launch)
    checker = Check(launcher)
    for number, case in enumerate(cases_of(a.kit)):
        if number < a.begin:
            continue
        say(begin=case["case"])
        handle = launcher.open(a.kit, number)
        error = getattr(checker, case["kind"])(case, handle)
        ok = error < (2e-2 if case["kind"] == "attend_back" else 1e-2)
        say(name=case["case"], number=number, kind=case["kind"], ok=ok, error=error, why="" if ok else "wrong numbers",
            use=case["use"])
        launcher.close(handle)
    return 0


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("kit", nargs="?")
    p.add_argument("--launch", help="libgpu_launch.so")
    p.add_argument("--from", dest="begin", type=int, default=0, help="first case")
    p.add_argument("--seconds", type=float, default=0.25, help="of measuring, a kernel")
    p.add_argument("--ceilings", action="store_true", help="what PyTorch's largest product and a copy reach")
    p.add_argument("--check", action="store_true", help="without PyTorch")
    a = p.parse_args()
    if a.ceilings:
        return ceilings(a)
    if not a.kit or not a.launch:
        p.error("a kit and --launch, or --ceilings")
    return check(a) if a.check else measure(a)


if __name__ == "__main__":
    sys.exit(main())
