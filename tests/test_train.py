"""The training loop: exact resume, crashes, interrupts, NaNs, and what it tells meanwhile."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import sys
import threading

import numpy as np
import pytest

from minitx import ops
from minitx.checkpoint import CheckpointError, load_safetensors, read_metadata, save_safetensors
from minitx.data.labelled import Shuffled
from minitx.jit import use_kernels
from minitx.models.gpt import GPT, GPTConfig
from minitx.nn import Linear, Module
from minitx.optim import EMA, SGD, AdamW, warmup_cosine
from minitx.train import NonFiniteError, Trainer, terminal, trainer

STEPS = 9
TEXTS = np.random.default_rng(0).integers(0, 13, (11, 6))


class Run:
    """All the objects of a run, new ones each time, as another process would make them."""

    def __init__(self, folder, *, width=16, sgd=False, ema=True, dtype=np.float32, **options):
        self.model = GPT(GPTConfig(13, 5, 1, 2, width, dropout=0.2), 1).astype(dtype)
        self.optimizer = (SGD if sgd else AdamW)(self.model, lr=0.01)
        self.ema = EMA(self.optimizer, 0.9) if ema else None
        self.order = Shuffled(len(TEXTS), 4)
        self.drawn = 0  # batches
        self.at = {}  # what happens when batch number n is drawn
        self.seen = []  # by validation
        settings = {
            "schedule": warmup_cosine(0.02, 2, STEPS),
            "accumulate": 2,
            "ema": self.ema,
            "seed": 3,
            "validate": self.validate,
            "validate_every": 4,
            "checkpoint": folder / "run.safetensors",
            "save_every": 3,
            "log": folder / "logs" / "run.jsonl",
            "data": self.order,
            "metadata": {"note": "tiny"},
            "quiet": True,
        }
        self.trainer = Trainer(self.model, self.optimizer, self.batch, **(settings | options))

    def batch(self, rng):
        self.drawn += 1
        rows = TEXTS[self.order.next(rng)]
        self.at.get(self.drawn, lambda: None)()
        rows = np.where(rng.random(rows.shape) < 0.1, 12, rows)
        return rows[:, :-1], rows[:, 1:]

    def validate(self):
        self.seen.append((self.trainer.step, self.model.training, self.optimizer.data.copy()))
        return self.model.loss(TEXTS[:, :-1], TEXTS[:, 1:]).item()

    def state(self):
        """Everything that decides the future, copied."""
        trainer = self.trainer
        arrays = {name: x.copy() for name, x in trainer._arrays().items()}
        rest = trainer.step, trainer.log.length, self.optimizer.steps, trainer._position()
        return arrays, json.dumps(rest)


def assert_same(one, two):
    assert one[1] == two[1]
    assert one[0].keys() == two[0].keys()
    for name, x in one[0].items():
        assert x.dtype == two[0][name].dtype and x.tobytes() == two[0][name].tobytes(), name


def files(folder):
    return (folder / "run.safetensors").read_bytes(), (folder / "logs" / "run.jsonl").read_bytes()


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing stopped."""
    run = Run(tmp_path_factory.mktemp("whole"))
    assert run.trainer.run(STEPS)
    run.folder = run.trainer.checkpoint.parent
    return run


# ---- resuming ----------------------------------------------------------------------------------


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


# ---- the log and the file ----------------------------------------------------------------------


def test_a_log_that_is_gone_begins_anew_where_the_run_stands(whole, tmp_path):
    Run(tmp_path).trainer.run(4)
    shutil.rmtree(tmp_path / "logs")
    run = Run(tmp_path)
    run.trainer.resume()
    run.trainer.run(STEPS)
    assert files(tmp_path)[1].splitlines() == files(whole.folder)[1].splitlines()[4:]


