"""What records belong to: contexts that follow `await`, tasks and copied contexts only."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ax_monitor._native import RecordContext, context_var
from ax_monitor.context import current_context, use_context
from tests.channels import IDS, Channel

ids = st.none() | st.sampled_from(["a", "b", "c", ""])
id_sets = st.fixed_dictionaries(dict.fromkeys(IDS, ids))


def _model(call: dict[str, Any], bound: dict[str, Any], context: dict[str, Any]) -> dict[str, Any]:
    """The call's ids first, then those bound, then the context's; a span only with its trace."""
    found = {name: bound[name] if call[name] is None else call[name] for name in IDS}
    if found["span_id"] is None and found["trace_id"] in (None, context["trace_id"]):
        found["span_id"] = context["span_id"]
    return {name: context[name] if value is None and name != "span_id" else value
            for name, value in found.items()}  # fmt: skip


@given(id_sets, id_sets, id_sets)
def test_missing_ids_come_from_the_logger_then_from_the_context(
    call: dict[str, Any], bound: dict[str, Any], context: dict[str, Any]
) -> None:
    """Every id that a call leaves out is filled, and none that it gives is changed."""
    channel = Channel()
    logger = channel.bound(**{name: value for name, value in bound.items() if value is not None})
    token = context_var.set(RecordContext(**context))
    try:
        logger.info("m", "s", **call)
    finally:
        context_var.reset(token)
    logger.info("m", "s", **call)
    inside, outside = channel.records()
    assert inside.ids == _model(call, bound, context)
    assert outside.ids == _model(call, bound, dict.fromkeys(IDS))


@given(st.lists(id_sets, min_size=1, max_size=4))
def test_nested_contexts_add_to_those_around_them(layers: list[dict[str, Any]]) -> None:
    """A block keeps what is around it, except that a new trace begins without a span."""
    channel = Channel()
    expected: list[dict[str, Any]] = []
    outer: dict[str, Any] = dict.fromkeys(IDS)

    def enter(rest: list[dict[str, Any]], around: dict[str, Any]) -> None:
        if rest:
            inner = {name: around[name] if rest[0][name] is None else rest[0][name] for name in IDS}
            if rest[0]["trace_id"] is not None:
                inner["span_id"] = rest[0]["span_id"]
            with use_context(**rest[0]):
                channel.log.info("in", "s")
                expected.append(inner)
                enter(rest[1:], inner)
                channel.log.info("out", "s")
                expected.append(inner)

    enter(layers, outer)
    assert [record.ids for record in channel.records()] == expected
    assert current_context() is None


def test_a_context_ends_with_its_block() -> None:
    """An exception leaves the context as it was before the block."""
    with use_context(tenant_id="outer"):
        with pytest.raises(ZeroDivisionError), use_context(tenant_id="inner"):
            _ = 1 / 0
        outer = current_context()
        assert outer is not None
        assert outer.tenant_id == "outer"
    assert current_context() is None


def test_a_context_cannot_be_changed() -> None:
    """What a record belongs to is fixed when the context is made."""
    context = RecordContext(trace_id="t")
    for name in IDS:
        with pytest.raises(AttributeError):
            setattr(context, name, "x")
    assert repr(context).startswith("RecordContext(execution_id=None, trace_id='t', ")


def test_something_else_in_the_variable_is_no_context() -> None:
    """A value that is no context leaves records without one, and does no harm."""
    channel = Channel()
    token = context_var.set("not a context")  # type: ignore[arg-type]
    try:
        channel.log.info("m", "s")
    finally:
        context_var.reset(token)
    (record,) = channel.records()
    assert record.ids == dict.fromkeys(IDS)


# -- where it goes ---------------------------------------------------------------------------------


@pytest.mark.timeout(30)
def test_tasks_keep_their_contexts_apart() -> None:
    """Tasks that run turn by turn log with their own ids, and start with those of their maker."""
    channel = Channel()

    async def work(number: int) -> None:
        channel.log.info(f"{number} before", "s")
        with use_context(execution_id=str(number)):
            for _ in range(5):
                await asyncio.sleep(0)
                channel.log.info(f"{number} inside", "s")
            await asyncio.create_task(child(number))
        channel.log.info(f"{number} before", "s")

    async def child(number: int) -> None:
        await asyncio.sleep(0)
        channel.log.info(f"{number} inside", "s")

    async def main() -> None:
        with use_context(tenant_id="acme"):
            await asyncio.gather(*(work(number) for number in range(40)))

    asyncio.run(main())
    records = channel.records()
    assert len(records) == 40 * 8
    for record in records:
        number, where = record.message.split()
        assert record.ids["tenant_id"] == "acme"
        assert record.ids["execution_id"] == (number if where == "inside" else None)


def _in_thread(call: Callable[[], None]) -> None:
    thread = threading.Thread(target=call)
    thread.start()
    thread.join(10)


@pytest.mark.timeout(30)
def test_threads_have_the_context_that_they_are_given() -> None:
    """`to_thread` and copied contexts carry the context along; a bare thread begins without one."""
    channel = Channel()

    def log(message: str) -> None:
        channel.log.info(message, "s")

    async def main() -> None:
        await asyncio.to_thread(log, "with")

    with use_context(trace_id="t", span_id="p"):
        asyncio.run(main())
        copied = contextvars.copy_context()
        _in_thread(lambda: copied.run(log, "with"))
        _in_thread(lambda: log("without"))
    _in_thread(lambda: copied.run(log, "with"))
    for record in channel.records():
        expected = ("t", "p") if record.message == "with" else (None, None)
        assert (record.ids["trace_id"], record.ids["span_id"]) == expected
    assert len(channel.records()) == 4


def test_a_generator_does_not_take_its_context_elsewhere() -> None:
    """A record made between two steps of a generator has the ids of the one who makes it."""
    channel = Channel()

    def steps() -> Any:
        for i in range(2):
            with use_context(execution_id=f"inside {i}"):
                channel.log.info("generator", "s")
            yield

    with use_context(execution_id="outside"):
        for _ in steps():
            channel.log.info("consumer", "s")
    assert [record.ids["execution_id"] for record in channel.records()] == [
        "inside 0",
        "outside",
        "inside 1",
        "outside",
    ]


def test_looking_contexts_up_keeps_no_references() -> None:
    """Logging in a context neither leaks nor loses references to it and its ids."""
    channel = Channel()
    texts = {name: f"{name} {id(channel)}" for name in IDS}
    context = RecordContext(**texts)
    token = context_var.set(context)
    try:
        before = [sys.getrefcount(thing) for thing in (context, *texts.values())]
        for _ in range(1000):
            channel.log.info("m", "s")
        after = [sys.getrefcount(thing) for thing in (context, *texts.values())]
    finally:
        context_var.reset(token)
    assert after == before
