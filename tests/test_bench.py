"""The benchmark, without a look at the clock: what it counts, prints and checks."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import math
import shutil

import numpy as np
import pytest
from bench import __main__ as program
from bench import libraries, ours
from bench import measure as measuring
from bench.measure import Disagreement, Pace, Result, mean_ratio, measure, same
from bench.process import Worker, WorkerDied
from bench.scaling import Curve, exponent, sweeps
from bench.table import comparison, growth, markdown, memory
from bench.tasks import (
    BERT,
    GPT,
    KINDS,
    MAE,
    MASK,
    PAD,
    START,
    WORDS,
    WORKLOADS,
    Attention,
    Encoding,
    Generation,
    Model,
    Product,
    ResNet,
    T2TViT,
    Transformer,
    ViT,
    select,
)
from isolated import run

TINY = WORKLOADS["tiny"][0]
OURS = libraries.ours({}, numpy_first=False)
SECOND = {"minitx": 0.001, "np.matmul": 0.002, "torch": 0.004}
GEMM = Result("GEMM", Product(1000), {name: [[s]] for name, s in SECOND.items()}, flops=2 * 10**9)
SMALL = [
    GPT(2, 32, 2, 12, 3, 20),
    BERT(2, 32, 2, 24, 3, 60),
    Transformer(2, 32, 2, 12, 3, 50),
    Generation(2, 32, 2, 20, 1, 30, count=15),
    Encoding(2, 32, 4, 12, 3, 40),
    ViT(2, 24, 2, 32, 3, patch=8),
    MAE(2, 24, 2, 32, 3, patch=8),
    T2TViT(1, 24, 2, 32, 3),
    ResNet((1, 1), 8, 8, 4),
    Attention(2, 3, 70, 16),
    Product(64),
]

needs_torch = pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="needs torch")


def result(workload, minitx, torch, task=TINY):
    """As if each round of each library had taken these seconds."""
    turns = {"minitx": [[s] for s in minitx], "torch": [[s] for s in torch]}
    memory = {"minitx": 10_000_000, "torch": 40_000_000}
    return Result(workload, task, turns, memory, 10**9 if isinstance(task, Model) else None)


def kind(task):
    return type(task).__name__


def job(task, folder):
    """minitx's side of it, in this process."""
    return getattr(ours, task.job)(task, folder)


# ---- names and options ---------------------------------------------------------------------------


def test_workloads_are_chosen_by_name_in_their_own_order():
    assert list(select(["tiny", "char"])) == ["char", "tiny"]
    assert select([]) == WORKLOADS


def test_an_unknown_name_lists_the_known_ones(capsys):
    with pytest.raises(SystemExit):
        program.parse(["tiny", "huge"])
    message = capsys.readouterr().err
    assert "unknown workload huge" in message and all(name in message for name in WORKLOADS)


def test_options():
    options = program.parse(["tiny", "--env", "A=1", "--env", "B=x=y", "--numpy-first"])
    assert options.env == [("A", "1"), ("B", "x=y")] and options.numpy_first
    assert not options.compile and program.parse([]).compile
    assert program.parse(["--quick"]).rounds < program.parse([]).rounds
    assert program.parse(["--quick", "--rounds", "7"]).rounds == 7


@pytest.mark.parametrize("wrong", [["--rounds", "0"], ["--env", "A"], ["--threads", "two"]])
def test_options_that_cannot_be(wrong):
    with pytest.raises(SystemExit):
        program.parse(wrong)


# ---- figures -------------------------------------------------------------------------------------


def test_floors_by_hand(tmp_path):
    L, C, T, B, V = 3, 8, 5, 7, 11
    products, attention = L * 12 * C * C + V * C, L * 2 * T * C
    step = job(GPT(L, C, 2, T, B, V), tmp_path)
    assert step.flops() == 6 * (products + attention) * T * B
    states = job(Encoding(L, C, 2, T, B, V), tmp_path)
    assert states.flops() == 2 * (products + attention - V * C) * T * B
    assert job(Product(8), tmp_path).flops() == 2 * 8**3
    assert job(Attention(1, 1, 2, 2), tmp_path).flops() is None


