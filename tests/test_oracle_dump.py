"""What a bundle holds: against another implementation, against the model, and by its own words."""

from __future__ import annotations

import dataclasses
from collections import Counter

import isolated
import numpy as np
import pytest
from golden import Golden
from golden_port import inputs_of, mine
from test_models_gpt import build, tiny

import minitx
from minitx import cli, ops, oracle, use_kernels
from minitx.models.gpt import GPTConfig
from minitx.models.official.gpt import GPT2
from minitx.models.registry import FAMILIES, _changed, example, presets
from minitx.nn import Dropout, Linear, Module
from minitx.optim import SGD, AdamW
from minitx.oracle.tolerance import tolerance
from minitx.tensor import Tensor, unbroadcast

RNG = np.random.default_rng(0)
TEXT = {"inputs": RNG.integers(0, 11, (2, 7)), "targets": RNG.integers(0, 11, (2, 7))}


@pytest.fixture(scope="module")
def dumped(tmp_path_factory):
    """(model, its bundle): two steps, attention unfolded, and a mask."""
    model = tiny("gpt3")
    path = tmp_path_factory.mktemp("golden") / "gpt3"
    mask = np.array([[0, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 1]], bool)
    before = {name: x.copy() for name, x in model.state_dict().items()}
    bundle = oracle.dump(path, model, TEXT | {"mask": mask}, steps=2, unfold=True)
    for name, x in model.state_dict().items():
        np.testing.assert_array_equal(x, before[name])
    return model, bundle


def test_a_bundle_equals_transformers_to_1e_9(tmp_path):
    golden = Golden("gpt2__lm")
    model = build(golden, GPT2)
    bundle = oracle.dump(tmp_path / "gpt2", model, inputs_of(golden), steps=0)
    theirs = mine(golden, GPT2, model)
    assert sum(name.startswith("value/") for name in theirs) == 5
    assert {f"grad/{name}" for name, _ in model.named_parameters()} <= theirs.keys()
    largest = max(np.abs(x).max() for x in golden.grads.values())
    for name, x in theirs.items():
        ours = bundle.arrays[name]
        floor = 1e-6 * largest if name.startswith("grad/") else 0
        assert np.abs(ours - x).max() <= 1e-9 * max(np.abs(x).max(), floor), name
    assert abs(bundle.manifest["loss"] - golden.meta["loss"]) < 1e-10
    np.savez(tmp_path / "theirs.npz", **theirs)
    told = ["diff", str(tmp_path / "gpt2"), str(tmp_path / "theirs.npz")]
    assert cli.main(told) == cli.main([*told, "--tolerance", "1e-9"]) == 0
    theirs["value/blocks.0.add_2"] = theirs["value/blocks.0.add_2"] * (1 + 1e-7)
    np.savez(tmp_path / "theirs.npz", **theirs)
    assert cli.main(told) == 1


def run_again(bundle):
    """Every op, from the bundle alone; a product's rounding depends on how arrays lie in memory."""
    with use_kernels("ref"):
        for name, node in bundle.nodes.items():
            value, _ = node.run(bundle.arrays)
            expected = bundle.arrays[f"value/{name}"]
            allowed = 1e-13 * np.abs(expected).max(initial=0.0)
            np.testing.assert_allclose(value, expected, rtol=0, atol=allowed, err_msg=name)


def test_every_pullback_runs_again_from_the_bundle_alone(dumped):
    _, bundle = dumped
    bundle = oracle.Bundle.read(bundle.path)
    run_again(bundle)
    uses = Counter(x for node in bundle.nodes.values() for x in node.inputs.values())
    checked = 0
    with use_kernels("ref"):
        for name, node in bundle.nodes.items():
            _, vjp = node.run(bundle.arrays)
            entries = vjp(bundle.arrays[f"cotangent/{name}"])
            for position, tensor in node.inputs.items():
                gradient = tensor.replace("parameter/", "grad/").replace("value/", "cotangent/")
                if gradient != tensor and uses[tensor] == 1:
                    entry = entries[position]
                    entry = entry() if callable(entry) else entry
                    expected = bundle.arrays[gradient]
                    np.testing.assert_array_equal(unbroadcast(entry, expected.shape), expected)
                    checked += 1
    assert checked > 40


