"""minitx diff: how far apart, under which name, of which shape, and what the command line says."""

from __future__ import annotations

import json
import pathlib
import runpy
import sys

import numpy as np
import port
import pytest
from test_oracle_trial import golden, run  # noqa: F401  (a fixture)

from minitx import cli
from minitx.checkpoint import save_npz, save_safetensors
from minitx.oracle.diagnose import investigate
from minitx.oracle.diff import FOREIGN, MISSHAPEN, PROPAGATED, WRONG, compare
from minitx.oracle.measure import difference
from minitx.oracle.port import PortError, adopt, read_table
from minitx.oracle.shapes import misfit
from minitx.oracle.verdict import text, to_json

DEMO = pathlib.Path(__file__).parents[1] / "demos" / "port.py"

# ---- how far apart -------------------------------------------------------------------------------


def test_difference():
    expected = np.arange(12.0).reshape(3, 4)
    theirs = expected.copy()
    theirs[1, 2:] += [0.5, 0.25]
    d = difference(theirs, expected, 0.1)
    assert d.largest == 0.5 and d.index == (1, 2) and (d.theirs, d.expected) == (6.5, 6.0)
    assert d.relative == pytest.approx(np.hypot(0.5, 0.25) / np.linalg.norm(expected))
    assert d.ulp == 0.5 / np.spacing(6.0) and 0.99 < d.cosine < 1 and not d.agrees
    assert d.where == "axis 0 at 1, axis 1 at 2..3"
    assert difference(theirs, expected, 0.1, np.float32).ulp == 0.5 / np.spacing(np.float32(6))
    assert difference(expected, expected, 0.0).agrees


def test_what_is_no_number():
    expected = np.array([np.nan, np.inf, 1.0, -np.inf])
    assert difference(expected, expected, 0.0).largest == 0
    theirs = np.array([np.nan, np.inf, np.nan, -np.inf])
    d = difference(theirs, expected, 1.0)
    assert d.largest == np.inf and d.index == (2,) and not d.agrees and d.where == "axis 0 at 2"
    assert json.loads(json.dumps(d.to_json()))["theirs"] == "nan"
    assert difference(np.zeros((0, 3)), np.zeros((0, 3)), 0.0).agrees


def test_zeros():
    d = difference(np.zeros(3), np.zeros(3), 0.0)
    assert d.agrees and d.relative == 0 and d.cosine == 1
    assert difference(np.ones(3), np.zeros(3), 0.5).relative == np.inf


# ---- names and shapes ----------------------------------------------------------------------------


def test_names(golden):  # noqa: F811
    x = golden.arrays["value/blocks.1.add_2"]
    given = {"h1": x, "blocks.0.add": x, "value/norm": x, "loss": np.zeros(()), "mine": x}
    found = adopt(golden, given, {"h*": "value/blocks.*.add_2", "mine": None})
    assert set(found.arrays) == {
        "value/blocks.1.add_2",
        "value/blocks.0.add",
        "value/norm.layer_norm",
        "value/cross_entropy",
    }
    assert found.theirs["value/blocks.1.add_2"] == "h1" and not found.unknown
    found = adopt(golden, {"value/blocks.0.ad": x, "blocks.0": x})
    assert found.unknown == ["value/blocks.0.ad (did you mean value/blocks.0.add?)"]
    assert list(found.arrays) == ["value/blocks.0.add_2"]  # the module's last op


@pytest.mark.parametrize(
    ("given", "table", "said"),
    [
        ({}, {}, "nothing to compare: the port has no array at all"),
        ({"h": 1.0}, {}, "nothing to compare: the port has h; see --rename"),
        ({"a": 1.0, "b": 2.0}, {"*": "loss"}, "b and a are both to be value/cross_entropy"),
        ({"loss": 1j}, {}, "loss: complex128 data; expected real numbers"),
    ],
)
def test_names_that_do_not_fit(golden, given, table, said):  # noqa: F811
    with pytest.raises(PortError, match=said.replace("(", r"\(")):
        adopt(golden, {name: np.array(x) for name, x in given.items()}, table)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("{", "not JSON"),
        ("[]", "expected an object"),
        ('{"a": 1}', "expected an object"),
        ('{"a": "value/*"}', "'a' has fewer \\* than what it stands for, 'value/\\*'"),
    ],
)
def test_tables_that_are_none(tmp_path, written, said):
    path = tmp_path / "table.json"
    path.write_text(written)
    with pytest.raises(PortError, match=said):
        read_table(path)


