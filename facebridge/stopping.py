"""Being asked to stop: SIGTERM and Ctrl-C end a job after its present step, with everything saved."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(Exception):
    """A job was asked to stop, and has left what it needs to go on."""


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM and the first Ctrl-C set; a second Ctrl-C interrupts at once."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def ask(number: int, _frame: object) -> None:
        if event.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        event.set()

    with _handler(ask):
        yield event


@contextmanager
def pass_on_stop_signals() -> Iterator[None]:
    """SIGTERM and Ctrl-C reach the processes that this one started, and this one waits for them to end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def pass_on(_number: int, _frame: object) -> None:
        for child in multiprocessing.active_children():
            assert child.pid is not None
            # Ctrl-C in a terminal reaches the children too, and a second one would interrupt them at once.
            os.kill(child.pid, signal.SIGTERM)

    with _handler(pass_on):
        yield


@contextmanager
def _handler(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
