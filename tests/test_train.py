"""The training loop: what it computes, what it tells meanwhile, and bad input."""

from __future__ import annotations

import io
import re
import sys

import numpy as np
import pytest
from training import Run, Toy, assert_same

from minitx import ops
from minitx.optim import SGD, AdamW
from minitx.train import Trainer, terminal

# ---- what it computes --------------------------------------------------------------------------


def test_a_step_is_that_of_the_whole_batch():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((6, 2))
    losses = []
    for accumulate in (1, 3):
        model = Toy(lambda y, n: y * y / n).astype(np.float64)
        parts = iter(np.split(x, accumulate))
        made = Trainer(
            model,
            SGD(model, 0.1),
            lambda rng, parts=parts: ((part := next(parts)), len(part)),
            accumulate=accumulate,
            clip=None,
        )
        losses.append((made.train_step(), made.optimizer.data))
    (one, data), (three, other) = losses
    np.testing.assert_allclose(data, other, rtol=1e-14)
    assert abs(one["loss"] - three["loss"]) < 1e-14 and abs(one["norm"] - three["norm"]) < 1e-14


def test_the_average_follows_every_step(tmp_path):
    run = Run(tmp_path)
    expected = run.optimizer.data.astype(np.float64)
    for _ in range(4):
        run.trainer.train_step()
        expected = 0.9 * expected + 0.1 * run.optimizer.data
    np.testing.assert_allclose(run.ema.average, expected, rtol=0, atol=1e-6)


def test_validation_sees_the_averaged_weights_with_dropout_off(tmp_path):
    later = []

    def on_validate(step, loss):
        later.append((step, run.model.training, run.optimizer.data.copy()))

    run = Run(tmp_path, on_validate=on_validate)
    run.trainer.run(8)
    assert [(step, mode) for step, mode, _ in run.seen] == [(4, False), (8, False)]
    np.testing.assert_array_equal(run.seen[-1][2], run.ema.average)
    np.testing.assert_array_equal(later[-1][2], run.ema.average)
    assert not np.array_equal(run.optimizer.data, run.ema.average) and run.model.training
    assert [(step, mode) for step, mode, _ in later] == [(4, False), (8, False)]


def test_an_error_while_validating_leaves_the_trained_weights(tmp_path):
    run = Run(tmp_path, on_validate=lambda step, loss: 1 / 0, validate_every=1)
    with pytest.raises(ZeroDivisionError):
        run.trainer.run(1)
    assert run.model.training and not np.array_equal(run.optimizer.data, run.ema.average)


# ---- the terminal ------------------------------------------------------------------------------


class Clock:
    """A second a look."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 1.0
        return self.now


def test_a_file_gets_a_line_now_and_then(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(terminal.time, "perf_counter", Clock())
    Run(tmp_path, quiet=False, validate=None, validate_every=0).trainer.run(25)
    lines = capsys.readouterr().err.splitlines()
    number = r"\d+\.\d{4}"
    assert [line.split()[1] for line in lines] == ["10/25", "20/25", "25/25"]
    # 4, 4 and 3 texts of 5 tokens in turn: 20 batches hold 6 2/3 passes of 55 tokens
    assert re.fullmatch(rf"step     10/25   loss {number} +37 tokens/s   0:15 left", lines[0])
    assert lines[2].endswith("0:00 left")


def test_a_terminal_gets_one_line_that_changes(tmp_path, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", screen := Terminal())
    monkeypatch.setattr(terminal.time, "perf_counter", Clock())
    run = Run(tmp_path, quiet=False, validate_every=2)
    run.at[7] = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        run.trainer.run(130)
    text = screen.getvalue()
    assert text.count("\r") == 4 and text.count("\n") == 2
    assert text.endswith(" \n") and text.rstrip().endswith("left")
    assert re.search(r"\rstep      2/130   validation loss \d\.\d{4} +\n\rstep      3/130", text)
    assert "tokens/s   2:07 left" in text


def test_quiet_is_quiet(tmp_path, capsys):
    Run(tmp_path).trainer.run(4)
    assert capsys.readouterr() == ("", "")


# ---- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"accumulate": 0}, ValueError, "accumulate must be at least 1, got 0"),
        ({"accumulate": 1.5}, TypeError, "accumulate must be a whole number"),
        ({"validate_every": -1}, ValueError, "validate_every must be at least 0"),
        ({"validate": None}, ValueError, "validate_every needs validate"),
        (
            {"validate": None, "validate_every": 0, "on_validate": print},
            ValueError,
            "on_validate needs validate",
        ),
        ({"save_every": -2}, ValueError, "save_every must be at least 0"),
        ({"checkpoint": None}, ValueError, "save_every needs checkpoint"),
        ({"clip": 0}, ValueError, "clip is 0; expected a positive norm, or None"),
        ({"clip": np.nan}, ValueError, "clip is nan"),
        ({"metadata": {"config": 3}}, ValueError, "must map strings to strings"),
        ({"metadata": {"training": "x"}}, ValueError, "our own key"),
    ],
)
def test_bad_arguments_get_one_clear_error(tmp_path, options, error, message):
    with pytest.raises(error, match=f"Trainer: .*{message}"):
        Run(tmp_path, **options)


def test_what_cannot_be_saved_is_told_before_the_first_step(tmp_path):
    class Where:
        def state(self):
            return {"seen": {1, 2}}

    run = Run(tmp_path, data=Where())
    with pytest.raises(TypeError, match="state.. holds set, which JSON cannot"):
        run.trainer.run(1)
    run = Run(tmp_path, checkpoint=tmp_path)
    with pytest.raises(IsADirectoryError, match="is a folder"):
        run.trainer.run(1)
    assert run.drawn == 0


def test_another_optimizers_average_is_refused(tmp_path):
    with pytest.raises(ValueError, match="ema averages another optimizer"):
        Trainer(*[(run := Run(tmp_path)).model, AdamW(run.model), run.batch], ema=run.ema)


@pytest.mark.parametrize(
    ("steps", "error"), [(-1, ValueError), (2.5, TypeError), (True, TypeError), ("9", TypeError)]
)
def test_steps_are_a_whole_number(tmp_path, steps, error):
    with pytest.raises(error, match="Trainer.run: steps must be"):
        Run(tmp_path).trainer.run(steps)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda x, y: ops.sum(ops.exp(x * 1.0), axis=0), "loss is .*tensor"),
        (lambda x, y: 0.5, "the loss is 0.5; expected a tensor of one element"),
    ],
)
def test_the_loss_must_be_one_number(tmp_path, loss, message):
    run = Run(tmp_path, loss=lambda x, y: loss(x.astype(np.float32), y))
    before = run.state()
    with pytest.raises(TypeError, match=message):
        run.trainer.run(1)
    assert_same(run.state(), before)


@pytest.mark.parametrize(
    ("batch", "message"),
    [(np.ones(3), "returned ndarray"), ((), "returned tuple"), (None, "returned NoneType")],
)
def test_a_batch_must_be_a_tuple(batch, message):
    model = Toy(None)
    made = Trainer(model, SGD(model, 0.1), lambda rng: batch)
    with pytest.raises(TypeError, match=f"batches {message}; expected a tuple that is not"):
        made.train_step()
