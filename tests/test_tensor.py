"""The engine: order, accumulation, freeing, and what it refuses."""

from __future__ import annotations

import functools
import gc
import threading
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from minitx import ops
from minitx.gradcheck import gradcheck
from minitx.observer import Observer, no_grad, observing
from minitx.tensor import OPS, Tensor, op, unbroadcast

F32 = np.float32


def leaf(*values, dtype=float):
    return Tensor(np.array(values, dtype), requires_grad=True)


@pytest.fixture
def scratch():
    """Ops defined within a test are forgotten afterwards."""
    known = dict(OPS)
    yield
    OPS.clear()
    OPS.update(known)


# Order and accumulation


def test_diamonds_and_repeated_use():
    def function(x):
        a = ops.exp(x)
        b = a * a + a  # a three times, once twice in one op
        c = ops.sin(b) * x + b
        return c + a * c

    gradcheck(function, np.array([0.3, -0.4, 0.1]))


def test_the_same_tensor_twice_in_one_op():
    x = leaf(3.0)
    (x * x).backward()
    assert x.grad == [6.0]
    x = leaf(1.0, 2.0)
    ops.concatenate([x, x, x]).backward([1, 2, 3, 4, 5, 6])
    np.testing.assert_array_equal(x.grad, [9, 12])


def test_each_pullback_runs_once_however_many_paths_lead_to_it():
    x = leaf(1.0)
    y = x
    for _ in range(60):  # 2^60 paths
        y = y * 0.5 + y * 0.5
    y.backward()
    assert x.grad == [1.0]


def test_a_chain_of_100_000_ops_runs_forward_and_back_and_is_dropped():
    x = leaf(1.0)
    y = x
    for _ in range(100_000):
        y = y + 1.0
    y.backward()
    assert x.grad == [1.0] and y.item() == 100_001
    for _ in range(100_000):
        y = -y
    del y  # without a backward


def test_gradients_add_up_over_backwards_and_in_place():
    x = leaf(1.0, 2.0)
    x.grad = buffer = np.zeros(2)  # as an optimizer packs them
    for n in (1, 2):
        (x * 3).sum().backward()
        assert x.grad is buffer
        np.testing.assert_array_equal(buffer, 3 * n)


def test_a_gradient_set_to_zero_is_zero_whenever_one_looks():
    x, w, unused = leaf(1.0, 2.0), Tensor(np.eye(2), requires_grad=True), leaf(3.0)
    unused.zero_grad()
    assert unused.grad is None  # there was none
    buffers = [np.full(z.shape, np.nan) for z in (x, w, unused)]
    for z, buffer in zip((x, w, unused), buffers, strict=True):
        z.grad = buffer
    for n in (1, 1, 2):
        [z.zero_grad() for z in (x, w, unused) if n == 1]
        (ops.linear(x, w) + x).sum().backward()
        np.testing.assert_array_equal(x.grad, [2 * n, 2 * n])
        np.testing.assert_array_equal(w.grad, [[n, 2 * n], [n, 2 * n]])
        assert x.grad is buffers[0] and w.grad is buffers[1] and unused.grad is buffers[2]
        assert unused.grad == [0]
    x.zero_grad()
    x.grad += 1
    assert x.grad.tolist() == [1, 1] and x.grad is buffers[0]
    x.zero_grad()
    x.grad = np.array([5.0, 5.0])
    assert x.grad.tolist() == [5, 5]


def test_gradients_never_share_memory():
    x, y = leaf(1.0), leaf(2.0)
    dy = np.ones(1)
    (x + y).backward(dy)
    x.grad += 5
    assert y.grad == 1 and dy == 1


def test_scalars_have_arrays_as_gradients():
    x = Tensor(np.array(2.0), requires_grad=True)
    for _ in range(2):
        (x * x + x).backward()
    assert isinstance(x.grad, np.ndarray) and x.grad.shape == () and x.grad == 10


def test_backward_of_a_leaf_and_of_several_roots():
    x = leaf(1.0)
    x.backward()
    y = ops.exp(x)
    z = y * 2
    z.backward(keep_graph=True)
    y.backward()
    np.testing.assert_allclose(x.grad, 1 + 3 * np.e)