def test_arrays_are_those_of_the_run(dumped):
    model, bundle = dumped
    mask = bundle.arrays["input/mask"]
    with use_kernels("ref"), minitx.trace(model) as seen:
        model.loss(**TEXT, mask=mask).backward()
    assert list(bundle.nodes) == list(seen.nodes)
    for name, record in seen.nodes.items():
        np.testing.assert_array_equal(bundle.arrays[f"value/{name}"], record.value)
        np.testing.assert_array_equal(bundle.arrays[f"cotangent/{name}"], record.grad)
    for name, x in model.named_parameters():
        np.testing.assert_array_equal(bundle.arrays[f"grad/{name}"], x.grad)
    model.zero_grad()


def test_steps_are_the_optimizers(dumped):
    model, bundle = dumped
    copy = tiny("gpt3")
    updates = AdamW(copy)
    losses = []
    with use_kernels("ref"):
        for _ in range(2):
            updates.zero_grad()
            loss = copy.loss(**TEXT, mask=bundle.arrays["input/mask"])
            loss.backward()
            updates.step()
            losses.append(loss.item())
    assert bundle.manifest["losses"] == losses and losses[0] == bundle.manifest["loss"]
    for kind, buffer in ("moment1", "m"), ("moment2", "v"):
        for name, x in updates.views(updates.buffers[buffer]).items():
            np.testing.assert_array_equal(bundle.kind(kind)[name], x)
    for name, x in copy.state_dict().items():
        np.testing.assert_array_equal(bundle.kind("updated")[name], x)
    settings = bundle.manifest["optimizer"]
    assert settings["betas"] == [0.9, 0.999] and settings["steps"] == 2
    assert settings["decayed"] == [n for n, x in copy.named_parameters() if x.ndim > 1]


def test_attention_unfolds(dumped):
    _, bundle = dumped
    start = "unfold/blocks.1.attention.self_attend"
    scores, prob = bundle.arrays[f"{start}/attend.scores"], bundle.arrays[f"{start}/attend.prob"]
    dprob, dscores = (bundle.arrays[f"{start}/dscores.{name}"] for name in ("dprob", "dscores"))
    assert scores.shape == prob.shape == dprob.shape == dscores.shape == (2, 2, 7, 7)
    np.testing.assert_array_equal(prob[np.isneginf(scores)], 0)
    assert not prob[0, :, 0].any() and not np.isneginf(scores[1, :, range(7), range(7)]).any()
    centred = dprob - (prob * dprob).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(dscores, prob * centred, atol=1e-15)


def test_conventions_are_what_the_ops_were_given(dumped):
    _, bundle = dumped
    told = bundle.manifest["conventions"]
    assert told["self_attend"]["window"] == [0, 3] and told["self_attend"]["scale"] == [0.5]
    assert told["self_attend"]["heads"] == [2] and told["self_attend"]["head_width"] == [4]
    assert told["linear"]["activation"] == ["identity", "gelu_tanh"]
    assert told["layer_norm"]["eps"] == [1e-5]
    assert "inside the square root" in told["layer_norm"]["meaning"]
    assert told["cross_entropy"]["reduction"] == ["mean"]
    assert bundle.manifest["config"]["window"] == 3 and bundle.manifest["model"] == "GPT"


def test_shared_arrays_are_written_once(dumped):
    _, bundle = dumped
    masks = {bundle.nodes[f"blocks.{i}.attention.self_attend"].inputs[2] for i in (0, 1)}
    assert masks == {"constant/blocks.0.attention.self_attend/2"}
    assert bundle.nodes["tokens.embedding"].inputs == {
        0: "parameter/tokens.weight",
        1: "input/inputs",
    }
    assert bundle.nodes["cross_entropy"].inputs[1] == "input/targets"


def test_tolerances_are_ten_times_what_float32_is_off():
    x = np.array([1.0, -4.0, np.inf])
    assert tolerance("x", x, x + [0, 1e-3, 0], 0.0) == pytest.approx(1e-2)
    assert tolerance("x", x, x, 0.0) == 4e-6
    assert tolerance("x", np.zeros(2), np.zeros(2), 100.0) == pytest.approx(1e-10)
    assert tolerance("ids", np.arange(3), np.arange(3), 1.0) == 0
    for y in np.zeros(3), None, np.zeros(2):
        with pytest.raises(ValueError, match="oracle: x "):
            tolerance("x", x, y, 0.0)
    with pytest.raises(ValueError, match="oracle: ids, int64, is not the same in float32"):
        tolerance("ids", np.arange(3), np.arange(3) + 1, 1.0)