def test_merged_axes_are_welcome(golden):  # noqa: F811
    x = golden.arrays["value/blocks.0.add"]  # B T C
    name = "value/blocks.0.add"
    for shape in ((18, 8), (3, 48), (144,), (3, 1, 6, 8)):
        assert adopt(golden, {name: x.reshape(shape)}).arrays[name].shape == x.shape
    for other in (x.swapaxes(0, 1), x[:2], x.reshape(9, 16)):
        assert adopt(golden, {name: other}).misshapen[name].shape == other.shape


def test_shapes_that_do_not_fit(golden):  # noqa: F811
    arrays = run(golden)
    arrays["h0.fc"] = arrays["h0.fc"].swapaxes(0, 1)
    diff = compare(golden, arrays, port.TABLE)
    assert diff.first.status == MISSHAPEN and diff.count(MISSHAPEN) == 1 and not diff.clean
    (found,) = investigate(diff)
    assert found.cause == "transposed" and found.node.name == "blocks.0.mlp.up.linear"
    said = text(diff, [found])
    assert "it has shape (6, 3, 32), expected (3, 6, 32); with its axes in another order" in said
    x = np.arange(6.0).reshape(2, 3)
    assert misfit(x[:, :2], x, x) == ("of another shape", "it has shape (2, 2), expected (2, 3)")
    assert misfit(np.stack([x, -x / 2]), x / 2, x)[0] == "not summed"


# ---- what is wrong, and what only follows --------------------------------------------------------


def test_what_follows_is_not_blamed(golden):  # noqa: F811
    diff = compare(golden, run(golden, "gelu erf"), port.TABLE)
    status = {check.name: check.status for check in diff.checks}
    assert status["value/blocks.0.norm2.layer_norm"] == "agrees"
    assert status["value/blocks.0.mlp.up.linear"] == WRONG
    assert status["value/blocks.0.mlp.down.linear"] == PROPAGATED
    assert diff.first.local.largest == pytest.approx(diff.first.total.largest)


def test_a_tensor_that_is_off_is_found_where_it_is(golden):  # noqa: F811
    """Whichever it is; all that comes after agrees, and none of it is blamed."""
    right = run(golden)
    for name, x in right.items():
        noise = np.zeros(x.shape)
        noise.flat[-1] = 1e-3 * max(1e-3, np.abs(x).max())  # a key bias has no gradient
        diff = compare(golden, right | {name: x + noise}, port.TABLE)
        assert diff.first.theirs == name and diff.count(WRONG) == 1, name
        assert diff.first.local.index == tuple(n - 1 for n in x.shape)


def test_other_parameters_are_no_mistake(golden):  # noqa: F811
    parameters = golden.kind("parameter")
    other = parameters | {"norm.bias": parameters["norm.bias"] + 0.1}
    inputs = golden.arrays["input/inputs"], golden.arrays["input/targets"]
    arrays = port.Port(other, 2)(*inputs) | {f"parameter/{k}": x for k, x in other.items()}
    diff = compare(golden, arrays, port.TABLE)
    assert diff.first.name == "parameter/norm.bias" and diff.first.status == FOREIGN
    assert not diff.count(WRONG) and not list(investigate(diff)) and not diff.clean
    assert "the port ran on other inputs: parameter/norm.bias" in text(diff, [])
    assert "give the port the golden ones" in text(diff, [])


def test_the_first_nan_alone_is_blamed(golden):  # noqa: F811
    arrays = run(golden)
    for name in ("h0.att", "h0.proj", "h0.mid", "logits", "d h1.x"):
        arrays[name][0, 0] = np.nan
    diff = compare(golden, arrays, port.TABLE)
    wrong = [check.name for check in diff.checks if check.status == WRONG]
    assert wrong == ["value/blocks.0.attention.self_attend"]


def test_tolerance(golden):  # noqa: F811
    arrays = {k: x * (1 + 1e-5) for k, x in run(golden).items() if k in ("x0", "h0.x")}
    assert not compare(golden, arrays, port.TABLE).clean
    assert compare(golden, arrays, port.TABLE, tolerance=1e-4).clean
    halves = {k: x.astype(np.float16) for k, x in run(golden).items()}
    assert compare(golden, halves, port.TABLE, tolerance=1e-2).port.dtype == np.float16


def test_rounding_that_adds_up(golden):  # noqa: F811
    """No op is wrong, yet the end is off: that is said, and no op is blamed."""
    diff = compare(golden, run(golden), port.TABLE)
    names = "value/positions.embedding", "value/add"
    allowed = min(diff.tolerance(name, golden.arrays[name]) for name in names)
    table = golden.arrays["parameter/positions.weight"]
    noise = allowed * np.random.default_rng(0).choice([-0.9, 0.9], table.shape)
    mine = port.Port(golden.kind("parameter") | {"positions.weight": table + noise}, 2)
    arrays = mine(golden.arrays["input/inputs"], golden.arrays["input/targets"])
    diff = compare(golden, arrays, port.TABLE)
    assert diff.count(PROPAGATED) and not diff.count(WRONG)
    assert "rounding that adds up" in text(diff, list(investigate(diff)))


