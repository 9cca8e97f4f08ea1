"""Probes of an address: does anybody answer there?"""

from __future__ import annotations

from typing import Final
from urllib.parse import SplitResult, urlsplit

from ax_monitor.checks.outcome import Check, Findings, Outcome

_PORTS: Final = {"http": 80, "https": 443, "tcp": None}
_TOO_MANY_REQUESTS: Final = 429
_CLIENT_ERROR: Final = 400
_SERVER_ERROR: Final = 500


def make_probe(target: object, timeout_s: float) -> Check:
    """The probe of a provider: a callable as it is, or a look at a TCP or HTTP address.

    Raises:
        TypeError: it is neither.
        ValueError: it is no address of this kind.
    """
    if callable(target):
        return target
    if not isinstance(target, str):
        raise TypeError(f"a probe must be a callable or an address, got {target!r}")
    url = urlsplit(target)
    if url.scheme not in _PORTS or not url.hostname:
        raise ValueError(
            f"{target!r} is no address: pass tcp://host:port, http://… or https://…, or a callable"
        )
    if url.username is not None or url.password is not None:
        raise ValueError("an address must not contain a user or password: pass a callable")
    port = url.port or _PORTS[url.scheme]  # raises ValueError itself if it is no number
    if port is None:
        raise ValueError(f"{target!r} has no port: pass tcp://host:port")
    if url.scheme == "tcp":
        return TcpProbe(url.hostname, port, timeout_s)
    return HttpProbe(url, port, timeout_s)


class TcpProbe:
    """Healthy if a connection is accepted."""

    def __init__(self, host: str, port: int, timeout_s: float) -> None:
        self._address = (host, port)
        self._timeout_s = timeout_s

    def __call__(self) -> Outcome:
        """Connect, and hang up."""
        import socket  # noqa: PLC0415 (only where somebody uses it, as all that follows)

        host, port = self._address
        found = Findings(address=f"tcp://{host}:{port}")
        try:
            socket.create_connection(self._address, self._timeout_s).close()
        except OSError as error:
            found.unhealthy(f"{host}:{port} can't be reached: {error}")
        return found.outcome(f"{host}:{port} accepts connections")


class HttpProbe:
    """Healthy if a GET is answered with a status below 400.

    A status of 500 and above is unhealthy. Others from 400 on are degraded: somebody answers, but
    not what was asked for. Redirections are not followed, and no proxy is used.
    """

    def __init__(self, url: SplitResult, port: int, timeout_s: float) -> None:
        self._https = url.scheme == "https"
        self._host = url.hostname or ""
        self._port = port
        self._target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        # Without the query: there may be a key in it.
        self._shown = f"{url.scheme}://{url.netloc}{url.path}"
        self._timeout_s = timeout_s

    def __call__(self) -> Outcome:
        """Ask."""
        from http import client  # noqa: PLC0415

        found = Findings(address=self._shown)
        make = client.HTTPSConnection if self._https else client.HTTPConnection
        connection = make(self._host, self._port, timeout=self._timeout_s)
        try:
            connection.request("GET", self._target, headers={"User-Agent": "ax-monitor"})
            status = connection.getresponse().status
        except (OSError, client.HTTPException) as error:
            found.unhealthy(f"{self._shown} can't be reached: {type(error).__name__}: {error}")
            return found.outcome("")
        finally:
            connection.close()
        found.metadata["status_code"] = status
        if status >= _SERVER_ERROR:
            found.unhealthy(f"{self._shown} answers {status}")
        elif status == _TOO_MANY_REQUESTS:
            found.degraded(f"{self._shown} answers {status}: too many requests")
        elif status >= _CLIENT_ERROR:
            found.degraded(f"{self._shown} answers {status}: somebody is there, but not for this")
        return found.outcome(f"{self._shown} answers {status}")
