"""Tests compare_ops.py on an invented dump: right cases pass, wrong, missing and broken ones are counted as failed."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

GPU = {"f32": torch.float32, "f16": torch.float16, "u32": torch.uint32, "i32": torch.int32}


def case(name, expression, inputs, spoil=None, tolerance=1e-5):
    """The record and tensors a correct engine would dump; spoil(tensors) then damages them."""
    torch.manual_seed(len(name))
    tensors, scope, specs = {}, {"torch": torch, "F": F}, []
    for i, (dtype, value) in enumerate(inputs):
        grad = dtype in ("f32", "f16")
        stored = value.to(GPU[dtype])
        tensors[f"x{i}"] = stored
        scope[f"x{i}"] = stored.to(torch.float64 if grad else torch.int64).requires_grad_(grad)
        specs.append({"shape": list(value.shape), "dtype": dtype, "requires_grad": grad})
    y = eval(expression, scope)
    tensors["y"] = y.detach().to(torch.float32)
    if y.requires_grad:
        tensors["dy"] = torch.randn(y.shape)
        wanted = [i for i, spec in enumerate(specs) if spec["requires_grad"]]
        gradients = torch.autograd.grad((y * tensors["dy"].double()).sum(), [scope[f"x{i}"] for i in wanted])
        tensors.update({f"dx{i}": g.to(torch.float32).contiguous() for i, g in zip(wanted, gradients)})
    if spoil:
        spoil(tensors)
    op = name.split("/")[0]
    record = {"name": name, "op": op, "torch": expression, "inputs": specs, "output_shape": list(y.shape),
              "tolerance": tolerance}
    return record, {key: value.contiguous().clone() for key, value in tensors.items()}


def scale(key, factor):
    return lambda tensors: tensors.__setitem__(key, tensors[key] * factor)


def main():
    torch.manual_seed(0)
    a, b, ids = torch.randn(3, 4), torch.randn(4, 5), torch.tensor([0, 2, 1, 2])
    good = [
        case("matmul/2d", "x0 @ x1", [("f32", a), ("f32", b)]),
        case("softmax/last", "x0.softmax(-1)", [("f32", a)]),
        case("softmax/f16", "x0.softmax(-1)", [("f16", a)], tolerance=1e-3),
        case("embedding/u32", "F.embedding(x1, x0)", [("f32", a), ("u32", ids)]),
        case("cross_entropy/mean", "F.cross_entropy(x0, x1, label_smoothing=0.1)", [("f32", b), ("i32", ids)]),
        case("gt/broadcast", "(x0.detach() > x1[:3, :4].detach()).double()", [("f32", a), ("f32", b)]),
        case("sum/scalar", "x0.sum()", [("f32", a)]),
    ]
    good[5][0]["inputs"] = [{**spec, "requires_grad": False} for spec in good[5][0]["inputs"]]
    bad = [
        case("matmul/wrong_gradient", "x0 @ x1", [("f32", a), ("f32", b)], scale("dx1", 1.01)),
        case("softmax/wrong_value", "x0.softmax(-1)", [("f32", a)], scale("y", 1.01)),
        case("softmax/nan", "x0.softmax(-1)", [("f32", a)], scale("dx0", float("nan"))),
        case("softmax/missing", "x0.softmax(-1)", [("f32", a)], lambda tensors: tensors.pop("dx0")),
        case("sum/transposed", "x0.T + 0", [("f32", a)], lambda t: t.__setitem__("y", t["y"].T)),
        case("sum/broken_expression", "x0 + 1", [("f32", a)]),
    ]
    bad[-1][0]["torch"] = "x0.no_such_method()"
    with tempfile.TemporaryDirectory() as folder:
        folder, lines, shared = Path(folder), [], {}
        for index, (record, tensors) in enumerate(good + bad):
            # Every third case has a file of its own; the others share one.
            record["data"] = f"{index}.safetensors" if index % 3 == 0 else "shared.safetensors"
            if index % 3 == 0:
                save_file(tensors, folder / record["data"])
            else:
                shared.update({f"{index}/{key}": value for key, value in tensors.items()})
            lines.append(json.dumps(record))
        save_file(shared, folder / "shared.safetensors")

        def run(lines):
            (folder / "cases.jsonl").write_text("\n".join(lines) + "\n")
            script = Path(__file__).with_name("compare_ops.py")
            return subprocess.run([sys.executable, script, folder], capture_output=True, text=True)

        result = run(lines[:len(good)])
        assert result.returncode == 0 and f"{len(good)} of {len(good)} cases passed" in result.stdout, result.stdout
        result = run([*lines, "not JSON"])
        print(result.stdout + result.stderr)
        total = len(lines) + 1
        assert result.returncode == 1 and f"{len(good)} of {total} cases passed" in result.stdout
        for record, _ in bad:
            assert record["name"] + ":" in result.stdout, record["name"]
    print("test_compare_ops: passed")


if __name__ == "__main__":
    main()