# ---- the command line ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stem(golden, tmp_path_factory):  # noqa: F811
    """The path of a small bundle, written by the command line."""
    path = tmp_path_factory.mktemp("cli") / "golden"
    assert cli.main(["dump", "gpt2", "--small", "--unfold", "--out", str(path)]) == 0
    return path


def demo(monkeypatch, stem, out, *options):  # noqa: F811
    monkeypatch.setattr(sys, "argv", [str(DEMO), str(stem), str(out), *options])
    runpy.run_path(str(DEMO), run_name="__main__")


def test_the_tour(monkeypatch, capsys, stem, tmp_path):
    mine = tmp_path / "mine.npz"
    demo(monkeypatch, stem, mine)
    assert cli.main(["diff", str(stem), str(mine)]) == 1
    said = capsys.readouterr().out
    assert "1. value/blocks.0.mlp.up.linear" in said and "2. " not in said
    assert "cause   activation: GELU through erf" in said
    assert "and likewise in blocks.1.mlp.up.linear" in said
    assert said.endswith("With this explained, every other tensor follows.\n")
    for dtype in ("float32", "float64"):
        demo(monkeypatch, stem, mine, "--right", "--dtype", dtype)
        assert cli.main(["diff", f"{stem}.json", str(mine)]) == 0
        assert capsys.readouterr().out.endswith("no divergence\n")


def test_json_and_a_table(golden, stem, tmp_path, capsys):  # noqa: F811
    arrays = {f"my {k.partition('/')[2]}": x for k, x in golden_values(stem).items()}
    arrays["my blocks.0.add"] = arrays["my blocks.0.add"] * 2
    save_safetensors(tmp_path / "mine.safetensors", arrays)
    (tmp_path / "table.json").write_text('{"my *": "value/*"}')
    command = ["diff", str(stem), str(tmp_path / "mine.safetensors"), "--json", "--rename"]
    assert cli.main([*command, str(tmp_path / "table.json")]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["first"] == "value/blocks.0.add" and not said["clean"]
    assert said["findings"][0]["cause"] == "result times 2"
    assert said["counts"]["wrong here"] == 1 and len(said["tensors"]) == len(arrays)


def golden_values(stem):
    from minitx.oracle import Bundle

    return {f"value/{k}": x for k, x in Bundle.read(stem).kind("value").items()}


def test_what_is_inside_an_op(stem, tmp_path, capsys):
    """Scores are told apart from probabilities, and a masked score may be any large number."""
    from minitx.oracle import Bundle

    bundle = Bundle.read(stem)
    inside = "unfold/blocks.0.attention.self_attend/attend."
    arrays = {k: bundle.arrays[f"{inside}{k}"].copy() for k in ("scores", "prob")}
    arrays["scores"][np.isneginf(arrays["scores"])] = -1e9
    arrays["prob"] *= 1.5
    given = {f"{inside}{k}": x for k, x in arrays.items()}
    given["value/blocks.0.attention.self_attend"] = (
        bundle.arrays["value/blocks.0.attention.self_attend"] * 1.5
    )
    diff = compare(bundle, given)
    (found,) = investigate(diff)
    assert found.node.name == "blocks.0.attention.self_attend"
    assert "inside it: attend.prob is off, attend.scores agrees" in text(diff, [found])
    assert json.dumps(to_json(diff, [found]))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere", "mine.npz"], "nowhere."),
        (["{stem}", "nowhere.npz"], "nowhere.npz"),
        (["{stem}", "mine.txt"], "mine.txt: expected a file that ends in .npz or .safetensors"),
        (["{stem}", "{bad}"], "cannot be read"),
        (["{stem}", "{good}", "--rename", "{bad}"], "not JSON"),
        (["{stem}", "{good}", "--tolerance", "-1"], "--tolerance is -1.0; expected 0 or more"),
    ],
)
def test_what_cannot_be_used(stem, tmp_path, capsys, arguments, said):
    (tmp_path / "bad.npz").write_bytes(b"no zip")
    save_npz(tmp_path / "good.npz", {"loss": np.zeros(())})
    paths = {"stem": stem, "bad": tmp_path / "bad.npz", "good": tmp_path / "good.npz"}
    assert cli.main(["diff", *(x.format(**paths) for x in arguments)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("minitx diff: ") and said in error