@given(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, min_side=0, max_side=4))
def test_unbroadcast_is_the_transpose_of_broadcasting(shapes):
    small, _ = shapes.input_shapes
    rng = np.random.default_rng(0)
    x, dy = rng.normal(size=small), rng.normal(size=shapes.result_shape)
    back = unbroadcast(dy, small)
    assert back.shape == small
    stretched = np.broadcast_to(x, dy.shape)
    np.testing.assert_allclose(np.vdot(dy, stretched), np.vdot(back, x), atol=1e-12)


def test_unbroadcast_adds_in_float64():
    dy = np.ones((1 << 18, 2), F32) * F32(0.1)
    np.testing.assert_allclose(unbroadcast(dy, (2,)), F32(0.1) * len(dy), rtol=1e-7)
    assert unbroadcast(dy, (2,)).dtype == F32


# What is recorded, and how long


def test_nothing_is_recorded_without_need():
    x = leaf(1.0)
    with no_grad():
        assert (x * 2).node is None and not (x * 2).requires_grad
    assert (Tensor(1.0) * 2).node is None
    assert (x * 2).node.name == "multiply"
    with pytest.raises(RuntimeError, match="depends on none that has requires_grad"):
        x.detach().backward()


def test_recording_resumes_after_an_exception():
    with pytest.raises(KeyError), no_grad():
        raise KeyError
    assert (leaf(1.0) * 2).requires_grad


def test_detach_cuts():
    x = leaf(3.0)
    (x * x.detach()).backward()
    assert x.grad == [3.0]


def test_retain_grad():
    x = leaf(3.0)
    y = (x * 2).retain_grad()
    z = y * y
    z.backward()
    assert y.grad == [12.0] and x.grad == [24.0] and z.grad is None


def test_a_second_backward_needs_keep_graph():
    x = leaf(2.0)
    y = ops.exp(x * x)
    y.backward(keep_graph=True)
    y.backward()
    np.testing.assert_allclose(x.grad, 2 * 4 * np.exp(4))
    with pytest.raises(RuntimeError, match="exp was freed by an earlier one; use keep_graph=True"):
        y.backward()


def test_memory_is_freed_while_backward_walks(scratch):
    """When a pullback runs, what younger nodes saved is gone already."""
    alive = []
    saved_ones = []

    @op
    def watched(x):
        saved = np.array(x)
        saved_ones.append(weakref.ref(saved))

        def vjp(dy):
            gc.collect()
            alive.append(sum(ref() is not None for ref in saved_ones))
            return (dy * saved,)

        return x * 1, vjp

    y = leaf(1.0)
    for _ in range(5):
        y = watched(y)
        y = y + y  # its sum waits for two cotangents
    y = y.sum()
    y.backward()
    assert alive == [5, 4, 3, 2, 1]


def test_a_graph_that_nobody_holds_is_freed_without_the_garbage_collector():
    gc.disable()
    try:
        x = leaf(1.0)
        square = x * x
        y = ops.exp(square)
        refs = weakref.ref(y), weakref.ref(square)
        y.backward(keep_graph=True)
        del y, square
        assert all(ref() is None for ref in refs)
    finally:
        gc.enable()


def test_a_graph_keeps_no_value_that_no_pullback_needs():
    x = leaf(1.0, 2.0)
    doubled = x * 2
    y, value = doubled + 1, weakref.ref(doubled.data)
    del doubled
    assert value() is None
    y.backward(np.ones(2))
    np.testing.assert_array_equal(x.grad, [2, 2])


def test_an_update_in_place_between_forward_and_backward_is_refused():
    w, x = leaf(2.0), leaf(3.0)
    y = w * x
    w.data += 1
    w.version += 1
    with pytest.raises(RuntimeError, match=r"multiply has an input \(1,\) updated in place"):
        y.backward()
    assert x.grad is None and w.grad is None
    frozen = Tensor(np.ones(1))
    y = frozen * x
    frozen.version += 1
    with pytest.raises(RuntimeError, match="multiply has an input"):
        y.backward()


def test_a_backward_that_cannot_finish_changes_no_gradient():
    x, w = leaf(2.0), leaf(3.0)
    s = x * x
    s.backward()
    with pytest.raises(RuntimeError, match="was freed"):
        (s * w).backward()
    assert w.grad is None and x.grad == [4.0]


