"""Compares the op matrix that `wgrad doctor --dump DIR` wrote with PyTorch in float64, values and gradients.

A line of DIR/cases.jsonl is one case: name, op, torch (a Python expression over x0, x1, ... with torch, F and math in
scope), inputs [{shape, dtype, requires_grad}], output_shape, tolerance, data (a safetensors file in DIR with x0..., y,
dy, dx0...; a file that holds several cases names them `<line number from 0>/x0`). The gradients are those of
sum(y * dy). A case passes when max |a - b| <= tolerance * max(1, max |reference|) for y and for every gradient.
The expressions are executed: run this on your own dumps only.
"""

import argparse
import json
import math
import sys
from collections import defaultdict
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open


@lru_cache(maxsize=4)
def open_data(path):
    file = safe_open(path, framework="pt")
    return file, set(file.keys())


def reader(path, index):
    """A function from a name (`x0`) to the case's tensor, or None where the file has none."""
    file, keys = open_data(path)

    def read(name):
        for key in (f"{index}/{name}", name):
            if key in keys:
                return file.get_tensor(key)
        return None

    return read


def need(read, name):
    tensor = read(name)
    if tensor is None:
        raise ValueError(f"the dump has no tensor {name}")
    return tensor


def error(what, reference, ours):
    """max |a - b| / max(1, max |reference|); NaN where ours is NaN."""
    if reference.shape != ours.shape:
        raise ValueError(f"{what}: shape {list(ours.shape)}, PyTorch has {list(reference.shape)}")
    if not reference.numel():
        return 0.0
    reference, ours = reference.detach().to(torch.float64), ours.to(torch.float64)
    return (reference - ours).abs().max().item() / max(1.0, reference.abs().max().item())


def check(case, index, folder):
    """The case's errors by tensor name, e.g. {"y": 1e-7, "dx0": 2e-7}."""
    read = reader(str(folder / case["data"]), index)
    scope = {"torch": torch, "F": F, "math": math}
    inputs = []
    for i, spec in enumerate(case["inputs"]):
        x = need(read, f"x{i}")
        if list(x.shape) != spec["shape"]:
            raise ValueError(f"x{i}: shape {list(x.shape)} in the file, {spec['shape']} in cases.jsonl")
        x = x.to(torch.float64 if spec["dtype"].startswith(("f", "bf")) else torch.int64)
        inputs.append(x.requires_grad_(spec.get("requires_grad", False)))
        scope[f"x{i}"] = x
    y = eval(case["torch"], scope)  # noqa: S307
    if list(y.shape) != case["output_shape"]:
        raise ValueError(f"y: output_shape {case['output_shape']}, PyTorch has {list(y.shape)}")
    errors = {"y": error("y", y, need(read, "y"))}
    requires_grad = {i: x for i, x in enumerate(inputs) if x.requires_grad}
    if requires_grad:
        loss = (y * need(read, "dy").to(torch.float64)).sum()
        gradients = torch.autograd.grad(loss, list(requires_grad.values()), allow_unused=True, materialize_grads=True)
        for i, gradient in zip(requires_grad, gradients):
            errors[f"dx{i}"] = error(f"dx{i}", gradient, need(read, f"dx{i}"))
    return errors


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DUMP_DIR")
    parser.add_argument("--op", help="only this op")
    parser.add_argument("--show", type=int, default=20, help="failures printed in full")
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    lines = (arguments.folder / "cases.jsonl").read_text(encoding="utf-8").splitlines()
    table = defaultdict(lambda: {"cases": 0, "passed": 0, "gradients": 0, "worst": 0.0, "used": 0.0})
    failures = []
    for index, line in enumerate(lines):
        case, name, row = {}, f"line {index + 1}", None
        try:
            case = json.loads(line)
            if arguments.op and case["op"] != arguments.op:
                continue
            name, row = case["name"], table[case["op"]]
            row["cases"] += 1
            errors = check(case, index, arguments.folder)
            beyond = [f"{key} {value:.2e}" for key, value in errors.items() if not value <= case["tolerance"]]
            # max() would drop a NaN that comes second.
            worst = math.nan if any(map(math.isnan, errors.values())) else max(errors.values())
            row["gradients"] += len(errors) - 1
            if math.isnan(worst) or worst > row["worst"]:
                row["worst"] = worst
            row["used"] = max(row["used"], worst / case["tolerance"] if case["tolerance"] else worst)
            row["passed"] += not beyond
            if beyond:
                failures.append(f"{name}: {', '.join(beyond)}, tolerance {case['tolerance']:.1e}: {case['torch']}")
        except Exception as problem:  # a broken case is a failed case; the others are still checked
            if row is None:
                table["(unreadable)"]["cases"] += 1
            text = str(problem).splitlines()[0] if str(problem) else ""
            failures.append(f"{name}: {type(problem).__name__}: {text}: {case.get('torch', line[:80])}")

    print(f"{'op':<28} {'cases':>6} {'passed':>6} {'grads':>6} {'worst error':>11} {'of tolerance':>12}")
    for op, row in sorted(table.items()):
        mark = "" if row["passed"] == row["cases"] else "  FAILED"
        print(f"{op:<28} {row['cases']:6} {row['passed']:6} {row['gradients']:6} {row['worst']:11.1e} {row['used']:12.1%}{mark}")
    for failure in failures[:arguments.show]:
        print(f"  {failure}")
    if len(failures) > arguments.show:
        print(f"  ... and {len(failures) - arguments.show} more")
    cases, passed = (sum(row[key] for row in table.values()) for key in ("cases", "passed"))
    print(f"{passed} of {cases} cases passed")
    sys.exit(cases == 0 or passed != cases)


if __name__ == "__main__":
    main()
