"""What an observer sees of a run, and what it may change."""

from __future__ import annotations

import numpy as np

from minitx import ops
from minitx.observer import Observer, no_grad, observing
from minitx.tensor import Tensor


class Everything(Observer):
    def __init__(self):
        self.forwards, self.cotangents, self.gradients = [], [], []

    def forward(self, name, args, result):
        self.forwards.append((name, args, result.data.copy()))

    def backward(self, node, cotangent):
        self.cotangents.append((node.name, cotangent.copy()))
        return cotangent

    def pulled(self, node, gradients):
        self.gradients.append((node.name, gradients))


def test_an_observer_sees_every_value_cotangent_and_gradient():
    x, c = Tensor(np.array([1.0, 2.0]), requires_grad=True), np.array([3.0, 4.0])
    with observing(Everything()) as seen:
        ops.sum(x * c, axis=0).backward()
        with no_grad():
            ops.exp(x)
    assert [name for name, *_ in seen.forwards] == ["multiply", "sum", "exp"]
    assert seen.forwards[0][1][0] is x and seen.forwards[0][1][1] is c
    assert seen.forwards[1][1][1:] == (0, False)  # options by position, defaults filled in
    np.testing.assert_array_equal(seen.forwards[0][2], [3, 8])
    assert [name for name, _ in seen.cotangents] == ["sum", "multiply"]
    np.testing.assert_array_equal(seen.cotangents[1][1], [1, 1])
    name, ((source, dx),) = seen.gradients[1]
    assert name == "multiply" and source is x
    np.testing.assert_array_equal(dx, [3, 4])
    ops.exp(x)
    assert len(seen.forwards) == 3


def test_an_observer_can_substitute_values_and_cotangents():
    class Substitute(Observer):
        def forward(self, name, args, result):
            if name == "exp":
                result.data = np.array([10.0])

        def backward(self, node, cotangent):
            return cotangent * 100 if node.name == "exp" else cotangent

    x = Tensor(np.zeros(1), requires_grad=True)
    with observing(Substitute()):
        y = ops.exp(x) * 2
        y.backward()
    assert y.data == [20.0] and x.grad == [200.0]
