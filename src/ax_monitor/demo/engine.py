"""A small workflow engine on asyncio: what one would write, and how ax-monitor is used in it.

Each execution takes a piece of a file through five steps. The work is real, but for the model that
summarizes it. Files are read, parsed, compressed and hashed in threads, to which the context goes
along: what they log carries the ids of its execution, step and tenant.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import lzma
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from ax_monitor.demo.models import MODELS, Answer, Model, Providers
from ax_monitor.interop.log_files import parse_lines
from ax_monitor.monitor import Monitor

WORKFLOW_ID: Final = "digest-file"
WORKFLOW: Final = "digest"
STEPS: Final = ("fetch", "parse", "summarize", "compress", "hash")
TENANTS: Final = ("acme", "globex", "initech")
PIECE_BYTES: Final = 24_000
ATTEMPTS: Final = 3
ANSWER_WITHIN_S: Final = 0.25
PROMPT_CHARACTERS: Final = 6_000

T = TypeVar("T")


class Engine:
    """Runs executions side by side until it is told to stop.

    Args:
        monitor: Where everything is recorded.
        files: What is worked on.
        name: The source of its logs.
        seed: Makes the choice of files, tenants and models repeatable.
    """

    def __init__(self, monitor: Monitor, files: Sequence[Path], name: str, seed: int) -> None:
        self.providers = Providers(seed)
        self.executions = 0
        self.log_calls = 0
        self._monitor = monitor
        self._files = files
        self._name = name
        self._log = monitor.logger.bind(source=name)
        self._random = random.Random(seed)
        self._numbers = itertools.count(1)
        self._stopping = False

    def stop(self) -> None:
        """Take on nothing more."""
        self._stopping = True

    async def run(self, workers: int) -> None:
        """So many executions at a time, until `stop`."""
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(self._work())

    async def _work(self) -> None:
        while not self._stopping:
            path = self._random.choice(self._files)
            tenant = self._random.choice(TENANTS)
            try:
                await self.digest(path, tenant)
            except Exception as error:  # the engine goes on with the next one
                self._say("error", f"digest of {path.name} failed", error=error, tenant_id=tenant)
            self.executions += 1

    async def digest(self, path: Path, tenant: str) -> str:
        """One execution: the hash of a compressed piece of a file."""
        monitor = self._monitor
        number = next(self._numbers)
        run = monitor.workflows.execution(
            WORKFLOW_ID, WORKFLOW, tenant, "demo", len(STEPS), {"file": path.name, "number": number}
        )
        async with run:
            with monitor.tracer.trace(run.execution_id, WORKFLOW, file=path.name):
                piece = await self._step("fetch", self._fetch, path)
                text = await self._step("parse", self._parse, piece, path.name)
                await self._summarize(text)
                packed = await self._step("compress", self._compress, piece)
                return await self._step("hash", self._hash, packed)

    async def _step(self, key: str, work: Callable[..., T], *arguments: object) -> T:
        """A step in a thread, as a span too."""
        async with self._monitor.workflows.step(key):
            with self._monitor.tracer.span(key):
                return await asyncio.to_thread(work, *arguments)

    # -- the steps --------------------------------------------------------------------------------

    def _fetch(self, path: Path) -> bytes:
        size = path.stat().st_size
        with path.open("rb") as file:
            file.seek(self._random.randrange(max(1, size - PIECE_BYTES)))
            piece = file.read(PIECE_BYTES)
        self._say("debug", f"fetched a piece of {path.name}", metadata={"bytes": len(piece)})
        return piece

    def _parse(self, piece: bytes, source: str) -> str:
        lines = piece.decode("utf-8", "replace").splitlines()
        messages = []
        for record in parse_lines(lines, source=source):
            messages.append(record.message)
            if record.level in ("error", "fatal"):
                self._say("debug", f"{source} says: {record.message[:120]}")
        self._say("info", f"parsed {len(messages)} records of {source}")
        return "\n".join(messages)

    async def _summarize(self, text: str) -> Answer:
        """Ask a model; a failed attempt is repeated, and the last one fails the step."""
        model: Model = self._random.choice(MODELS)
        name = f"Summarize with {model.name}"
        async with self._monitor.workflows.step("summarize", name) as step:
            for attempt in range(1, ATTEMPTS + 1):
                with self._monitor.tracer.span(
                    "model call", kind="client", provider=model.provider, model=model.name
                ) as span:
                    step.set(provider=model.provider, model=model.name)
                    try:
                        async with asyncio.timeout(ANSWER_WITHIN_S):
                            answer = await self.providers.summarize(model, text[:PROMPT_CHARACTERS])
                    except Exception as error:
                        span.set_status("error")
                        self._say(
                            "warn",
                            f"{model.provider} did not answer: {type(error).__name__}",
                            metadata={"model": model.name, "attempt": attempt},
                        )
                        if attempt == ATTEMPTS:
                            raise
                        step.retry(error)
                        continue
                    span.set_attributes(tokens=answer.tokens)
                step.set(
                    tokens_used=answer.tokens,
                    cost=answer.cost,
                    input_size=len(text),
                    output_size=len(answer.text),
                )
                self._say("info", f"{model.name}: {answer.text}")
                return answer
        raise AssertionError("the last attempt returns or raises")

    def _compress(self, piece: bytes) -> bytes:
        begin = time.perf_counter()
        packed = lzma.compress(piece)
        self._monitor.metrics.record(
            "demo.compression.ratio", len(packed) / max(1, len(piece)), unit="rate"
        )
        milliseconds = (time.perf_counter() - begin) * 1000
        self._say("debug", "compressed", metadata={"bytes": len(packed), "ms": milliseconds})
        return packed

    def _hash(self, packed: bytes) -> str:
        digest = hashlib.sha256(packed).hexdigest()
        self._say("debug", f"sha256 {digest}")
        return digest

    def _say(self, level: str, message: str, **context: object) -> None:
        getattr(self._log, level)(message, **context)
        self.log_calls += 1
