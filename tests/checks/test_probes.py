"""Probes of real addresses on this machine: refused, silent, failing, answering."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from ax_monitor import HealthStatus
from ax_monitor.checks.outcome import Outcome
from ax_monitor.checks.probes import make_probe
from ax_monitor.checks.providers import Providers
from ax_monitor.checks.timed import TimedCheck
from ax_monitor.clock import SYSTEM_CLOCK

HEALTHY, DEGRADED, UNHEALTHY = HealthStatus.HEALTHY, HealthStatus.DEGRADED, HealthStatus.UNHEALTHY


class Server:
    """A socket that answers every connection alike, or accepts and says nothing."""

    def __init__(self, answer: bytes | None) -> None:
        self._answer = answer
        self._open: list[socket.socket] = []
        self.heard: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            if self._answer is None:
                self._open.append(connection)
                continue
            with connection:
                connection.settimeout(0.2)
                try:
                    self.heard.append(connection.recv(4096))
                    connection.sendall(self._answer)
                except OSError:
                    pass

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()
        for connection in self._open:
            connection.close()


@pytest.fixture
def servers() -> Iterator[Callable[[bytes | None], Server]]:
    made: list[Server] = []

    def serve(answer: bytes | None) -> Server:
        made.append(Server(answer))
        return made[-1]

    yield serve
    for server in made:
        server.close()


def http(status: int, body: bytes = b"") -> bytes:
    return b"HTTP/1.1 %d Whatever\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


def probe(target: str, timeout_s: float = 2.0) -> Outcome:
    outcome = make_probe(target, timeout_s)()
    assert isinstance(outcome, Outcome)
    return outcome


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port


def test_tcp_accepted_and_refused(servers: Callable[[bytes | None], Server]) -> None:
    """A listening socket is enough."""
    server = servers(None)
    fine = probe(f"tcp://127.0.0.1:{server.port}")
    assert (fine.status, fine.metadata) == (HEALTHY, {"address": f"tcp://127.0.0.1:{server.port}"})
    for target in (f"tcp://127.0.0.1:{closed_port()}", f"http://127.0.0.1:{closed_port()}/"):
        refused = probe(target)
        assert refused.status is UNHEALTHY
        assert "can't be reached" in (refused.message or "")


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (200, HEALTHY),
        (204, HEALTHY),
        (302, HEALTHY),
        (401, DEGRADED),
        (404, DEGRADED),
        (429, DEGRADED),
        (500, UNHEALTHY),
        (503, UNHEALTHY),
    ],
)
def test_http_statuses(
    servers: Callable[[bytes | None], Server], code: int, status: HealthStatus
) -> None:
    """An error of the server is one of the provider; an error of ours is trouble."""
    server = servers(http(code, b"x" * 100))
    outcome = probe(f"http://127.0.0.1:{server.port}/health?key=hunter2")
    assert outcome.status is status
    assert str(code) in (outcome.message or "")
    assert outcome.metadata is not None
    assert outcome.metadata["status_code"] == code
    assert server.heard[0].startswith(b"GET /health?key=hunter2 HTTP/1.1\r\n")
    assert "hunter2" not in f"{outcome.message}{outcome.metadata}"


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH_9\r\n", b"HTTP/1.1 abc\r\n\r\n"])
def test_what_is_no_http_is_no_answer(
    servers: Callable[[bytes | None], Server], answer: bytes
) -> None:
    """Something listens there, but not what was expected."""
    assert probe(f"http://127.0.0.1:{servers(answer).port}").status is UNHEALTHY


def test_https_needs_https(servers: Callable[[bytes | None], Server]) -> None:
    """A server that does not speak it."""
    outcome = probe(f"https://127.0.0.1:{servers(http(200)).port}/")
    assert outcome.status is UNHEALTHY
    assert "SSL" in (outcome.message or "")


def test_a_silent_server_is_given_up(servers: Callable[[bytes | None], Server]) -> None:
    """It accepts, and says nothing."""
    started = time.monotonic()
    outcome = probe(f"http://127.0.0.1:{servers(None).port}/", 0.05)
    assert outcome.status is UNHEALTHY
    assert "TimeoutError" in (outcome.message or "")
    assert time.monotonic() - started < 2


def test_one_that_answers_drop_by_drop_is_given_up_all_the_same() -> None:
    """Every piece comes in time, the answer never does: the time limit of the check counts."""
    listening = socket.create_server(("127.0.0.1", 0))
    done = threading.Event()

    def drip() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
            while not done.wait(0.02):
                try:
                    connection.sendall(b"x")
                except OSError:
                    return

    thread = threading.Thread(target=drip, daemon=True)
    thread.start()
    target = f"http://127.0.0.1:{listening.getsockname()[1]}/"
    run = TimedCheck("slow", make_probe(target, 0.2), 0.2, SYSTEM_CLOCK).start()
    checked = run.wait()
    done.set()
    thread.join()
    listening.close()
    assert checked.fault == "no answer within 200 ms"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("ftp://example.org/", "is no address"),
        ("file:///etc/passwd", "is no address"),
        ("example.org:80", "is no address"),
        ("", "is no address"),
        ("tcp://example.org", "has no port"),
        ("tcp://example.org:99999", "out of range"),
        ("http://user:secret@example.org/", "must not contain a user"),
    ],
)
def test_wrong_addresses_are_refused_when_they_are_registered(target: str, message: str) -> None:
    """Not found out at the first check."""
    with pytest.raises(ValueError, match=message) as caught:
        make_probe(target, 1)
    assert "secret" not in str(caught.value)
    with pytest.raises(TypeError, match="callable or an address"):
        make_probe(7, 1)


# -- all of them as one component ------------------------------------------------------------------


def test_providers_side_by_side(servers: Callable[[bytes | None], Server]) -> None:
    """One hangs, one refuses, one answers 500, one is fine: each by its name."""
    release = threading.Event()
    providers = Providers(SYSTEM_CLOCK, 0.3)
    good, bad = servers(http(200)).port, servers(http(500)).port
    providers.put("good", f"http://127.0.0.1:{good}/", None, required=True)
    providers.put("bad", f"http://127.0.0.1:{bad}/", None, required=True)
    providers.put("gone", f"tcp://127.0.0.1:{closed_port()}", None, required=True)
    providers.put("hanging", lambda: release.wait(30), 0.05, required=True)
    outcome = providers()
    release.set()
    assert outcome.status is UNHEALTHY
    metadata = outcome.metadata
    assert metadata is not None
    found = metadata["providers"]
    assert {name: details["status"] for name, details in found.items()} == {
        "good": "healthy",
        "bad": "unhealthy",
        "gone": "unhealthy",
        "hanging": "unhealthy",
    }
    assert (metadata["provider_count"], metadata["failed_count"]) == (4, 3)
    assert found["hanging"]["message"] == "no answer within 50 ms"
    assert found["bad"]["status_code"] == 500
    for text in ("bad: ", "gone: ", "hanging: no answer within 50 ms"):
        assert text in (outcome.message or "")


def test_a_provider_that_is_not_required_only_degrades() -> None:
    """And counts again once it is registered as required."""
    providers = Providers(SYSTEM_CLOCK, 1)
    providers.put("spare", lambda: False, None, required=False)
    providers.put("main", lambda: True, None, required=True)
    assert providers().status is DEGRADED
    providers.put("spare", lambda: False, None, required=True)
    assert providers().status is UNHEALTHY
    assert providers.remove("spare")
    assert not providers.remove("spare")
    assert providers().status is HEALTHY
