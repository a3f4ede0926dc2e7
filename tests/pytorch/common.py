"""What the reference scripts share: reading text files, batching, the classifier and its two poolings."""

import csv
import json
import logging
import sys
import warnings
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, BertForSequenceClassification
from transformers.utils import logging as transformers_logging

DTYPES = {"float64": torch.float64, "float32": torch.float32}


def quiet(threads=1):
    """One thread (so that results do not depend on the machine's load) and no chatter on standard error."""
    torch.set_num_threads(threads)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")


def read_table(path):
    """Rows of a TSV (split at tabs, quotes are plain characters), CSV or JSONL file as dicts."""
    path = Path(path)
    with path.open(encoding="utf-8", newline="") as file:
        if path.suffix == ".jsonl":
            return [json.loads(line) for line in file if line.strip()]
        if path.suffix == ".csv":
            return list(csv.DictReader(file))
        lines = [line for line in file.read().replace("\r\n", "\n").split("\n") if line]
    header = lines[0].split("\t")
    return [dict(zip(header, line.split("\t"), strict=True)) for line in lines[1:]]


def read_jsonl(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def read_texts(arguments):
    """The texts given by --text, or the lines of --file, as they stand (an empty line is an empty text)."""
    if arguments.file:
        return Path(arguments.file).read_text(encoding="utf-8").removesuffix("\n").split("\n")
    if not arguments.text:
        sys.exit("no text: give --text (it may be repeated) or --file with one text a line")
    return arguments.text


def label_names(rows, column):
    """Sorted label names: by value where all are integers, else as strings. Their order gives the ids."""
    names = {str(row[column]) for row in rows}
    numeric = all(name.lstrip("-").isdigit() for name in names)
    return sorted(names, key=int if numeric else str)


def load_tokenizer(folder):
    return AutoTokenizer.from_pretrained(folder)


def encode(tokenizer, texts, max_seq_length):
    """A batch padded to its longest text, each cut to max_seq_length tokens."""
    return tokenizer(texts, padding="longest", truncation=True, max_length=max_seq_length, return_tensors="pt")


def load_classifier(folder, num_labels, dropout, classifier_init=None, dtype=torch.float64):
    """transformers' BertForSequenceClassification with the folder's encoder and pooler."""
    rates = {} if dropout is None else {
        "hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout, "classifier_dropout": dropout}
    model, info = BertForSequenceClassification.from_pretrained(
        folder, num_labels=num_labels, dtype=torch.float32, output_loading_info=True, **rates)
    missing = set(info["missing_keys"]) - {"classifier.weight", "classifier.bias"}
    if missing:
        sys.exit(f"{folder}: weights missing: {sorted(missing)}")
    if classifier_init:
        with torch.no_grad():
            for name, value in load_file(classifier_init).items():
                model.get_parameter(name).copy_(value)
    return model.to(dtype)


def mean_pool(hidden, attention_mask):
    """Mean over the tokens that attention_mask keeps. hidden: [B, T, C], attention_mask: [B, T] -> [B, C]."""
    mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * mask).sum(1) / mask.sum(1)


def logits(model, batch, pooling):
    """[B, num_labels]. `cls`: exactly transformers' forward. `mean`: mean_pool stands in for the pooler."""
    if pooling == "cls":
        return model(**batch).logits
    hidden = model.bert(**batch).last_hidden_state
    return model.classifier(model.dropout(mean_pool(hidden, batch["attention_mask"])))
