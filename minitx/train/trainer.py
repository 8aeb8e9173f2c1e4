"""The training loop: steps, validation, checkpoints, and resuming to the same bits.

Everything that decides the future of a run is in one file, replaced in one step: parameters,
moments, average, the state of every random generator, the position in the data, and the length of
the log.  The log is cut back to that length on resuming, so that both always tell the same story.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..checkpoint import CheckpointError, load_safetensors, read_metadata, save_safetensors
from ..data.text import whole
from ..nn import Module
from ..nn.module import check_state
from ..observer import observing
from ..optim import EMA, Optimizer, constant
from ..tensor import Tensor
from ..trace import FirstNonFinite
from .log import Log
from .terminal import Progress, deferred_interrupt


class NonFiniteError(FloatingPointError):
    """A NaN or an infinity; the message names the step and the first op that made one."""


class Trainer:
    """``run(steps)`` trains until that step; ``resume()`` before it goes on from the checkpoint.

    batches(rng): draws one batch, a tuple of arguments for ``loss``.
    loss: model.loss unless given; a tensor of one element, the mean over the batch.
    schedule: step, from 0, to learning rate; the optimizer's own rate unless given.
    clip: bound on the gradients' norm, or None.
    accumulate: batches whose mean gradient makes one step.
    ema: updated after every step, and used for validation.
    seed: of the Generator that ``batches`` draws from.
    validate(): a loss to report, or several measures by name, "loss" among them, as ``evaluate``
        returns them; every ``validate_every`` steps and at the end, with dropout off and nothing
        recorded.  Under the same weights ``on_validate(step, loss)`` may show samples.
    checkpoint: a ``.safetensors`` path, written every ``save_every`` steps, at the end, on Ctrl-C.
    log: a path; one JSON object per step: step, loss, lr, norm, and where there was validation,
        its loss as validation, and its other measures.  A run that is not resumed begins it anew.
    data: what has the position in the data, if rng alone does not: ``state()`` returns what JSON
        can hold, and ``load_state(state)`` goes there.
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
        validate: Callable[[], float | Mapping[str, float]] | None = None,
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
        self.clip = clip
        self.accumulate = whole("Trainer: accumulate", accumulate)
        self.validate, self.on_validate = validate, on_validate
        self.validate_every = whole("Trainer: validate_every", validate_every, 0)
        self.checkpoint = None if checkpoint is None else pathlib.Path(checkpoint)
        self.save_every = whole("Trainer: save_every", save_every, 0)
        self.log = Log(log)
        self.data, self.metadata, self.quiet = data, dict(metadata or {}), quiet
        self.step = 0  # done so far
        self.size = 0, "tokens"  # of the latest step
        self.generators = {"batches": np.random.default_rng(seed)}
        self.generators |= {f"model.{name}": rng for name, rng in model.named_generators()}
        texts = [*self.metadata.keys(), *self.metadata.values()]
        _require(clip is None or clip > 0, f"clip is {clip}; expected a positive norm, or None")
        _require(validate or not validate_every, "validate_every needs validate")
        _require(validate or not on_validate, "on_validate needs validate")
        _require(self.checkpoint or not save_every, "save_every needs checkpoint, a path")
        _require(not ema or ema.optimizer is optimizer, "ema averages another optimizer's weights")
        _require(all(isinstance(x, str) for x in texts), "metadata must map strings to strings")
        _require("training" not in self.metadata, "metadata has 'training', which is our own key")

    # ---- one step --------------------------------------------------------------------------------

    def train_step(self) -> dict[str, float]:
        """Forward, backward, clip and update.  Returns what the log says of it.

        What is raised before the update leaves the trainer where the step began: NonFiniteError,
        TypeError on a batch that is no tuple or a loss that is no scalar, KeyboardInterrupt.
        """
        before = self._position()
        try:
            batches = [self._draw() for _ in range(self.accumulate)]
            self.size = sum(_size(batch)[0] for batch in batches), _size(batches[0])[1]
            lr = float(self.schedule(self.step))
            loss, norm = self._update(batches, lr)
        except BaseException:
            self._go_to(before)
            raise
        if self.ema:
            self.ema.update()
        self.step += 1
        return {"step": self.step, "loss": loss, "lr": lr, "norm": norm}

    def _draw(self) -> tuple:
        batch = self.batches(self.generators["batches"])
        if not isinstance(batch, tuple) or not batch:
            came = type(batch).__name__
            raise TypeError(f"Trainer: batches returned {came}; expected a tuple that is not empty")
        return batch

    def _update(self, batches: list[tuple], lr: float) -> tuple[float, float]:
        """The loss, and the gradients' norm, of a step that is made if both are finite."""
        drawn = self._random_state()
        try:
            loss = self._forward_backward(batches)
            if not math.isfinite(loss):
                raise FloatingPointError(f"the loss is {loss}")
            return loss, self.optimizer.step(lr, self.clip)
        except FloatingPointError as error:
            self._set_random_state(drawn)
            hunter = FirstNonFinite(self.model)
            with observing(hunter), np.errstate(all="ignore"):
                self._forward_backward(batches)
            found = hunter.found or "a parameter's gradient, summed up"
            message = f"step {self.step + 1}: {error}; not finite first: {found}"
            raise NonFiniteError(message) from None

    def _forward_backward(self, batches: list[tuple]) -> float:
        self.optimizer.zero_grad()
        total = 0.0
        for batch in batches:
            loss = self.loss(*batch)
            if not isinstance(loss, Tensor) or loss.size != 1:
                came = f"a tensor {loss.shape}" if isinstance(loss, Tensor) else repr(loss)
                raise TypeError(f"Trainer: the loss is {came}; expected a tensor of one element")
            total += loss.item() / len(batches)
            loss.backward(np.full(loss.shape, 1 / len(batches)))
        return total

    # ---- the loop --------------------------------------------------------------------------------

    def run(self, steps: int) -> bool:
        """Train until ``steps`` steps are done.  Returns False if Ctrl-C stopped it, after saving.

        Ctrl-C waits for the end of a step; a second one does not, and nothing is saved.
        """
        whole("Trainer.run: steps", steps, 0)
        self._rehearse_saving()
        self.model.train()
        stop = False
        progress = Progress(self.step, steps, self.quiet)
        with self.log.opened(), contextlib.closing(progress), deferred_interrupt() as interrupted:
            while self.step < steps and not stop:
                entry = self.train_step()
                done = self.step == steps
                progress.update(entry, *self.size)
                if self.validate and (done or self._due(self.validate_every)):
                    entry |= self._validate(progress)
                self.log.write(entry)
                stop = interrupted.is_set()
                if done or stop or self._due(self.save_every):
                    self.save()
        return self.step >= steps

    def _due(self, every: int) -> bool:
        return every > 0 and self.step % every == 0

    def _validate(self, progress: Progress) -> dict[str, float]:
        averaged = self.ema.applied() if self.ema else contextlib.nullcontext()
        with self.model.evaluating(), averaged:
            made = self.validate()  # type: ignore[misc]
            named = dict(made) if isinstance(made, Mapping) else {"loss": made}
            _require("loss" in named, f"validate returned {sorted(named)}; expected 'loss' as well")
            ours = sorted({"step", "lr", "norm", "validation"} & named.keys())
            _require(not ours, f"validate returned {ours}, which the log has of its own")
            measures = {name: float(x) for name, x in named.items()}
            loss = measures.pop("loss")
            others = "".join(f"   {name} {x:.4f}" for name, x in measures.items())
            step = f"step {self.step:>6}/{progress.steps}"
            progress.line(f"{step}   validation loss {loss:.4f}{others}")
            if self.on_validate:
                self.on_validate(self.step, loss)
        return {"validation": loss} | measures

    # ---- checkpoints -----------------------------------------------------------------------------

    def _rehearse_saving(self) -> None:
        """Better to fail now than after hours."""
        if self.checkpoint is not None:
            self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
            if self.checkpoint.is_dir():
                raise IsADirectoryError(f"Trainer: checkpoint {self.checkpoint} is a folder")
            self._training()

    def save(self) -> None:
        """Write the checkpoint, if there is a path; a crash meanwhile leaves the former one.

        Raises NonFiniteError, and keeps the former one, if a parameter is not finite.
        """
        if self.checkpoint is None:
            return
        for name, x in self.optimizer.parameters.items():
            if not np.isfinite(x.data).all():
                raise NonFiniteError(f"step {self.step}: the update made {name} non-finite")
        self.log.sync()  # what the checkpoint says of it must survive a power cut
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        metadata = self.metadata | {"training": self._training()}
        save_safetensors(self.checkpoint, self._arrays(), metadata)

    def resume(self) -> None:
        """Go on from the checkpoint, bit for bit.

        Raises CheckpointError, and changes nothing, if it is missing, damaged or another run's.
        """
        path = self.checkpoint
        if path is None:
            raise CheckpointError("resume: this trainer was given no checkpoint path")
        try:
            metadata, arrays = read_metadata(path), load_safetensors(path)
        except OSError as error:
            raise CheckpointError(f"resume: cannot read a checkpoint: {error}") from error
        if "training" not in metadata:
            raise CheckpointError(f"{path}: holds no training state, so no run can go on from it")
        before = self._position()
        try:
            check_state("Trainer", self._arrays(), arrays, same_dtypes=True)
            info = json.loads(metadata["training"])
            step, log_bytes = whole("step", info["step"], 0), whole("log", info["log_bytes"], 0)
            self._go_to(info)
            if other := [key for key, x in self.metadata.items() if metadata.get(key) != x]:
                raise ValueError(f"its {', '.join(other)} is another")
            self.log.go_to(step, log_bytes)
        except Exception as error:
            self._go_to(before)
            raise CheckpointError(f"{path} does not belong to this run: {error}") from error
        self.step = step
        for part, x in self._parts().items():  # nothing can fail any more
            prefix = f"{part}/"
            load = x.load_state_dict if isinstance(x, Module) else x.load_state
            load({n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)})

    def _parts(self) -> dict[str, Any]:
        """Whose arrays decide the future of the run."""
        parts = {"model": self.model, "optimizer": self.optimizer}
        return parts | ({"ema": self.ema} if self.ema else {})

    def _arrays(self) -> dict[str, np.ndarray]:
        states = {
            part: x.state_dict() if isinstance(x, Module) else x.state()
            for part, x in self._parts().items()
        }
        return {f"{part}/{name}": a for part, state in states.items() for name, a in state.items()}

    def _training(self) -> str:
        """What of the state is no array, as JSON."""
        info = self._position() | {"step": self.step, "log_bytes": self.log.length}
        return json.dumps(info, default=_plain)

    def _position(self) -> dict[str, Any]:
        """Where the run stands in its randomness and its data."""
        data = None if self.data is None else self.data.state()
        return {"random": self._random_state(), "data": data}

    def _go_to(self, position: Mapping[str, Any]) -> None:
        if (self.data is None) != (position["data"] is None):
            raise ValueError("one of them has a position in the data, the other has not")
        self._set_random_state(position["random"])
        if self.data is not None:
            self.data.load_state(position["data"])

    def _random_state(self) -> dict[str, Any]:
        return {name: rng.bit_generator.state for name, rng in self.generators.items()}

    def _set_random_state(self, states: Mapping[str, Any]) -> None:
        if states.keys() != self.generators.keys():
            ours, theirs = sorted(self.generators), sorted(states)
            raise ValueError(f"it has the random generators {theirs}, this run {ours}")
        for name, rng in self.generators.items():
            rng.bit_generator.state = states[name]


def _size(batch: tuple) -> tuple[int, str]:
    """How much a batch is, for the progress line: images, (B, C, H, W), or tokens."""
    first = getattr(batch[0], "ids", batch[0])
    return (len(first), "images") if np.ndim(first) == 4 else (np.size(first), "tokens")


def _require(condition: Any, otherwise: str) -> None:
    if not condition:
        raise ValueError(f"Trainer: {otherwise}")


def _plain(x: Any) -> Any:
    if isinstance(x, np.ndarray | np.generic):
        return x.tolist()
    raise TypeError(f"Trainer: data.state() holds {type(x).__name__}, which JSON cannot")
