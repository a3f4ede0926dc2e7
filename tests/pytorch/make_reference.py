"""Writes reference.jsonl: PyTorch's float64 values and gradients for a small part of the op matrix.

The test `pytorch` of the suite computes the same rows and compares, so that a machine without PyTorch is checked too.
ROWS is what that test wrote with WGRAD_DUMP=ROWS: a line a row, with the expression and the inputs. A line of the
output has name, torch (the expression), and y, dx0, dx1, ... as flat lists with nine digits. The gradients are those
of sum(y * dy). The expressions are executed: run this on your own rows only.
"""

import argparse
import json
import math
from pathlib import Path

import torch
import torch.nn.functional as F


def compute(row):
    """y and the gradients of a row by name."""
    scope, wanted = {"torch": torch, "F": F, "math": math}, {}
    for i, spec in enumerate(row["inputs"]):
        dtype = torch.float64 if spec["dtype"].startswith("f") else torch.int64
        x = torch.tensor(spec["data"], dtype=torch.float64).reshape(spec["shape"]).to(dtype)
        scope[f"x{i}"] = x
        if spec["requires_grad"]:
            wanted[f"dx{i}"] = x.requires_grad_(True)
    y = eval(row["torch"], scope)  # noqa: S307
    results = {"y": y.detach()}
    if wanted:
        dy = torch.tensor(row["dy"], dtype=torch.float64).reshape(y.shape)
        gradients = torch.autograd.grad((y * dy).sum(), list(wanted.values()), allow_unused=True, materialize_grads=True)
        results.update(zip(wanted, gradients))
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=Path, metavar="ROWS")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("reference.jsonl"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    lines = []
    for line in arguments.rows.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        results = {"name": row["name"], "torch": row["torch"]}
        for name, value in compute(row).items():
            results[name] = [float(f"{v:.9g}") for v in value.to(torch.float64).flatten().tolist()]
        lines.append(json.dumps(results, separators=(",", ":"), ensure_ascii=False))
    arguments.output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(lines)} rows in {arguments.output}, PyTorch {torch.__version__}")


if __name__ == "__main__":
    main()
