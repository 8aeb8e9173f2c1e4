"""A port of GPT-2 in plain NumPy, forward only, to be checked against a golden bundle.

    minitx dump gpt2 --small --out golden
    python demos/port.py golden mine.npz
    minitx diff golden mine.npz
    python demos/port.py golden mine.npz --right
    minitx diff golden mine.npz

It reads the bundle's inputs and parameters, and writes down what it computes under the bundle's
names.  Its loss is right to five digits and more, and yet one thing is wrong, unless --right.
"""

from __future__ import annotations

import argparse
import json
import math
import pathlib

import numpy as np

from minitx.checkpoint import load_safetensors

erf = np.vectorize(math.erf)


def gelu(x):
    return 0.5 * x * (1 + erf(x / math.sqrt(2)).astype(x.dtype))


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


class Port:
    """``Port(golden)()`` -> every value by the bundle's name."""

    def __init__(self, golden: str, dtype: str, right: bool):
        self.gelu = gelu_tanh if right else gelu
        arrays = load_safetensors(f"{golden}.safetensors")
        self.manifest = json.loads(pathlib.Path(f"{golden}.json").read_text())
        self.inputs = arrays["input/inputs"]
        self.targets = arrays["input/targets"]
        start = "parameter/"
        self.p = {
            k[len(start) :]: x.astype(dtype) for k, x in arrays.items() if k.startswith(start)
        }
        self.seen: dict[str, np.ndarray] = {}

    def keep(self, name, x):
        self.seen[f"value/{name}"] = x
        return x

    def norm(self, x, name):
        mean, var = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
        y = (x - mean) / np.sqrt(var + 1e-5) * self.p[f"{name}.weight"] + self.p[f"{name}.bias"]
        return self.keep(f"{name}.layer_norm", y)

    def linear(self, x, name):
        return x @ self.p[f"{name}.weight"].T + self.p[f"{name}.bias"]

    def attention(self, x, name, heads):
        B, T, C = x.shape
        q, k, v = (
            self.linear(x, f"{name}.{part}").reshape(B, T, heads, -1).swapaxes(1, 2)
            for part in ("query", "key", "value")
        )
        scores = q @ k.swapaxes(-1, -2) / math.sqrt(C // heads)
        scores = np.where(np.tri(T, dtype=bool), scores, -np.inf)
        e = np.exp(scores - scores.max(axis=-1, keepdims=True))
        y = (e / e.sum(axis=-1, keepdims=True)) @ v
        return self.keep(f"{name}.self_attend", y.swapaxes(1, 2).reshape(B, T, C))

    def mlp(self, x, name):
        up = self.keep(f"{name}.up.linear", self.gelu(self.linear(x, f"{name}.up")))
        return self.keep(f"{name}.down.linear", self.linear(up, f"{name}.down"))

    def block(self, x, name, heads):
        y = self.attention(self.norm(x, f"{name}.norm1"), f"{name}.attention", heads)
        y = self.keep(f"{name}.attention.output.linear", self.linear(y, f"{name}.attention.output"))
        x = self.keep(f"{name}.add", x + y)
        return self.keep(
            f"{name}.add_2", x + self.mlp(self.norm(x, f"{name}.norm2"), f"{name}.mlp")
        )

    def __call__(self):
        config = self.manifest["config"]
        table = self.p["tokens.weight"]
        x = table[self.inputs] + self.p["positions.weight"][: self.inputs.shape[1]]
        self.keep("add", x)
        for i in range(config["layers"]):
            x = self.block(x, f"blocks.{i}", config["heads"])
        logits = self.keep("linear", self.norm(x, "norm") @ table.T)
        e = logits - logits.max(axis=-1, keepdims=True)
        e = e - np.log(np.exp(e).sum(axis=-1, keepdims=True))
        counted = self.targets != -100
        picked = np.take_along_axis(e, np.maximum(self.targets, 0)[..., None], axis=-1)[..., 0]
        self.keep("cross_entropy", -(picked * counted).sum() / counted.sum())
        return self.seen


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("golden", help="the bundle, without a suffix")
    parser.add_argument("out", help="an .npz file to write")
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    parser.add_argument("--right", action="store_true", help="without the mistake")
    options = parser.parse_args()
    port = Port(options.golden, options.dtype, options.right)
    arrays = port()
    np.savez(options.out, **arrays)
    ours, golden = arrays["value/cross_entropy"], port.manifest["loss"]
    print(f"{options.out}: {len(arrays)} arrays, loss {ours:.6f}, the golden one is {golden:.6f}")
