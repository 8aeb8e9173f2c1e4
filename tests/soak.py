"""Kill a training process at random moments, again and again; nothing may be lost or differ.

    python -m tests.soak [--kills 50] [--seed 0]          (from the repository's root)

A child process trains a small GPT and writes a checkpoint every few steps.  It is killed with
SIGKILL at moments from its start-up to late in its training, and where a write is under way.  After
each kill the checkpoint, if there is one, must load; then another child resumes.  The run that gets
to its end must have left the same bytes, checkpoint and log, as one that nobody disturbed.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
STEPS_PER_KILL = 40
SAVE_EVERY = 4
READY = "training"
DRAFT = ".run.safetensors.*.tmp"


# ---- the child ---------------------------------------------------------------------------------


def train(folder: pathlib.Path, steps: int) -> None:
    """Resume if there is something to resume, and go on to the end."""
    from minitx.data import Shuffled
    from minitx.models.gpt import GPT, GPTConfig
    from minitx.optim import EMA, AdamW
    from minitx.train import Trainer

    texts = np.random.default_rng(0).integers(0, 29, (50, 17))
    model = GPT(GPTConfig(29, 16, 2, 2, 32, dropout=0.1))
    optimizer, order = AdamW(model, 1e-3), Shuffled(len(texts), 8)

    def batch(rng):
        rows = texts[order.next(rng)]
        return rows[:, :-1], rows[:, 1:]

    trainer = Trainer(
        model,
        optimizer,
        batch,
        ema=EMA(optimizer, 0.99),
        checkpoint=folder / "run.safetensors",
        save_every=SAVE_EVERY,
        log=folder / "run.jsonl",
        data=order,
        quiet=True,
    )
    if trainer.checkpoint.exists():
        trainer.resume()
    print(READY, flush=True)
    trainer.run(steps)


class Child:
    """A process that trains in ``folder`` and may be killed."""

    def __init__(self, folder: pathlib.Path, steps: int):
        paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
        self.errors = open(folder / "errors.txt", "w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--child", str(folder), str(steps)],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )

    def wait_until_ready(self) -> None:
        if self.process.stdout.readline().strip() != READY:
            self.finish()

    def wait_for(self, folder: pathlib.Path, pattern: str) -> None:
        """Until a new file appears that fits the pattern, or the process ends."""
        old = set(folder.glob(pattern))
        while self.process.poll() is None and not set(folder.glob(pattern)) - old:
            pass

    def kill(self) -> bool:
        """Whether it was still alive."""
        self.process.kill()
        return self.finish(allowed=(0, -9, 1)) != 0

    def finish(self, allowed: tuple[int, ...] = (0,)) -> int:
        try:
            code = self.process.wait(timeout=120)
        finally:
            self.process.kill()
            self.process.stdout.close()
        self.errors.seek(0)
        told = self.errors.read()
        self.errors.close()
        if code not in allowed or "Traceback" in told:
            raise AssertionError(f"a training process ended with code {code}:\n{told}")
        return code


# ---- the killer --------------------------------------------------------------------------------


@dataclass
class Summary:
    kills: int = 0
    in_training: int = 0
    in_saving: int = 0
    lost: int = 0  # steps that were in the log, but not yet in the checkpoint
    runs: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.kills} kills, {self.in_training} of them in training and {self.in_saving} "
            f"during a save; {self.lost} steps lost and made again; {self.runs} runs ended "
            f"with the same bytes; {self.seconds:.0f} seconds"
        )


def soak(folder: pathlib.Path, kills: int, seed: int = 0) -> Summary:
    """Kill and resume; raises AssertionError if anything is lost or differs."""
    start, rng, summary = time.perf_counter(), np.random.default_rng(seed), Summary()
    steps = STEPS_PER_KILL * kills
    undisturbed(folder / "first", 1)  # compiles what is not in the cache
    startup, training, expected = undisturbed(folder / "undisturbed", steps)
    while summary.kills < kills:
        disturbed = folder / f"disturbed-{summary.runs}"
        disturbed.mkdir()
        reached = 0
        while summary.kills < kills:
            child = Child(disturbed, steps)
            moment = rng.choice(["start-up", "training", "save"], p=[0.15, 0.6, 0.25])
            if moment == "start-up":
                time.sleep(rng.uniform(0, startup))
            else:
                child.wait_until_ready()
                time.sleep(rng.uniform(0, 2 * training / kills))
            if moment == "save":
                child.wait_for(disturbed, DRAFT)
            if not child.kill():
                break
            summary.kills += 1
            summary.in_training += moment != "start-up"
            summary.in_saving += any(disturbed.glob(DRAFT))
            done, logged = standing(disturbed)
            assert done >= reached, f"the checkpoint fell back from step {reached} to {done}"
            reached, summary.lost = done, summary.lost + max(0, logged - done)
        Child(disturbed, steps).finish()
        assert contents(disturbed) == expected, f"{disturbed} differs from the undisturbed run"
        summary.runs += 1
    summary.seconds = time.perf_counter() - start
    return summary


def undisturbed(folder: pathlib.Path, steps: int) -> tuple[float, float, tuple[bytes, bytes]]:
    """Seconds of start-up, seconds of training, and what a run leaves behind."""
    folder.mkdir()
    times = [time.perf_counter()]
    child = Child(folder, steps)
    child.wait_until_ready()
    times.append(time.perf_counter())
    child.finish()
    times.append(time.perf_counter())
    return times[1] - times[0], times[2] - times[1], contents(folder)


def contents(folder: pathlib.Path) -> tuple[bytes, bytes]:
    return (folder / "run.safetensors").read_bytes(), (folder / "run.jsonl").read_bytes()


def standing(folder: pathlib.Path) -> tuple[int, int]:
    """The checkpoint's step, which must load, and the log's; 0 where there is none."""
    from minitx.checkpoint import load_safetensors, read_metadata

    checkpoint, log = folder / "run.safetensors", folder / "run.jsonl"
    logged = log.read_bytes().count(b"\n") if log.exists() else 0
    if not checkpoint.exists():
        assert logged <= SAVE_EVERY, f"{logged} steps, and no checkpoint"
        return 0, logged
    info = json.loads(read_metadata(checkpoint)["training"])
    arrays = load_safetensors(checkpoint)
    assert info["step"] == arrays["optimizer/steps"]
    assert all(np.isfinite(x).all() for x in arrays.values())
    assert log.stat().st_size >= info["log_bytes"]
    return info["step"], logged


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        train(pathlib.Path(sys.argv[2]), int(sys.argv[3]))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(soak(pathlib.Path(folder), options.kills, options.seed))


if __name__ == "__main__":
    main()
