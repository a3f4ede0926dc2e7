"""Compares two files of JSON lines `text, embedding`, the reference first. Exit code 1 beyond the tolerance."""

import argparse
import sys

from common import read_jsonl

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("reference")
parser.add_argument("ours")
parser.add_argument("--tol", type=float, default=1e-4, help="absolute, for every component")
arguments = parser.parse_args()

reference, ours = read_jsonl(arguments.reference), read_jsonl(arguments.ours)
if not reference or [a["text"] for a in reference] != [b["text"] for b in ours]:
    sys.exit(f"the texts differ: {len(reference)} in {arguments.reference}, {len(ours)} in {arguments.ours}")
passed = True
for a, b in zip(reference, ours):
    x, y = a["embedding"], b["embedding"]
    # A missing number (null) fails like a wrong one.
    worst = max((abs(u - v) if v is not None else float("nan") for u, v in zip(x, y)), default=float("nan"))
    fine = len(x) == len(y) and all(v is not None and abs(u - v) <= arguments.tol for u, v in zip(x, y))
    passed &= fine
    print(f"{worst:9.1e}  {a['text'][:60]!r}{'' if fine else f'  BEYOND ({len(x)} and {len(y)} numbers)'}")
print("passed" if passed else "FAILED")
sys.exit(not passed)
