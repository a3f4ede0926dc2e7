"""Masked mean-pooled, L2-normalised sentence embeddings with PyTorch, as JSON lines: text, embedding."""

import argparse
import json
from pathlib import Path

import torch
from transformers import AutoModel

import common


@torch.no_grad()
def embed(model, tokenizer, texts, max_seq_length, batch_size):
    for start in range(0, len(texts), batch_size):
        part = texts[start:start + batch_size]
        batch = common.encode(tokenizer, part, max_seq_length)
        pooled = common.mean_pool(model(**batch).last_hidden_state, batch["attention_mask"])
        yield from zip(part, torch.nn.functional.normalize(pooled, dim=-1).tolist())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model_name_or_path", required=True)
    parser.add_argument("--text", action="append")
    parser.add_argument("--file", help="one text a line")
    parser.add_argument("--max_seq_length", type=int,
                        help="default: max_seq_length of the folder's sentence_bert_config.json, else 512")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--dtype", default="float64", choices=list(common.DTYPES))
    arguments = parser.parse_args()
    common.quiet()

    folder = Path(arguments.model_name_or_path)
    limit = arguments.max_seq_length
    if limit is None:
        config = folder / "sentence_bert_config.json"
        limit = json.loads(config.read_text())["max_seq_length"] if config.exists() else 512
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).to(common.DTYPES[arguments.dtype]).eval()
    tokenizer = common.load_tokenizer(folder)
    for text, embedding in embed(model, tokenizer, common.read_texts(arguments), limit, arguments.batch_size):
        print(json.dumps({"text": text, "embedding": embedding}, ensure_ascii=False))


if __name__ == "__main__":
    main()