def test_a_run_without_a_log_remembers_where_it_stood(tmp_path):
    Run(tmp_path).trainer.run(2)
    for steps, log in ((4, None), (6, tmp_path / "logs" / "run.jsonl")):
        run = Run(tmp_path, log=log)
        run.trainer.resume()
        run.trainer.run(steps)
    steps = [json.loads(line)["step"] for line in files(tmp_path)[1].splitlines()]
    assert steps == [1, 2, 5, 6]


def test_a_log_deleted_between_two_runs_is_not_padded(tmp_path):
    run = Run(tmp_path)
    run.trainer.run(2)
    (tmp_path / "logs" / "run.jsonl").unlink()
    run.trainer.run(3)
    assert [json.loads(line)["step"] for line in files(tmp_path)[1].splitlines()] == [3]


def test_a_run_that_is_not_resumed_begins_its_log_anew(whole, tmp_path):
    shutil.copytree(whole.folder, tmp_path, dirs_exist_ok=True)
    Run(tmp_path).trainer.run(STEPS)
    assert files(tmp_path) == files(whole.folder)


def test_the_log_is_on_disk_before_the_checkpoint_tells_of_it(tmp_path, monkeypatch):
    events = []
    fsync, save = os.fsync, trainer.save_safetensors
    monkeypatch.setattr(os, "fsync", lambda handle: events.append("sync") or fsync(handle))
    monkeypatch.setattr(
        trainer, "save_safetensors", lambda *given: events.append("save") or save(*given)
    )
    Run(tmp_path).trainer.run(3)
    assert events[:2] == ["sync", "save"]


def test_every_line_of_the_log_is_json(whole):
    lines = [json.loads(line) for line in files(whole.folder)[1].splitlines()]
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    assert [line["step"] for line in lines if "validation" in line] == [4, 8, 9]
    rate = warmup_cosine(0.02, 2, STEPS)
    for line in lines:
        assert line.keys() - {"validation"} == {"step", "loss", "lr", "norm"}
        assert line["lr"] == rate(line["step"] - 1)
        assert np.isfinite(list(line.values())).all()
    assert abs(lines[0]["loss"] - np.log(13)) < 0.1


def test_what_json_has_no_number_for_is_null_in_the_log(tmp_path):
    told = []
    Run(
        tmp_path,
        validate=lambda: np.float32(np.nan),
        on_validate=lambda *given: told.append(given),
        schedule=lambda step: np.float32(0.5),
    ).trainer.run(1)
    line = json.loads(files(tmp_path)[1], parse_constant=lambda name: pytest.fail(name))
    assert line["validation"] is None and line["lr"] == 0.5
    assert len(told) == 1 and told[0][0] == 1 and np.isnan(told[0][1])


def test_the_checkpoint_keeps_the_given_metadata_and_is_readable_without_us(whole):
    metadata = read_metadata(whole.folder / "run.safetensors")
    assert metadata.keys() == {"note", "training"} and metadata["note"] == "tiny"
    arrays = load_safetensors(whole.folder / "run.safetensors")
    for name, x in whole.model.state_dict().items():
        np.testing.assert_array_equal(arrays[f"model/{name}"], x)
        np.testing.assert_array_equal(arrays[f"ema/{name}"], whole.ema.state()[name])


# ---- checkpoints that do not fit ---------------------------------------------------------------


def another(**options):
    def spoil(folder):
        shutil.rmtree(folder)
        Run(folder, **options).trainer.run(2)

    return spoil


def told(change):
    """Change what the checkpoint tells of the training."""

    def spoil(folder):
        path = folder / "run.safetensors"
        info = json.loads(read_metadata(path)["training"])
        text = change(info)
        text = text if isinstance(text, str) else json.dumps(info)
        save_safetensors(path, load_safetensors(path), {"training": text})

    return spoil


def cut(keep):
    def spoil(folder):
        path = folder / "run.safetensors"
        path.write_bytes(path.read_bytes()[:keep])

    return spoil


