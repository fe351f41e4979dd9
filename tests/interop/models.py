# SPDX-License-Identifier: Apache-2.0
# Run by run_interop in a Python that has torch and transformers.
#   models.py make DIR             small random models, each as the package saves it: DIR/NAME and DIR/NAME_shards,
#                                  some as DIR/NAME_bf16, GPT-2 without its output layer as DIR/gpt2_body
#   models.py logits DIR IDS       the logits of a saved model, a line for each position
#   models.py equal DIR OTHER      both load completely and have the same tensors, bit by bit
import os
import sys
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, BertConfig, GPT2Config, LlamaConfig

transformers.logging.set_verbosity_error()
LLAMA = dict(vocab_size=256, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=16, rms_norm_eps=1e-5)
MODELS = {
    "gpt2": GPT2Config(vocab_size=256, n_positions=16, n_embd=16, n_layer=2, n_head=2),
    "llama": LlamaConfig(**LLAMA, tie_word_embeddings=False),
    "llama_tied": LlamaConfig(**LLAMA, tie_word_embeddings=True),
    "gpt2_other": GPT2Config(vocab_size=256, n_positions=16, n_embd=16, n_layer=3, n_head=2, layer_norm_epsilon=1e-3),
    "llama_other": LlamaConfig(**LLAMA | dict(rms_norm_eps=1e-2), rope_parameters=dict(rope_theta=50.0, rope_type="default")),
    "bert": BertConfig(vocab_size=99, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
                       max_position_embeddings=16),
}


def kind(config):
    return AutoModelForMaskedLM if config.model_type == "bert" else AutoModelForCausalLM


def make(folder):
    torch.manual_seed(5)
    for name, config in MODELS.items():
        model = kind(config).from_config(config).float()
        with torch.no_grad():  # biases and norms too, which begin as constants
            for p in model.parameters():
                p.add_(torch.randn_like(p) * 0.1)
        model.save_pretrained(f"{folder}/{name}")
        model.save_pretrained(f"{folder}/{name}_shards", max_shard_size="16KB")
        assert os.path.exists(f"{folder}/{name}_shards/model.safetensors.index.json"), name
        if name == "gpt2":
            model.transformer.save_pretrained(f"{folder}/gpt2_body")
        if name in ("gpt2", "llama"):
            model.to(torch.bfloat16).save_pretrained(f"{folder}/{name}_bf16")


def load(folder):
    config = transformers.AutoConfig.from_pretrained(folder)
    model, info = kind(config).from_pretrained(folder, output_loading_info=True, dtype="auto")
    assert not any(info[k] for k in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
    return model.eval()


def logits(folder, ids):
    with torch.no_grad():
        for row in load(folder).float()(torch.tensor([[int(i) for i in ids.split()]])).logits[0]:
            print(*(f"{x:.9g}" for x in row.tolist()))


def equal(folder, other):
    a, b = load(folder).state_dict(), load(other).state_dict()
    assert list(a) == list(b), (list(a), list(b))
    for name in a:
        assert a[name].dtype == b[name].dtype and torch.equal(a[name], b[name]), name
    print(len(a), "tensors are equal")


{"make": make, "logits": logits, "equal": equal}[sys.argv[1]](*sys.argv[2:])
