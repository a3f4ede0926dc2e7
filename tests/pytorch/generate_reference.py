"""Greedy tokens and logits of a causal language model by transformers in f32, for `compare_generate.py`.

    python generate_reference.py MODEL PROMPT OUT.json [--tokens 64]

MODEL is a folder, or a GGUF file, whose tensors transformers dequantises. OUT holds the prompt's ids, the new ids and
for each of them the margin: the logit of the chosen token minus that of the runner-up. Where it is small, another order
of summation may choose the other token.
"""

import argparse
import json
import os

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def load(path):
    if os.path.isdir(path):
        return AutoTokenizer.from_pretrained(path), AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    folder, name = os.path.split(os.path.abspath(path))
    options = {"gguf_file": name}
    return (AutoTokenizer.from_pretrained(folder, **options),
            AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **options))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("prompt")
    parser.add_argument("out")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--ids", help="the prompt's ids as JSON, instead of the tokenizer's")
    args = parser.parse_args()
    tokenizer, model = load(args.model)
    model.eval()
    prompt = json.loads(args.ids) if args.ids else tokenizer(args.prompt)["input_ids"]
    end = model.generation_config.eos_token_id
    end = end if isinstance(end, list) else [end]
    ids, new, margins, logits = list(prompt), [], [], None
    cache = None
    with torch.no_grad():
        step = torch.tensor([ids])
        while len(new) < args.tokens:
            result = model(step, past_key_values=cache, use_cache=True)
            cache, row = result.past_key_values, result.logits[0, -1]
            logits = row if logits is None else logits
            best = torch.topk(row, 2)
            margins.append(float(best.values[0] - best.values[1]))
            new.append(int(best.indices[0]))
            if new[-1] in end:
                break
            step = torch.tensor([[new[-1]]])
    with open(args.out, "w") as file:
        json.dump({"prompt": prompt, "tokens": new, "margins": margins, "logits": logits.tolist(),
                   "text": tokenizer.decode(new, skip_special_tokens=True)}, file)
    print(f"{len(new)} tokens, smallest margin {min(margins):.4f}")


if __name__ == "__main__":
    main()
