#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes {gpt2,gpt2_adamw,llama,bert,moe}.safetensors: what an outside framework (JAX) says a model computes.

    python3 -m venv build-ref/jax && build-ref/jax/bin/pip install jax numpy
    build-ref/jax/bin/python tests/reference/make_fixtures.py [--out DIR] [--check]

ctest does not run this; the files it writes are committed. `--check` makes everything anew and compares with the committed
files instead of writing them (other versions of JAX may differ in the last bits; more than 1e-6 relative fails).

Each file holds one small model, all computed in float64 from parameters that are exact in f32, then stored as f32:

    NAME             parameters, in the names and layouts of the hub's checkpoints
    input.tokens     i32 [batch, seq]
    input.labels     i32 [batch, seq], negative where ignored (gpt2, llama: -1; bert: -100)
    input.types      i32 [batch, seq], segment ids (bert only)
    input.mask       i32 [batch, seq], 1 where there is a token, 0 where there is padding (bert only)
    logits           f32 [batch, seq, vocab]
    loss             f32 [], mean cross entropy over the labels that are not ignored (moe: and the router's losses)
    grad.NAME        d loss / d NAME, layout of NAME

gpt2_adamw.safetensors belongs to gpt2.safetensors and holds one step of AdamW from zero moments with those gradients:

    adamw.NAME       NAME after the step: lr 1e-3, betas 0.9 and 0.95, eps 1e-8, global-norm clip 1.0 before, decoupled
                     decay 0.1 on what has two or more dimensions in the hub's layout
    adamw.norm       f32 [], the global gradient norm before clipping

The gradient of an attention's key bias (the middle third of c_attn.bias; bert's key.bias) is zero in exact arithmetic, so
what an f32 program has there is rounding, which a first AdamW step (g / (|g| + eps)) magnifies: compare accordingly.
The sizes are in each file's metadata, as strings. Labels are given, not tokens moved by one: position t is scored
against labels[t]. A padded key's score is masked out entirely; a padded position's label is always ignored.
"""
import argparse
import json
import math
import os
import struct
import sys

import numpy as np

os.environ.setdefault("JAX_PLATFORMS", "cpu")
import jax  # noqa: E402

jax.config.update("jax_enable_x64", True)
import jax.numpy as jnp  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
EPS = 1e-5        # layernorm and rmsnorm of gpt2 and llama
BERT_EPS = 1e-12  # layernorm of the hub's BERT


# ---- the file format: u64 length, JSON header, data; 8-byte aligned, tensors in the order given ----

def save_safetensors(path, tensors, metadata):
    kinds = {np.dtype("float32"): "F32", np.dtype("int32"): "I32"}
    header, data, at = {"__metadata__": metadata}, [], 0
    for name, t in tensors.items():
        raw = np.ascontiguousarray(t).tobytes()
        header[name] = {"dtype": kinds[t.dtype], "shape": list(t.shape), "data_offsets": [at, at + len(raw)]}
        data.append(raw)
        at += len(raw)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(data))


def load_safetensors(path):
    kinds = {"F32": np.float32, "I32": np.int32}
    with open(path, "rb") as f:
        raw = f.read()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    header.pop("__metadata__", None)
    out = {}
    for name, h in header.items():
        a, b = h["data_offsets"]
        out[name] = np.frombuffer(raw[8 + length + a : 8 + length + b], kinds[h["dtype"]]).reshape(h["shape"])
    return out


# ---- parts ----

def layernorm(p, name, x, eps):
    mean = jnp.mean(x, -1, keepdims=True)
    var = jnp.mean((x - mean) ** 2, -1, keepdims=True)
    return (x - mean) / jnp.sqrt(var + eps) * p[name + ".weight"] + p[name + ".bias"]


def rmsnorm(p, name, x):
    return x / jnp.sqrt(jnp.mean(x * x, -1, keepdims=True) + EPS) * p[name + ".weight"]


def gelu_tanh(x):
    return 0.5 * x * (1 + jnp.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def gelu_erf(x):
    return 0.5 * x * (1 + jax.scipy.special.erf(x / math.sqrt(2)))


def attend(q, k, v, visible):
    """q [B, head, T, dim], k and v [B, head, S, dim], visible [T, S] or broadcastable to [B, head, T, S] -> like q"""
    s = jnp.einsum("bhtd,bhsd->bhts", q, k) / math.sqrt(q.shape[-1])
    s = jnp.where(visible, s, -jnp.inf)
    return jnp.einsum("bhts,bhsd->bhtd", jax.nn.softmax(s, -1), v)


def to_heads(x, head):  # [B, T, head*dim] -> [B, head, T, dim]
    B, T, W = x.shape
    return x.reshape(B, T, head, W // head).transpose(0, 2, 1, 3)


def from_heads(x):  # [B, head, T, dim] -> [B, T, head*dim]
    B, H, T, D = x.shape
    return x.transpose(0, 2, 1, 3).reshape(B, T, H * D)


def cross_entropy(logits, labels):
    kept = labels >= 0
    picked = jnp.take_along_axis(jax.nn.log_softmax(logits, -1), jnp.where(kept, labels, 0)[..., None], -1)[..., 0]
    return -jnp.sum(jnp.where(kept, picked, 0.0)) / jnp.sum(kept)


# ---- the models: sizes, parameter shapes in the hub's layout, forward ----

GPT2 = dict(layer=2, head=4, dim=8, seq=16, vocab=67, batch=3)


def gpt2_shapes(s):
    width = s["head"] * s["dim"]
    hidden = 4 * width
    out = {"wte.weight": (s["vocab"], width), "wpe.weight": (s["seq"], width)}
    for i in range(s["layer"]):
        h = f"h.{i}."
        out |= {
            h + "ln_1.weight": (width,), h + "ln_1.bias": (width,),
            h + "attn.c_attn.weight": (width, 3 * width), h + "attn.c_attn.bias": (3 * width,),
            h + "attn.c_proj.weight": (width, width), h + "attn.c_proj.bias": (width,),
            h + "ln_2.weight": (width,), h + "ln_2.bias": (width,),
            h + "mlp.c_fc.weight": (width, hidden), h + "mlp.c_fc.bias": (hidden,),
            h + "mlp.c_proj.weight": (hidden, width), h + "mlp.c_proj.bias": (width,),
        }
    return out | {"ln_f.weight": (width,), "ln_f.bias": (width,)}


def gpt2_logits(p, inputs, s):
    T = s["seq"]
    causal = jnp.tril(jnp.ones((T, T), bool))
    x = p["wte.weight"][inputs["tokens"]] + p["wpe.weight"][None, :T]
    for i in range(s["layer"]):
        h = f"h.{i}."
        y = layernorm(p, h + "ln_1", x, EPS) @ p[h + "attn.c_attn.weight"] + p[h + "attn.c_attn.bias"]
        q, k, v = (to_heads(t, s["head"]) for t in jnp.split(y, 3, -1))
        x = x + from_heads(attend(q, k, v, causal)) @ p[h + "attn.c_proj.weight"] + p[h + "attn.c_proj.bias"]
        y = gelu_tanh(layernorm(p, h + "ln_2", x, EPS) @ p[h + "mlp.c_fc.weight"] + p[h + "mlp.c_fc.bias"])
        x = x + y @ p[h + "mlp.c_proj.weight"] + p[h + "mlp.c_proj.bias"]
    return layernorm(p, "ln_f", x, EPS) @ p["wte.weight"].T


LLAMA = dict(layer=2, head=4, kvhead=2, dim=8, seq=16, hidden=48, vocab=61, batch=3, theta=10000)


def llama_shapes(s):
    width, kv = s["head"] * s["dim"], s["kvhead"] * s["dim"]
    out = {"model.embed_tokens.weight": (s["vocab"], width)}
    for i in range(s["layer"]):
        h = f"model.layers.{i}."
        out |= {
            h + "input_layernorm.weight": (width,),
            h + "self_attn.q_proj.weight": (width, width), h + "self_attn.k_proj.weight": (kv, width),
            h + "self_attn.v_proj.weight": (kv, width), h + "self_attn.o_proj.weight": (width, width),
            h + "post_attention_layernorm.weight": (width,),
            h + "mlp.gate_proj.weight": (s["hidden"], width), h + "mlp.up_proj.weight": (s["hidden"], width),
            h + "mlp.down_proj.weight": (width, s["hidden"]),
        }
    return out | {"model.norm.weight": (width,), "lm_head.weight": (s["vocab"], width)}


def rope(x, theta):
    """x [B, head, T, dim]; component i of the first half turns with component i of the second half, as in the hub."""
    T, D = x.shape[2], x.shape[3]
    frequency = theta ** (-jnp.arange(0, D, 2) / D)  # [dim/2]
    angle = jnp.arange(T)[:, None] * frequency
    cos, sin = jnp.tile(jnp.cos(angle), 2), jnp.tile(jnp.sin(angle), 2)  # [T, dim]
    turned = jnp.concatenate([-x[..., D // 2 :], x[..., : D // 2]], -1)
    return x * cos + turned * sin


def llama_logits(p, inputs, s):
    T = s["seq"]
    causal = jnp.tril(jnp.ones((T, T), bool))
    x = p["model.embed_tokens.weight"][inputs["tokens"]]
    for i in range(s["layer"]):
        h = f"model.layers.{i}."
        y = rmsnorm(p, h + "input_layernorm", x)
        q = rope(to_heads(y @ p[h + "self_attn.q_proj.weight"].T, s["head"]), s["theta"])
        k = rope(to_heads(y @ p[h + "self_attn.k_proj.weight"].T, s["kvhead"]), s["theta"])
        v = to_heads(y @ p[h + "self_attn.v_proj.weight"].T, s["kvhead"])
        k, v = (jnp.repeat(t, s["head"] // s["kvhead"], 1) for t in (k, v))  # head = kvhead * group + group index
        x = x + from_heads(attend(q, k, v, causal)) @ p[h + "self_attn.o_proj.weight"].T
        y = rmsnorm(p, h + "post_attention_layernorm", x)
        y = jax.nn.silu(y @ p[h + "mlp.gate_proj.weight"].T) * (y @ p[h + "mlp.up_proj.weight"].T)
        x = x + y @ p[h + "mlp.down_proj.weight"].T
    return rmsnorm(p, "model.norm", x) @ p["lm_head.weight"].T


BERT = dict(layer=2, head=4, dim=6, seq=12, hidden=64, vocab=53, types=2, batch=3)
BERT_LAYER = "bert.encoder.layer.{}."


def bert_shapes(s):
    width, hidden = s["head"] * s["dim"], s["hidden"]
    e = "bert.embeddings."
    out = {
        e + "word_embeddings.weight": (s["vocab"], width), e + "position_embeddings.weight": (s["seq"], width),
        e + "token_type_embeddings.weight": (s["types"], width),
        e + "LayerNorm.weight": (width,), e + "LayerNorm.bias": (width,),
    }
    for i in range(s["layer"]):
        h = BERT_LAYER.format(i)
        for name, rows, columns in (
            ("attention.self.query", width, width), ("attention.self.key", width, width),
            ("attention.self.value", width, width), ("attention.output.dense", width, width),
            ("attention.output.LayerNorm", width, 0), ("intermediate.dense", hidden, width),
            ("output.dense", width, hidden), ("output.LayerNorm", width, 0),
        ):
            out |= {h + name + ".weight": (rows, columns) if columns else (rows,), h + name + ".bias": (rows,)}
    c = "cls.predictions."
    return out | {
        c + "transform.dense.weight": (width, width), c + "transform.dense.bias": (width,),
        c + "transform.LayerNorm.weight": (width,), c + "transform.LayerNorm.bias": (width,),
        c + "bias": (s["vocab"],),
    }


def bert_logits(p, inputs, s):
    def linear(name, x):
        return x @ p[name + ".weight"].T + p[name + ".bias"]

    e, c = "bert.embeddings.", "cls.predictions."
    x = (p[e + "word_embeddings.weight"][inputs["tokens"]] + p[e + "position_embeddings.weight"]
         + p[e + "token_type_embeddings.weight"][inputs["types"]])
    x = layernorm(p, e + "LayerNorm", x, BERT_EPS)
    visible = (inputs["mask"] != 0)[:, None, None, :]  # keys [B, 1, 1, S]
    for i in range(s["layer"]):
        h = BERT_LAYER.format(i)
        q, k, v = (to_heads(linear(h + "attention.self." + n, x), s["head"]) for n in ("query", "key", "value"))
        y = linear(h + "attention.output.dense", from_heads(attend(q, k, v, visible)))
        x = layernorm(p, h + "attention.output.LayerNorm", x + y, BERT_EPS)
        y = linear(h + "output.dense", gelu_erf(linear(h + "intermediate.dense", x)))
        x = layernorm(p, h + "output.LayerNorm", x + y, BERT_EPS)
    x = layernorm(p, c + "transform.LayerNorm", gelu_erf(linear(c + "transform.dense", x)), BERT_EPS)
    return x @ p[e + "word_embeddings.weight"].T + p[c + "bias"]


# A mixture by GShard's masks (Lepikhin et al. 2020): one-hot tensors over [batch, token, expert, slot] and einsums, no scatter.
MOE = dict(layer=2, head=4, kvhead=2, dim=4, seq=16, hidden=12, vocab=61, batch=3, expert=4, theta=10000)
MOE_TOP, MOE_BALANCE, MOE_Z = 2, 0.02, 0.001


def moe_shapes(s):
    width, kv, e = s["head"] * s["dim"], s["kvhead"] * s["dim"], s["expert"]
    out = {"model.embed_tokens.weight": (s["vocab"], width)}
    for i in range(s["layer"]):
        h = f"model.layers.{i}."
        out |= {
            h + "input_layernorm.weight": (width,),
            h + "self_attn.q_proj.weight": (width, width), h + "self_attn.k_proj.weight": (kv, width),
            h + "self_attn.v_proj.weight": (kv, width), h + "self_attn.o_proj.weight": (width, width),
            h + "post_attention_layernorm.weight": (width,),
            h + "mlp.gate.weight": (e, width),
            h + "mlp.experts.gate_proj": (e, s["hidden"], width), h + "mlp.experts.up_proj": (e, s["hidden"], width),
            h + "mlp.experts.down_proj": (e, width, s["hidden"]),
        }
    return out | {"model.norm.weight": (width,), "lm_head.weight": (s["vocab"], width)}


def moe_layer(p, h, x, s):
    """The mixture's result, the router's part of the loss, and how many of the chosen pairs found no slot."""
    E, slots = s["expert"], 5 * MOE_TOP * s["seq"] // (4 * s["expert"])
    logits = x @ p[h + "gate.weight"].T
    best, ids = jax.lax.top_k(logits, MOE_TOP)
    pick = jax.nn.one_hot(ids, E, dtype=x.dtype)  # [B, T, top, E]
    chosen = pick.sum(2)
    place = jnp.cumsum(chosen, 1) - chosen  # tokens before this one that chose the expert
    dispatch = chosen[..., None] * jax.nn.one_hot(place.astype(int), slots, dtype=x.dtype)  # beyond the last: zero
    combine = dispatch * jnp.einsum("btk,btke->bte", jax.nn.softmax(best, -1), pick)[..., None]
    y = jnp.einsum("btec,btw->becw", dispatch, x)
    up = jnp.einsum("becw,ehw->bech", y, p[h + "experts.up_proj"])
    up = up * jax.nn.silu(jnp.einsum("becw,ehw->bech", y, p[h + "experts.gate_proj"]))
    out = jnp.einsum("btec,bech,ewh->btw", combine, up, p[h + "experts.down_proj"])
    balance = E * jnp.mean(jnp.sum(chosen.mean(1) / MOE_TOP * jax.nn.softmax(logits, -1).mean(1), -1))
    z = jnp.mean(jax.scipy.special.logsumexp(logits, -1) ** 2)
    return out, MOE_BALANCE * balance + MOE_Z * z, jnp.sum(chosen) - jnp.sum(dispatch)


def moe_forward(p, inputs, s):
    T = s["seq"]
    causal = jnp.tril(jnp.ones((T, T), bool))
    x, added, dropped = p["model.embed_tokens.weight"][inputs["tokens"]], 0.0, 0.0
    for i in range(s["layer"]):
        h = f"model.layers.{i}."
        y = rmsnorm(p, h + "input_layernorm", x)
        q = rope(to_heads(y @ p[h + "self_attn.q_proj.weight"].T, s["head"]), s["theta"])
        k = rope(to_heads(y @ p[h + "self_attn.k_proj.weight"].T, s["kvhead"]), s["theta"])
        v = to_heads(y @ p[h + "self_attn.v_proj.weight"].T, s["kvhead"])
        k, v = (jnp.repeat(t, s["head"] // s["kvhead"], 1) for t in (k, v))
        x = x + from_heads(attend(q, k, v, causal)) @ p[h + "self_attn.o_proj.weight"].T
        y, more, lost = moe_layer(p, h + "mlp.", rmsnorm(p, h + "post_attention_layernorm", x), s)
        x, added, dropped = x + y, added + more / s["layer"], dropped + lost
    return rmsnorm(p, "model.norm", x) @ p["lm_head.weight"].T, added, dropped


# ---- parameters, inputs, optimizer ----

def random_parameters(shapes, rng):
    """Matrices normal(0.2), biases normal(0.1), norm gains 1 + normal(0.2): nothing starts at a value that hides a bug."""
    out = {}
    for name, shape in shapes.items():
        is_gain = len(shape) == 1 and name.endswith(".weight")
        std = 0.1 if name.endswith("bias") else 0.2
        out[name] = (rng.normal(0, std, shape) + is_gain).astype(np.float32)
    return out


def random_inputs(s, rng, ignored_label):
    """The labels' first column of row 0 and a scattered fifth of the rest are ignored."""
    shape = (s["batch"], s["seq"])
    tokens = rng.integers(0, s["vocab"], shape).astype(np.int32)
    labels = rng.integers(0, s["vocab"], shape).astype(np.int32)
    tokens[0, 0], tokens[0, 1] = 0, s["vocab"] - 1          # both ends of the table
    tokens[1, 2] = tokens[1, 3] = tokens[2, 4] = tokens[0, 5]  # a row read more than once
    labels[1, 0], labels[1, 1] = 0, s["vocab"] - 1
    dropped = rng.random(shape) < 0.2
    dropped[0, 0], dropped[1, 0], dropped[1, 1] = True, False, False
    labels[dropped] = ignored_label
    return {"tokens": tokens, "labels": labels}


