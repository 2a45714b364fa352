import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import Connection

import pytest

from facebridge.stopping import pass_on_stop_signals, stop_signals

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def handlers() -> list[object]:
    return [signal.getsignal(number) for number in SIGNALS]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_sets_the_event_and_ends_nothing(number: signal.Signals) -> None:
    with stop_signals() as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), number)
        assert stop.wait(5)


def test_a_second_ctrl_c_interrupts_at_once_and_a_second_sigterm_does_not() -> None:
    with stop_signals() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.wait(5)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_afterwards_the_handlers_are_as_before_even_after_an_error() -> None:
    before = handlers()
    with stop_signals():
        assert handlers() != before
    assert handlers() == before
    with pytest.raises(ZeroDivisionError), stop_signals():
        raise ZeroDivisionError
    assert handlers() == before


def test_in_a_thread_that_gets_no_signals_nothing_is_touched() -> None:
    before, seen = handlers(), []

    def work() -> None:
        with stop_signals() as stop, pass_on_stop_signals():
            seen.append((stop.is_set(), handlers()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, before)]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_passed_on_to_started_processes_as_sigterm(number: signal.Signals) -> None:
    before = handlers()
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_wait_for_signal, args=(theirs,))
    process.start()
    with pass_on_stop_signals():
        assert ours.poll(60)
        assert ours.recv() == "ready"
        os.kill(os.getpid(), number)
        assert ours.poll(60)
        assert ours.recv() == "asked to stop"
        process.join(60)
    assert process.exitcode == 0
    assert handlers() == before


def _wait_for_signal(line: Connection) -> None:
    with stop_signals() as stop:
        line.send("ready")
        line.send("asked to stop" if stop.wait(60) else "never asked")
