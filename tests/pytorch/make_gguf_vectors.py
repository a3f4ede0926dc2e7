"""Writes the GGUF file that the reader's tests read: for each format some blocks of random bytes, and what the
`gguf` package dequantises them to, as F32.

    python make_gguf_vectors.py ../../crates/models/src/io/gguf/testdata/vectors.gguf
"""

import sys

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as Type, GGUFWriter
from gguf.quants import dequantize

TYPES = [Type.F16, Type.BF16, Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q8_0,
         Type.Q2_K, Type.Q3_K, Type.Q4_K, Type.Q5_K, Type.Q6_K, Type.IQ4_NL]

# Where the f16 scales of a block lie: random bytes there could be infinite.
SCALES = {Type.Q4_0: [0], Type.Q4_1: [0, 2], Type.Q5_0: [0], Type.Q5_1: [0, 2], Type.Q8_0: [0], Type.Q2_K: [80, 82],
          Type.Q3_K: [108], Type.Q4_K: [0, 2], Type.Q5_K: [0, 2], Type.Q6_K: [208], Type.IQ4_NL: [0]}


def blocks(rng, type_):
    elements, size = GGML_QUANT_SIZES[type_]
    count = 2 if elements > 1 else 32
    if elements == 1:
        values = rng.standard_normal(count).astype(np.float32)
        if type_ == Type.F16:
            return values.astype(np.float16).view(np.uint8).reshape(count, size)
        return (values.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8).reshape(count, size)
    data = rng.integers(0, 256, (count, size), dtype=np.uint8)
    for at in SCALES[type_]:
        scale = (rng.standard_normal(count) * 0.02).astype(np.float16)
        data[:, at:at + 2] = scale.view(np.uint8).reshape(count, 2)
    return data


def main(path):
    rng = np.random.default_rng(1)
    writer = GGUFWriter(path, "vectors")
    writer.add_array("vectors.types", [type_.name for type_ in TYPES])
    writer.add_array("vectors.integers", [1, -2, 3])
    writer.add_array("vectors.floats", [0.5, -2.0])
    writer.add_bool("vectors.bool", True)
    writer.add_uint64("vectors.unsigned", 2**40)
    writer.add_int16("vectors.signed", -7)
    writer.add_float32("vectors.float", 0.25)
    for type_ in TYPES:
        data = blocks(rng, type_)
        expected = dequantize(data.reshape(1, -1), type_).astype(np.float32).reshape(2, -1)
        raw = data.reshape(2, -1)
        if type_ == Type.F16:
            writer.add_tensor(type_.name, raw.view(np.float16))
        else:
            writer.add_tensor(type_.name, raw, raw_dtype=type_)
        writer.add_tensor(f"{type_.name}.expected", expected)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main(sys.argv[1])
