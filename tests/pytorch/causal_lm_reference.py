"""Trains a causal language model with PyTorch, with the flags, log and order of `wgrad finetune causal_lm`.

Blocks are consecutive tokens of the lines of the text, one after another, as with --no_shuffle. The learning rate is
constant. Writes OUT/log.jsonl (step, loss, learning_rate, grad_norm: the loss before the step, the norm before clipping).
"""

import argparse
import json
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

parser = argparse.ArgumentParser(description=__doc__)
add = parser.add_argument
add("--model_name_or_path", required=True)
add("--train_file", required=True)
add("--output_dir", required=True)
add("--block_size", type=int, required=True)
add("--max_steps", type=int, required=True)
add("--per_device_train_batch_size", type=int, default=8)
add("--gradient_accumulation_steps", type=int, default=1)
add("--learning_rate", type=float, default=5e-5)
arguments = parser.parse_args()

tokenizer = AutoTokenizer.from_pretrained(arguments.model_name_or_path)
model = AutoModelForCausalLM.from_pretrained(arguments.model_name_or_path, dtype=torch.float32).eval()
ids = []
with open(arguments.train_file, encoding="utf-8", newline="\n") as text:
    for line in text:
        ids += tokenizer(line)["input_ids"]
count = len(ids) // arguments.block_size
blocks = torch.tensor(ids[: count * arguments.block_size]).view(count, arguments.block_size)
batches = blocks.split(arguments.per_device_train_batch_size)
optimizer = torch.optim.AdamW(model.parameters(), lr=arguments.learning_rate, weight_decay=0.0)
out = Path(arguments.output_dir)
out.mkdir(parents=True, exist_ok=True)
at = 0
with open(out / "log.jsonl", "w") as log:
    for step in range(1, arguments.max_steps + 1):
        group = [batches[(at + i) % len(batches)] for i in range(arguments.gradient_accumulation_steps)]
        at += len(group)
        rows = sum(len(batch) for batch in group)
        total = 0.0
        for batch in group:
            loss = model(input_ids=batch, labels=batch).loss * (len(batch) / rows)
            loss.backward()
            total += loss.item()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).item()
        optimizer.step()
        optimizer.zero_grad()
        record = {"step": step, "loss": total, "learning_rate": arguments.learning_rate, "grad_norm": norm}
        print(json.dumps(record), file=log, flush=True)