def test_the_ratio_is_the_median_of_the_rounds():
    measured = result("tiny", minitx=[1, 3, 8], torch=[2, 6, 4])
    assert measured.ratio("torch") == 0.5
    assert measured.spread("torch") == (0.5, 2)


def test_geometric_mean_of_a_workload():
    results = [result("attention", [1], [2]), result("attention", [4], [2])]
    assert math.isclose(mean_ratio(results, "torch"), 1)
    assert mean_ratio(results, "torch.compile") is None


@pytest.mark.parametrize("power", [-1, 0.5, 2])
def test_exponent_of_a_power_law(power):
    x = [64, 128, 256, 512]
    assert math.isclose(exponent(x, [3 * v**power for v in x]), power)


def test_sweeps_change_one_thing():
    tasks = sweeps(cores=4)
    assert [task.width // task.heads for task in tasks["width"].values()] == [32] * 4
    assert list(tasks["threads"]) == [1, 2, 3, 4] and len(set(tasks["threads"].values())) == 1


# ---- what is shown -------------------------------------------------------------------------------


def test_markdown():
    assert markdown([["a", "b"], ["long", "1.0"]]).splitlines() == [
        "| a    |   b |",
        "| ---- | --: |",
        "| long | 1.0 |",
    ]


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_comparison():
    results = [
        result("tiny", [0.001, 0.003], [0.004, 0.004]),
        result("attention", [0.001], [0.004], Attention(1, 2, 3, 4)),
        result("attention", [0.001], [0.001], Attention(4, 3, 2, 1, causal=False)),
    ]
    heading, _, *rows = map(cells, comparison(GEMM, results, ["torch", "other"]).splitlines())
    assert heading == [
        "workload",
        "minitx, ms (GEMM 2000)",
        "/ floor (GEMM 1000)",
        "torch, ms (GEMM 500)",
        "minitx / it",
        "other, ms",
        "minitx / it",
    ]
    floor = 1e9 / 1e12
    times = ["2.00", f"{0.002 / floor:.2f}", "4.00", "0.50 (0.25-0.75)", "", ""]
    assert rows[0] == ["tiny: 2 x 64, 2, 32, 4, 64", *times]
    assert rows[1][0] == "attention: (1, 2, 3, 4) causal" and rows[1][2] == ""
    assert rows[3] == ["attention: geometric mean", "", "", "", "0.50", "", ""]


def test_memory_and_growth():
    measured = [result("tiny", [1], [1])]
    name = "tiny: 2 x 64, 2, 32, 4, 64"
    assert cells(memory(measured, ["torch"]).splitlines()[2]) == [name, "10", "40", "0.25"]
    assert cells(memory(measured, []).splitlines()[2]) == [name, "10"]
    curves = [Curve("batch", [1, 2], [0.001, 0.002])]
    assert cells(growth(curves).splitlines()[2]) == ["batch", "1: 1.00, 2: 2.00", "1.00"]


def test_a_picture(tmp_path):
    pytest.importorskip("matplotlib")
    curves = [Curve("batch", [1, 2], [0.001, 0.002])]
    outcome = program.Outcome("", ["torch"], [], GEMM, [result("tiny", [1], [2])], curves)
    program.save_picture(tmp_path / "file.png", outcome)
    assert (tmp_path / "file.png").read_bytes().startswith(b"\x89PNG")


# ---- workers -------------------------------------------------------------------------------------


def test_a_worker_answers(tmp_path):
    with Worker(OURS, TINY, 1, tmp_path) as worker:
        first, norm, *rest = worker.ask("check")
        losses = [first, *rest]
        assert len(losses) == 3 and all(abs(loss - math.log(TINY.vocab)) < 0.5 for loss in losses)
        assert norm > 0 and worker.ask("flops") > 0
        assert len(worker.ask({"turn": 0})) == 2
        assert 10e6 < worker.ask("memory") < 10e9


def test_a_worker_that_dies_says_why(tmp_path):
    broken = libraries.Library("minitx", "nowhere")
    with Worker(broken, TINY, 1, tmp_path) as worker:
        with pytest.raises(WorkerDied, match=r"minitx, GPT 2 x 64(.|\n)*No module named"):
            worker.ask("check")


def test_the_parent_imports_nothing_that_a_child_would_inherit():
    found = run("import bench.__main__, sys; print({'numpy', 'minitx'} & set(sys.modules))")
    assert found == "set()"


def test_minitx_is_imported_before_numpy():
    asked = run(
        """
        import sys

        class Watch:
            def find_spec(name, *rest):
                if name in ("minitx", "numpy"):
                    print(name)

        sys.meta_path.insert(0, Watch)
        import bench.ours
        """
    )
    assert asked.split() == ["minitx", "numpy"]


@needs_torch
@pytest.mark.parametrize("task", [TINY, Product(64)], ids=kind)
def test_both_libraries_take_turns(task, tmp_path):
    told: list[str] = []
    pace = Pace(1, 0, 1, told.append)
    measured = measure("same", task, [OURS, libraries.FLOOR, libraries.TORCH], pace, tmp_path)
    assert {"minitx", "torch"} <= measured.turns.keys() and len(told) == len(measured.turns)
    assert measured.flops > 0


def test_each_round_has_a_turn_of_each_library_in_a_new_process(tmp_path, monkeypatch):
    told: list[str] = []
    seen = []
    begin = measuring.start
    monkeypatch.setattr(measuring, "start", lambda *x: seen.append(begin(*x)) or seen[-1])
    pace, pair = Pace(2, 0, 1, told.append), [OURS, libraries.FLOOR]
    measured = measure("same", Product(64), pair, pace, tmp_path)
    assert {name: len(turns) for name, turns in measured.turns.items()} == {x.name: 2 for x in pair}
    assert len(told) == 4 and min(measured.memory.values()) > 1e6
    assert len({worker.process.pid for round in seen for worker in round.values()}) == 4


# ---- what they compute ---------------------------------------------------------------------------


def test_every_kind_is_measured_and_small_enough_to_test():
    assert {kind(task) for task in SMALL} == KINDS.keys()
    measured = {kind(task) for tasks in WORKLOADS.values() for task in tasks}
    assert measured | {"Product"} == KINDS.keys()


@pytest.mark.parametrize("task", SMALL, ids=kind)
def test_minitx_does_it(task, tmp_path):
    numbers = job(task, tmp_path).check()
    assert numbers and all(map(math.isfinite, numbers))
    assert (tmp_path / "weights.npz").exists() == isinstance(task, Model)


@pytest.fixture(scope="module")
def by_torch(tmp_path_factory):
    """For every kind: what either library computes, in one process of their own."""
    folder = str(tmp_path_factory.mktemp("weights"))
    tasks = [(kind(task), dataclasses.asdict(task)) for task in SMALL]
    program = f"""
        import json, pathlib
        from bench import ours, theirs
        from bench.tasks import KINDS

        numbers = {{}}
        for kind, fields in {tasks!r}:
            task, folder = KINDS[kind](**fields), pathlib.Path({folder!r})
            numbers[kind] = [getattr(x, task.job)(task, folder).check() for x in (ours, theirs)]
        print(json.dumps(numbers))
    """
    return json.loads(run(program).splitlines()[-1])


@needs_torch
@pytest.mark.parametrize("name", KINDS)
def test_torch_computes_the_same(name, by_torch):
    a, b = by_torch[name]
    assert same(a, b), (a, b)


def test_gaps_of_bert():
    task = BERT(1, 8, 1, 40, 5, 30)
    batch = next(task.batches(np.random.default_rng(0)))
    ids, targets = batch["ids"], batch["targets"]
    chosen = targets != -100
    assert (chosen.sum(axis=1) == 6).all() and (ids[chosen] == MASK).all()
    assert (ids[~chosen] > MASK).all() and (targets[chosen] > MASK).all()
    assert batch["types"].sum(axis=1).tolist() == [20] * 5


def test_sentences_of_a_translation():
    task = Transformer(1, 8, 1, 12, 50, 30)
    batch = next(task.batches(np.random.default_rng(0)))
    source, inputs, targets = batch["source"], batch["inputs"], batch["targets"]
    assert source.shape == inputs.shape == targets.shape == (50, 12)
    assert (inputs[:, 0] == START).all() and (inputs[:, 1:] == targets[:, :-1]).all()
    for ids in (source, targets):
        words = (ids != PAD).sum(axis=1)
        assert words.min() == 9 and words.max() == 12
        assert all((row[:n] >= WORDS).all() for row, n in zip(ids, words, strict=True))


def test_images_come_from_a_bank():
    batches = ViT(1, 8, 1, 16, 3, patch=8).batches(np.random.default_rng(0))
    first, second = next(batches), next(batches)
    assert first["images"].shape == (3, 3, 16, 16) and first["images"].dtype == np.float32
    assert not np.array_equal(first["images"], second["images"])


def test_a_disagreement_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.measure.same", lambda a, b: a is b)
    with pytest.raises(Disagreement, match="minitx has"):
        measure("other", Product(8), [OURS, libraries.FLOOR], Pace(1, 0, 1, print), tmp_path)


@pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc")
def test_the_library_that_lifts_the_handicap(tmp_path):
    name = str(libraries.make_lie(tmp_path))
    call = f"import ctypes; print(ctypes.CDLL({name!r}).mkl_serv_intel_cpu_true())"
    assert run(call) == "1"


@pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc")
@pytest.mark.parametrize(
    ("vendor", "changed"),
    [("AuthenticAMD", ["LD_PRELOAD"]), ("GenuineIntel", ["MKL_ENABLE_INSTRUCTIONS"]), (None, [])],
)
def test_one_column_has_the_other_vendors_products(vendor, changed, tmp_path, monkeypatch):
    monkeypatch.setattr(libraries, "cpu", lambda: {"vendor_id": vendor})
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name == "torch")
    first, *others = libraries.peers(tmp_path, compiled=False)
    assert first is libraries.TORCH and not first.environment
    assert [name for other in others for name in other.environment] == changed
    assert all(other.note for other in others)


# ---- the program ---------------------------------------------------------------------------------


def start(monkeypatch, tmp_path, measured):
    monkeypatch.setattr(program, "measure", measured)
    monkeypatch.setattr(libraries, "peers", lambda folder, compiled: [])
    monkeypatch.setattr("sys.argv", ["bench", "tiny", "--json", str(tmp_path / "file.json")])
    return program.main()


def test_the_program_alone(monkeypatch, tmp_path, capsys):
    def measured(workload, *rest):
        return GEMM if workload == "GEMM" else result(workload, [0.5], [0.5])

    assert start(monkeypatch, tmp_path, measured) == 0
    out, err = capsys.readouterr()
    assert "| tiny: 2 x 64" in out and "500.00" in out and "minitx / it |" not in out
    assert "PyTorch is not installed" in err
    assert json.loads((tmp_path / "file.json").read_text())["results"][0]["workload"] == "tiny"


def test_the_program_ends_with_1_where_a_worker_dies(monkeypatch, tmp_path, capsys):
    def dies(*rest):
        raise WorkerDied("its last words")

    assert start(monkeypatch, tmp_path, dies) == 1
    assert "its last words" in capsys.readouterr().err
