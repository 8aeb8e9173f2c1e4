"""gradcheck: what it accepts, what it finds, and that it leaves everything as it was."""

from __future__ import annotations

import numpy as np
import pytest

from minitx import ops, tensor
from minitx.gradcheck import GradientError, KinkError, gradcheck
from minitx.tensor import OPS, Tensor, op

pytestmark = pytest.mark.usefixtures("one_thread")

rng = np.random.default_rng(0)


class Affine:
    """What gradcheck needs of a module."""

    def __init__(self):
        self.flat = rng.normal(size=9)
        self.gradients = np.arange(9.0)
        self.weight = Tensor(self.flat[:6].reshape(2, 3), requires_grad=True)
        self.bias = Tensor(self.flat[6:], requires_grad=True)
        self.weight.grad = self.gradients[:6].reshape(2, 3)
        self.unused = Tensor(np.ones(2), requires_grad=True)

    def named_parameters(self):
        yield from (("weight", self.weight), ("inner.bias", self.bias), ("unused", self.unused))

    def __call__(self, *args):
        return self.forward(*args)

    def forward(self, x):
        return x @ self.weight + self.bias

    def loss(self, x, ids):
        return ops.cross_entropy(self.forward(x), ids)


@pytest.fixture
def wrong_square():
    """An op with a gradient that is 0.1 % too large."""

    @op
    def wrong_square(x):
        return x * x, lambda dy: (2.002 * x * dy,)

    yield wrong_square
    del OPS["wrong_square"]


# What can be checked


def test_inputs_have_the_functions_names_for_them():
    report = gradcheck(ops.layer_norm, rng.normal(size=(3, 4)), np.ones(4), Tensor(np.ones(4)))
    assert list(report.checks) == ["x", "weight", "bias"] and report.worst[1] <= 1e-6
    report = gradcheck(lambda *xs, axis=0: ops.concatenate(xs, axis), np.ones(2), np.ones(3))
    assert list(report.checks) == ["xs[0]", "xs[1]"]
    assert list(gradcheck(OPS["exp"], np.ones(2)).checks) == ["x"]


def test_a_module_with_its_inputs_and_parameters():
    report = gradcheck(Affine(), rng.normal(size=(4, 2)))
    assert list(report.checks) == ["x", "weight", "inner.bias", "unused"]
    assert max(report.errors.values()) == report.worst[1] < 1e-9


def test_a_method_brings_its_module_along():
    report = gradcheck(Affine().loss, rng.normal(size=(4, 2)), np.array([0, 2, 1, 1]))
    assert list(report.checks) == ["x", "weight", "inner.bias", "unused"]


def test_a_closure_with_a_model_or_a_dict():
    model, w = Affine(), Tensor(np.array([0.5, 2.0]))
    x = rng.normal(size=(4, 2))
    report = gradcheck(lambda: model.loss(x, np.zeros(4, int)), parameters=model)
    assert "inner.bias" in report.checks and "x" not in report.checks
    report = gradcheck(lambda x: x * w, np.ones(2), parameters={"w": w, "tied": w, "x": Tensor(w)})
    assert list(report.checks) == ["x", "w", "parameter x"]


def test_results_of_any_structure():
    def function(x):
        return {"a": x * 2, "b": (ops.exp(x), [x.sum(), None, 3.0, Tensor([1, 2])])}

    gradcheck(function, rng.normal(size=(2, 3)))


def test_a_wrong_gradient_in_any_result_is_found(wrong_square):
    with pytest.raises(GradientError):
        gradcheck(lambda x: (x * 2, {"a": (wrong_square(x),)}), np.ones(3))


def test_empty_and_scalar_arrays():
    gradcheck(ops.exp, np.array(1.0))
    gradcheck(lambda x, y: ops.exp(x) * y, np.ones((0, 3)), np.ones(3))


# What is found


