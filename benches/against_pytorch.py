"""A result of `wgrad bench` beside PyTorch on the same machine: the rows both can run, and their ratio.

    cargo run --release -- bench table --json > table.json
    python benches/against_pytorch.py table.json            # on CUDA where there is one, else on the CPU

f32 products with TF32 off, f16 ones with f32 sums as PyTorch's default has them, attention by
scaled_dot_product_attention's own choice, training eager: f32, or autocast to f16 with a GradScaler, and AdamW, the loss
read back after every step. Medians; on CUDA by events around calls that keep it busy.
"""

import argparse
import json
import re
import statistics
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

CUDA = torch.cuda.is_available()
DEVICE = "cuda" if CUDA else "cpu"
TYPES = {"f32": torch.float32, "f16": torch.float16}


def median_seconds(call, budget):
    """The median of one call, many in a sample where calls are short."""
    for _ in range(3):
        call()
    synchronize()
    start = time.perf_counter()
    call()
    synchronize()
    calls = max(1, min(1000, int(0.005 / (time.perf_counter() - start + 1e-9))))
    samples = []
    end = time.perf_counter() + budget
    while len(samples) < 5 or (time.perf_counter() < end and len(samples) < 100):
        samples.append(sample(call, calls))
    return statistics.median(samples)


def synchronize():
    if CUDA:
        torch.cuda.synchronize()


def sample(call, calls):
    if not CUDA:
        start = time.perf_counter()
        for _ in range(calls):
            call()
        return (time.perf_counter() - start) / calls
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    for _ in range(calls):
        call()
    last.record()
    last.synchronize()
    return first.elapsed_time(last) / 1e3 / calls


def uniform(shape, dtype):
    return (torch.rand(shape, device=DEVICE) * 2 - 1).to(dtype)


def product(dtype, transposes, m, k, n):
    a = uniform((k, m), dtype).t() if transposes[0] == "t" else uniform((m, k), dtype)
    b = uniform((n, k), dtype).t() if transposes[1] == "t" else uniform((k, n), dtype)
    return lambda: a @ b


def memory(op, dtype, rows, columns):
    x, y = (uniform((rows, columns), dtype) for _ in range(2))
    w, b = (uniform((columns,), dtype) for _ in range(2))
    return {
        "softmax": lambda: F.softmax(x, -1),
        "layer_norm": lambda: F.layer_norm(x, (columns,), w, b),
        "rms_norm": lambda: F.rms_norm(x, (columns,), w),
        "gelu": lambda: F.gelu(x),
        "add": lambda: x + y,
    }[op]


def attention(dtype, b, t, h, d, causal, backward):
    q, k, v = (uniform((b, h, t, d), dtype).requires_grad_() for _ in range(3))
    dy = uniform((b, h, t, d), dtype)

    def forward():
        with torch.no_grad():
            F.scaled_dot_product_attention(q, k, v, is_causal=causal)

    def both():
        y = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        torch.autograd.grad(y, (q, k, v), dy)

    return both if backward else forward


class Layer(nn.Module):
    def __init__(self, channels, hidden, heads, causal):
        super().__init__()
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        self.up, self.down = nn.Linear(channels, hidden), nn.Linear(hidden, channels)
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.heads, self.causal = heads, causal

    def attend(self, x):
        b, t, c = x.shape
        parts = self.qkv(x).view(b, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(*parts, is_causal=self.causal)
        return self.out(y.transpose(1, 2).reshape(b, t, c))

    def feed(self, x):
        return self.down(F.gelu(self.up(x)))

    def forward(self, x):
        if self.causal:  # GPT: norms in front
            x = x + self.attend(self.norm1(x))
            return x + self.feed(self.norm2(x))
        x = self.norm1(x + self.attend(x))
        return self.norm2(x + self.feed(x))


class Model(nn.Module):
    """The transformers of `wgrad bench train`, with their numbers of parameters."""

    def __init__(self, gpt, layers, channels, hidden, heads, vocabulary, positions, tied):
        super().__init__()
        self.gpt = gpt
        self.word = nn.Embedding(vocabulary, channels)
        self.position = nn.Embedding(positions, channels)
        self.kind = None if gpt else nn.Embedding(2, channels)
        self.norm = nn.LayerNorm(channels)
        self.layers = nn.ModuleList(Layer(channels, hidden, heads, gpt) for _ in range(layers))
        self.head = nn.Linear(channels, vocabulary if gpt else 2, bias=not gpt)
        if tied:
            self.head.weight = self.word.weight

    def forward(self, ids):
        x = self.word(ids) + self.position(torch.arange(ids.shape[1], device=ids.device))
        if not self.gpt:
            x = self.norm(x + self.kind(torch.zeros_like(ids)))
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x)).flatten(0, 1) if self.gpt else self.head(x[:, 0])


CASES = {  # gpt, layers, channels, hidden, heads, vocabulary, positions, tied
    "bert": (False, 6, 384, 1536, 12, 30522, 512, False),
    "gpt": (True, 4, 128, 512, 4, 96, 128, False),
    "gpt-small": (True, 12, 768, 3072, 12, 50257, 1024, True),
}


