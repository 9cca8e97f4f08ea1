"""Executions and steps: what is under way is a native object here, each change a record of the ring.

What a change does to the database, and what is finished by then and takes none, is said in
`storage/workflow_batch.py`. Here is what this process knows: it tells what a change means (its times,
whether it comes too late), and refuses what can have no effect. What it does not know it asks for
(`find_execution`, `find_step`), because another process may have begun it.

Between the look at where something stands and the change of it no Python code runs, so of two threads
that end the same thing one does.
"""

cimport cython

from libc.math cimport NAN, isfinite
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from ax_monitor._native.clock cimport monotonic_ns, realtime_ns
from ax_monitor._native.ids cimport new_id
from ax_monitor._native.ring cimport RecordRing, fork_generation

cdef enum:
    KIND_EXECUTION = 5      # storage/records.py names the fields, in their order
    KIND_STEP = 6
    LATE = 2                # tag of a step's record: its execution was finished before
    COMPLETED_GIVEN = 1     # OpenExecution.counts_given
    FAILED_GIVEN = 2
    ENDED_MAX = 1000        # ids of what has ended are remembered until so many more have
    NS_PER_MS = 1_000_000

cdef str PENDING = "pending"
cdef str RUNNING = "running"
cdef str PAUSED = "paused"
cdef str COMPLETED = "completed"
cdef str FAILED = "failed"
cdef dict _EXECUTION_ENDED = {s: "workflow." + s for s in ("completed", "failed", "cancelled")}
cdef dict _STEP_ENDED = {s: "workflow.step." + s for s in ("completed", "failed", "cancelled")}


cdef inline bint _is_active(str status) noexcept:
    return status == RUNNING or status == PENDING or status == PAUSED


@cython.final
cdef class OpenExecution:
    """An execution that is not finished, as far as this process knows.

    The counts and the current step are those of the steps that ran in this process.
    """

    cdef readonly str id
    cdef readonly object workflow_id    # these are texts, or None
    cdef readonly object workflow_name
    cdef readonly object tenant_id
    cdef readonly object user_id
    cdef readonly int64_t started_at    # ms since the epoch
    cdef readonly double began_s        # on the monotonic clock; NaN: in another process
    cdef readonly double pending_since_s
    cdef readonly object metadata       # JSON, or a dict of plain values, or None
    cdef readonly int64_t steps_total
    cdef public str status
    cdef public int64_t steps_completed
    cdef public int64_t steps_failed
    cdef public int counts_given        # COMPLETED_GIVEN, FAILED_GIVEN: the caller's own, not counted
    cdef public object current_step
    cdef public object error_message
    cdef public object completed_at     # ms since the epoch, or None
    cdef public object duration         # ms, or None
    cdef public object series           # of its metrics; see pipeline/workflow_metrics.py
    cdef readonly dict failed           # steps that failed here and may be tried again, by id
    cdef readonly uint64_t end_seq      # number of the record that ended it

    def __init__(self, str id not None, *, workflow_id, workflow_name, tenant_id, user_id,
                 str status not None, int64_t started_at, metadata=None, int64_t steps_total=0):
        """One that another process has begun."""
        self.id = id
        self.workflow_id = workflow_id
        self.workflow_name = workflow_name
        self.tenant_id = tenant_id
        self.user_id = user_id
        self.status = status
        self.started_at = started_at
        self.began_s = self.pending_since_s = NAN
        self.metadata = metadata
        self.steps_total = steps_total
        self.failed = {}

    @property
    def active(self) -> bool:
        """Is it not finished?"""
        return _is_active(self.status)