def test_tolerances_hold_for_the_compiled_kernels_in_float32(dumped):
    model, bundle = dumped
    copy = tiny("gpt3").astype(np.float32)
    with minitx.trace(copy) as seen:
        copy.loss(**TEXT, mask=bundle.arrays["input/mask"]).backward()
    for name, record in seen.nodes.items():
        error = np.abs(bundle.arrays[f"value/{name}"] - record.value).max()
        assert error <= bundle.tolerance(f"value/{name}"), name


# ---- other models --------------------------------------------------------------------------------


@dataclasses.dataclass
class Pair:
    left: Tensor
    right: np.ndarray
    scale: float = 2.0


class Odd(Module):
    """Inputs of every kind, random numbers, and a buffer."""

    def __init__(self):
        self.rng = np.random.default_rng(5)
        self.layer = Linear(3, 3, self.rng)
        self.dropout = Dropout(0.5, self.rng)
        self.shift = Tensor(np.ones(3, np.float32))

    def loss(self, pair, more, rows=slice(0, 2)):
        x = ops.where(more["mask"], pair.left * pair.scale + self.shift, 0.0)[rows]
        x = ops.maximum(self.dropout(self.layer(x)), -np.inf) + Tensor(pair.right)
        return (x * more["weights"][0]).sum()

    def no_number(self, **inputs):
        return self.layer.weight

    def untrained(self, **inputs):
        return self.shift.sum()

    def infinite(self, **inputs):
        return ops.exp(self.layer.weight.sum() + 1e6)


def odd_inputs():
    more = {"mask": np.ones((4, 1), bool), "weights": [RNG.normal(size=(2, 3))]}
    return {"pair": Pair(Tensor(RNG.normal(size=(4, 3))), RNG.normal(size=3)), "more": more}


def test_inputs_of_every_kind(tmp_path):
    bundle = oracle.dump(tmp_path / "odd", Odd(), odd_inputs(), optimizer=lambda m: SGD(m, 0.1))
    names = {"pair.left", "pair.right", "more.mask", "more.weights.0"}
    assert bundle.kind("input").keys() == names
    assert bundle.manifest["literals"] == {"input/pair.scale": 2.0}
    assert bundle.kind("grad").keys() == {"layer.weight", "layer.bias", "pair.left"}
    assert bundle.kind("parameter").keys() == {"layer.weight", "layer.bias", "shift"}
    assert bundle.kind("moment1").keys() == {"layer.weight", "layer.bias"}
    assert bundle.nodes["add_2"].inputs[1] == "input/pair.right"
    run_again(bundle)
    again = oracle.dump(tmp_path / "again", Odd(), odd_inputs() | {}, steps=1)
    assert again.manifest["nodes"] == bundle.manifest["nodes"]  # draws the same


def test_what_cannot_be_dumped(tmp_path):
    def dump(**options):
        oracle.dump(tmp_path / "x", Odd(), odd_inputs(), **options)

    with pytest.raises(ValueError, match=r"the loss is a shape \(3, 3\); expected a tensor of one"):
        dump(loss="no_number")
    with pytest.raises(ValueError, match="depends on nothing that is trained"):
        dump(loss="untrained")
    with pytest.raises(ValueError, match="the loss is inf; minitx.explain_nan"):
        with np.errstate(over="ignore"):
            dump(loss="infinite")
    with pytest.raises(ValueError, match="Odd has no method 'nothing'"):
        dump(loss="nothing")
    with pytest.raises(ValueError, match="steps is -1"):
        dump(steps=-1)
    with pytest.raises(TypeError, match="input/more is a object"):
        oracle.dump(tmp_path / "x", Odd(), odd_inputs() | {"more": object()})
    assert not list(tmp_path.iterdir())


# ---- the registry and the command ----------------------------------------------------------------


# The sizes of a paper are one size when small.
DIFFERENT = {repr(x.small(x.presets[name]())): name for name, x in presets().items()}.values()


@pytest.mark.parametrize("name", DIFFERENT)
def test_every_model_in_a_size_for_tests(name, tmp_path, capsys):
    """Under 1 MB in all, every weight matters, and every op runs again."""
    assert cli.main(["dump", name, "--small", "--out", f"{tmp_path}/x", "--unfold"]) == 0
    files = sorted(tmp_path.iterdir())
    assert [file.suffix for file in files] == [".json", ".safetensors", ".txt"]
    assert sum(file.stat().st_size for file in files) < 1_000_000
    bundle = oracle.Bundle.read(tmp_path / "x")
    trained = bundle.kind("moment1").keys()
    assert all(bundle.kind("grad")[key].any() for key in trained)
    run_again(bundle)
    assert f"{len(bundle.arrays)} arrays of {len(bundle.nodes)} ops" in capsys.readouterr().out