def training(case, batch, seq, half, millions):
    sides = CASES[case]
    model = Model(*sides).to(DEVICE)
    own = sum(p.numel() for p in model.parameters()) / 1e6
    if abs(own - millions) > 0.01 * own:
        raise RuntimeError(f"the row's model has {millions:.1f}M parameters, {case} has {own:.1f}M")
    ids = torch.randint(sides[5], (batch, seq), device=DEVICE)
    targets = torch.randint(sides[5], (batch * seq,), device=DEVICE)
    if not sides[0]:
        targets = torch.randint(2, (batch,), device=DEVICE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, weight_decay=0.01)
    scaler = torch.amp.GradScaler(DEVICE, enabled=half)

    def step():
        optimizer.zero_grad()
        with torch.autocast(DEVICE, torch.float16, enabled=half):
            loss = F.cross_entropy(model(ids).float(), targets)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        loss.item()

    return step


def laid_out(text):
    """An input of a row of `wgrad bench ops`, such as `f32[4, 5] transposed`, with random values."""
    dtype, sides, layout = re.fullmatch(r"(f32|f16|u32|i32)\[([\d, ]*)\] ?(\w*)", text).groups()
    shape = [int(side) for side in sides.split(",") if side.strip()]
    if layout == "transposed":
        shape[-2:] = shape[:-3:-1]
    stored = [side + 3 for side in shape] if layout == "sliced" else shape
    stored = [1, *shape[1:]] if layout == "expanded" else stored
    values = uniform(stored, TYPES[dtype]) if dtype in TYPES else torch.randint(2, stored, device=DEVICE)
    if layout == "transposed":
        return values.transpose(-2, -1)
    if layout == "sliced":
        return values[tuple(slice(1, 1 + side) for side in shape)]
    return values.expand(shape)


def of_matrix(inputs, expression, backward):
    """A row of the op matrix: its expression in PyTorch, with the gradients of its floats."""
    tensors = [laid_out(text) for text in re.findall(r"\w+\[[\d, ]*\](?: \w+)?", inputs)]
    names = {f"x{i}": tensor for i, tensor in enumerate(tensors)} | {"torch": torch, "F": F}
    code = compile(expression, "row", "eval")
    if not backward:
        return lambda: eval(code, names)
    leaves = [tensor.requires_grad_() for tensor in tensors if tensor.is_floating_point()]
    dy = eval(code, names).detach()
    return lambda: torch.autograd.grad(eval(code, names), leaves, dy)


def call_of(row):
    """What computes in PyTorch what the row computes, or None."""
    name = row["name"]
    if found := re.fullmatch(r"matmul (f32|f16) ([nt]{2}) (\d+)x(\d+)x(\d+)(?: (?!cold)\w+)?", name):
        return product(TYPES[found[1]], found[2], *(int(found[i]) for i in (3, 4, 5)))
    if found := re.fullmatch(r"(softmax|layer_norm|rms_norm|gelu|add) (f32|f16) (\d+)x(\d+)", name):
        return memory(found[1], TYPES[found[2]], int(found[3]), int(found[4]))
    pattern = r"attention (f32|f16) B(\d+) T(\d+) H(\d+) D(\d+)( causal)? forward( and backward)?"
    if found := re.fullmatch(pattern, name):
        sides = (int(found[i]) for i in (2, 3, 4, 5))
        return attention(TYPES[found[1]], *sides, bool(found[6]), bool(found[7]))
    pattern = r"train (bert|gpt|gpt-small) (\d+)x(\d+)( f16 mixed)?(?:, layers \d+)?(?:, vocab \d+)?"
    if found := re.fullmatch(pattern, name):
        return training(found[1], int(found[2]), int(found[3]), bool(found[4]), row["figures"]["parameters M"])
    if found := re.fullmatch(r"\w+\(((?:f32|f16|u32|i32)\[.*?\](?: \w+)?)\) (.*?)( with backward)?", name):
        return of_matrix(found[1], found[2], bool(found[3]))
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("result", help="what `wgrad bench … --json` printed, or --save kept")
    parser.add_argument("--seconds", type=float, default=0.5, help="of samples for a row")
    parser.add_argument("--only", default="", help="rows whose name has this text")
    args = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    result = json.load(open(args.result))
    where = torch.cuda.get_device_name() if CUDA else "CPU"
    print(f"wgrad: {result['adapter']} ({result['backend']}); PyTorch {torch.__version__}: {where}")
    print(f"{'row':<58} {'wgrad':>10} {'PyTorch':>10} {'wgrad/PyTorch speed':>20}")
    for row in result["rows"]:
        if args.only not in row["name"] or not row.get("median"):
            continue
        try:
            call = call_of(row)
            if call is None:
                continue
            seconds = median_seconds(call, args.seconds)
        except (RuntimeError, SyntaxError, NameError) as error:
            print(f"{row['name']:<58} not run: {str(error).splitlines()[0]}")
            continue
        ratio = seconds / row["median"]
        print(f"{row['name']:<58} {row['median'] * 1e3:>7.3f} ms {seconds * 1e3:>7.3f} ms {ratio:>19.1%}", flush=True)


if __name__ == "__main__":
    main()
