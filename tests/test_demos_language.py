"""The demos on language, in a few steps on tiny settings."""

from __future__ import annotations

import io
import json
import pathlib
import runpy
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import NamedTuple

import numpy as np
import pytest

from minitx.models.bert import BERT, BERTConfig, BERTPretraining
from minitx.text import WordPieceTokenizer, load_tokenizer

pytestmark = pytest.mark.long

DEMOS = pathlib.Path(__file__).parents[1] / "demos"


class Done(NamedTuple):
    code: object  # of the exit: 0, or a message
    stdout: str
    stderr: str


def run(folder, demo, *args, check=True):
    """A demo as users run it, but in this process, so that texts are gathered once for all."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(DEMOS)
        patch.setattr(sys, "argv", [demo, *map(str, args)])
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as exit:
            if demo.endswith(".py"):
                runpy.run_path(str(DEMOS / demo), run_name="__main__")
            else:
                runpy.run_module(demo, run_name="__main__", alter_sys=True)
    done = Done(exit.value.code, out.getvalue(), err.getvalue())
    assert not check or done.code == 0, done
    return done


# ---- dates ----


@pytest.fixture(scope="module")
def dates(tmp_path_factory):
    """A folder in which the demo ran for a few steps."""
    folder = tmp_path_factory.mktemp("dates")
    return folder, run(folder, "transformer.py", "--steps", 4, "--batch", 2, "--test", 4)


def test_the_transformer_trains_and_is_tested(dates):
    folder, done = dates
    assert "beam search" in done.stdout and "exact" in done.stderr
    log = (folder / "runs/transformer/log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in log] == [1, 2, 3, 4]
    pytest.importorskip("matplotlib")
    assert (folder / "runs/transformer/attention.png").is_file()


def test_the_transformer_translates_from_the_checkpoint(dates):
    folder, _ = dates
    done = run(folder, "transformer.py", "--translate", "3 March 2024", "3.12.2007")
    assert [line.partition("  ->  ")[0] for line in done.stdout.splitlines()] == [
        "3 March 2024",
        "3.12.2007",
    ]


def test_the_transformer_refuses_other_characters_in_one_line(dates):
    folder, _ = dates
    done = run(folder, "transformer.py", "--translate", "３月", check=False)
    assert str(done.code).startswith("transformer.py: ") and "is none of" in done.code


# ---- BERT ----


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    return folder, run(folder, "bert.py", "--quick", "--steps", 3, "--seeds", 1)


def test_bert_pretrains_and_is_fine_tuned_on_every_task(bert):
    folder, done = bert
    assert "mlm" in done.stderr and "nsp" in done.stderr
    for task in ("pairs", "texts", "spans", "tags", "choices"):
        assert f"\n{task}: " in done.stdout
    kept = [
        json.loads(path.read_text())["result"]
        for path in (folder / "runs/bert/quick/scores").glob("*.json")
    ]
    assert len(kept) == 10 and all(0 <= x <= 1 for x in kept)


def test_bert_leaves_a_folder_with_weights_and_vocabulary(bert):
    folder, _ = bert
    model = folder / "runs/bert/quick/model"
    assert BERTPretraining.from_pretrained(model).bert.config.vocab_size == 400
    assert load_tokenizer(model).vocab_size == 400
    done = run(folder, "bert.py", "--quick", "--fill", "Return the [MASK].")
    assert done.stdout.splitlines()[0].strip() == "Return the [MASK]."


def test_claims_are_measured_once(tmp_path, monkeypatch):
    args = "demos.claims", "--quick", "--only", "following", "--folder", tmp_path
    monkeypatch.syspath_prepend(DEMOS.parent)
    first, again = run(tmp_path, *args), run(tmp_path, *args)
    assert "s of CPU" in first.stdout and "s of CPU" not in again.stdout
    assert "following: To have learnt which passages" in again.stdout
    assert len([*(tmp_path / "quick").glob("pairs-*.json")]) == 4


# ---- folders ----


def test_one_folder_holds_a_model_and_its_tokenizer(tmp_path):
    tokenizer = WordPieceTokenizer.train("to be or not to be, that is the question", 60)
    model = BERT(BERTConfig(tokenizer.vocab_size, 16, 1, 2, 8), 1).eval()
    for writes in (model.save_pretrained, tokenizer.save):
        writes(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"config.json", "model.safetensors", "vocab.txt"} <= names
    read, texts = load_tokenizer(tmp_path), ["To be [MASK] not", "the questions"]
    assert read.tokens == tokenizer.tokens
    batch = read.batch(texts)
    for known, given in zip(batch, tokenizer.batch(texts), strict=True):
        assert np.array_equal(known, given)
    ours, theirs = (
        m(batch.ids, batch.types, batch.mask).data for m in (model, BERT.from_pretrained(tmp_path))
    )
    assert np.array_equal(ours, theirs)
    for writes in (read.save, BERT.from_pretrained(tmp_path).save_pretrained):  # the other order
        writes(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == names