def test_the_config_can_be_set_in_two_ways(tmp_path, capsys):
    out = ["--out", str(tmp_path / "made" / "gpt")]
    sizes = ["--layers", "1", "--width", "6", "--vocab-size", "7", "--context", "5"]
    more = ["--set", "heads=3", "--set", "scaled=False", "--set", "eps=1e-3"]
    assert cli.main(["dump", "gpt2", *sizes, *more, "--steps", "3", *out]) == 0
    manifest = oracle.Bundle.read(tmp_path / "made" / "gpt.json").manifest
    expected = GPTConfig(7, 5, 1, 3, 6, scaled=False, eps=1e-3)
    assert manifest["config"] == dataclasses.asdict(expected) and len(manifest["losses"]) == 3
    assert f"losses {manifest['loss']:.3f}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["gpt9"], "no preset is named 'gpt9'; there are gpt"),
        (["gpt2", "--set", "depth=3"], "GPTConfig has no field 'depth'; it has context"),
        (["gpt2", "--set", "depth"], "--set depth: expected FIELD=VALUE"),
        (["gpt2", "--layers", "two"], "GPTConfig.layers is 'two'; expected int"),
        (["gpt2", "--set", "scaled=1"], "GPTConfig.scaled is '1'; expected bool"),
        (["gpt2", "--set", "eps=small"], "GPTConfig.eps is 'small'; expected float"),
        (["gpt2", "--set", "layers.a=3"], "GPTConfig.layers has no fields, 'a' neither"),
        (["gpt2", "--small", "--heads", "3"], "width 16 is not a multiple of heads 3"),
        (["gpt2", "--small", "--batch", "0"], "a batch of 0; expected at least 1"),
        (["gpt2", "--small", "--steps", "-1"], "steps is -1"),
        (["gpt2", "--small", "--lr", "-1"], "lr is -1"),
    ],
)
def test_the_command_refuses_what_does_not_fit(arguments, said, tmp_path, capsys):
    assert cli.main(["dump", *arguments, "--out", str(tmp_path / "x")]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_fields_of_fields_and_values_as_text():
    @dataclasses.dataclass(frozen=True)
    class Outer:
        inner: GPTConfig
        size: int | tuple = 3
        scale: float | None = None
        name: str = "a"

    outer = Outer(GPTConfig(7, 5, 1, 3, 6))
    changes = {"inner.heads": "2", "inner.eps": "1", "inner.window": 4, "size": "(2, 3)"}
    changed = _changed(outer, changes | {"scale": "0.5", "name": "3"})
    assert changed == Outer(GPTConfig(7, 5, 1, 2, 6, eps=1.0, window=4), (2, 3), 0.5, "3")
    assert type(changed.inner.eps) is float
    assert _changed(changed, {"scale": "None"}).scale is None


def test_dropout_is_off_unless_it_is_set():
    model, _ = example("gpt2", small=True, changes={"dropout": "0.5"})
    assert model.config.dropout == 0.5
    FAMILIES["noisy"] = dataclasses.replace(
        FAMILIES["gpt"], presets={"noisy": lambda: GPTConfig(7, 5, 1, 3, 6, dropout=0.1)}
    )
    try:
        assert example("noisy")[0].config.dropout == 0
    finally:
        del FAMILIES["noisy"]


def test_commands_are_imported_when_called_for():
    out = isolated.run(
        """
        import sys
        from minitx.cli import main
        try:
            main(["--version"])
        except SystemExit:
            print([name for name in sys.modules if name.endswith("_command")])
        """
    )
    assert out == f"minitx {minitx.__version__}\n[]"


def test_examples_are_the_same_every_time():
    for family in FAMILIES.values():
        name = next(iter(family.presets))
        (model, inputs), (again, same) = (example(name, small=True) for _ in range(2))
        other, _ = example(name, small=True, seed=1)
        for x, y, z in zip(model.parameters(), again.parameters(), other.parameters(), strict=True):
            np.testing.assert_array_equal(x.data, y.data)
            assert not np.array_equal(x.data, z.data)
        assert inputs.keys() == same.keys()
