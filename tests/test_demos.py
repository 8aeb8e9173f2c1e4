"""The demos as users run them: from any folder, stopped, resumed, and given bad files."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.long

GPT = pathlib.Path(__file__).parents[1] / "demos" / "gpt.py"


def run(folder, *args, script=GPT, check=True):
    done = subprocess.run(
        [sys.executable, script, *args], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert not check or done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder in which the demo ran for a few steps on a small text."""
    folder = tmp_path_factory.mktemp("demo")
    (folder / "my.txt").write_text("the quick brown fox jumps over the lazy dog.\n" * 60)
    done = run(folder, "--text", "my.txt", "--steps", "8", "--seeds", "0", "--length", "20")
    return folder, done


def test_it_trains_and_writes(trained):
    folder, done = trained
    assert "validation loss" in done.stderr and "what it writes" in done.stdout
    log = [json.loads(line) for line in (folder / "runs/gpt/log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == list(range(1, 9))
    assert log[-1]["loss"] < log[0]["loss"] and "validation" in log[-1]


def test_help_shows_how_to_go_on(tmp_path):
    assert "\n    python demos/gpt.py --resume  " in run(tmp_path, "--help").stdout


def test_it_samples_from_the_checkpoint(trained):
    folder, _ = trained
    first, again = (run(folder, "--sample", "the quick ", "--length", "30").stdout for _ in "ab")
    assert first.startswith("the quick ") and len(first) == 10 + 30 + 1 and first == again


def test_it_resumes_to_the_same_bits_after_ctrl_c(trained, tmp_path):
    folder, _ = trained
    args = ["--text", str(folder / "my.txt"), "--steps", "8", "--seeds", "0", "--length", "20"]
    command = [sys.executable, GPT, *args]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline() + process.stdout.read(1)  # the first step's sample begins
        os.kill(process.pid, signal.SIGINT)
        rest = process.stdout.read()
    assert process.returncode == 130, line + rest
    assert "--resume" in rest
    run(tmp_path, *args, "--resume")
    for name in ("checkpoint.safetensors", "log.jsonl"):
        ours, theirs = (place / "runs/gpt" / name for place in (tmp_path, folder))
        assert ours.read_bytes() == theirs.read_bytes(), name


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "empty"), (b"ab\xff", "UTF-8"), (b"too short", "window"), (None, "no file")],
)
def test_a_bad_text_gets_one_line(tmp_path, content, message):
    if content is not None:
        (tmp_path / "my.txt").write_bytes(content)
    done = run(tmp_path, "--text", "my.txt", check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert message in done.stderr and not (tmp_path / "runs").exists()


def test_sampling_without_a_checkpoint_says_so(tmp_path):
    done = run(tmp_path, "--sample", "a", check=False)
    assert done.returncode == 1 and "checkpoint.safetensors" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_report_of_a_small_gpt(tmp_path):
    done = run(tmp_path, "--steps", "2", "--layers", "1", script=GPT.with_name("report.py"))
    assert done.stdout.startswith("open /") and (tmp_path / "runs/report.html").is_file()
