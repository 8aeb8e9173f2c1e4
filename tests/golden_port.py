"""A fixture as a port would hand it in: an independent implementation's numbers by our names."""

from __future__ import annotations

import numpy as np
from golden import Golden

from minitx.checkpoint.names import NameTable
from minitx.models.gpt import GPT


def inputs_of(golden: Golden) -> dict[str, np.ndarray]:
    """What ``GPT.loss`` takes to do what the fixture did."""
    x = golden.inputs
    rest = np.full_like(x["labels"][:, :1], -100)
    return {
        "inputs": x["input_ids"],
        "targets": np.concatenate([x["labels"][:, 1:], rest], axis=1),
        "mask": x["attention_mask"],
        "positions": x["position_ids"],
    }


def mine(golden: Golden, table: NameTable, model: GPT) -> dict[str, np.ndarray]:
    """The fixture's hidden states, logits, loss and gradients under a bundle's names.

    transformers gives the embedding, then every block's output, the last after the final norm.
    """
    names = ["add", *(f"blocks.{i}.add_2" for i in range(model.config.layers - 1))]
    names += ["norm.layer_norm"]
    arrays = {f"value/{name}": golden.outputs[f"hidden_{i}"] for i, name in enumerate(names)}
    arrays["value/linear"] = golden.outputs["logits"]
    arrays["value/cross_entropy"] = np.array(golden.meta["loss"])
    shapes = {name: x.shape for name, x in model.state_dict().items()}
    grads, state = table.load(golden.grads, shapes), table.load(golden.state, shapes)
    arrays |= {f"grad/{name}": x for name, x in grads.items()}
    return arrays | {f"parameter/{name}": x for name, x in state.items()}
