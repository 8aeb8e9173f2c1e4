"""What was measured, as a picture.  Needs matplotlib, which is imported when one is drawn."""

from __future__ import annotations

import pathlib

from .measure import Result, by_workload, mean_ratio
from .scaling import Curve


def draw(path: pathlib.Path, results: list[Result], peers: list[str], curves: list[Curve]) -> None:
    """Ratios as bars beside a line at 1, and the curves if there are any, as a PNG."""
    from matplotlib.figure import Figure

    size = (11 if curves and peers else 6.5), max(4.5, 0.45 * len(by_workload(results)))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(1, bool(peers) + bool(curves), squeeze=False)[0]
    if peers:
        bars(axes[0], results, peers)
    if curves:
        lines(axes[-1], curves)
    figure.savefig(path, dpi=150, format="png")


def bars(axes, results: list[Result], peers: list[str]) -> None:
    groups = by_workload(results)
    height = 0.8 / len(peers)
    for i, peer in enumerate(peers):
        means = {name: mean_ratio(group, peer) for name, group in groups.items()}
        present = [(row, mean) for row, mean in enumerate(means.values()) if mean is not None]
        places = [row + (i - (len(peers) - 1) / 2) * height for row, _ in present]
        drawn = axes.barh(places, [mean for _, mean in present], height, label=peer)
        axes.bar_label(drawn, fmt="%.2f", padding=3, fontsize=8)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yticks(range(len(groups)), groups)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_xlabel("minitx's time / the other's (below 1: minitx is ahead)")
    axes.legend(
        frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=len(peers)
    )
    axes.spines[["top", "right"]].set_visible(False)


def lines(axes, curves: list[Curve]) -> None:
    for curve in curves:
        start = curve.values[0], curve.seconds[0]
        x = [value / start[0] for value in curve.values]
        y = [seconds / start[1] for seconds in curve.seconds]
        axes.loglog(x, y, "o-", base=2, label=f"{curve.axis}: power {curve.exponent:.2f}")
    axes.set_xlabel("size, relative to the smallest")
    axes.set_ylabel("time of minitx's step, relative")
    axes.legend(frameon=False, fontsize=8)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
