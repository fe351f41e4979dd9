# SPDX-License-Identifier: Apache-2.0
# Run by run_interop in a Python that has torch and transformers, which take long to load: commands are read as lines of
# words separated by tabs; each answer ends with a line "done", or "failed" behind what went wrong.
#   make DIR             small random models, each as the package saves it: DIR/NAME and DIR/NAME_shards,
#                        some as DIR/NAME_bf16 and DIR/NAME_f16, GPT-2 without its output layer as
#                        DIR/gpt2_body, BERT's names as in its first files, with its pooler and stored decoder
#                        (DIR/bert_old), and without `bert.` (DIR/bert_bare)
#   logits DIR IDS [TYPES MASK]   the logits of a saved model, a line for each position
#   equal DIR OTHER      both load completely and have the same tensors, bit by bit
import os
import re
import safetensors.torch
import sys
import torch
import traceback
import transformers
from transformers import (AutoModelForCausalLM, AutoModelForMaskedLM, BertConfig, BertForPreTraining, GPT2Config,
                          LlamaConfig)

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
LLAMA = dict(vocab_size=256, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=16, rms_norm_eps=1e-5)
MODELS = {
    "gpt2": GPT2Config(vocab_size=256, n_positions=16, n_embd=16, n_layer=2, n_head=2),
    "llama": LlamaConfig(**LLAMA, tie_word_embeddings=False),
    "llama_tied": LlamaConfig(**LLAMA, tie_word_embeddings=True),
    "gpt2_other": GPT2Config(vocab_size=256, n_positions=16, n_embd=16, n_layer=3, n_head=2, layer_norm_epsilon=1e-3),
    "llama_other": LlamaConfig(**LLAMA | dict(rms_norm_eps=1e-2), rope_parameters=dict(rope_theta=50.0, rope_type="default")),
    "bert": BertConfig(vocab_size=256, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
                       max_position_embeddings=16),
    "bert_other": BertConfig(vocab_size=256, hidden_size=16, num_hidden_layers=3, num_attention_heads=2,
                             intermediate_size=40, max_position_embeddings=16, type_vocab_size=3, layer_norm_eps=1e-3),
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
        if name == "bert":
            save_old(model, folder)
        if name in ("gpt2", "llama", "bert"):
            model.to(torch.bfloat16).save_pretrained(f"{folder}/{name}_bf16")
            model.to(torch.float16).save_pretrained(f"{folder}/{name}_f16")


def save_old(model, folder):
    whole = BertForPreTraining(model.config)
    whole.bert.load_state_dict(model.bert.state_dict(), strict=False)
    whole.cls.predictions.load_state_dict(model.cls.predictions.state_dict())
    old = {re.sub("LayerNorm.weight$", "LayerNorm.gamma", re.sub("LayerNorm.bias$", "LayerNorm.beta", name)): t.clone()
           for name, t in whole.state_dict().items()}
    bare = {re.sub("^bert[.]", "", name): t.clone() for name, t in model.state_dict().items() if "decoder" not in name}
    for name, tensors in (("bert_old", old), ("bert_bare", bare)):
        model.config.save_pretrained(f"{folder}/{name}")
        safetensors.torch.save_file(tensors, f"{folder}/{name}/model.safetensors", {"format": "pt"})


def load(folder):
    config = transformers.AutoConfig.from_pretrained(folder)
    model, info = kind(config).from_pretrained(folder, output_loading_info=True, dtype="auto")
    # BertForMaskedLM passes over what BertForPreTraining has more.
    wrong = {key for kind in ("missing_keys", "unexpected_keys", "mismatched_keys") for key in info[kind]}
    assert all(key.startswith(("bert.pooler.", "cls.seq_relationship.")) for key in wrong), info
    return model.eval()


def numbers(ids):
    return torch.tensor([[int(i) for i in ids.split()]])


def logits(folder, ids, types=None, mask=None):
    more = dict(token_type_ids=numbers(types), attention_mask=numbers(mask)) if types else {}
    with torch.no_grad():
        for row in load(folder).float()(numbers(ids), **more).logits[0]:
            print(*(f"{x:.9g}" for x in row.tolist()))


def equal(folder, other):
    a, b = load(folder).state_dict(), load(other).state_dict()
    assert list(a) == list(b), (list(a), list(b))
    for name in a:
        assert a[name].dtype == b[name].dtype and torch.equal(a[name], b[name]), name
    print(len(a), "tensors are equal")


for line in sys.stdin:
    command, *args = line.rstrip("\n").split("\t")
    try:
        {"make": make, "logits": logits, "equal": equal}[command](*args)
        print("done", flush=True)
    except Exception:
        print(traceback.format_exc(), "failed", sep="", flush=True)