def test_the_message_names_the_worst_with_both_numbers(wrong_square):
    with pytest.raises(GradientError) as error:
        gradcheck(lambda good, bad: ops.exp(good) + wrong_square(bad), np.ones(3), np.ones(3))
    message = str(error.value)
    assert isinstance(error.value, AssertionError)
    first, _, table = message.partition("\n")
    assert "the gradient of bad (3,) is wrong" in first and "relative error" in first
    backward, differences = table.split("\n")[1].split()[1:3]
    assert backward in first and differences in first
    assert float(backward) == pytest.approx(1.001 * float(differences))
    assert table.split("\n")[2].startswith("good")


def test_a_gradient_that_is_missing_or_nan_or_zero_is_found():
    x = np.ones(3)
    with pytest.raises(GradientError, match="inf"):
        gradcheck(lambda x: ops.exp(x) * np.where(x.data > 2, 1, np.nan), x)
    with pytest.raises(GradientError, match="gradient of x"):
        gradcheck(lambda x: ops.exp(x.detach()), x)


def test_a_small_error_in_a_small_gradient_is_found_among_large_ones(wrong_square):
    def function(big, small):
        return ops.exp(big) + wrong_square(small) * 1e-4

    with pytest.raises(GradientError, match="gradient of small"):
        gradcheck(function, np.ones(3), np.ones(3))


def test_a_gradient_that_must_be_zero_passes():
    """A bias on all keys changes no probability: what backward says is rounding alone."""
    q, k, v = (rng.normal(size=(2, 2, 5, 4)) for _ in range(3))
    report = gradcheck(lambda q, b: ops.attend(q, b + k, v), q, rng.normal(size=(1, 2, 1, 4)))
    assert report.checks["b"].size < 1e-13
    gradcheck(lambda b: ops.attend(q, b + k, v), rng.normal(size=(1, 2, 1, 4)))
    gradcheck(lambda x: x - x, np.ones(3))


def test_outputs_much_larger_than_their_change():
    gradcheck(lambda x: ops.sin(x) + 1e6, np.ones(3))


# Kinks


@pytest.mark.parametrize(
    "name,function,x",
    [
        ("relu", ops.relu, [0.0, 1.0]),
        ("absolute", ops.absolute, [0.0, 1.0]),
        ("maximum", lambda x: ops.maximum(x, 1.0), [0.0, 1.0]),
        ("minimum", lambda x: ops.minimum(1.0, x), [0.0, 1.0]),
        ("max", lambda x: x.max(), [2.0, 1.0, 2.0]),
        ("max", lambda x: ops.max(x, axis=-1), [[3.0, 3.0], [5.0, 1.0]]),
        ("where", lambda x: ops.where(x.data > 0, x, 2 * x), [0.0, 1.0]),
        ("getitem", lambda x: x[np.argsort(x.data)], [1.0, 1.0]),
        ("getitem", lambda x: x[int(x.data[0] > 1) :], [1.0, 1.0]),
        ("getitem", lambda x: x[:, x.data[0] > 1], [[1.0, 2.0, 3.0], [5.0, 6.0, 7.0]]),
    ],
)
def test_a_point_on_a_kink_is_an_error_of_its_own(name, function, x):
    with pytest.raises(KinkError, match=f"on a kink of {name}: ") as error:
        gradcheck(function, np.array(x))
    assert not isinstance(error.value, GradientError)
    gradcheck(function, np.array(x) + 0.1 * np.arange(1, np.size(x) + 1).reshape(np.shape(x)))


def test_steps_are_made_smaller_beside_a_kink():
    report = gradcheck(ops.relu, np.array([1e-4, -1e-4, 1.0]))
    assert report.checks["x"].step < 1e-3


# What is refused


def test_only_float64():
    with pytest.raises(TypeError, match="^gradcheck: x has dtype float32; .*float64"):
        gradcheck(ops.exp, np.ones(2, np.float32))
    with pytest.raises(TypeError, match="^gradcheck: w has dtype float32"):
        gradcheck(lambda: None, parameters={"w": Tensor(1.0)})
    with pytest.raises(TypeError, match=r"^gradcheck: expected float64 tensors.*float32"):
        gradcheck(lambda x: x.astype(np.float32), np.ones(2))
    with pytest.raises(TypeError, match="^gradcheck: expected float64 tensors.*float"):
        gradcheck(lambda x: 3.0, np.ones(2))


