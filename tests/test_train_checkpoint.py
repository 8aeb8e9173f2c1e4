"""The log and the checkpoint of a run, and checkpoints that do not fit."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
from training import STEPS, Run, assert_same, files, finished

from minitx.checkpoint import CheckpointError, load_safetensors, read_metadata, save_safetensors
from minitx.nn import Linear
from minitx.optim import SGD, warmup_cosine
from minitx.train import Trainer, trainer


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return finished(tmp_path_factory.mktemp("whole"))


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


def test_the_log_can_be_watched(tmp_path):
    run, lines = Run(tmp_path), []
    run.at[7] = lambda: lines.extend((tmp_path / "logs" / "run.jsonl").read_bytes().splitlines())
    run.trainer.run(4)
    assert len(lines) == 3


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


def log_of_a_later_step(folder):
    path = folder / "logs" / "run.jsonl"
    path.write_bytes(b'{"step": 77'.ljust(path.stat().st_size - 2) + b"}\n" + b'{"step": 78}\n')


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
    "another note": (another(metadata={"note": "large"}), "its note is another"),
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
    "an empty log": (log(b""), "put the right one back"),
    "a shorter log": (log(b'{"step": 1}\n'), "put the right one back"),
    "another log": (log(b'{"step": 1}\n' * 100), "put the right one back"),
    "a later log": (log_of_a_later_step, "put the right one back"),
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
