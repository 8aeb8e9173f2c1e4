"""The training loop: progress line, JSON-lines log, validation, checkpoints, and resuming to the
same bits.

Everything that decides the future of a run is in one file, replaced in one step: parameters,
moments, average, the
state of every random generator, the position in the data, and the length of the log.  The log is
cut back to that
length on resuming, so that file and log always tell the same story.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import pathlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from .checkpoint import CheckpointError, load_safetensors, read_metadata, save_safetensors
from .nn import Module
from .optim import EMA, Optimizer, constant
from .tensor import Node, Observer, Tensor, no_grad, observing


class NonFiniteError(FloatingPointError):
    """A loss or gradient was NaN or infinite; the message names the step and the first op that made
    it so.
    """


class Trainer:
    """``run(steps)`` trains until that step; ``resume()`` first continues where the checkpoint
    stopped.

    batches(rng): draws one batch, a tuple of arguments for ``loss``.
    loss: model.loss unless given.  Its value is the mean over the batch.
    schedule: step, from 0, to learning rate; the optimizer's own rate unless given.
    clip: bound on the gradients' norm.  accumulate: batches whose mean gradient makes one step.
    ema: updated after every step, and used for validation.
    validate(): a loss to report, run with dropout off and without recording, every
    ``validate_every`` steps and at
        the end; afterwards ``on_validate(step, loss)`` may print samples.
    checkpoint: a ``.safetensors`` path, written every ``save_every`` steps, at the end and on
    Ctrl-C.
    log: a path; one JSON object per step: step, loss, lr, norm, and validation where there was one.
    data: an object whose ``state()`` and ``load_state(state)`` give its position, if ``batches``
    has one beyond rng.
    metadata: strings to keep in the checkpoint, such as the model's configuration.
    """

    def __init__(
        self,
        model: Module,
        optimizer: Optimizer,
        batches: Callable[[np.random.Generator], tuple],
        *,
        loss: Callable[..., Tensor] | None = None,
        schedule: Callable[[int], float] | None = None,
        clip: float | None = 1.0,
        accumulate: int = 1,
        ema: EMA | None = None,
        seed: int = 0,
        validate: Callable[[], float] | None = None,
        validate_every: int = 0,
        on_validate: Callable[[int, float], None] | None = None,
        checkpoint: str | os.PathLike | None = None,
        save_every: int = 0,
        log: str | os.PathLike | None = None,
        data: Any = None,
        metadata: Mapping[str, str] | None = None,
        quiet: bool = False,
    ):
        self.model, self.optimizer, self.batches, self.ema = model, optimizer, batches, ema
        self.loss = loss or model.loss  # type: ignore[attr-defined]
        self.schedule = schedule or constant(optimizer.lr)
        self.clip, self.accumulate = clip, accumulate
        self.validate, self.validate_every, self.on_validate = validate, validate_every, on_validate
        self.checkpoint = None if checkpoint is None else pathlib.Path(checkpoint)
        self.log = None if log is None else pathlib.Path(log)
        self.save_every, self.data, self.metadata, self.quiet = (
            save_every,
            data,
            dict(metadata or {}),
            quiet,
        )
        self.step = 0
        self.generators = {"batches": np.random.default_rng(seed)}
        if isinstance(getattr(model, "rng", None), np.random.Generator):
            self.generators["model"] = model.rng  # type: ignore[attr-defined]

    # ---- one step ----

    def train_step(self) -> dict[str, float]:
        """Forward, backward, clip and update.  Returns what the log says of it.  Raises
        NonFiniteError.
        """
        before = self._random_state()
        batches = [self.batches(self.generators["batches"]) for _ in range(self.accumulate)]
        drawn = self._random_state()
        self.tokens = sum(np.size(getattr(batch[0], "ids", batch[0])) for batch in batches)
        lr = self.schedule(self.step)
        try:
            loss = self._forward_backward(batches)
            if not math.isfinite(loss):
                raise FloatingPointError(f"the loss is {loss}")
            norm = self.optimizer.step(lr, self.clip)
        except FloatingPointError as error:
            self._set_random_state(drawn)
            hunter = _FirstNonFinite()
            with observing(hunter), np.errstate(all="ignore"):
                self._forward_backward(batches)
            self._set_random_state(before)
            found = self._broken_parameter() or hunter.found or "not found again"
            raise NonFiniteError(
                f"step {self.step}: {error}; first non-finite value: {found}"
            ) from None
        if self.ema:
            self.ema.update()
        self.step += 1
        return {"step": self.step, "loss": loss, "lr": lr, "norm": norm}

    def _forward_backward(self, batches: list[tuple]) -> float:
        self.optimizer.zero_grad()
        total = 0.0
        for batch in batches:
            loss = self.loss(*batch)
            total += loss.item() / len(batches)
            loss.backward(np.full(loss.shape, 1 / len(batches), loss.dtype))
        return total

    def _broken_parameter(self) -> str | None:
        for name, x in self.model.named_tensors():
            if not np.isfinite(x.data).all():
                return f"parameter {name} itself"
        return None

    # ---- the loop ----

    def run(self, steps: int) -> bool:
        """Train until ``steps`` steps are done.  Returns False if Ctrl-C stopped it, after saving.
        """
        self.model.train()
        progress = _Progress(self.step, steps, self.quiet)
        log = self._open_log()
        with (
            contextlib.closing(log) if log else contextlib.nullcontext(),
            _deferred_interrupt() as interrupted,
        ):
            while self.step < steps and not interrupted.is_set():
                entry = self.train_step()
                done = self.step == steps
                progress.update(entry, self.tokens)
                if self.validate and (
                    done or (self.validate_every and self.step % self.validate_every == 0)
                ):
                    entry["validation"] = self._validate()
                if log:
                    log.write(json.dumps(entry) + "\n")
                if "validation" in entry:
                    progress.line(
                        f"step {self.step:>6}/{steps}   validation loss {entry['validation']:.4f}"
                    )
                    if self.on_validate:
                        self.on_validate(self.step, entry["validation"])
                if (
                    done
                    or interrupted.is_set()
                    or (self.save_every and self.step % self.save_every == 0)
                ):
                    self.save(log)
        progress.close()
        return self.step >= steps

    def _validate(self) -> float:
        self.model.eval()
        with no_grad(), self.ema.applied() if self.ema else contextlib.nullcontext():
            value = float(self.validate())  # type: ignore[misc]
        self.model.train()
        return value

    def _open_log(self):
        """The log, cut back to where this run stands."""
        if self.log is None:
            return None
        self.log.parent.mkdir(parents=True, exist_ok=True)
        log = open(self.log, "a+")  # noqa: SIM115
        log.truncate(getattr(self, "_log_bytes", 0))
        log.seek(0, os.SEEK_END)
        return log

    # ---- checkpoints ----

    def save(self, log=None) -> None:
        """Write the checkpoint: a temporary file first, then renamed, so that there is always a
        whole one.
        """
        if self.checkpoint is None:
            return
        if log:
            log.flush()
            self._log_bytes = os.path.getsize(self.log)  # type: ignore[arg-type]
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        arrays, info = self._capture()
        save_safetensors(self.checkpoint, arrays, self.metadata | {"training": json.dumps(info)})

    def resume(self) -> None:
        """Continue from the checkpoint, bit for bit.  Raises CheckpointError, and changes nothing,
        if it does not fit.
        """
        if self.checkpoint is None:
            raise CheckpointError("resume: this trainer was given no checkpoint path")
        metadata = read_metadata(self.checkpoint)
        if "training" not in metadata:
            raise CheckpointError(
                f"{self.checkpoint}: holds no training state, so training cannot be resumed from it"
            )
        arrays = load_safetensors(self.checkpoint)
        kept, kept_info = self._capture()
        kept = {name: x.copy() for name, x in kept.items()}
        try:
            self._apply(arrays, json.loads(metadata["training"]))
        except (ValueError, KeyError, TypeError) as error:
            self._apply(kept, kept_info)
            raise CheckpointError(
                f"{self.checkpoint} does not belong to this run: {error}"
            ) from error

    def _capture(self) -> tuple[dict[str, np.ndarray], dict]:
        """All that decides the future of the run: arrays, and what JSON can hold."""
        parts = {"model": self.model.state_dict(), "optimizer": self.optimizer.state()}
        if self.ema:
            parts["ema"] = self.ema.state()
        arrays = {f"{part}/{name}": x for part, state in parts.items() for name, x in state.items()}
        info = {
            "step": self.step,
            "random": self._random_state(),
            "data": self.data.state() if self.data else None,
            "log_bytes": getattr(self, "_log_bytes", 0),
        }
        return arrays, info

    def _apply(self, arrays: Mapping[str, np.ndarray], info: dict) -> None:
        def part(prefix):
            return {n.removeprefix(prefix): x for n, x in arrays.items() if n.startswith(prefix)}

        if bool(self.ema) != any(name.startswith("ema/") for name in arrays):
            raise ValueError("one of them averages its weights (EMA), the other does not")
        self.model.load_state_dict(part("model/"))
        self.optimizer.load_state(part("optimizer/"))
        if self.ema:
            self.ema.load_state(part("ema/"))
        self._set_random_state(info["random"])
        if self.data:
            self.data.load_state(info["data"])
        self.step, self._log_bytes = int(info["step"]), int(info["log_bytes"])

    def _random_state(self) -> dict[str, Any]:
        return {name: rng.bit_generator.state for name, rng in self.generators.items()}

    def _set_random_state(self, states: Mapping[str, Any]) -> None:
        for name, rng in self.generators.items():
            rng.bit_generator.state = states[name]


class _FirstNonFinite(Observer):
    """Remembers the first op whose value, or whose pullback's result, is not finite."""

    found: str | None = None
    count = 0

    def forward(self, name: str, args: tuple, result: Tensor) -> None:
        self.count += 1
        if self.found is None and not np.isfinite(result.data).all():
            shapes = ", ".join(str(x.shape) for x in args if isinstance(x, Tensor))
            self.found = (
                f"forward of op {name!r} (number {self.count} of the step), inputs {shapes}"
            )

    def pulled(self, node: Node, gradients: list[np.ndarray | None]) -> None:
        if self.found is None and not all(g is None or np.isfinite(g).all() for g in gradients):
            shapes = ", ".join(str(x.shape) for x in node.inputs)
            self.found = f"backward of op {node.name!r}, inputs {shapes}"