@cython.final
@cython.freelist(64)
cdef class OpenStep:
    """A step that runs, or that failed and may be tried again."""

    cdef readonly str id
    cdef readonly OpenExecution execution   # None: nothing is known of it but its id
    cdef readonly object execution_id
    cdef readonly object step_key           # these are texts, or None
    cdef readonly object step_name
    cdef public str status
    cdef public int64_t started_at          # of this attempt, in ms since the epoch
    cdef readonly double began_s            # on the monotonic clock; NaN: in another process
    cdef public object completed_at         # these are numbers, or None
    cdef public object duration
    cdef public int64_t retry_count
    cdef public object error_message
    cdef public object input_size
    cdef public object output_size
    cdef public object tokens_used          # of all attempts
    cdef public object cost
    cdef public object attempt_tokens       # of this one
    cdef public object attempt_cost
    cdef public object provider
    cdef public object model
    cdef public list earlier                # attempts, as they are stored; None: there are none
    cdef readonly uint64_t end_seq          # number of the record that ended it

    def __init__(self, str id not None, *, OpenExecution execution, execution_id, step_key, step_name,
                 str status not None, int64_t started_at):
        """One that another process has begun."""
        self.id = id
        self.execution = execution
        self.execution_id = execution_id
        self.step_key = step_key
        self.step_name = step_name
        self.status = status
        self.started_at = started_at
        self.began_s = NAN


cdef double _elapsed_ms(double since_s, int64_t since_ms, double now_s, int64_t now_ms) noexcept:
    """By the monotonic clock, if it began in this process; else by the wall clock."""
    if since_s == since_s:
        return (now_s - since_s) * 1000
    return <double> max(<int64_t> 0, now_ms - since_ms)


@cython.final
cdef class WorkflowSettings:
    """What a workflow monitor does, and how; changes take effect at the next call."""

    cdef public int policy              # overflow: 0 block, 1 drop newest, 2 drop oldest
    cdef public bint redact
    cdef public Py_ssize_t max_open     # executions, and steps, that are held at most
    cdef public object heard            # frozenset: the events that somebody listens to
    cdef public object measures         # WorkflowMetrics, or None
    cdef readonly object clock          # an `ax_monitor.clock.Clock`; None: the machine's
    cdef readonly object text           # (anything) -> str
    cdef readonly object whole          # (name, anything) -> int of 64 bits or None
    cdef readonly object real           # (name, anything) -> finite float or None
    cdef readonly object append         # (kind, tag, fields) -> number of the record: odd values, secrets
    cdef readonly object find_execution     # (id) -> OpenExecution, or None: nobody knows it
    cdef readonly object find_step      # (id) -> OpenStep, or None
    cdef readonly object publish        # (event name, OpenExecution or OpenStep) -> None

    def __init__(self, *, text, whole, real, append, find_execution, find_step, publish, clock=None,
                 measures=None, int policy=0, bint redact=True, Py_ssize_t max_open=100_000):
        self.text = text
        self.whole = whole
        self.real = real
        self.append = append
        self.find_execution = find_execution
        self.find_step = find_step
        self.publish = publish
        self.clock = clock
        self.measures = measures
        self.policy = policy
        self.redact = redact
        self.max_open = max_open
        self.heard = frozenset()


