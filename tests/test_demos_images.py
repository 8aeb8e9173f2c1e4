"""The demos on pictures: a few steps of each, stopped and resumed, with and without matplotlib."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.long

ROOT = pathlib.Path(__file__).parents[1]
BARE = "import sys; sys.modules['matplotlib'] = None; sys.argv[0] = 'demo'; "  # not installed


def run(folder, *command, check=True):
    """In ``folder``, as if it were the root for modules."""
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"PYTHONPATH": paths},
    )
    assert not check or done.returncode == 0, done.stderr
    return done


def script(name):
    return str(ROOT / "demos" / name)


def bare(path):
    """Arguments that run a script where matplotlib cannot be imported."""
    start = f"{BARE}sys.path.insert(0, {str(ROOT / 'demos')!r}); "
    return ["-c", start + f"import runpy; runpy.run_path({path!r}, run_name='__main__')"]


@pytest.mark.parametrize("model", ["vit", "t2t_vit", "resnet"])
def test_a_classifier_trains_and_draws(tmp_path, model):
    pytest.importorskip("matplotlib")
    done = run(tmp_path, script("vit.py"), "--model", model, "--steps", "2", "--seeds", "2")
    assert "1,438 images to train on, 359 to test" in done.stdout and "mean of 2" in done.stdout
    made = {path.name for path in (tmp_path / "runs/vit").glob("*.png")}
    pictures = {
        "vit": {"filters", "positions", "attention"},
        "t2t_vit": {"tokens", "attention"},
        "resnet": {"filters"},
    }
    assert made == {f"{model}-digits-{what}.png" for what in pictures[model]}


def test_a_finished_run_is_resumed_at_its_end_and_no_matplotlib_is_needed(tmp_path):
    args = ("--model", "resnet", "--steps", "2")
    run(tmp_path, *bare(script("vit.py")), *args)
    before = (tmp_path / "runs/vit/resnet-digits-0.safetensors").read_bytes()
    done = run(tmp_path, *bare(script("vit.py")), *args, "--resume")
    assert "resumed at step 2" in done.stdout and "matplotlib is not installed" in done.stdout
    assert (tmp_path / "runs/vit/resnet-digits-0.safetensors").read_bytes() == before
    assert not list(tmp_path.rglob("*.png"))


def test_folders_of_mnist(tmp_path):
    """Two small files of its format for each part."""
    for part, count in (("train", 40), ("t10k", 10)):
        images = np.zeros((count, 28, 28), np.uint8)
        images[:, ::3] = np.arange(count, dtype=np.uint8)[:, None, None]
        for kind, array, axes in (("images", images, 3), ("labels", np.arange(count) % 10, 1)):
            header = bytes([0, 0, 8, axes]) + np.array(array.shape, ">u4").tobytes()
            path = tmp_path / f"{part}-{kind}-idx{axes}-ubyte"
            path.write_bytes(header + array.astype(np.uint8).tobytes())
    done = run(tmp_path, *bare(script("vit.py")), "--data", "mnist", ".", "--steps", "1")
    assert "40 images to train on, 10 to test, 10 classes" in done.stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--data", "mnist", "nowhere"), "there is no folder nowhere"),
        (("--data", "faces"), "expected a name and at most one folder"),
    ],
)
def test_what_is_wrong_gets_one_line(tmp_path, args, message):
    done = run(tmp_path, script("vit.py"), *args, check=False)
    assert done.returncode and message in done.stderr and "Traceback" not in done.stderr


def test_mae_paints_and_compares(tmp_path):
    args = ("--data", "digits", "--steps", "2", "--finetuning", "2", "--seeds", "1")
    done = run(tmp_path, *bare(script("mae.py")), *args)
    for part in (
        "16 patches each, of which the encoder sees 4",
        "as painted",
        " labels (mean over seeds, range)",
    ):
        assert part in done.stdout
    for what in ("fine-tuned, pre-trained", "linear probe, from scratch"):
        assert what in done.stdout
    again = run(tmp_path, *bare(script("mae.py")), *args[:-1], "0", "--resume")
    assert "resumed at step 2" in again.stdout


def test_claims_are_measured_once(tmp_path):
    args = ("-m", "demos.claims", "--quick", "--only", "data", "--folder", str(tmp_path))
    first, again = run(ROOT, *args), run(ROOT, *args)
    assert "s of CPU" in first.stdout and "s of CPU" not in again.stdout
    assert "data: At small data ViT is behind the ConvNet" in again.stdout
    kept = json.loads((tmp_path / "quick/vit-40-0.json").read_text())
    assert 0 <= kept["result"] <= 1 and kept["settings"].startswith("(16, 80, 50")


def test_an_unknown_claim(tmp_path):
    done = run(ROOT, "-m", "demos.claims", "--only", "moon", check=False)
    assert done.returncode == 2 and "no claim moon" in done.stderr
