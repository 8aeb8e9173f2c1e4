"""Convolution as a matrix product whose patches exist only where they are being multiplied.

im2col would hold each pixel once per tap of the kernel: nine times for a 3 x 3.  Here a task takes
some rows of the result.  For a few channels at a time it copies the image rows that those need to a
*strip*, with its zeros around them, and from there the patches to the panels that ``multiply_tile``
reads, which stay in the second cache.  Copies are whole vectors: what one writes too much, the next
one covers, or nobody reads.

One description serves the layer and its gradients: window (r, s) reads the pixels
(r * step + low + down[i], s * step + low + right[j]), for all taps (i, j).
"""

from __future__ import annotations

import numpy as np

from ..jit import compiled, jit
from ..packing import pack_columns
from ..simd import ROWS, copy_vector, lanes_of, multiply_tile, row, wide_vectors, width_of
from ..tasks import run_tasks

_NEAR = 64  # pixels turned together: near enough for the first cache
_LINES = 16  # written side by side


@jit
def _turn_weights(task, w, groups, kernel, taps, panels):
    """ROWS input channels of one group, side by side; zeros beyond the last.

    w: (groups * O, C * kernel) -> (groups * panels * O * taps, ROWS), only of the wanted taps.
    """
    O, C, T = w.shape[0] // groups, w.shape[1] // kernel, taps.size  # noqa: E741
    across = (C + ROWS - 1) // ROWS
    g, c0 = task // across, task % across * ROWS
    have = min(ROWS, C - c0)
    for o in range(O):
        target = panels[(task * O + o) * T : (task * O + o + 1) * T]
        for r in range(have):
            source = row(w, g * O + o, (c0 + r) * kernel, (c0 + r + 1) * kernel)
            for t in range(T):
                target[t, r] = source[taps[t]]
        for t in range(T):
            for r in range(have, ROWS):
                target[t, r] = w.dtype.type(0)


