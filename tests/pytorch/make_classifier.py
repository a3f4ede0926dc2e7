"""Writes a seeded classifier for --classifier_init: classifier.weight [num_labels, hidden], classifier.bias."""

import argparse

import numpy as np
from safetensors.numpy import save_file

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("output", help="file to write, e.g. classifier.safetensors")
parser.add_argument("--num_labels", type=int, default=2)
parser.add_argument("--hidden_size", type=int, default=384)
parser.add_argument("--std", type=float, default=0.02, help="of the weights and of the bias")
parser.add_argument("--seed", type=int, default=0)
arguments = parser.parse_args()

rng = np.random.default_rng(arguments.seed)
# The bias is not zero, so that a forgotten bias shows.
shapes = {"classifier.weight": (arguments.num_labels, arguments.hidden_size), "classifier.bias": (arguments.num_labels,)}
save_file({name: rng.normal(0.0, arguments.std, shape).astype(np.float32) for name, shape in shapes.items()},
          arguments.output)
