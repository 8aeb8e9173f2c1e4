"""``minitx dump``: a golden bundle of a preset, from the command line."""

from __future__ import annotations

import argparse
import dataclasses
import sys

import numpy as np

from ..models.registry import FAMILIES, example, presets
from ..optim import AdamW
from .bundle import strip
from .dump import dump


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Fill in the parser of ``minitx dump``."""
    parser.description = "Write a golden bundle of a model with random weights, on random inputs."
    parser.epilog = f"presets: {', '.join(presets())}"
    parser.add_argument("preset", help="which model; see below")
    parser.add_argument("--out", required=True, metavar="STEM", help="path without a suffix")
    parser.add_argument("--small", action="store_true", help="in a size for tests, under 1 MB")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="a field of the model's config; --layers 2 is short for --set layers=2",
    )
    parser.add_argument("--batch", type=int, default=2, help="examples in the inputs (2)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and inputs (0)")
    parser.add_argument("--steps", type=int, default=2, help="of AdamW (2)")
    parser.add_argument("--lr", type=float, default=1e-3, help="its learning rate (0.001)")
    parser.add_argument("--unfold", action="store_true", help="attention's scores as well")
    taken = {action.dest for action in parser._actions}
    configs = [next(iter(x.presets.values()))() for x in FAMILIES.values()]
    fields = {field.name for config in configs for field in dataclasses.fields(config)}
    for name in sorted(fields - taken):
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, dest=f"set {name}", help=argparse.SUPPRESS)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write the bundle; 0, or 2 if something given does not fit."""
    given = vars(options)
    changes = {key[4:]: x for key, x in given.items() if key.startswith("set ") and x is not None}
    try:
        for text in options.set:
            field, equals, value = text.partition("=")
            if not equals:
                raise ValueError(f"--set {text}: expected FIELD=VALUE")
            changes[field.strip()] = value.strip()
        model, inputs = example(
            options.preset,
            small=options.small,
            seed=options.seed,
            batch=options.batch,
            changes=changes,
        )

        def optimizer(model):
            return AdamW(model, lr=options.lr)

        bundle = dump(options.out, model, inputs, options.steps, optimizer, unfold=options.unfold)
    except (ValueError, TypeError, OSError) as error:
        print(f"minitx dump: {error}", file=sys.stderr)
        return 2
    stem, size = strip(options.out), sum(x.nbytes for x in bundle.arrays.values())
    losses = ", ".join(np.format_float_positional(x, 6) for x in bundle.manifest["losses"])
    print(
        f"{stem}.safetensors, .json, .txt: {len(bundle.arrays)} arrays of {len(bundle.nodes)} ops"
    )
    print(f"{model.count():,} parameters, {size / 1e6:.2f} MB, losses {losses}")
    return 0