cdef class WorkflowChannel:
    """The recording half of a workflow monitor: what is under way, one ring.

    Thread-safety: any thread, without a lock.
    Cost: beginning and completing a step takes about a microsecond together.
    """

    cdef RecordRing _ring
    cdef WorkflowSettings _settings
    cdef uint32_t _forks
    cdef readonly dict open_executions      # by id
    cdef readonly dict open_steps           # by id; failed ones too, while their execution is open
    cdef readonly dict running_executions   # ids of those that run here
    # What has ended lately, by id, as its end may not be written yet: a younger and an older lot of
    # it, and the number of the last record of the latter.
    cdef dict _ended
    cdef dict _ended_before
    cdef uint64_t _ended_before_seq
    cdef public uint64_t unknown_ids
    cdef public uint64_t ignored            # calls for what was finished already
    cdef public uint64_t forgotten          # too many to be held

    def __init__(self, RecordRing ring not None, WorkflowSettings settings not None):
        self._ring = ring
        self._settings = settings
        self._forks = fork_generation()
        self._forget_all()

    cdef int _forget_all(self) except -1:
        self.open_executions = {}
        self.open_steps = {}
        self.running_executions = {}
        self._ended = {}
        self._ended_before = {}
        self._ended_before_seq = 0
        return 0

    @property
    def forks(self) -> int:
        """Differs in a forked child, in which nothing is under way: it belongs to the parent."""
        if self._forks != fork_generation():
            self._forks = fork_generation()
            self._forget_all()
        return self._forks

    cdef inline int _check_fork(self) except -1:
        if self._forks != fork_generation():
            self.forks
        return 0

    # -- time, values, records -------------------------------------------------------------------

    cdef inline int64_t _now_ms(self) except? -1:
        if self._settings.clock is None:
            return realtime_ns() // NS_PER_MS
        return self._settings.clock.time_ms()

    cdef inline double _now_s(self) except? -1:
        if self._settings.clock is None:
            return monotonic_ns() / 1e9
        return self._settings.clock.monotonic()

    cdef inline object _text(self, value):
        return value if value is None or type(value) is str else self._settings.text(value)

    cdef inline object _whole(self, str name, value):
        if value is None or (type(value) is int and -(1 << 63) <= value < 1 << 63):
            return value
        return self._settings.whole(name, value)

    cdef inline object _real(self, str name, value):
        if value is None or (type(value) is float and isfinite(<double> value)):
            return value
        return self._settings.real(name, value)

    cdef int64_t _append(self, uint8_t kind, uint8_t tag, int64_t now_ms, tuple fields) except? -1:
        """The number of the record; 0 if it was dropped (and counted)."""
        cdef int64_t seq = self._ring.append_fields(
            kind, tag, fields, now_ms * NS_PER_MS, self._settings.policy, False, self._settings.redact)
        return seq if seq >= 0 else self._settings.append(kind, tag, fields)

    # -- what has ended, and what is too much ------------------------------------------------------

    cdef int _remember_end(self, str id, thing, int64_t seq) except -1:
        if seq == 0:
            return 0                # dropped: it has not ended, as far as the database knows
        self._ended[id] = thing
        if len(self._ended) >= ENDED_MAX and self._ring.released_seq >= self._ended_before_seq:
            self._ended_before = self._ended
            self._ended_before_seq = seq
            self._ended = {}
        return 0

    def has_ended(self, id) -> bool:
        """Did it end here lately? The database may not say so yet."""
        self._check_fork()
        return id in self._ended or id in self._ended_before

    def unwritten_ends(self) -> list:
        """The executions and steps that ended here and whose end the database may not have yet."""
        cdef uint64_t written = self._ring.released_seq
        self._check_fork()
        return [thing for lot in (self._ended_before, self._ended) for thing in lot.copy().values()
                if thing.end_seq > written]

    cdef int _forget_oldest(self, dict held) except -1:
        for id in list(held)[:max(1, self._settings.max_open // 64)]:
            if held.pop(id, None) is not None:
                self.running_executions.pop(id, None)
                self.forgotten += 1
        return 0

    def hold_execution(self, OpenExecution execution not None) -> OpenExecution:
        """One that the database has is under way here from now on; if it is already, what is held."""
        if len(self.open_executions) >= self._settings.max_open:
            self._forget_oldest(self.open_executions)
        return self.open_executions.setdefault(execution.id, execution)

    def hold_step(self, OpenStep step not None) -> OpenStep:
        """The same of a step."""
        if len(self.open_steps) >= self._settings.max_open:
            self._forget_oldest(self.open_steps)
        return self.open_steps.setdefault(step.id, step)

    # -- executions --------------------------------------------------------------------------------

    cdef OpenExecution _execution(self, id):
        """The execution of this id; None if nobody knows it."""
        self._check_fork()
        found = self.open_executions.get(id)
        return found if found is not None else self._settings.find_execution(id)

    def begin_execution(self, workflow_id, workflow_name, tenant_id, user_id, str status not None,
                        steps_total, recorded, kept) -> OpenExecution:
        """Begin an execution; `recorded` and `kept` are its metadata."""
        cdef OpenExecution execution = OpenExecution.__new__(OpenExecution)
        cdef WorkflowSettings settings = self._settings
        self._check_fork()
        execution.id = new_id()
        execution.workflow_id = self._text(workflow_id)
        execution.workflow_name = self._text(workflow_name)
        execution.tenant_id = self._text(tenant_id)
        execution.user_id = self._text(user_id)
        execution.status = status
        execution.metadata = kept
        execution.steps_total = self._whole("steps_total", steps_total) or 0
        execution.failed = {}
        execution.started_at = self._now_ms()
        execution.began_s = self._now_s()
        execution.pending_since_s = execution.began_s
        self._append(KIND_EXECUTION, 0, execution.started_at, (
            execution.id, execution.workflow_id, execution.workflow_name, execution.tenant_id,
            execution.user_id, status, execution.started_at, None, None, execution.steps_total, None,
            None, None, None, recorded))
        if len(self.open_executions) >= settings.max_open:
            self._forget_oldest(self.open_executions)
        self.open_executions[execution.id] = execution
        if status == RUNNING:
            self._runs(execution.id)
        if "workflow.started" in settings.heard:
            settings.publish("workflow.started", execution)
        return execution

    def change_execution(self, OpenExecution execution not None, str status, current_step,
                         steps_completed, steps_failed, error_message) -> bool:
        """Change an execution, or end it; None: as it is. False if it was finished already."""
        cdef int64_t now_ms = self._now_ms()
        cdef double now_s = self._now_s()
        cdef str before
        cdef bint ends
        cdef int64_t seq
        current_step = self._text(current_step)
        error_message = self._text(error_message)
        steps_completed = self._whole("steps_completed", steps_completed)
        steps_failed = self._whole("steps_failed", steps_failed)
        before = execution.status
        if not _is_active(before):
            self.ignored += 1
            return False
        ends = status is not None and not _is_active(status)
        if status is not None:
            execution.status = status
        if ends:
            execution.completed_at = now_ms
            execution.duration = _elapsed_ms(execution.began_s, execution.started_at, now_s, now_ms)
        if current_step is not None:
            execution.current_step = current_step
        if steps_completed is not None:
            execution.steps_completed = steps_completed
            execution.counts_given |= COMPLETED_GIVEN
        if steps_failed is not None:
            execution.steps_failed = steps_failed
            execution.counts_given |= FAILED_GIVEN
        if error_message is not None:
            execution.error_message = error_message
        seq = self._append(KIND_EXECUTION, 0, now_ms, (
            execution.id, None, None, None, None, status, None, execution.completed_at,
            execution.duration, None, steps_completed, steps_failed, current_step, error_message))
        if ends:
            self._execution_ended(execution, seq)
        elif status is not None and status != before:
            self._status_changed(execution, before, now_s, now_ms)
        return True

    def change_unknown(self, id, str status, current_step, steps_completed, steps_failed, error_message):
        """The same of one that nobody knows: perhaps its start is in another process, not written."""
        cdef int64_t now_ms = self._now_ms()
        cdef bint ends = status is not None and not _is_active(status)
        self.unknown_ids += 1
        self._append(KIND_EXECUTION, 0, now_ms, (
            id, None, None, None, None, status, None, now_ms if ends else None, None, None,
            self._whole("steps_completed", steps_completed), self._whole("steps_failed", steps_failed),
            self._text(current_step), self._text(error_message)))

    cdef int _execution_ended(self, OpenExecution execution, int64_t seq) except -1:
        cdef WorkflowSettings settings = self._settings
        # In this order: whoever does not find it among the open ones finds it among the ended.
        execution.end_seq = seq
        self._remember_end(execution.id, execution, seq)
        for id, step in execution.failed.items():
            self._remember_end(id, step, (<OpenStep> step).end_seq)
        self._forget(execution)
        if settings.measures is not None:
            settings.measures.execution_ended(execution)
        if _EXECUTION_ENDED[execution.status] in settings.heard:
            settings.publish(_EXECUTION_ENDED[execution.status], execution)
        return 0

    def forget_execution(self, OpenExecution execution not None) -> None:
        """Another process has finished it."""
        self._forget(execution)

    cdef int _forget(self, OpenExecution execution) except -1:
        self.open_executions.pop(execution.id, None)
        if execution.failed:
            for id in execution.failed:
                self.open_steps.pop(id, None)
            execution.failed = {}
        return self._runs_no_more(execution.id)

    cdef int _status_changed(self, OpenExecution execution, str before, double now_s, int64_t now_ms) except -1:
        """Between pending, running and paused."""
        if execution.status == RUNNING:
            if before == PENDING and self._settings.measures is not None:
                self._settings.measures.waited(execution, _elapsed_ms(
                    execution.pending_since_s, execution.started_at, now_s, now_ms))
            self._runs(execution.id)
        else:
            self._runs_no_more(execution.id)
        if execution.status == PENDING:
            execution.pending_since_s = now_s
        return 0

    cdef int _runs(self, str id) except -1:
        self.running_executions[id] = None
        if self._settings.measures is not None:
            self._settings.measures.running(len(self.running_executions))
        return 0

    cdef int _runs_no_more(self, str id) except -1:
        if id in self.running_executions:
            self.running_executions.pop(id, None)
            if self._settings.measures is not None:
                self._settings.measures.running(len(self.running_executions))
        return 0

    # -- steps -------------------------------------------------------------------------------------

    cdef OpenStep _step(self, id):
        """The step of this id; None if nobody knows it."""
        self._check_fork()
        found = self.open_steps.get(id)
        return found if found is not None else self._settings.find_step(id)

    def start_step(self, execution_id, step_key, step_name=None) -> str:
        """Begin a step of an execution; its id, or "" if the execution is finished.

        Args:
            execution_id: The execution.
            step_key: Key of the step in its workflow. The execution is at it now (`current_step`).
            step_name: Its name (default: the key).
        """
        cdef OpenStep step = self._begin_step(execution_id, step_key, step_name)
        return "" if step is None else step.id

    def begin_step(self, execution_id, step_key, step_name) -> OpenStep:
        """The same; None if the execution is finished."""
        return self._begin_step(execution_id, step_key, step_name)

    cdef OpenStep _begin_step(self, execution_id, step_key, step_name):
        cdef OpenExecution execution = self._execution(execution_id)
        cdef OpenStep step
        if execution is None:
            self.unknown_ids += 1
            if not execution_id:
                return None
        elif not _is_active(execution.status):
            self.ignored += 1
            return None
        step = OpenStep.__new__(OpenStep)
        step.id = new_id()
        step.execution = execution
        step.execution_id = execution_id
        step.step_key = "" if step_key is None else self._text(step_key)
        step.step_name = step.step_key if step_name is None else self._text(step_name)
        step.status = RUNNING
        step.started_at = self._now_ms()
        step.began_s = self._now_s()
        self._append(KIND_STEP, 0, step.started_at, (
            step.id, execution_id, step.step_key, step.step_name, RUNNING, step.started_at))
        if len(self.open_steps) >= self._settings.max_open:
            self._forget_oldest(self.open_steps)
        self.open_steps[step.id] = step
        self._step_begun(step)
        return step

    cdef int _step_begun(self, OpenStep step) except -1:
        if step.execution is not None:
            step.execution.current_step = step.step_key
        if "workflow.step.started" in self._settings.heard:
            self._settings.publish("workflow.step.started", step)
        return 0

    def complete_step(self, step_id, *, tokens_used=None, cost=None, input_size=None,
                      output_size=None, provider=None, model=None) -> bool:
        """A step has been done.

        Args:
            step_id: Which.
            tokens_used: Tokens that this attempt used.
            cost: What this attempt cost, in US dollars.
            input_size: Size of its input in bytes.
            output_size: Size of its output in bytes.
            provider: The provider that was called.
            model: The model that was called.

        Returns:
            False if it had ended already, or nobody knows it; that is counted.
        """
        return self._end_by_id(step_id, COMPLETED, None, tokens_used, cost, input_size, output_size,
                               provider, model)

    def fail_step(self, step_id, error_message, *, tokens_used=None, cost=None, input_size=None,
                  output_size=None, provider=None, model=None) -> bool:
        """A step has failed; `retry_step` may begin it anew. Values as of `complete_step`."""
        return self._end_by_id(step_id, FAILED, error_message, tokens_used, cost, input_size,
                               output_size, provider, model)

    cdef bint _end_by_id(self, id, str status, error_message, tokens_used, cost, input_size,
                         output_size, provider, model) except -1:
        cdef OpenStep step = self._step(id)
        cdef int64_t now_ms
        cdef bint known = step is not None
        if not known:
            if not id:
                return False
            if self.has_ended(id):
                self.ignored += 1
                return False
            # Perhaps its start is in another process and not written yet.
            self.unknown_ids += 1
            step = OpenStep.__new__(OpenStep)
            step.id = id
            step.began_s = NAN
            step.error_message = self._text(error_message)
        elif step.status != RUNNING:
            self.ignored += 1
            return False
        self._set_values(step, tokens_used, cost, input_size, output_size, provider, model)
        if known:
            return self._end_step(step, status, error_message)
        now_ms = self._now_ms()
        self._append_end(step, status, now_ms, False)
        return False

    def set_values(self, OpenStep step not None, tokens_used, cost, input_size, output_size, provider,
                   model) -> None:
        """Take over what is known of an attempt; tokens and cost of the step are totals."""
        self._set_values(step, tokens_used, cost, input_size, output_size, provider, model)

    cdef int _set_values(self, OpenStep step, tokens_used, cost, input_size, output_size, provider,
                         model) except -1:
        if tokens_used is not None:
            tokens_used = self._whole("tokens_used", tokens_used)
            if tokens_used is not None:
                step.tokens_used = tokens_used + (
                    0 if step.tokens_used is None else step.tokens_used - (step.attempt_tokens or 0))
                step.attempt_tokens = tokens_used
        if cost is not None:
            cost = self._real("cost", cost)
            if cost is not None:
                step.cost = cost + (0.0 if step.cost is None else step.cost - (step.attempt_cost or 0.0))
                step.attempt_cost = cost
        if input_size is not None:
            step.input_size = self._whole("input_size", input_size)
        if output_size is not None:
            step.output_size = self._whole("output_size", output_size)
        if provider is not None:
            step.provider = self._text(provider)
        if model is not None:
            step.model = self._text(model)
        return 0

    def end_step(self, OpenStep step not None, str status not None, error_message) -> bool:
        """End an attempt; False if it had ended already (and is counted)."""
        return self._end_step(step, status, error_message)

    cdef bint _end_step(self, OpenStep step, str status, error_message) except -1:
        cdef WorkflowSettings settings = self._settings
        cdef OpenExecution execution = step.execution
        cdef int64_t now_ms = self._now_ms()
        cdef double now_s = self._now_s()
        cdef bint late
        cdef int64_t seq
        error_message = self._text(error_message)
        if step.status != RUNNING:
            self.ignored += 1
            return False
        step.status = status
        step.completed_at = now_ms
        step.duration = _elapsed_ms(step.began_s, step.started_at, now_s, now_ms)
        step.error_message = error_message
        late = execution is not None and not _is_active(execution.status)
        seq = self._append_end(step, status, now_ms, late)
        step.end_seq = seq
        if status != FAILED or late:
            self._remember_end(step.id, step, seq)
            self.open_steps.pop(step.id, None)
        if execution is not None and not late:
            if status == COMPLETED:
                execution.steps_completed += not execution.counts_given & COMPLETED_GIVEN
            elif status == FAILED:
                execution.steps_failed += not execution.counts_given & FAILED_GIVEN
                execution.failed[step.id] = step
        if settings.measures is not None:
            settings.measures.attempt_ended(step)
        if _STEP_ENDED[status] in settings.heard:
            settings.publish(_STEP_ENDED[status], step)
        return True

    cdef int64_t _append_end(self, OpenStep step, str status, int64_t now_ms, bint late) except? -1:
        return self._append(KIND_STEP, LATE if late else 0, now_ms, (
            step.id, None, None, None, status, None, now_ms, step.duration, None, step.error_message,
            step.input_size, step.output_size, step.tokens_used, step.cost, step.provider, step.model))

    def begin_attempt(self, OpenStep step not None, list earlier not None):
        """Begin a step anew that has failed; `earlier` are the attempts before this."""
        cdef OpenExecution execution = step.execution
        step.earlier = earlier
        step.retry_count += 1
        step.status = RUNNING
        step.started_at = self._now_ms()
        step.began_s = self._now_s()
        step.completed_at = step.duration = step.error_message = None
        step.attempt_tokens = step.attempt_cost = None
        if execution is not None and execution.failed.pop(step.id, None) is not None:
            execution.steps_failed -= not execution.counts_given & FAILED_GIVEN
        self.open_steps[step.id] = step
        self._append(KIND_STEP, 0, step.started_at, (
            step.id, step.execution_id, step.step_key, None, RUNNING, step.started_at, None, None,
            step.retry_count, None, None, None, None, None, None, None, earlier))
        self._step_begun(step)