def test_a_cotangent_may_be_a_gradient_that_backward_adds_to():
    x = leaf(1.0, 2.0)
    (x * x).backward(np.ones(2))
    for y in (x * 2 + x, x + x * 2):
        x.grad[...] = 2, 4
        y.backward(x.grad)
        np.testing.assert_array_equal(x.grad, [8, 16])


def test_whether_a_gradient_is_needed_is_settled_in_the_forward_pass():
    x, w = leaf(2.0), leaf(3.0)
    y = x * w
    w.requires_grad = False
    y.backward()
    assert x.grad == [3.0] and w.grad == [2.0]


def test_thunks_run_only_where_somebody_needs_them(scratch):
    ran = []

    @op
    def probe(a, b, c):
        return a + b + c, lambda dy: tuple(lambda n=n: ran.append(n) or dy for n in "abc")

    probe(leaf(1.0), Tensor([1.0], dtype=float), leaf(1.0)).backward()
    assert ran == ["a", "c"]


def test_a_partial_puts_its_gradient_where_a_leaf_has_one(scratch):
    given = []

    def gradient(dy, out=None, add=False):
        given.append((out, add))
        return 2 * dy if out is None else np.add(out if add else 0, 2 * dy, out=out)

    @op
    def twice(x):
        return 2 * x, lambda dy: (functools.partial(gradient, dy),)

    x = leaf(1.0)
    twice(x).backward()
    first = x.grad
    twice(x).backward()
    assert x.grad is first and x.grad == 4
    twice(twice(x)).backward()
    with observing(Observer()):  # who looks on shall see the gradient itself
        twice(x).backward()
    assert x.grad is first and x.grad == 10
    x.zero_grad()
    twice(x).backward()
    assert x.grad is first and x.grad == 2
    places = [None, first, None, first, None, first]
    assert all(out is place for (out, _), place in zip(given, places, strict=True))
    assert [add for out, add in given if out is first] == [True, True, False]


def test_a_pullback_may_have_no_gradient_for_an_input(scratch):
    @op
    def first(a, b):
        return a + b, lambda dy: (dy, None)

    a, b = leaf(1.0), leaf(1.0)
    first(a, b).backward()
    assert a.grad == 1 and b.grad is None


def test_two_ops_cannot_share_a_name(scratch):
    with pytest.raises(ValueError, match="already an op named 'exp'"):

        @op
        def exp(x):
            return x, None


def test_recording_and_observers_belong_to_a_thread():
    seen = []

    class Count(Observer):
        def forward(self, name, args, result):
            seen.append(name)

    with no_grad(), observing(Count()):
        recorded = []
        thread = threading.Thread(target=lambda: recorded.append((leaf(1.0) * 2).requires_grad))
        thread.start()
        thread.join()
    assert recorded == [True] and seen == []


def test_threads_differentiate_independently():
    results = {}

    def work(n):
        x = leaf(float(n))
        y = x
        for _ in range(200):
            y = y * 1.0 + x
        y.backward()
        results[n] = x.grad.item()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == dict.fromkeys(range(4), 201.0)


# What is refused


def test_a_pullback_of_another_form_is_named(scratch):
    x = Tensor(np.ones(2), requires_grad=True)
    for vjp, message in (
        (lambda dy: 2 * dy, "^wrong: its pullback must return a tuple"),
        (lambda dy: (), "^wrong: its pullback has no entry for argument 0"),
        (lambda dy: (dy[:1],), r"^wrong: its pullback gave \(1,\) for \(2,\)"),
    ):

        def wrong(x, vjp=vjp):
            return x, vjp

        y = op(wrong)(x)
        del OPS["wrong"]
        with pytest.raises((TypeError, ValueError), match=message):
            y.backward(np.ones(2))


def test_an_option_cannot_ask_for_a_gradient():
    q = Tensor(np.ones((1, 1, 2, 3)))
    with pytest.raises(TypeError, match="^attend: a keyword-only argument has no gradient"):
        ops.attend(q, q, q, scale=Tensor(0.3, requires_grad=True, dtype=np.float64))