@jit
def _survey(f0, f1, x_shape, windows, step, low, reach, width, panel):
    """How rows f0 to f1 of the windows, those of all images counted on, get at their pixels.

    -> copies, a row each: from where in a channel, to where in the strip, how many
       runs, a row each: from where in the strip, to where in the panels, how many
       the phases and the pitch of a row of the strip, and the strip's size
    """
    C, H, W = x_shape[1:]
    rows, columns = windows
    phases = min(step[1], reach[1] + 1)  # columns that lie side by side for some tap
    pitch = columns + reach[1] // step[1]
    copies = np.empty(((f1 - f0) * (reach[0] + 1) * phases, 3), np.int64)
    runs = np.empty(((f1 - f0) * (columns // width + 2), 3), np.int64)
    n_copies, n_runs, base, height = 0, 0, 0, 0
    for f in range(f0, f1):
        b, r = f // rows, f % rows
        new = f == f0 or r == 0
        base = height if new else base + step[0]
        for v in range(base if new else max(base, height), base + reach[0] + 1):
            y = r * step[0] + low[0] + v - base
            if 0 <= y < H:
                for phase in range(phases):
                    first = max(0, -((low[1] + phase) // step[1]))
                    count = min(pitch, (W - 1 - low[1] - phase) // step[1] + 1) - first
                    x = first * step[1] + phase + low[1]
                    copies[n_copies, 0] = (b * C * H + y) * W + x
                    copies[n_copies, 1] = (v * phases + phase) * pitch + first
                    copies[n_copies, 2] = count
                    n_copies += 1
        height = base + reach[0] + 1
        n, s = (f - f0) * columns, 0
        while s < columns:
            count = min(columns - s, width - (n + s) % width)
            runs[n_runs, 0] = base * phases * pitch + s
            runs[n_runs, 1] = (n + s) // width * panel + (n + s) % width
            runs[n_runs, 2] = count
            n_runs += 1
            s += count
    return copies[:n_copies], runs[:n_runs], phases, pitch, height * phases * pitch


@jit
def _offsets(down, right, step, phases, pitch):
    """Where in the strip a tap's pixel lies, from the first tap's."""
    out = np.empty(down.size * right.size, np.int64)
    for i in range(down.size):
        for j in range(right.size):
            row = down[i] * phases + right[j] % step
            out[i * right.size + j] = row * pitch + right[j] // step
    return out


@jit
def _pack_channel(x, channel, step, zeros, copies, strip, runs, taps, out, at, stride):
    """The patches of one channel, whose first pixel is x[channel]; a tap's are ``stride`` apart."""
    lanes = zeros.size
    for i in range(copies.shape[0]):
        source, target, count = channel + copies[i, 0], copies[i, 1], copies[i, 2]
        if step == 1 and source + count + lanes <= x.size:
            for q in range(0, count, lanes):
                copy_vector(x, source + q, strip, target + q)
            copy_vector(zeros, 0, strip, target + count)
        else:
            for q in range(count):
                strip[target + q] = x[source + q * step]
    for t in range(taps.size):
        for i in range(runs.shape[0]):
            source, target = runs[i, 0] + taps[t], runs[i, 1] + at + t * stride
            for q in range(0, runs[i, 2], lanes):
                copy_vector(strip, source + q, out, target + q)


@jit
def _do_rows(
    task, x, x_shape, w, turned, y, groups,
    windows, down, right, step, low, start, spread, line, block, outputs, chunk,
):  # fmt: skip
    """Some rows of windows, in some output channels of a group."""
    wide_vectors()
    B, C, H, W = x_shape
    C, O, P = C // groups, y.shape[0] // B // groups, y.shape[1]  # noqa: E741
    rows, columns = windows
    width, T = width_of(x), down.size * right.size
    blocks, shares = (B * rows + block - 1) // block, (O + outputs - 1) // outputs
    g, f0 = task // (blocks * shares), task % blocks * block
    o0 = task // blocks % shares * outputs
    o1 = min(O, o0 + outputs)
    f1 = min(B * rows, f0 + block)
    reach = down.max(), right.max()
    panel = (chunk * T + 1) * width  # the last row is for what is written too much
    copies, runs, phases, pitch, size = _survey(
        f0, f1, x_shape, windows, step, low, reach, width, panel
    )
    taps = _offsets(down, right, step[1], phases, pitch)
    lanes = lanes_of(x)
    strip, zeros = np.zeros(size + lanes, x.dtype), np.zeros(lanes, x.dtype)
    N = (f1 - f0) * columns
    across, wide = (O + ROWS - 1) // ROWS, (N + width - 1) // width * width
    tall = (o1 - o0 + ROWS - 1) // ROWS * ROWS
    panels, total = np.empty(wide // width * panel, x.dtype), np.empty((tall, wide), x.dtype)
    tiles, wT = panels.reshape(-1, width), w.T
    if N < wide:  # what is there by chance may be too small to be fast
        tiles[(wide // width - 1) * (panel // width) :] = x.dtype.type(0)
    for c0 in range(0, C, chunk):
        depth, more = min(chunk, C - c0) * T, c0 > 0
        for k in range(0, depth, T):
            channel, at = (g * C + c0 + k // T) * H * W, k * width
            _pack_channel(x, channel, step[1], zeros, copies, strip, runs, taps, panels, at, width)
        for o in range(0, o1 - o0, ROWS):
            have = min(ROWS, o1 - o0 - o)
            k = ((g * across + (o0 + o) // ROWS) * C + c0) * T
            for n in range(0, wide, width):
                first = n // width * (panel // width)
                if turned:
                    multiply_tile(wT, 0, k, tiles, first, 0, total, o, n, have, width, depth, more)
                else:
                    top, left = g * O + o0 + o, c0 * T
                    multiply_tile(
                        w, top, left, tiles, first, 0, total, o, n, have, width, depth, more
                    )
    n, whole = 0, spread[0] == spread[1] == 1 and rows * columns == P
    while n < N:  # an image at a time, or else a row
        b, r = (f0 + n // columns) // rows, (f0 + n // columns) % rows
        count = min(N - n, (rows - r) * columns) if whole else columns
        at = (r * spread[0] + start[0]) * line + start[1]
        end = at + (count - 1) * spread[1] + 1
        for o in range(o0, o1):
            source, target = (
                row(total, o - o0, n, n + count),
                row(y, (b * groups + g) * O + o, at, end),
            )
            if spread[1] == 1:
                for q in range(count):
                    target[q] = source[q]
            else:
                for q in range(count):
                    target[q * spread[1]] = source[q]
        n += count


@jit
def _convolve(
    x, x_shape, w, turned, kernel, taps, y, groups,
    windows, down, right, step, low, start, spread, line, block, outputs, chunk,
):  # fmt: skip
    O = y.shape[0] // x_shape[0] // groups  # noqa: E741
    if turned:
        tasks = groups * ((O + ROWS - 1) // ROWS)
        panels = np.empty((tasks * (w.shape[0] // groups) * taps.size, ROWS), x.dtype)
        run_tasks(_turn_weights, tasks, (w, groups, kernel, taps, panels))
        w = panels
    more = windows, down, right, step, low, start, spread, line, block, outputs, chunk
    tasks = (x_shape[0] * windows[0] + block - 1) // block * ((O + outputs - 1) // outputs)
    run_tasks(_do_rows, groups * tasks, (x, x_shape, w, turned, y, groups, *more))


@jit
def _turn(task, y, out):
    """Some pixels of y (B, O, P) in all panels, (panels * B * P, width): channels side by side."""
    B, O, P = y.shape  # noqa: E741
    width, chunks = out.shape[1], (P + _NEAR - 1) // _NEAR
    b, p0 = task // chunks, task % chunks * _NEAR
    p1, rows = min(P, p0 + _NEAR), y.reshape(B * O, P)
    for first in range(0, O, width):
        at = (first // width * B + b) * P
        count = min(width, O - first)
        pack_columns(rows, b * O + first, count, p0, p1, out, at)
        for lane in range(count, width):
            out[at + p0 : at + p1, lane] = y.dtype.type(0)


@jit
def _do_channels(task, x, x_shape, dy, dw, windows, down, right, step, low, block, channels):
    """The weights' gradient for some input channels: sums over all windows, in their order."""
    wide_vectors()
    B, C, H, W = x_shape
    rows, columns = windows
    width, lanes, T = width_of(x), lanes_of(x), down.size * right.size
    O, c0 = dw.shape[0], task * channels  # noqa: E741
    K = (min(C, c0 + channels) - c0) * T
    reach, stride = (down.max(), right.max()), block * columns + lanes
    patches = np.empty((K, stride), x.dtype)
    flat = patches.reshape(patches.size)
    total = np.zeros(((K + ROWS - 1) // ROWS * ROWS, (O + width - 1) // width * width), x.dtype)
    for f0 in range(0, B * rows, block):
        f1 = min(B * rows, f0 + block)
        n = (f1 - f0) * columns
        copies, runs, phases, pitch, size = _survey(
            f0, f1, x_shape, windows, step, low, reach, n, stride
        )
        taps = _offsets(down, right, step[1], phases, pitch)
        strip, zeros = np.zeros(size + lanes, x.dtype), np.zeros(lanes, x.dtype)
        for c in range(K // T):
            channel, at = (c0 + c) * H * W, c * T * stride
            _pack_channel(x, channel, step[1], zeros, copies, strip, runs, taps, flat, at, stride)
        for k in range(0, K, ROWS):
            for o in range(0, O, width):
                first = (o // width * B * rows + f0) * columns
                have = min(ROWS, K - k)
                multiply_tile(patches, k, 0, dy, first, 0, total, k, o, have, width, n, True)
    for o in range(0, O, _LINES):
        for k in range(K):
            for near in range(o, min(O, o + _LINES)):
                dw[near, c0 * T + k] = total[k, near]


@jit
def _correlate(x, x_shape, dy, dw, windows, down, right, step, low, block, channels):
    B, O, P = dy.shape  # noqa: E741
    width = width_of(dy)
    panels = np.empty(((O + width - 1) // width * B * P, width), dy.dtype)
    run_tasks(_turn, B * ((P + _NEAR - 1) // _NEAR), (dy, panels))
    tasks = (x_shape[1] + channels - 1) // channels
    more = windows, down, right, step, low, block, channels
    run_tasks(_do_channels, tasks, (x, x_shape, panels, dw, *more))


convolve, correlate = compiled(_convolve), compiled(_correlate)
