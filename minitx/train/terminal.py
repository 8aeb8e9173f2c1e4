"""A run and the terminal: the progress line, and Ctrl-C that waits for the end of a step."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Iterator


class Progress:
    """Step, loss, tokens or images per second and time left, on standard error.

    On a terminal one line that changes five times a second, elsewhere a line every ten seconds.
    """

    def __init__(self, step: int, steps: int, quiet: bool):
        self.first, self.steps, self.quiet = step, steps, quiet
        self.live = sys.stderr.isatty()
        self.pause = 0.2 if self.live else 10.0
        self.begun = self.shown = time.perf_counter()
        self.size = 0
        self.open = False  # whether the cursor stands at the end of the progress line

    def update(self, entry: dict[str, float], size: int, unit: str) -> None:
        """A step is done, of ``size`` tokens or whatever ``unit`` says."""
        self.size += size
        now, step = time.perf_counter(), int(entry["step"])
        if now - self.shown < self.pause and step < self.steps:
            return
        self.shown, seconds = now, now - self.begun
        left = round(seconds / (step - self.first) * (self.steps - step))
        self._print(
            f"step {step:>6}/{self.steps}   loss {entry['loss']:.4f}   "
            f"{self.size / seconds:>9,.0f} {unit}/s   {left // 60}:{left % 60:02d} left",
            stay=self.live,
        )

    def line(self, text: str) -> None:
        """A line of its own, which stays."""
        self._print(text, stay=False)

    def close(self) -> None:
        if self.open:
            self._print("", stay=False)

    def _print(self, text: str, stay: bool) -> None:
        if not self.quiet:
            start = f"\r{text:<78}" if self.live and text else text
            print(start, end="" if stay else "\n", file=sys.stderr, flush=True)
            self.open = stay


@contextlib.contextmanager
def deferred_interrupt() -> Iterator[threading.Event]:
    """Ctrl-C sets the event, so that no step is left half done; a second one interrupts as usual.

    Only the main thread can catch it; elsewhere the event is never set.
    """
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def handler(number, frame):
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    saved = signal.signal(signal.SIGINT, handler)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, saved)