def test_nothing_to_check():
    with pytest.raises(ValueError, match="nothing to differentiate"):
        gradcheck(lambda ids: ops.embedding(np.ones((3, 2)), ids), np.arange(3))


def test_a_function_that_draws_must_draw_the_same_each_time():
    generator = np.random.default_rng(0)
    with pytest.raises(ValueError, match="two calls of the function differ; .*Generator anew"):
        gradcheck(lambda x: ops.dropout(x, 0.5, generator), np.ones((9, 9)))
    gradcheck(lambda x: ops.dropout(x, 0.5, np.random.default_rng(0)), np.ones((9, 9)))


# What is left behind


def state(model):
    return [
        (x.data, x.grad, x.requires_grad, x.version, x.data.tobytes(), np.array(x.grad).tobytes())
        for _, x in model.named_parameters()
    ]


def same(before, after):
    return all(
        a[0] is b[0] and a[1] is b[1] and a[2:] == b[2:] for a, b in zip(before, after, strict=True)
    )


def test_parameters_and_inputs_are_restored_exactly():
    model, x, w = Affine(), rng.normal(size=(4, 2)), Tensor(np.ones(3))
    flat, inputs, before = model.flat.copy(), x.copy(), state(model)
    gradcheck(lambda x: model(x) * w, x, parameters={**dict(model.named_parameters()), "w": w})
    assert same(before, state(model)) and w.grad is None and not w.requires_grad
    np.testing.assert_array_equal(model.flat, flat)
    np.testing.assert_array_equal(model.gradients, np.arange(9.0))
    np.testing.assert_array_equal(x, inputs)
    assert np.shares_memory(model.weight.data, model.flat)


@pytest.mark.parametrize("calls", [0, 1, 2, 3, 7])
def test_parameters_are_restored_after_an_exception(calls):
    model = Affine()
    before, count = state(model), iter(range(calls))

    def function(x):
        if next(count, None) is None:
            raise KeyError("stop")
        return model(x)

    with pytest.raises(KeyError):
        gradcheck(function, rng.normal(size=(4, 2)), parameters=model)
    assert same(before, state(model))


def test_the_report_is_a_table_worst_first():
    report = gradcheck(Affine(), rng.normal(size=(4, 2)))
    head, *rows = str(report).split("\n")
    assert head.split() == ["backward", "differences", "step", "error", "shape"]
    assert sorted(row.split()[0] for row in rows) == sorted(report.errors)
    assert rows[0].split()[0] == report.worst[0]


def test_the_seed_chooses_directions():
    x = rng.normal(size=5)
    first, again, other = (gradcheck(ops.exp, x, seed=n).checks["x"] for n in (0, 0, 1))
    assert first == again and first.backward != other.backward


def test_a_result_that_depends_on_nothing_is_refused():
    with pytest.raises(ValueError, match="depends on no input"):
        gradcheck(lambda x: Tensor(np.ones(3)), np.ones(3))


def test_an_error_of_a_thousandth_in_a_deep_model_is_found_by_name(monkeypatch):
    rng = np.random.default_rng(0)
    weights = {f"layers.{n}.weight": tensor.Tensor(rng.normal(size=(4, 4))) for n in range(4)}
    weights["bias"] = tensor.Tensor(rng.normal(size=4))

    def model(x):
        x = x + weights["bias"]
        for n in range(4):
            normed = ops.layer_norm(x, np.ones(4), np.zeros(4))
            x = x + ops.gelu(normed @ weights[f"layers.{n}.weight"])
        return x

    gradcheck(model, rng.normal(size=(3, 4)), parameters=weights)
    right = tensor.unbroadcast
    monkeypatch.setattr(
        tensor, "unbroadcast", lambda g, shape: right(g, shape) * (1.001 if shape == (4,) else 1)
    )
    with pytest.raises(GradientError, match="gradient of bias "):
        gradcheck(model, rng.normal(size=(3, 4)), parameters=weights)
