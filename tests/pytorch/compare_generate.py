"""Compares `wgrad generate --temp 0 --json` with the file of `generate_reference.py`.

    python compare_generate.py REFERENCE.json OUTPUT.txt

OUTPUT.txt is the command's output; its last line is JSON. Tokens must be equal up to the first place whose margin is at
most 0.05, behind which the two texts may go different ways.
"""

import json
import sys

MARGIN = 0.05


def main():
    with open(sys.argv[1]) as file:
        reference = json.load(file)
    with open(sys.argv[2]) as file:
        found = json.loads(file.read().strip().splitlines()[-1])
    if found["prompt_tokens"] != len(reference["prompt"]):
        sys.exit(f"the prompt has {found['prompt_tokens']} tokens, {len(reference['prompt'])} in the reference")
    expected, margins = reference["tokens"], reference["margins"]
    for place, (a, b) in enumerate(zip(found["tokens"], expected)):
        if a != b:
            if margins[place] <= MARGIN:
                print(f"equal up to token {place}, where the reference's margin is only {margins[place]:.4f}")
                return
            sys.exit(f"token {place} is {a}, {b} in the reference, whose margin is {margins[place]:.4f}")
    if len(found["tokens"]) != len(expected):
        sys.exit(f"{len(found['tokens'])} tokens, {len(expected)} in the reference")
    print(f"{len(expected)} tokens equal, smallest margin {min(margins):.4f}")


if __name__ == "__main__":
    main()
