"""What the papers claim, measured at the scale of a laptop.

    python -m demos.claims                 all claims, three seeds; an interrupted run goes on
    python -m demos.claims --only data     or tokens, structure, shifts, masks; separated by commas
    python -m demos.claims --only context,following,pretraining     those on language
    python -m demos.claims --quick         a few steps of everything, to see that it runs

Images are digits placed in scenes of 16 x 16 pixels; models and recipes are those of demos/vit.py
and demos/mae.py, chosen on the plain digits (see demos/classifiers.py); of language those of
demos/bert.py, chosen on validation parts (see demos/claims/words.py).  How many steps each takes,
that scenes show contrasts, not colours, and the rule for shifts were settled after first runs: read
the verdicts as exploratory.  Results are in runs/claims, one JSON file for each; a mean stands with
the standard deviation over seeds.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
from types import ModuleType
from typing import Any

import numpy as np

from ..drawing import mosaic, pyplot, save, shown
from . import context, data, following, masks, pretraining, shifts, structure, tokens
from .lab import QUICK, Lab, Scale

IMAGES = data, tokens, structure, shifts, masks
WORDS = context, following, pretraining
CLAIMS = {x.__name__.rpartition(".")[2]: x for x in (*IMAGES, *WORDS)}


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m demos.claims",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", default=",".join(CLAIMS), metavar="NAMES", help="which claims")
    parser.add_argument(
        "--quick", action="store_true", help="a few steps; the results mean nothing"
    )
    parser.add_argument("--folder", type=pathlib.Path, default="runs/claims", help="for results")
    args = parser.parse_args()
    args.only = args.only.split(",")
    if unknown := [name for name in args.only if name not in CLAIMS]:
        parser.error(f"--only: no claim {', '.join(unknown)}; expected some of {', '.join(CLAIMS)}")
    return args


def text(name: str, claim: ModuleType, found: dict[str, Any]) -> str:
    """The claim, whether it holds, by which rule, and the figures."""
    sentence = (claim.__doc__ or "").partition("\n")[0]
    rule = " ".join((claim.holds.__doc__ or "").split())
    verdict = "holds" if claim.holds(found) else "does not hold here"
    rows = [
        f"{first:<50}" + "".join(f"{x:>22}" for x in rest) for first, *rest in claim.table(found)
    ]
    return "\n".join(
        [f"{name}: {sentence}", f"  {verdict}  (rule: {rule})", *(f"  {r}" for r in rows)]
    )


def draw(plt: Any, lab: Lab, found: dict[str, dict[str, Any]], path: pathlib.Path) -> None:
    """A panel for each claim, and one with examples of what models of images are shown."""
    scenes = any(CLAIMS[name] in IMAGES for name in found)
    rows = -(-(len(found) + scenes) // 3)
    figure, axes = plt.subplots(
        rows, 3, figsize=(13, 3.7 * rows), layout="constrained", squeeze=False
    )
    for axis in axes.flat[len(found) : axes.size - scenes]:
        axis.remove()
    if scenes:
        images = lab.task(max(lab.scale.sizes), 0).train[0][:24]
        axes.flat[-1].imshow(mosaic(np.stack([shown(image) for image in images]), 6))
        axes.flat[-1].set(title="scenes", xticks=[], yticks=[])
    for axis, (name, what) in zip(axes.flat, found.items(), strict=False):
        CLAIMS[name].draw(axis, what)
        axis.grid(alpha=0.25)
        axis.set_title(f"{name}: {'holds' if CLAIMS[name].holds(what) else 'does not hold here'}")
    save(figure, path, dpi=90)


def main() -> int:
    args = options()
    lab = Lab(
        args.folder / "quick" if args.quick else args.folder, QUICK if args.quick else Scale()
    )
    found = {}
    for name in args.only:
        print(f"{name}:", flush=True)
        found[name] = CLAIMS[name].measure(lab)
    report = "\n\n".join(text(name, CLAIMS[name], what) for name, what in found.items())
    print(f"\n{report}")
    (lab.folder / "table.txt").write_text(report + "\n")
    if (plt := pyplot()) is not None:
        draw(plt, lab, found, lab.folder / "claims.png")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\nstopped; the same command goes on from here")
