"""NaN and infinity: the run stops, names the first one, and keeps what was good."""

from __future__ import annotations

import re

import numpy as np
import pytest
from training import Toy

from minitx import ops
from minitx.data import Shuffled
from minitx.optim import SGD
from minitx.train import NonFiniteError, Trainer


def divided(y, bad):
    return y / (y * (1 - bad))


def root(y, bad):
    return y + ops.sqrt(y * y * (1 - bad))


def overflowing_sum(y, bad):
    factor = bad * np.float32(3e38) + (1 - bad)
    return y * factor + y * factor + y * factor


NANS = {
    "parameter": (None, r"forward of op 'linear', number 1 .*; parameter layer.weight is not"),
    "batch": (None, r"forward of op 'linear', number 1 .*; argument 0, which no op made, is not"),
    "op": (
        divided,
        r"forward of op 'divide', number \d+ of the step, on \(3, 2\), \(3, 2\)\n  at divide\n",
    ),
    "backward": (root, r"norm is nan; .* backward of op 'sqrt', on \(3, 2\)\n  at sqrt\n"),
    "sum": (
        overflowing_sum,
        "norm is inf; .* summed up, of what op 'linear' made\n  at layer.linear\n",
    ),
}


@pytest.mark.parametrize("name", NANS)
def test_the_first_nan_stops_the_run_and_is_named(tmp_path, name):
    trouble, message = NANS[name]

    def make():
        model, order = Toy(trouble), Shuffled(5, 3)

        def batch(rng):
            rows = order.next(rng)
            bad = np.float32(made.step == 3)
            x = np.full((3, 2), 0.01 * len(rows), np.float32)
            if bad and name == "batch":
                x[1, 1] = np.nan
            if bad and name == "parameter":
                model.layer.weight.data[0, 1] = np.inf
            return x, bad

        made = Trainer(
            model,
            SGD(model, 0.01),
            batch,
            data=order,
            accumulate=2,
            checkpoint=tmp_path / "toy.safetensors",
            save_every=2,
            log=tmp_path / "toy.jsonl",
            quiet=True,
        )
        return made

    made = make()
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError, match="^step 4: ") as caught:
        made.run(9)
    assert re.search(message, str(caught.value)), caught.value
    assert len((tmp_path / "toy.jsonl").read_bytes().splitlines()) == made.step == 3
    position = made._position()
    again = make()
    again.resume()
    assert again.step == 2 and np.isfinite(again.optimizer.data).all()
    again.run(3)
    assert again._position() == position  # the failed step has drawn nothing
    if name != "parameter":
        np.testing.assert_array_equal(again.optimizer.data, made.optimizer.data)


def test_a_parameters_gradient_that_overflows_in_its_sum_is_told():
    model = Toy(None)
    model.layer.weight.data[...] = 0
    batch = (np.full((1, 2), 2e38, np.float32),)
    twice = lambda x: (model.layer(x) + model.layer(x)).sum()  # noqa: E731
    made = Trainer(model, SGD(model, 0.1), lambda rng: batch, loss=twice)
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError, match="a parameter's gradient"):
        made.train_step()


def test_the_hunt_draws_what_the_step_drew():
    model = Toy(None)
    model.rng = np.random.default_rng(0)
    draws = model.rng.random(2)
    model.rng.bit_generator.state = np.random.default_rng(0).bit_generator.state

    def loss(x):
        y = model.layer(x)
        return (y / (y * float(model.rng.random() != draws[0]))).sum()

    made = Trainer(model, SGD(model, 0.1), lambda rng: (np.ones((1, 2), np.float32),), loss=loss)
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError, match="op 'divide'"):
        made.train_step()
    assert model.rng.random() == draws[0]  # and the step has not happened


def test_errors_that_numpy_raises_are_explained_too(tmp_path):
    model = Toy(divided)
    made = Trainer(model, SGD(model, 0.1), lambda rng: (np.ones((1, 2), np.float32), 1), quiet=True)
    with np.errstate(all="raise"), pytest.raises(NonFiniteError, match="step 1: .*op 'divide'"):
        made.run(1)


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    model = Toy(None)
    made = Trainer(
        model,
        SGD(model, 0.1),
        lambda rng: (np.ones((1, 2), np.float32), 0),
        schedule=lambda step: 0.1 if step < 2 else 1e39,
        clip=None,
        checkpoint=tmp_path / "toy.safetensors",
        save_every=1,
        quiet=True,
    )
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError, match="step 3: .* layer.weight"):
        made.run(5)
    made.resume()
    assert made.step == 2 and np.isfinite(made.optimizer.data).all()
