"""A ViT, a T2T-ViT or a small ResNet learns to classify pictures, and shows what it has learned.

    python demos/vit.py                            a ViT on the bundled digits, a minute or two
    python demos/vit.py --model t2t_vit --seeds 3  or resnet; mean and range over three runs
    python demos/vit.py --data scenes              digits placed in scenes, 16 x 16
    python demos/vit.py --data cifar10 FOLDER      or mnist; or "folder": one folder for each class
    python demos/vit.py --resume                   go on after Ctrl-C

Everything it makes is in runs/vit: checkpoints, logs, and, where matplotlib is installed, pictures
of the first layer's filters, of the position embeddings' similarity, of what the class token looks
at through all layers (attention rollout, Abnar and Zuidema 2020, https://arxiv.org/abs/2005.00928),
and of the grids in which T2T-ViT's tokens grow.
"""

from __future__ import annotations

import argparse
import math
import pathlib
import sys
import time
from typing import Any

import numpy as np
from classifiers import RECIPES, Task, build, load, trainer
from drawing import mosaic, position_similarity, principal, pyplot, save, shown, stretched

from minitx import no_grad
from minitx.models.vit import ViT


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", choices=list(RECIPES), default="vit", help="(default vit)")
    add(
        "--data",
        nargs="+",
        default=["digits"],
        metavar=("NAME", "FOLDER"),
        help="digits or scenes; or mnist, cifar10 or folder, and where it lies (default digits)",
    )
    add("--size", type=int, default=32, help="pixels across, for --data folder (default 32)")
    add("--steps", type=int, default=0, help="training steps (default: the recipe's)")
    add("--seeds", type=int, default=1, help="how many runs (default 1)")
    add("--resume", action="store_true", help="go on from the checkpoints")
    add("--folder", type=pathlib.Path, default="runs/vit", help="for results (default runs/vit)")
    args = parser.parse_args()
    name, *where = args.data
    if name not in ("digits", "scenes", "mnist", "cifar10", "folder") or len(where) > 1:
        parser.error(f"--data {' '.join(args.data)}: expected a name and at most one folder")
    if args.seeds < 1 or args.steps < 0 or args.size < 8:
        parser.error("expected --seeds of at least 1, --steps of at least 0, --size of at least 8")
    return args


def train(args: argparse.Namespace, task: Task, seed: int) -> Any:
    """The model, trained; None if Ctrl-C came first."""
    model, recipe = build(args.model, task, seed), RECIPES[args.model]
    steps = args.steps or recipe.steps
    name = f"{args.model}-{args.data[0]}-{seed}"
    checkpoint = args.folder / f"{name}.safetensors"
    run = trainer(
        model,
        task,
        recipe,
        seed,
        steps,
        checkpoint=checkpoint,
        save_every=100,
        log=args.folder / f"{name}.jsonl",
        metadata={"steps": str(steps)},  # which shape the schedule
    )
    if args.resume and checkpoint.exists():
        run.resume()
        print(f"resumed at step {run.step}")
    if run.step == 0:
        print(f"seed {seed}: {model.count(trainable=True):,} parameters, {steps} steps")
    if not run.run(steps):
        print(f"\nstopped and saved at step {run.step}; go on with the same command and --resume")
        return None
    return model


# ---- pictures ------------------------------------------------------------------------------------


def draw_filters(plt: Any, weight: np.ndarray, path: pathlib.Path) -> None:
    """The first layer's principal filters (Dosovitskiy et al. 2020, figure 7, left)."""
    figure, axes = plt.subplots(figsize=(5, 4), layout="constrained")
    axes.imshow(mosaic(principal_filters(weight), 7), interpolation="nearest")
    axes.set(title="principal components of the first layer's filters", xticks=[], yticks=[])
    save(figure, path)


def principal_filters(weight: np.ndarray, count: int = 28) -> np.ndarray:
    """(outputs, C, p, q) -> (N, p, q, 3) to show, the strongest first"""
    flat = weight.reshape(len(weight), -1)
    _, _, axes = np.linalg.svd(flat - flat.mean(axis=0), full_matrices=False)
    tiles = axes[:count].reshape(-1, *weight.shape[1:]).transpose(0, 2, 3, 1)  # N C p q -> N p q C
    tiles = np.stack([stretched(tile) for tile in tiles])
    return np.broadcast_to(tiles, (*tiles.shape[:3], 3))


def draw_positions(plt: Any, model: ViT, path: pathlib.Path) -> None:
    """One map for each place: its similarity to all others (figure 7, centre)."""
    h, w = model.config.grid
    maps = position_similarity(model).reshape(h, w, h, w)
    figure, axes = plt.subplots(h, w, figsize=(5, 5), squeeze=False)
    for row, column in np.ndindex(h, w):
        axes[row, column].imshow(maps[row, column], vmin=-1, vmax=1, cmap="viridis")
        axes[row, column].set(xticks=[], yticks=[])
    figure.suptitle("similarity of each position embedding to all others")
    save(figure, path)