def log(content):
    return lambda folder: (folder / "logs" / "run.jsonl").write_bytes(content)


def without_training_state(folder):
    path = folder / "run.safetensors"
    save_safetensors(path, load_safetensors(path))


def a_folder(folder):
    (folder / "run.safetensors").unlink()
    (folder / "run.safetensors").mkdir()


MISFITS = {
    "another width": (another(width=8), r"model/tokens.weight has shape \(13, 8\), expected"),
    "another dtype": (another(dtype=np.float64), "dtype float64, expected float32"),
    "another optimizer": (another(sgd=True), "unexpected optimizer/momentum.tokens.weight"),
    "no average": (another(ema=False), "missing ema/tokens.weight"),
    "no data": (another(data=None), "position in the data"),
    "truncated": (cut(-10), "truncated"),
    "truncated header": (cut(100), "truncated"),
    "empty": (cut(0), "at least 8 bytes"),
    "missing": (lambda folder: (folder / "run.safetensors").unlink(), "No such file"),
    "a folder": (a_folder, "directory|denied"),
    "weights only": (without_training_state, "holds no training state"),
    "no JSON": (told(lambda info: "{"), "does not belong"),
    "no object": (told(lambda info: "[]"), "does not belong"),
    "no step": (told(lambda info: info.pop("step")), "step"),
    "negative step": (told(lambda info: info.update(step=-1)), "at least 0"),
    "no log length": (told(lambda info: info.update(log_bytes=None)), "log"),
    "no randomness": (told(lambda info: info.pop("random")), "random"),
    "another generator": (
        told(lambda info: info["random"].update(extra=info["random"]["batches"])),
        "generators .*extra",
    ),
    "another kind of generator": (
        told(lambda info: info["random"]["model.rng"].update(bit_generator="MT19937")),
        "PCG64",
    ),
    "a damaged generator": (
        told(lambda info: info["random"]["model.rng"]["state"].update(state=-1)),
        "does not belong",
    ),
    "more data": (told(lambda info: info["data"].update(count=12)), "count must be 11"),
    "a shorter log": (log(b""), "put the right one back"),
    "another log": (log(b'{"step": 1}\n' * 100), "put the right one back"),
    "a later log": (log(b'{"step": 77, "x":' + b" " * 900 + b"1}\n" * 100), "right one"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_a_checkpoint_that_does_not_fit_changes_nothing(tmp_path, name):
    spoil, message = MISFITS[name]
    Run(tmp_path / "x").trainer.run(3)
    run = Run(tmp_path / "x")
    run.trainer.train_step()
    spoil(tmp_path / "x")
    before = run.state()
    with pytest.raises(CheckpointError, match=message):
        run.trainer.resume()
    assert_same(run.state(), before)


def test_resuming_needs_a_path():
    model = Linear(1, 1, np.random.default_rng(0))
    made = Trainer(model, SGD(model, 0.1), lambda rng: (), loss=lambda: None)
    with pytest.raises(CheckpointError, match="no checkpoint path"):
        made.resume()
    made.save()  # nowhere


# ---- NaN and infinity --------------------------------------------------------------------------


class Toy(Module):
    """Made so that each way to a NaN is one line."""

    def __init__(self, trouble):
        self.layer = Linear(2, 2, np.random.default_rng(0), std=1.0)
        self.trouble = trouble

    def loss(self, x, bad):
        y = self.layer(x)
        return (self.trouble(y, bad) if self.trouble else y).sum()


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
    "op": (divided, r"forward of op 'divide', number \d+ of the step, on \(3, 2\), \(3, 2\)$"),
    "backward": (root, r"norm is nan; .* backward of op 'sqrt', on \(3, 2\)$"),
    "sum": (overflowing_sum, "norm is inf; .* the gradients, summed up, of what op 'linear' made$"),
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


def test_validation_sees_the_averaged_weights_with_dropout_off(whole, tmp_path):
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
