"""What was measured, as tables in Markdown."""

from __future__ import annotations

from .measure import Result, by_workload, mean_ratio
from .scaling import BASE, Curve

NOTE = """\
ms: the median of all steps.  minitx / it: the ratio to the column before, the median of the rounds,
and the lowest to the highest of them; below 1, minitx is ahead.  GEMM: a float32 product of 2048 x
2048 matrices in the same run, GFLOP/s.  Floor: 2 FLOPs for each multiply-add of the model's
products, in training 6, at the GEMM rate of np.matmul alone.  Sizes: layers x width, heads,
context, batch, vocabulary; of images layers x width, heads, pixels across / of a patch, batch; of a
ResNet blocks of each stage x first width, pixels across, batch; of attention (batch, heads,
context, width of a head)."""


def markdown(rows: list[list[str]]) -> str:
    """Rows of cells, the first the heading; the first column to the left, numbers to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]

    def line(cells: list[str]) -> str:
        rest = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
        return f"| {' | '.join([cells[0].ljust(widths[0]), *rest])} |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([line(rows[0]), line(rule), *map(line, rows[1:])])


def gflops(gemm: Result, library: str) -> float:
    return gemm.flops / gemm.seconds(library) / 1e9


def comparison(gemm: Result, results: list[Result], peers: list[str]) -> str:
    """Times: a row for each task, and for a workload of several their geometric mean ratio."""
    rows = [heading(gemm, peers)]
    for workload, group in by_workload(results).items():
        rows += [row(gemm, result, peers) for result in group]
        if len(group) > 1:
            rows.append(mean_row(workload, group, peers))
    return markdown(rows)


def heading(gemm: Result, peers: list[str]) -> list[str]:
    def rate(library: str) -> str:
        return f" (GEMM {gflops(gemm, library):.0f})" if library in gemm.turns else ""

    cells = ["workload", f"minitx, ms{rate('minitx')}", f"/ floor{rate('np.matmul')}"]
    for peer in peers:
        cells += [f"{peer}, ms{rate(peer)}", "minitx / it"]
    return cells


def row(gemm: Result, result: Result, peers: list[str]) -> list[str]:
    cells = [str(result), milliseconds(result, "minitx")]
    cells.append(times_floor(gemm, result))
    for peer in peers:
        if peer in result.turns:
            low, high = result.spread(peer)
            cells.append(milliseconds(result, peer))
            cells.append(f"{result.ratio(peer):.2f} ({low:.2f}-{high:.2f})")
        else:
            cells += ["", ""]
    return cells


def milliseconds(result: Result, library: str) -> str:
    return f"{1e3 * result.seconds(library):.2f}"


def times_floor(gemm: Result, result: Result) -> str:
    if result.flops is None:
        return ""
    floor = result.flops / gflops(gemm, "np.matmul") / 1e9
    return f"{result.seconds('minitx') / floor:.2f}"


def mean_row(workload: str, results: list[Result], peers: list[str]) -> list[str]:
    cells = [f"{workload}: geometric mean", "", ""]
    for peer in peers:
        mean = mean_ratio(results, peer)
        cells += ["", "" if mean is None else f"{mean:.2f}"]
    return cells


def memory(results: list[Result], peers: list[str]) -> str:
    """Peaks of processes: minitx's and, if it takes part, torch's."""
    beside = "torch" in peers
    rows = [["peak memory", "minitx, MB", *["torch, MB", "minitx / it"] * beside]]
    for result in results:
        rows.append([str(result), f"{result.memory['minitx'] / 1e6:.0f}"])
        if beside:
            theirs = result.memory["torch"]
            rows[-1] += [f"{theirs / 1e6:.0f}", f"{result.memory['minitx'] / theirs:.2f}"]
    return markdown(rows)


def growth(curves: list[Curve]) -> str:
    """A row for each axis: step times along it, and the exponent."""
    rows = [[f"against (at {BASE})", "value: ms", "exponent"]]
    for curve in curves:
        pairs = zip(curve.values, curve.seconds, strict=True)
        times = ", ".join(f"{value}: {1e3 * seconds:.2f}" for value, seconds in pairs)
        rows.append([curve.axis, times, f"{curve.exponent:.2f}"])
    return markdown(rows)