def rollout(maps: list[np.ndarray]) -> np.ndarray:
    """How much of each token reaches each other one, through all layers (section 3).

    maps: attention, (B, heads, T, T), layer by layer -> (B, T, T); residuals count as a half.
    """
    total = np.eye(maps[0].shape[-1])
    for attention in maps:
        total = (attention.mean(axis=1) + np.eye(attention.shape[-1])) / 2 @ total
    return total


def draw_rollout(plt: Any, model: ViT, task: Task, path: pathlib.Path, count: int = 8) -> None:
    """Test images, and under each how much its class token sees of every patch."""
    images = task.test[0][:count]
    h, w = model.config.grid
    seen = rollout(model.attention_maps(task.prepare(images)))[:, 0, 1:].reshape(-1, h, w)
    figure, axes = plt.subplots(2, count, figsize=(count, 2.4), layout="constrained")
    for i, image in enumerate(images):
        axes[0, i].imshow(shown(image))
        axes[1, i].imshow(shown(image), extent=(0, w, h, 0))
        axes[1, i].imshow(seen[i], extent=(0, w, h, 0), cmap="inferno", alpha=0.75)
        for axis in axes[:, i]:
            axis.set(xticks=[], yticks=[])
    figure.suptitle("attention, rolled out")
    save(figure, path)


def token_grids(model: Any, images: np.ndarray) -> list[np.ndarray]:
    """What each stage of the T2T module makes: (B, h, w, C), from fine to coarse."""
    module, grids, image = model.patches, [], images
    with no_grad():
        for layer, split in zip(module.layers, module.config.splits, strict=False):
            tokens = layer(module.soft_split(image, split))
            side = math.isqrt(tokens.shape[1])
            image = module.restructure(tokens, (side, side))
            grids.append(image.data.transpose(0, 2, 3, 1))  # B C h w -> B h w C
        return [*grids, module(images).data]


def draw_token_grids(plt: Any, model: Any, task: Task, path: pathlib.Path, count: int = 6) -> None:
    """Tokens of each stage as colours: their first three principal components."""
    images = task.test[0][:count]
    grids = token_grids(model, task.prepare(images))
    figure, axes = plt.subplots(
        1 + len(grids), count, figsize=(count, 1.2 + len(grids)), layout="constrained"
    )
    for i, image in enumerate(images):
        axes[0, i].imshow(shown(image))
    for row, grid in zip(axes[1:], grids, strict=True):
        colors = principal(grid.reshape(-1, grid.shape[-1]), 3).reshape(*grid.shape[:3], 3)
        colors = stretched(np.clip(colors / colors.std(axis=(0, 1, 2)), -2, 2))
        for axis, tile in zip(row, colors, strict=True):
            axis.imshow(tile, interpolation="nearest")
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    figure.suptitle("tokens, stage by stage")
    save(figure, path)


def draw(args: argparse.Namespace, model: Any, task: Task) -> None:
    if (plt := pyplot()) is None:
        return
    start = f"{args.model}-{args.data[0]}"
    if args.model != "t2t_vit":
        weight = (model.patches if args.model == "vit" else model.stem).weight.data
        draw_filters(plt, weight, args.folder / f"{start}-filters.png")
    if args.model == "vit":
        draw_positions(plt, model, args.folder / f"{start}-positions.png")
    if args.model == "t2t_vit":
        draw_token_grids(plt, model, task, args.folder / f"{start}-tokens.png")
    if args.model != "resnet":
        draw_rollout(plt, model, task, args.folder / f"{start}-attention.png")


def main() -> int:
    args = options()
    task = load(args.data[0], *args.data[1:], size=args.size)
    print(
        f"{args.model} on {' '.join(args.data)}: {len(task.train[1]):,} images to train on, "
        f"{len(task.test[1]):,} to test, {task.classes} classes"
    )
    accuracies, first = [], None
    for seed in range(args.seeds):
        start = time.process_time()
        model = train(args, task, seed)
        if model is None:
            return 130
        seconds = time.process_time() - start
        accuracies.append(task.accuracy(model))
        print(f"seed {seed}  test accuracy {accuracies[-1]:.4f}  ({seconds:.0f} s of CPU)")
        first = first or model
    if args.seeds > 1:
        low, high = min(accuracies), max(accuracies)
        print(f"mean of {args.seeds}  {np.mean(accuracies):.4f}  ({low:.4f} to {high:.4f})")
    draw(args, first, task)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except (ImportError, OSError, ValueError, FloatingPointError) as error:
        sys.exit(f"vit.py: {error}")
