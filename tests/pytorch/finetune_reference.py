"""Fine-tunes BertForSequenceClassification with PyTorch, with the flags, log and order of `wgrad finetune`.

Writes OUT/log.jsonl (step, epoch, loss, learning_rate, grad_norm: the loss before the step, the norm before
clipping), OUT/grads_step1.safetensors (the gradient of every trained parameter at step 1, before clipping) and
OUT/results.json.
"""

import argparse
import json
import math
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import get_scheduler

import common


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--model_name_or_path", required=True)
    add("--train_file", required=True)
    add("--validation_file")
    add("--test_file")
    add("--text_column", default="text")
    add("--label_column", default="label")
    add("--output_dir", required=True)
    add("--learning_rate", type=float, default=5e-5)
    add("--max_steps", type=int, default=-1, help="if positive, overrides --num_train_epochs")
    add("--num_train_epochs", type=float, default=3.0)
    add("--per_device_train_batch_size", type=int, default=8)
    add("--max_seq_length", type=int, default=128)
    add("--weight_decay", type=float, default=0.0)
    add("--decay_all", action="store_true", help="decay biases and LayerNorm too (the Trainer of transformers does not)")
    add("--max_grad_norm", type=float, default=1.0, help="0: no clipping")
    add("--lr_scheduler_type", default="linear", choices=["linear", "cosine", "constant", "constant_with_warmup"])
    add("--warmup_ratio", type=float, default=0.0)
    add("--dropout", type=float, help="of hidden states, attention and classifier (default: the folder's config)")
    add("--freeze_encoder", action="store_true", help="train the classifier only: embeddings, layers and pooler stay")
    add("--freeze_layers", type=int, default=0, metavar="N", help="freeze the embeddings and the lowest N layers")
    add("--pooling", default="cls", choices=["cls", "mean"])
    add("--seed", type=int, default=42)
    add("--no_shuffle", action="store_true", help="batches are consecutive rows of the file, the same in each epoch")
    add("--classifier_init", metavar="FILE.safetensors")
    add("--optim", default="adamw", choices=["adamw", "adam", "sgd"])
    add("--momentum", type=float, default=0.0, help="of sgd")
    add("--dtype", default="float64", choices=list(common.DTYPES))
    add("--threads", type=int, default=1)
    add("--save_model", action="store_true", help="also write the tuned model and tokenizer to OUT")
    return parser.parse_args()


def freeze(model, encoder, layers):
    if encoder:
        model.bert.requires_grad_(False)
    if layers:
        model.bert.embeddings.requires_grad_(False)
        for layer in model.bert.encoder.layer[:layers]:
            layer.requires_grad_(False)


def make_optimizer(model, arguments):
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    exempt = [p for name, p in trained if name.endswith("bias") or "LayerNorm" in name]
    decayed = [p for name, p in trained if not any(p is e for e in exempt)]
    if arguments.decay_all:
        decayed, exempt = decayed + exempt, []
    groups = [{"params": decayed, "weight_decay": arguments.weight_decay}, {"params": exempt, "weight_decay": 0.0}]
    if arguments.optim == "sgd":
        return torch.optim.SGD(groups, lr=arguments.learning_rate, momentum=arguments.momentum)
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[arguments.optim]
    return kind(groups, lr=arguments.learning_rate)


@torch.no_grad()
def accuracy(model, tokenizer, rows, ids, arguments):
    model.eval()
    correct = 0
    rows = sorted(rows, key=lambda row: len(row[arguments.text_column]))
    for start in range(0, len(rows), 64):
        part = rows[start:start + 64]
        batch = common.encode(tokenizer, [row[arguments.text_column] for row in part], arguments.max_seq_length)
        guess = common.logits(model, batch, arguments.pooling).argmax(-1).tolist()
        correct += sum(g == ids[str(row[arguments.label_column])] for g, row in zip(guess, part))
    return correct / len(rows)


def main():
    arguments = parse_arguments()
    common.quiet(arguments.threads)
    torch.manual_seed(arguments.seed)
    output = Path(arguments.output_dir)
    output.mkdir(parents=True, exist_ok=True)

    rows = common.read_table(arguments.train_file)
    names = common.label_names(rows, arguments.label_column)
    ids = {name: index for index, name in enumerate(names)}
    tokenizer = common.load_tokenizer(arguments.model_name_or_path)
    model = common.load_classifier(arguments.model_name_or_path, len(names), arguments.dropout,
                                   arguments.classifier_init, common.DTYPES[arguments.dtype])
    model.config.id2label, model.config.label2id = dict(enumerate(names)), ids
    freeze(model, arguments.freeze_encoder, arguments.freeze_layers)

    batch_size = arguments.per_device_train_batch_size
    steps_per_epoch = math.ceil(len(rows) / batch_size)
    steps = arguments.max_steps if arguments.max_steps > 0 else math.ceil(arguments.num_train_epochs * steps_per_epoch)
    optimizer = make_optimizer(model, arguments)
    scheduler = get_scheduler(arguments.lr_scheduler_type, optimizer,
                              num_warmup_steps=math.ceil(steps * arguments.warmup_ratio), num_training_steps=steps)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    model.train()
    with open(output / "log.jsonl", "w") as log:
        for step in range(1, steps + 1):
            at = (step - 1) % steps_per_epoch
            if at == 0:
                order = list(range(len(rows))) if arguments.no_shuffle else torch.randperm(len(rows)).tolist()
            part = [rows[index] for index in order[at * batch_size:(at + 1) * batch_size]]
            batch = common.encode(tokenizer, [row[arguments.text_column] for row in part], arguments.max_seq_length)
            labels = torch.tensor([ids[str(row[arguments.label_column])] for row in part])
            loss = torch.nn.functional.cross_entropy(common.logits(model, batch, arguments.pooling), labels)
            optimizer.zero_grad()
            loss.backward()
            # Parameters the loss does not reach (the pooler under --pooling mean) have no gradient.
            gradients = {name: p.grad for name, p in trained.items() if p.grad is not None}
            if step == 1:
                save_file({name: g.contiguous() for name, g in gradients.items()}, output / "grads_step1.safetensors")
            norm = torch.nn.utils.clip_grad_norm_(trained.values(), arguments.max_grad_norm or math.inf).item()
            record = {"step": step, "epoch": step / steps_per_epoch, "loss": loss.item(),
                      "learning_rate": scheduler.get_last_lr()[0], "grad_norm": norm}
            optimizer.step()
            scheduler.step()
            print(json.dumps(record), file=log, flush=True)

    results = {}
    for part in ("validation", "test"):
        file = getattr(arguments, f"{part}_file")
        if file:
            results[f"{part}_accuracy"] = accuracy(model, tokenizer, common.read_table(file), ids, arguments)
            print(f"{part} accuracy: {results[f'{part}_accuracy']:.3f}")
    (output / "results.json").write_text(json.dumps(results) + "\n")
    if arguments.save_model:
        model.float().save_pretrained(output)
        tokenizer.save_pretrained(output)


if __name__ == "__main__":
    main()
