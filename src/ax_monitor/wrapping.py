"""Running functions of every kind inside a scope: plain ones, coroutines, and generators of both.

A generator runs in pieces. Its scope is the current one only while a piece runs, so that the code
which consumes the generator never finds itself inside the generator's span.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any, Protocol, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


class Scope(Protocol):
    """What is opened around a call; see `SpanScope`."""

    def __enter__(self) -> Any: ...
    def __exit__(self, *exc_info: Any) -> None: ...
    def begin(self) -> None:
        """Begin without becoming the current scope."""

    def resume(self) -> None:
        """Become the current scope."""

    def suspend(self) -> None:
        """Stop being the current scope."""

    def end(self, error: BaseException | None = None) -> None:
        """End; only the first call counts."""


def in_scope(function: F, open_scope: Callable[[], Scope]) -> F:
    """`function`, each call of which runs in a scope of its own.

    A generator's scope begins with its first item and ends when it is exhausted, closed, or fails.
    """
    if inspect.isasyncgenfunction(function):
        wrapper = _async_generator(function, open_scope)
    elif inspect.isgeneratorfunction(function):
        wrapper = _generator(function, open_scope)
    elif inspect.iscoroutinefunction(function):
        wrapper = _coroutine(function, open_scope)
    else:
        wrapper = _plain(function, open_scope)
    return functools.wraps(function)(wrapper)  # type: ignore[return-value]


def _plain(function: Callable[..., Any], open_scope: Callable[[], Scope]) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with open_scope():
            return function(*args, **kwargs)

    return wrapper


def _coroutine(function: Callable[..., Any], open_scope: Callable[[], Scope]) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        with open_scope():
            return await function(*args, **kwargs)

    return wrapper


def _generator(function: Callable[..., Any], open_scope: Callable[[], Scope]) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        inner = function(*args, **kwargs)
        scope = open_scope()
        scope.begin()
        try:
            result = yield from _pieces(inner, scope)
        except BaseException as error:
            scope.end(error)
            raise
        scope.end()
        return result

    return wrapper


def _pieces(inner: Generator[Any, Any, Any], scope: Scope) -> Generator[Any, Any, Any]:
    """The items of `inner`, each made inside the scope. As `yield from`, see PEP 380."""
    step: Callable[[Any], Any] = inner.send
    argument: Any = None
    while True:
        scope.resume()
        try:
            item = step(argument)
        except StopIteration as stop:
            return stop.value
        finally:
            scope.suspend()
        try:
            argument = yield item
            step = inner.send
        except GeneratorExit:
            scope.resume()
            try:
                inner.close()
            finally:
                scope.suspend()
            raise
        except BaseException as error:
            step, argument = inner.throw, error


def _async_generator(
    function: Callable[..., Any], open_scope: Callable[[], Scope]
) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        inner = function(*args, **kwargs)
        scope = open_scope()
        scope.begin()
        step, argument = inner.asend, None
        try:
            while True:
                scope.resume()
                try:
                    item = await step(argument)
                except StopAsyncIteration:
                    break
                finally:
                    scope.suspend()
                try:
                    argument = yield item
                    step = inner.asend
                except GeneratorExit:
                    scope.resume()
                    try:
                        await inner.aclose()
                    finally:
                        scope.suspend()
                    raise
                except BaseException as error:
                    step, argument = inner.athrow, error
        except BaseException as error:
            scope.end(error)
            raise
        scope.end()

    return wrapper
