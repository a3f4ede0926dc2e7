"""Loads a folder that `wgrad finetune` wrote with AutoModelForSequenceClassification and predicts.

Prints JSON lines: text, label, probabilities, logits. With --against FILE (the output of `wgrad predict --json` for
the same texts) the two are compared. Exit code 1 where they differ or where weights are missing or left over.
"""

import argparse
import json
import sys

import torch
from transformers import AutoModelForSequenceClassification

import common


def as_list(values, id2label):
    """Probabilities by label id, from a list or from an object keyed by label."""
    return [values[id2label[i]] for i in range(len(values))] if isinstance(values, dict) else values


def differences(reference, ours, id2label, tolerance):
    if [a["text"] for a in reference] != [b["text"] for b in ours]:
        yield f"the texts differ: {len(reference)} here, {len(ours)} in the other file"
        return
    for a, b in zip(reference, ours):
        if a["label"] != b["label"]:
            yield f"{a['text']!r}: label {a['label']} here, {b['label']} there"
        for key in ("probabilities", "logits"):
            if key == "logits" and key not in b:
                continue
            x, y = a[key], as_list(b[key], id2label)
            if len(x) != len(y) or not all(abs(u - v) <= tolerance for u, v in zip(x, y)):
                yield f"{a['text']!r}: {key} {x} here, {y} there"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--text", action="append")
    parser.add_argument("--file", help="one text a line")
    parser.add_argument("--against", metavar="PREDICTIONS.jsonl")
    parser.add_argument("--tol", type=float, default=1e-4)
    parser.add_argument("--max_seq_length", type=int, default=128)
    parser.add_argument("--pooling", default="cls", choices=["cls", "mean"], help="cls is what transformers does")
    parser.add_argument("--dtype", default="float32", choices=list(common.DTYPES))
    arguments = parser.parse_args()
    common.quiet()

    model, info = AutoModelForSequenceClassification.from_pretrained(
        arguments.folder, dtype=common.DTYPES[arguments.dtype], output_loading_info=True)
    model.eval()
    tokenizer = common.load_tokenizer(arguments.folder)
    texts = common.read_texts(arguments)
    with torch.no_grad():
        logits = common.logits(model, common.encode(tokenizer, texts, arguments.max_seq_length), arguments.pooling)
    id2label = model.config.id2label
    results = [{"text": text, "label": id2label[int(row.argmax())], "probabilities": row.softmax(-1).tolist(),
                "logits": row.tolist()} for text, row in zip(texts, logits)]
    for record in results:
        print(json.dumps(record, ensure_ascii=False))

    problems = [f"{key}: {sorted(info[key])}" for key in ("missing_keys", "unexpected_keys", "mismatched_keys") if info[key]]
    if arguments.against:
        problems += differences(results, common.read_jsonl(arguments.against), id2label, arguments.tol)
    for problem in problems:
        print(problem, file=sys.stderr)
    if arguments.against and not problems:
        print(f"passed: {len(results)} texts within {arguments.tol:g}", file=sys.stderr)
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
