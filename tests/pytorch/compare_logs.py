"""Compares two log.jsonl step by step: the reference first, then ours. Exit code 1 beyond a tolerance."""

import argparse
import sys

from common import read_jsonl


def relative(value, reference):
    return abs(value - reference) / max(abs(reference), 1e-12)


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("reference")
parser.add_argument("ours")
parser.add_argument("--loss_tol", type=float, default=1e-4, help="absolute")
parser.add_argument("--grad_tol", type=float, default=0.01, help="relative")
parser.add_argument("--lr_tol", type=float, default=1e-5, help="relative")
arguments = parser.parse_args()

reference, ours = read_jsonl(arguments.reference), read_jsonl(arguments.ours)
# A log may hold other records (evaluations): a step's record is one with a loss.
reference, ours = ({record["step"]: record for record in log if "loss" in record} for log in (reference, ours))
if not reference or reference.keys() != ours.keys():
    sys.exit(f"steps differ: {sorted(reference)} in {arguments.reference}, {sorted(ours)} in {arguments.ours}")

worst = [0.0, 0.0, 0.0]
passed = True
print(f"{'step':>5} {'loss (reference)':>17} {'loss (ours)':>13} {'abs diff':>9} {'grad_norm rel':>13} {'lr rel':>9}")
for step, a in sorted(reference.items()):
    b = ours[step]
    found = [abs(b["loss"] - a["loss"]), relative(b["grad_norm"], a["grad_norm"]),
             relative(b["learning_rate"], a["learning_rate"])]
    # Written so that NaN fails.
    fine = all(f <= t for f, t in zip(found, (arguments.loss_tol, arguments.grad_tol, arguments.lr_tol)))
    passed &= fine
    worst = [max(w, f) for w, f in zip(worst, found)]
    print(f"{step:5} {a['loss']:17.9f} {b['loss']:13.9f} {found[0]:9.1e} {found[1]:13.1e} {found[2]:9.1e}"
          f"{'' if fine else '  BEYOND'}")
print(f"{'passed' if passed else 'FAILED'}: {len(reference)} steps, worst loss {worst[0]:.2e} (abs), "
      f"grad_norm {worst[1]:.2e} (rel), learning_rate {worst[2]:.2e} (rel)")
sys.exit(not passed)
