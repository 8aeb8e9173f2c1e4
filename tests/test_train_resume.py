"""Exact resume: stopped, crashed or interrupted, a run ends with the same bytes."""

from __future__ import annotations

import json
import signal
import threading

import numpy as np
import pytest
from training import STEPS, Run, assert_same, files, finished, interrupt

from minitx.checkpoint import read_metadata, save_safetensors
from minitx.jit import use_kernels
from minitx.nn import Linear, Module
from minitx.optim import SGD
from minitx.train import Trainer, trainer


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return finished(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("stops", [[1], [3], [4], [8], [2, 5], [1, 2, 3, 6, 7]])
def test_a_run_stopped_by_ctrl_c_and_resumed_ends_with_the_same_bytes(whole, tmp_path, stops):
    for stop in stops:
        run = Run(tmp_path)
        if stop != stops[0]:
            run.trainer.resume()
        run.at[2 * (stop - run.trainer.step)] = interrupt
        assert run.trainer.run(STEPS) is False
        assert run.trainer.step == stop
    last = Run(tmp_path)
    last.trainer.resume()
    assert_same(last.state(), run.state())
    assert last.trainer.run(STEPS)
    assert_same(last.state(), whole.state())
    assert files(tmp_path) == files(whole.folder)


@pytest.mark.parametrize("kernels", ["ref", "jit"])
def test_runs_of_a_few_steps_each_are_one_long_run(tmp_path, kernels):
    with use_kernels(kernels):
        check_runs_of_a_few_steps(tmp_path)


def check_runs_of_a_few_steps(tmp_path):
    options = {"validate": None, "validate_every": 0}
    one, many, again = (Run(tmp_path / name, **options) for name in ("one", "many", "again"))
    one.trainer.run(6)
    for steps in (2, 3, 3, 6):
        assert many.trainer.run(steps)
    for steps in (1, 6):
        again = Run(tmp_path / "again", **options)
        if steps > 1:
            again.trainer.resume()
        again.trainer.run(steps)
    for run in (many, again):
        assert_same(one.state(), run.state())
        assert files(tmp_path / "one") == files(run.trainer.checkpoint.parent)


def test_steps_done_in_memory_keep_their_log_without_a_checkpoint(tmp_path):
    run = Run(tmp_path, checkpoint=None, save_every=0)
    for steps in (2, 2, 4):
        run.trainer.run(steps)
    log = (tmp_path / "logs" / "run.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in log] == [1, 2, 3, 4]


@pytest.mark.parametrize("crash", [1, 2, 5, 7, 8, 13, 16, 18])
def test_a_crash_costs_the_steps_since_the_checkpoint_and_nothing_else(whole, tmp_path, crash):
    def fail():
        raise MemoryError("crash")

    run = Run(tmp_path)
    run.at[crash] = fail
    with pytest.raises(MemoryError):
        run.trainer.run(STEPS)
    assert run.trainer.step == (crash - 1) // 2
    again = Run(tmp_path)
    if (crash - 1) // 2 >= 3:
        again.trainer.resume()
        assert again.trainer.step == (crash - 1) // 6 * 3
    assert again.trainer.run(STEPS)
    assert files(tmp_path) == files(whole.folder)


def test_a_crash_while_saving_leaves_the_former_checkpoint(whole, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("the disk is full")

    run = Run(tmp_path)
    run.at[7] = lambda: monkeypatch.setattr(trainer, "save_safetensors", fail)
    with pytest.raises(OSError, match="disk is full"):
        run.trainer.run(STEPS)
    monkeypatch.undo()
    assert run.trainer.step == 6
    assert len(files(tmp_path)[1].splitlines()) == 6  # longer than the checkpoint says
    again = Run(tmp_path)
    again.trainer.resume()
    assert again.trainer.step == 3
    again.trainer.run(STEPS)
    assert files(tmp_path) == files(whole.folder)


def test_a_step_that_raised_has_not_happened(whole, tmp_path):
    """A notebook's user may interrupt the hard way and go on."""

    def twice():
        interrupt()
        interrupt()

    run = Run(tmp_path)
    run.at |= {6: twice, 9: lambda: 1 / 0}
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run.trainer.run(STEPS)
    assert signal.getsignal(signal.SIGINT) is before
    assert run.trainer.step == 2 and not (tmp_path / "run.safetensors").exists()
    with pytest.raises(ZeroDivisionError):
        run.trainer.run(STEPS)
    run.trainer.run(STEPS)
    assert_same(run.state(), whole.state())
    assert files(tmp_path) == files(whole.folder)


def test_interrupted_in_its_last_moment_a_run_is_complete(whole, tmp_path):
    run = Run(tmp_path)
    run.at[2 * STEPS] = interrupt
    assert run.trainer.run(STEPS) is True
    assert files(tmp_path) == files(whole.folder)


def test_an_interrupt_while_validating_waits_for_its_end(tmp_path):
    run = Run(tmp_path, on_validate=lambda step, loss: interrupt(), validate_every=2)
    assert run.trainer.run(STEPS) is False
    assert run.trainer.step == 2
    last = json.loads(files(tmp_path)[1].splitlines()[-1])
    assert last["step"] == 2 and "validation" in last
    assert json.loads(read_metadata(tmp_path / "run.safetensors")["training"])["step"] == 2


def test_an_interrupt_while_saving_is_not_lost(tmp_path, monkeypatch):
    def save(*arguments):
        save_safetensors(*arguments)
        monkeypatch.undo()
        interrupt()

    monkeypatch.setattr(trainer, "save_safetensors", save)
    run = Run(tmp_path)
    assert run.trainer.run(STEPS) is False
    step = json.loads(read_metadata(tmp_path / "run.safetensors")["training"])["step"]
    assert step == run.trainer.step < STEPS


def test_an_interrupt_just_after_the_look_for_one_is_saved_as_well(tmp_path):
    run = Run(tmp_path)
    due = run.trainer._due

    def late(every):
        if every == run.trainer.save_every and run.trainer.step == 4:
            interrupt()
        return due(every)

    run.trainer._due = late
    assert run.trainer.run(STEPS) is False
    step = json.loads(read_metadata(tmp_path / "run.safetensors")["training"])["step"]
    assert step == run.trainer.step == 5


def test_other_threads_can_train(whole, tmp_path):
    run = Run(tmp_path)
    results = []
    thread = threading.Thread(target=lambda: results.append(run.trainer.run(STEPS)))
    thread.start()
    thread.join()
    assert results == [True] and files(tmp_path) == files(whole.folder)


@pytest.mark.parametrize("kind", ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"])
def test_every_kind_of_generator_is_resumed(tmp_path, kind):
    class Noisy(Module):
        def __init__(self):
            self.parts = [Linear(2, 1, np.random.default_rng(0))]
            self.parts[0].source = np.random.Generator(getattr(np.random, kind)(7))

        def loss(self, x):
            noise = self.parts[0].source.standard_normal(2, np.float32)
            return self.parts[0](x + noise).sum()

    def make():
        model = Noisy()
        path = tmp_path / "x.safetensors"
        batch = np.ones((1, 2), np.float32)
        return Trainer(model, SGD(model, 0.1), lambda rng: (batch,), checkpoint=path, quiet=True)

    one = make()
    assert one.generators.keys() == {"batches", "model.parts.0.source"}
    one.run(2)
    two = make()
    two.resume()
    for run in (one, two):
        run.run(4)
    np.testing.assert_array_equal(one.optimizer.data, two.optimizer.data)
