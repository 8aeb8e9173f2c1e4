"""Frozen numbers of independent implementations, and the rule by which we are compared with them.

A fixture ``<model>__<variant>.npz`` holds ``meta`` (JSON: config, loss), ``state/<official name>``,
``inputs/*``, ``outputs/*`` and ``grads/<official name>``, all computed in float64 with small random
weights by the class that ``meta["config"]["reference"]`` names.
"""

from __future__ import annotations

import json
import pathlib

import numpy as np

FIXTURES = pathlib.Path(__file__).parent / "fixtures"
FORWARD, BACKWARD = 1e-10, 1e-9


class Golden:
    """One fixture: ``state``, ``inputs``, ``outputs``, ``grads`` and ``input_grads`` by name."""

    def __init__(self, name: str):
        with np.load(FIXTURES / f"{name}.npz", allow_pickle=False) as file:
            self.meta = json.loads(bytes(file["meta"]))
            self.config = self.meta["config"]
            arrays = {key: file[key] for key in file.files if key != "meta"}
        self.state, self.inputs, self.outputs, self.grads, self.input_grads = (
            {
                key.removeprefix(f"{part}/"): x
                for key, x in arrays.items()
                if key.startswith(f"{part}/")
            }
            for part in ("state", "inputs", "outputs", "grads", "input_grads")
        )

    def check_output(self, name: str, ours: np.ndarray, rows: np.ndarray | None = None) -> None:
        """``ours`` is the frozen output to 1e-10 of its largest element, at ``rows`` that count."""
        frozen = self.outputs[name]
        assert ours.dtype == np.float64 and ours.shape == frozen.shape
        if rows is not None:
            ours, frozen = ours[rows], frozen[rows]
        np.testing.assert_allclose(
            ours, frozen, rtol=0, atol=FORWARD * max(1, np.abs(frozen).max()), err_msg=name
        )

    def check_loss(self, ours: float, name: str | None = None) -> None:
        frozen = self.meta["losses"][name] if name else self.meta["loss"]
        assert abs(ours - frozen) <= FORWARD * max(1, abs(frozen)), (ours, frozen)

    def check_grads(self, ours: dict[str, np.ndarray]) -> None:
        """Every gradient: |a - b| <= 1e-9 * max(|b|, 1e-6 * the largest of all)."""
        largest = max(np.abs(g).max() for g in self.grads.values())
        missing = self.grads.keys() - ours.keys()
        assert not missing, f"no gradient for {sorted(missing)}"
        for name, frozen in self.grads.items():
            allowed = BACKWARD * max(np.abs(frozen).max(), 1e-6 * largest)
            error = np.abs(ours[name] - frozen).max()
            assert error <= allowed, f"{name}: off by {error:.3g}, allowed {allowed:.3g}"

    def check_input_grad(self, name: str, ours: np.ndarray) -> None:
        frozen = self.input_grads[name]
        np.testing.assert_allclose(ours, frozen, rtol=0, atol=BACKWARD * np.abs(frozen).max())

    def check_state(self, saved: dict[str, np.ndarray], left_out: set[str] = frozenset()) -> None:
        """What we save is the official state, to the last bit, but for what is ``left_out``."""
        assert saved.keys() == self.state.keys() - left_out
        for name, x in saved.items():
            np.testing.assert_array_equal(x, self.state[name], err_msg=name)
