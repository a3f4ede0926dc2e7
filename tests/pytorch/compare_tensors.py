"""Compares two safetensors files, the reference first: per tensor max |a - b| / max |reference|.

Exit code 1 beyond the tolerance, or where names or shapes differ.
"""

import argparse
import sys

import torch
from safetensors.torch import load_file

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("reference")
parser.add_argument("ours")
parser.add_argument("--tol", type=float, default=1e-4)
parser.add_argument("--floor", type=float, default=1e-5,
                    help="tensors whose reference stays below this share of the file's largest value are held against "
                         "that share instead: a gradient that is zero in theory (attention's key bias) is only rounding")
parser.add_argument("--all", action="store_true", help="print every tensor, not the ten worst")
arguments = parser.parse_args()

reference, ours = load_file(arguments.reference), load_file(arguments.ours)
bad = [f"{name}: only in {file}" for name in sorted(reference.keys() ^ ours.keys())
       for file in [arguments.reference if name in reference else arguments.ours]]
floor = arguments.floor * max((t.abs().max().item() for t in reference.values()), default=0.0)
rows = []
for name in sorted(reference.keys() & ours.keys()):
    a, b = reference[name].to(torch.float64), ours[name].to(torch.float64)
    if a.shape != b.shape:
        bad.append(f"{name}: shape {list(a.shape)} in {arguments.reference}, {list(b.shape)} in {arguments.ours}")
        continue
    difference, largest = (a - b).abs().max().item(), a.abs().max().item()
    scale = max(largest, floor)
    rows.append((difference / scale if scale else difference, difference, largest, name))

rows.sort(key=lambda row: -row[0] if row[0] == row[0] else -float("inf"))
print(f"{'error':>9} {'max |a-b|':>10} {'max |ref|':>10}  tensor")
for error, difference, largest, name in rows if arguments.all else rows[:10]:
    print(f"{error:9.1e} {difference:10.1e} {largest:10.1e}  {name}{'' if error <= arguments.tol else '  BEYOND'}")
beyond = sum(not row[0] <= arguments.tol for row in rows)
print(*bad, sep="\n", end="\n" if bad else "")
failed = bool(bad or beyond or not rows)
print(f"{'FAILED' if failed else 'passed'}: {len(rows)} tensors compared, {beyond} beyond {arguments.tol:g}, "
      f"{len(bad)} missing or of another shape")
sys.exit(failed)
