"""Events by themselves: delivery, isolation, bounds."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from ax_monitor.events import MAX_PENDING, Events
from tests.log_helpers import wait_for

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
def events() -> Iterator[Events]:
    made = Events()
    yield made
    made.close()


def test_listeners_hear_their_event_in_order_on_one_other_thread(events: Events) -> None:
    """Each listener of the name gets every payload, in order, never on the caller's thread."""
    heard: list[tuple[str, int, threading.Thread]] = []
    for name in ("first", "second"):
        events.on("tick", lambda n, name=name: heard.append((name, n, threading.current_thread())))
    events.on("other", lambda n: heard.append(("other", n, threading.current_thread())))
    for n in range(100):
        events.emit("tick", n)
    assert events.flush()
    assert [(name, n) for name, n, _ in heard] == [
        (name, n) for n in range(100) for name in ("first", "second")
    ]
    threads = {thread for *_, thread in heard}
    assert len(threads) == 1
    assert threads.pop().daemon
    assert threading.current_thread() not in threads


def test_emitting_without_listeners_makes_nothing(events: Events) -> None:
    """No thread, no payload: an event that nobody wants costs a look-up."""
    events.emit_lazily("tick", lambda: pytest.fail("made"))
    events.emit("tick", 1)
    assert not events.listens("tick")
    assert events.flush()
    assert not [
        t
        for t in threading.enumerate()
        if t.name == "ax-monitor-events" and t.is_alive() and t is events._thread
    ]


def test_listens_follows_on_and_off(events: Events) -> None:
    """`on` returns the listener, `off` removes one registration, changes are announced."""
    changes: list[bool] = []
    service = _Service(events, changes)
    events.subscribe_changes(service.changed)
    listener = events.on("tick", print)
    events.on("tick", print)
    assert listener is print
    assert events.off("tick", print)
    assert events.listens("tick")
    assert events.off("tick", print)
    assert not events.off("tick", print)
    assert changes == [True, True, True, False]


def test_a_service_that_is_gone_is_told_no_more(events: Events) -> None:
    """Wanting to know of listeners does not keep a service alive."""
    changes: list[bool] = []
    events.subscribe_changes(_Service(events, changes).changed)
    gc.collect()
    events.on("tick", print)
    assert changes == []


class _Service:
    def __init__(self, events: Events, changes: list[bool]) -> None:
        self.events = events
        self.changes = changes

    def changed(self) -> None:
        self.changes.append(self.events.listens("tick"))


def test_a_listener_must_be_callable(events: Events) -> None:
    """A programming error is told at once, not on the background thread."""
    with pytest.raises(TypeError, match="callable"):
        events.on("tick", "not callable")  # type: ignore[arg-type]


def test_errors_of_listeners_and_payloads_are_isolated(
    events: Events, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever raises, the others still hear; it is counted, and told on stderr once."""
    heard: list[Any] = []

    def broken(payload: Any) -> None:
        raise ValueError("broken")

    events.on("tick", broken)
    events.on("tick", heard.append)
    events.emit("tick", 1)
    events.emit_lazily("tick", lambda: 1 / 0)
    events.emit("tick", 2)
    assert events.flush()
    assert heard == [1, 2]
    assert events.listener_errors == 3
    assert capsys.readouterr().err.count("ax-monitor:") == 1


def test_what_a_listener_emits_is_not_delivered(events: Events) -> None:
    """An event caused by a listener goes nowhere, so nothing can recurse."""
    heard: list[int] = []

    def again(n: int) -> None:
        heard.append(n)
        events.emit("tick", n + 1)

    events.on("tick", again)
    events.emit("tick", 1)
    assert events.flush()
    assert heard == [1]


def test_what_listeners_do_not_keep_up_with_is_dropped_and_counted(events: Events) -> None:
    """At most MAX_PENDING events wait; the emitter never does."""
    release = threading.Event()
    entered = threading.Event()
    heard: list[int] = []

    def slow(n: int) -> None:
        entered.set()
        release.wait(20)
        heard.append(n)

    events.on("tick", slow)
    events.emit("tick", -1)
    assert entered.wait(10)
    started = time.monotonic()
    for n in range(MAX_PENDING + 123):
        events.emit("tick", n)
    assert time.monotonic() - started < 5
    assert events.dropped == 123
    assert events.flush(0.01) is False
    release.set()
    assert events.flush(10)
    assert heard == list(range(-1, MAX_PENDING))


def test_close_delivers_what_is_pending_and_ends_the_thread(events: Events) -> None:
    """After close() events are counted as dropped; a second close is harmless."""
    heard: list[int] = []
    events.on("tick", heard.append)
    for n in range(50):
        events.emit("tick", n)
    events.close()
    events.close()
    assert heard == list(range(50))
    thread = events._thread
    assert thread is not None
    wait_for(lambda: not thread.is_alive(), "the end of the thread")
    events.emit("tick", 50)
    assert events.dropped == 1
    assert heard == list(range(50))


def test_a_listener_may_flush_and_close(events: Events) -> None:
    """From a listener flush() returns at once, and close() does not wait for itself."""
    answers: list[bool] = []

    def listener(payload: Any) -> None:
        answers.append(events.flush())
        events.close()

    events.on("tick", listener)
    events.emit("tick", 1)
    wait_for(lambda: answers, "the listener")
    assert answers == [True]


def test_a_stuck_listener_does_not_keep_the_program_alive() -> None:
    """A program whose listener never returns still ends by itself."""
    code = (
        "import threading; from ax_monitor.events import Events; e = Events(); "
        "entered = threading.Event(); "
        "e.on('x', lambda p: (entered.set(), threading.Event().wait())); "
        "e.emit('x', 1); entered.wait(); print('end')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True
    )
    assert done.stdout == "end\n"
