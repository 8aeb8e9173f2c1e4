"""MAE: a ViT paints what it was not shown, then learns from few labels what others need many for.

    python demos/mae.py                  pre-train on digits placed in scenes, 16 x 16
    python demos/mae.py --data digits    or on the bundled digits, 8 x 8
    python demos/mae.py --resume         go on after Ctrl-C

It pre-trains on images without labels, shows originals, what was left of them, and what the model
painted, and then compares the encoder, on a tenth of the labels, with the same ViT from scratch:
fine-tuned as a whole, and with a linear probe of its fixed features.  All is in runs/mae.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
from typing import Any

import numpy as np
from autoencoder import autoencoder, finetuned, pretrain, probed
from classifiers import Task, build, load
from drawing import mosaic, pyplot, save, shown

from minitx.data import few_labels
from minitx.models.mae import MAE
from minitx.models.vit import ViT


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", choices=("scenes", "digits"), default="scenes", help="(default scenes)")
    add("--steps", type=int, default=1000, help="of pre-training (default 1000)")
    add("--ratio", type=float, default=0.75, help="share of patches removed (default 0.75)")
    add("--labels", type=float, default=0.1, help="share of labels to learn from (default 0.1)")
    add("--finetuning", type=int, default=300, help="steps of it (default 300)")
    add("--seeds", type=int, default=3, help="runs on the labels (default 3)")
    add("--resume", action="store_true", help="go on from the checkpoint")
    add("--folder", type=pathlib.Path, default="runs/mae", help="for results (default runs/mae)")
    args = parser.parse_args()
    if min(args.steps, args.finetuning) < 1 or args.seeds < 0:
        parser.error("expected --steps and --finetuning of at least 1, --seeds of at least 0")
    return args


def trained(args: argparse.Namespace, task: Task) -> MAE | None:
    """The MAE, pre-trained; None if Ctrl-C came first."""
    vit = build("vit", task, 0).config
    mae = autoencoder(vit, seed=0, ratio=args.ratio)
    checkpoint = args.folder / f"{args.data}.safetensors"
    print(
        f"{len(task.train[0]):,} images, {mae.config.patches} patches each, of which the encoder "
        f"sees {mae.config.visible}; {mae.count(trainable=True):,} parameters"
    )
    done = pretrain(
        mae,
        task,
        args.steps,
        seed=0,
        checkpoint=checkpoint,
        save_every=100,
        log=args.folder / f"{args.data}.jsonl",
        metadata={"steps": str(args.steps), "ratio": str(args.ratio)},
        resume=args.resume and checkpoint.exists(),
    )
    if not done:
        print("\nstopped and saved; go on with the same command and --resume")
    return mae if done else None


def paint(mae: MAE, task: Task, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Test images and what was painted, (N, C, H, W) from 0 to 1, and where, bool (N, 1, H, W)."""
    images = task.test[0][:count]
    noise = np.random.default_rng(0).random((len(images), mae.config.patches))
    painted, removed = mae.reconstruct(task.prepare(images), noise)
    black, white = (task.prepare(np.full_like(images[:1], x)) for x in (0, 1))
    return images, (painted - black) / (white - black), removed


def draw(plt: Any, mae: MAE, task: Task, path: pathlib.Path) -> None:
    """Originals, what was left of them, and what the model painted."""
    images, painted, removed = paint(mae, task, 8)
    strips = {"original": images, "visible": np.where(removed, 0.5, images), "painted": painted}
    figure, axes = plt.subplots(3, 1, figsize=(7, 2.9), layout="constrained")
    for axis, (name, strip) in zip(axes, strips.items(), strict=True):
        axis.imshow(mosaic(np.stack([shown(image) for image in strip]), len(strip), 2))
        axis.set(ylabel=name, xticks=[], yticks=[])
    save(figure, path)


def errors(mae: MAE, task: Task) -> tuple[float, float]:
    """Root mean square, over removed pixels, of what is painted and of each patch's true mean.

    The second is what one gets who knows no more than the model is lent.
    """
    images, painted, removed = paint(mae, task, 200)
    patches = mae.patchify(images).data
    mean = np.broadcast_to(patches.mean(axis=-1, keepdims=True), patches.shape)
    where = np.broadcast_to(removed, images.shape)
    flat = mae.unpatchify(mean).data
    painted_off, flat_off = (np.sqrt(((x - images)[where] ** 2).mean()) for x in (painted, flat))
    return float(painted_off), float(flat_off)


def compare(args: argparse.Namespace, mae: MAE, task: Task) -> None:
    """On few labels: the encoder against the same ViT with fresh weights."""
    found: dict[str, list[float]] = {}
    for seed in range(args.seeds):
        rows = few_labels(task.train[1], args.labels, seed)
        for name, start in (
            ("pre-trained", mae.encoder),
            ("from scratch", ViT(mae.encoder.config, seed + 1)),
        ):
            for what, measure, steps in (
                ("fine-tuned", finetuned, args.finetuning),
                ("linear probe", probed, args.finetuning),
            ):
                accuracy = measure(start, task, rows, steps, seed)
                found.setdefault(f"{what}, {name}", []).append(accuracy)
                print(f"seed {seed}  {what:<13} {name:<13} {accuracy:.3f}", flush=True)
    print(f"\ntest accuracy with {len(rows)} labels (mean over seeds, range)")
    for name, values in found.items():
        print(f"  {name:<28} {np.mean(values):.3f}  ({min(values):.3f} to {max(values):.3f})")


def main() -> int:
    args = options()
    task = load(args.data)
    mae = trained(args, task)
    if mae is None:
        return 130
    painted, flat = errors(mae, task)
    print(f"removed pixels: off by {painted:.3f} as painted, {flat:.3f} if flat (root mean square)")
    if (plt := pyplot()) is not None:
        draw(plt, mae, task, args.folder / f"{args.data}.png")
    if args.seeds:
        compare(args, mae, task)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except (OSError, ValueError, FloatingPointError) as problem:
        sys.exit(f"mae.py: {problem}")
