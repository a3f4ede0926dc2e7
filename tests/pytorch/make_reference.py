"""Writes reference.jsonl: PyTorch's float64 values and gradients for a small part of the op matrix.

DIR is what `wgrad doctor --dump DIR` wrote. The first few small cases of each op are taken. The test
`pytorch::stored_reference` computes the same cases and compares, so that a machine without PyTorch is checked too.
Run this again when cases are added or renamed. A line is one case: name, torch (the expression that was computed),
y and dx0, dx1, ... as flat lists with nine digits.
"""

import argparse
import json
from collections import Counter
from math import prod
from pathlib import Path

import torch
from compare_ops import compute


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DUMP_DIR")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("reference.jsonl"))
    parser.add_argument("--cases", type=int, default=4, help="cases of each op")
    parser.add_argument("--elements", type=int, default=300, help="elements of all inputs and the output of a case")
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    taken, lines = Counter(), []
    for index, line in enumerate((arguments.folder / "cases.jsonl").read_text(encoding="utf-8").splitlines()):
        case = json.loads(line)
        sizes = [prod(spec["shape"]) for spec in case["inputs"]] + [prod(case["output_shape"])]
        if taken[case["op"]] == arguments.cases or not 4 <= sum(sizes) <= arguments.elements or 0 in sizes:
            continue
        taken[case["op"]] += 1
        results, _ = compute(case, index, arguments.folder)
        row = {"name": case["name"], "torch": case["torch"]}
        for name, value in results.items():
            row[name] = [float(f"{v:.9g}") for v in value.to(torch.float64).flatten().tolist()]
        lines.append(json.dumps(row, separators=(",", ":")))
    arguments.output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(lines)} cases of {len(taken)} ops in {arguments.output}, PyTorch {torch.__version__}")


if __name__ == "__main__":
    main()