def bert_inputs(s, rng):
    inputs = random_inputs(s, rng, -100)
    lengths = [s["seq"], s["seq"] - 3, s["seq"] - 5]  # row 0 has no padding
    position = np.arange(s["seq"])
    inputs["mask"] = np.stack([position < n for n in lengths]).astype(np.int32)
    inputs["types"] = np.stack([(position >= n // 2) & (position < n) for n in lengths]).astype(np.int32)
    inputs["tokens"][inputs["mask"] == 0] = 0
    inputs["labels"][inputs["mask"] == 0] = -100
    return inputs


def adamw_step(p, g, lr=1e-3, betas=(0.9, 0.95), eps=1e-8, decay=0.1, clip=1.0):
    """The first step, from zero moments: clip by the global norm, then decoupled decay on matrices and embeddings."""
    norm = math.sqrt(sum(float(np.sum(t * t)) for t in g.values()))
    scale = min(1.0, clip / norm)
    out = {}
    for name, w in p.items():
        t = g[name] * scale
        m, v = (1 - betas[0]) * t, (1 - betas[1]) * t * t
        m_hat, v_hat = m / (1 - betas[0]), v / (1 - betas[1])
        decayed = w * (1 - lr * decay) if w.ndim >= 2 else w
        out[name] = decayed - lr * m_hat / (np.sqrt(v_hat) + eps)
    return out, norm


def make(name, s, shapes, logits_of, inputs, rng, with_adamw):
    p = {k: v.astype(np.float64) for k, v in random_parameters(shapes, rng).items()}

    def loss_of(p):
        logits, added, dropped = out if isinstance(out := logits_of(p, inputs, s), tuple) else (out, 0.0, None)
        return cross_entropy(logits, inputs["labels"]) + added, (logits, dropped)

    (loss, (logits, dropped)), grads = jax.jit(jax.value_and_grad(loss_of, has_aux=True))(p)
    grads = {k: np.asarray(grads[k], np.float64) for k in p}  # in the order of the parameters, not of the tree
    if dropped is not None:
        print(f"{name}: {int(dropped)} choices found no slot")
        if not dropped:
            raise SystemExit(f"{name}: nothing is dropped, so the capacity is not tested")
    check_gradient(lambda q: float(loss_of(q)[0]), p, grads, rng)

    tensors = {k: v.astype(np.float32) for k, v in p.items()}
    tensors |= {"input." + k: v for k, v in inputs.items()}
    tensors["logits"] = np.asarray(logits, np.float32)
    tensors["loss"] = np.asarray(loss, np.float32)
    tensors |= {"grad." + k: v.astype(np.float32) for k, v in grads.items()}
    metadata = {"model": name} | {k: str(v) for k, v in s.items()}
    made = {name: (tensors, metadata)}
    if with_adamw:
        updated, norm = adamw_step(p, grads)
        step = {"adamw." + k: v.astype(np.float32) for k, v in updated.items()}
        made[name + "_adamw"] = (step | {"adamw.norm": np.asarray(norm, np.float32)}, metadata)
    return made


def check_gradient(loss_of, p, grads, rng):
    """A random direction's finite difference: the framework's gradient is of the loss it printed."""
    direction = {k: rng.normal(0, 1, v.shape) for k, v in p.items()}
    h = 1e-6
    up = loss_of({k: v + h * direction[k] for k, v in p.items()})
    down = loss_of({k: v - h * direction[k] for k, v in p.items()})
    wanted, got = (up - down) / (2 * h), sum(float(np.sum(direction[k] * grads[k])) for k in p)
    if abs(wanted - got) > 1e-6 * max(1.0, abs(wanted)):
        raise SystemExit(f"gradient check failed: {got} against {wanted}")


def compare(path, tensors):
    old, worst = load_safetensors(path), 0.0
    if list(old) != list(tensors):
        raise SystemExit(f"{path}: other tensors than this script makes")
    for name, t in tensors.items():
        if old[name].dtype != t.dtype or old[name].shape != t.shape:
            raise SystemExit(f"{path}: {name} has another type or shape")
        scale = float(np.max(np.abs(t))) or 1.0
        worst = max(worst, float(np.max(np.abs(old[name].astype(np.float64) - t))) / scale)
    if worst > 1e-6:
        raise SystemExit(f"{path}: differs by {worst:.2g} of a tensor's largest element")
    return worst


def main():
    args = argparse.ArgumentParser(description="make the reference fixtures with JAX")
    args.add_argument("--out", default=HERE)
    args.add_argument("--check", action="store_true", help="compare with the files there, write nothing")
    args = args.parse_args()
    rng = np.random.default_rng(20240607)
    made = make("gpt2", GPT2, gpt2_shapes(GPT2), gpt2_logits, random_inputs(GPT2, rng, -1), rng, True)
    made |= make("llama", LLAMA, llama_shapes(LLAMA), llama_logits, random_inputs(LLAMA, rng, -1), rng, False)
    made |= make("bert", BERT, bert_shapes(BERT), bert_logits, bert_inputs(BERT, rng), rng, False)
    rng = np.random.default_rng(20240611)
    made |= make("moe", MOE, moe_shapes(MOE), moe_forward, random_inputs(MOE, rng, -1), rng, False)
    for name, (tensors, metadata) in made.items():
        path = os.path.join(args.out, name + ".safetensors")
        if args.check:
            print(f"{path}: largest difference {compare(path, tensors):.2g}")
            continue
        save_safetensors(path, tensors, metadata)
        if list(load_safetensors(path)) != list(tensors):
            raise SystemExit(f"{path}: does not read back")
        loss = f", loss {tensors['loss']:.6f}" if "loss" in tensors else ""
        print(f"{path}: {os.path.getsize(path)} bytes, {len(tensors)} tensors{loss}")


if __name__ == "__main__":
    sys.exit(main())
