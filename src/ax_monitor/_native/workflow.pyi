from collections.abc import Callable
from typing import Any, final

from typing_extensions import disjoint_base

from ax_monitor._native.ring import RecordRing

@final
class OpenExecution:
    status: str
    steps_completed: int
    steps_failed: int
    counts_given: int
    current_step: str | None
    error_message: str | None
    completed_at: int | None
    duration: float | None
    series: Any
    @property
    def id(self) -> str: ...
    @property
    def workflow_id(self) -> str | None: ...
    @property
    def workflow_name(self) -> str | None: ...
    @property
    def tenant_id(self) -> str | None: ...
    @property
    def user_id(self) -> str | None: ...
    @property
    def started_at(self) -> int: ...
    @property
    def began_s(self) -> float: ...
    @property
    def pending_since_s(self) -> float: ...
    @property
    def metadata(self) -> bytes | dict[str, Any] | None: ...
    @property
    def steps_total(self) -> int: ...
    @property
    def failed(self) -> dict[str, OpenStep]: ...
    @property
    def end_seq(self) -> int: ...
    @property
    def active(self) -> bool: ...
    def __init__(
        self,
        id: str,
        *,
        workflow_id: str | None,
        workflow_name: str | None,
        tenant_id: str | None,
        user_id: str | None,
        status: str,
        started_at: int,
        metadata: bytes | dict[str, Any] | None = None,
        steps_total: int = 0,
    ) -> None: ...

@final
class OpenStep:
    status: str
    started_at: int
    completed_at: int | None
    duration: float | None
    retry_count: int
    error_message: str | None
    input_size: int | None
    output_size: int | None
    tokens_used: int | None
    cost: float | None
    attempt_tokens: int | None
    attempt_cost: float | None
    provider: str | None
    model: str | None
    earlier: list[dict[str, Any]] | None
    @property
    def id(self) -> str: ...
    @property
    def execution(self) -> OpenExecution | None: ...
    @property
    def execution_id(self) -> str: ...
    @property
    def step_key(self) -> str | None: ...
    @property
    def step_name(self) -> str | None: ...
    @property
    def began_s(self) -> float: ...
    @property
    def end_seq(self) -> int: ...
    def __init__(
        self,
        id: str,
        *,
        execution: OpenExecution | None,
        execution_id: str,
        step_key: str | None,
        step_name: str | None,
        status: str,
        started_at: int,
    ) -> None: ...

@final
class WorkflowSettings:
    policy: int
    redact: bool
    max_open: int
    heard: frozenset[str]
    measures: Any
    @property
    def clock(self) -> Any: ...
    @property
    def text(self) -> Any: ...
    @property
    def whole(self) -> Any: ...
    @property
    def real(self) -> Any: ...
    @property
    def append(self) -> Any: ...
    @property
    def find_execution(self) -> Any: ...
    @property
    def find_step(self) -> Any: ...
    @property
    def publish(self) -> Any: ...
    def __init__(
        self,
        *,
        text: Callable[[Any], str],
        whole: Callable[[str, Any], int | None],
        real: Callable[[str, Any], float | None],
        append: Callable[[int, int, tuple[Any, ...]], int],
        find_execution: Callable[[Any], OpenExecution | None],
        find_step: Callable[[Any], OpenStep | None],
        publish: Callable[[str, OpenExecution | OpenStep], None],
        clock: Any = None,
        measures: Any = None,
        policy: int = 0,
        redact: bool = True,
        max_open: int = 100_000,
    ) -> None: ...

@disjoint_base
class WorkflowChannel:
    unknown_ids: int
    ignored: int
    forgotten: int
    @property
    def open_executions(self) -> dict[str, OpenExecution]: ...
    @property
    def open_steps(self) -> dict[str, OpenStep]: ...
    @property
    def running_executions(self) -> dict[str, None]: ...
    @property
    def forks(self) -> int: ...
    def __init__(self, ring: RecordRing, settings: WorkflowSettings) -> None: ...
    def has_ended(self, id: str) -> bool: ...
    def unwritten_ends(self) -> list[OpenExecution | OpenStep]: ...
    def hold_execution(self, execution: OpenExecution) -> OpenExecution: ...
    def hold_step(self, step: OpenStep) -> OpenStep: ...
    def begin_execution(
        self,
        workflow_id: Any,
        workflow_name: Any,
        tenant_id: Any,
        user_id: Any,
        status: str,
        steps_total: Any,
        recorded: dict[str, Any] | None,
        kept: bytes | dict[str, Any] | None,
    ) -> OpenExecution: ...
    def change_execution(
        self,
        execution: OpenExecution,
        status: str | None,
        current_step: Any,
        steps_completed: Any,
        steps_failed: Any,
        error_message: Any,
    ) -> bool: ...
    def change_unknown(
        self,
        id: Any,
        status: str | None,
        current_step: Any,
        steps_completed: Any,
        steps_failed: Any,
        error_message: Any,
    ) -> None: ...
    def forget_execution(self, execution: OpenExecution) -> None: ...
    def start_step(self, execution_id: str, step_key: str, step_name: str | None = None) -> str: ...
    def begin_step(self, execution_id: Any, step_key: Any, step_name: Any) -> OpenStep | None: ...
    def complete_step(
        self,
        step_id: str,
        *,
        tokens_used: int | None = None,
        cost: float | None = None,
        input_size: int | None = None,
        output_size: int | None = None,
        provider: str | None = None,
        model: str | None = None,
    ) -> bool: ...
    def fail_step(
        self,
        step_id: str,
        error_message: str,
        *,
        tokens_used: int | None = None,
        cost: float | None = None,
        input_size: int | None = None,
        output_size: int | None = None,
        provider: str | None = None,
        model: str | None = None,
    ) -> bool: ...
    def set_values(
        self,
        step: OpenStep,
        tokens_used: Any,
        cost: Any,
        input_size: Any,
        output_size: Any,
        provider: Any,
        model: Any,
    ) -> None: ...
    def end_step(self, step: OpenStep, status: str, error_message: Any) -> bool: ...
    def begin_attempt(self, step: OpenStep, earlier: list[dict[str, Any]]) -> None: ...
