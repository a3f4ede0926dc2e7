"""SmolLM2-135M of the public benchmark inferena with PyTorch, one JSON object: the keys of `wgrad bench inferena
smollm2-135m --json` that both have. Weights are made from the seed to the same bits (see weights.rs of that command)."""

import argparse
import json
import statistics
import time

import numpy
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import common

GOLDEN = numpy.uint64(0x9E3779B97F4A7C15)
TOKENS, SAMPLES, WARM_UP = 128, 64, 3


def splitmix64(state, k):
    z = numpy.uint64(state) + k * GOLDEN
    z = (z ^ (z >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
    return z ^ (z >> numpy.uint64(31))


def fnv1a64(text):
    h = 0xCBF29CE484222325
    for byte in text.encode():
        h = (h ^ byte) * 0x100000001B3 % (1 << 64)
    return h


def values(name, shape, seed):
    """Uniform in centre ± bound, computed in float64 and rounded once."""
    if "embed_tokens" in name:
        centre, bound = 0.0, 3**0.5 / 24
    elif "norm" in name:
        centre, bound = 1.0, 0.5
    else:
        centre, bound = 0.0, (3 / shape[1]) ** 0.5
    with numpy.errstate(over="ignore"):
        key = splitmix64(seed ^ fnv1a64(name), numpy.arange(1, 2, dtype=numpy.uint64))[0]
        count = int(numpy.prod(shape))
        u = splitmix64(key, numpy.arange(1, count + 1, dtype=numpy.uint64)) >> numpy.uint64(40)
    r = (2.0 * u.astype(numpy.float64) + 1 - 2**24) / 2**24
    return torch.from_numpy((centre + r * bound).astype(numpy.float32).reshape(shape))


def times(runs, call):
    for _ in range(WARM_UP):
        call()
    taken = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        taken.append(1e3 * (time.perf_counter() - start))
    return taken


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", choices=common.DTYPES, default="float32")
    arguments = parser.parse_args()
    common.quiet(arguments.threads)
    config = LlamaConfig(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
        num_key_value_heads=3, max_position_embeddings=8192, rms_norm_eps=1e-5, tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 100000.0}, rope_theta=100000.0,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(values(name, tuple(parameter.shape), arguments.seed))
    model.to(common.DTYPES[arguments.dtype]).train()
    ids = torch.arange(TOKENS)[None]

    def step():
        model.zero_grad()
        logits = model(ids, use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits[0], ids[0] + 1)
        loss.backward()
        return logits, loss

    @torch.no_grad()
    def forward():
        model(ids, use_cache=False)

    inference = times(arguments.runs, forward)
    training = times(arguments.runs, step)
    logits, loss = step()
    squares = sum(parameter.grad.double().square().sum() for parameter in model.parameters())
    output = logits.detach().flatten()
    places = [(2 * k + 1) * len(output) // (2 * SAMPLES) for k in range(SAMPLES)]
    print(json.dumps({
        "case": "smollm2-135m",
        "seed": arguments.seed,
        "inference_ms": statistics.median(inference),
        "training_ms": statistics.median(training),
        "training_ms_best": min(training),
        "loss": loss.item(),
        "grad_norm": squares.sqrt().item(),
        "outputs": output[places].tolist(),
    }))


if __name__ == "__main__":
    main()