class _Progress:
    """step, loss, tokens per second and time left, on one line of a terminal; a line now and then
    elsewhere.
    """

    def __init__(self, step: int, steps: int, quiet: bool):
        self.first, self.steps, self.quiet = step, steps, quiet
        self.live = sys.stderr.isatty()
        self.start = self.shown = time.perf_counter()
        self.tokens = 0

    def update(self, entry: dict[str, float], tokens: int) -> None:
        self.tokens += tokens
        now, step = time.perf_counter(), int(entry["step"])
        if self.quiet or (now - self.shown < (0.2 if self.live else 10) and step < self.steps):
            return
        self.shown = now
        seconds = now - self.start
        left = round(seconds / (step - self.first) * (self.steps - step))
        text = (
            f"step {step:>6}/{self.steps}   loss {entry['loss']:.4f}   "
            f"{self.tokens / seconds:>9,.0f} tokens/s   {left // 60}:{left % 60:02d} left"
        )
        print(
            f"\r{text:<78}" if self.live else text,
            end="" if self.live else "\n",
            file=sys.stderr,
            flush=True,
        )

    def line(self, text: str) -> None:
        if not self.quiet:
            print(f"\r{text:<78}" if self.live else text, file=sys.stderr, flush=True)

    def close(self) -> None:
        if self.live and not self.quiet:
            print(file=sys.stderr)


@contextlib.contextmanager
def _deferred_interrupt() -> Iterator[threading.Event]:
    """Ctrl-C sets the event, so that a step is never left half done; a second one interrupts as
    usual.
    """
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def handler(number, frame):
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    saved = signal.signal(signal.SIGINT, handler)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, saved)
