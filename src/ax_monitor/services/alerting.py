"""Alerting: rules over metrics, and the alerts that they raise."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, replace
from typing import Any, Final, TypeVar

from ax_monitor._native import new_id
from ax_monitor.alerting.backtest import Backtest, run_backtest
from ax_monitor.alerting.live import LiveEvaluator, Pass
from ax_monitor.alerting.rules_file import RulesLoaded, plan_rules, read_rules_file, store_rules
from ax_monitor.alerting.silences import make_silence
from ax_monitor.clock import Moment
from ax_monitor.errors import AlertRuleError
from ax_monitor.model.alerts import Alert, AlertCondition, AlertRule, AlertTransition, Silence
from ax_monitor.model.vocabulary import AlertSeverity, AlertStatus, NoDataPolicy
from ax_monitor.pipeline.scheduler import Schedule
from ax_monitor.pipeline.service import Service, check_positive
from ax_monitor.pipeline.store import Store
from ax_monitor.storage import alert_rules, alerts
from ax_monitor.storage.alert_rules import BrokenRule
from ax_monitor.storage.connection import Connection

FEED_S: Final = 5.0  # between evaluations, samples are taken so often, before they are sealed
T = TypeVar("T")
_FIXED: Final = ("id", "created_at", "updated_at", "origin")


class AlertingService(Service):
    """Rules that watch metrics, and alerts for those that are met.

    A rule is evaluated over the samples in the database, whichever process recorded them, and those
    that this process has recorded and not written yet. Any number of processes may evaluate the
    same rules: each alert is raised by one of them. What a rule waits for (`for_ms`, `cooldown_ms`)
    goes on after a restart, and is not disturbed when somebody sets the clock.

    Lifecycle: what `start_evaluation()` begins, on the store's scheduler, ends with
    `stop_evaluation()`, `stop()` or the store. A forked child evaluates nothing until it starts.
    Thread-safety: any thread.
    Cost: a pass takes about 1 µs for each window and 0.1 µs for each rule, without the GIL, and
    0.1 ms for each alert. A change of rules, by any process, has the windows read anew.

    >>> import os, tempfile
    >>> from ax_monitor import MetricsCollector
    >>> with Store(os.path.join(tempfile.mkdtemp(), "monitor.db")) as store:
    ...     metrics, alerting = MetricsCollector(store), AlertingService(store)
    ...     rule_id = alerting.create_rule(
    ...         "High latency", "Average latency exceeds 1 s", "api.request.duration",
    ...         {"operator": "gt", "threshold": 1000, "window_ms": 300_000, "aggregation": "avg"},
    ...         "warning")
    ...     metrics.record("api.request.duration", 1234.5)
    ...     [alert.description for alert in alerting.evaluate_now()]
    ['Average latency exceeds 1 s (current value: 1234.5, threshold: 1000)']

    Args:
        store: A `Store`, the path of a database, or None for the process's default store.
        metrics: Where a `MetricsCollector` is given and no store, its store is used.

    Events (`on`): `rule.created` (AlertRule), `rule.updated` (rule id), `rule.deleted` (rule id),
    `alert.triggered` (Alert), `alert.acknowledged` ({alert_id, user_id}), `alert.resolved` (alert
    id), `evaluation.error` ({rule, error}: the id of a rule that can't be evaluated, once for each
    change of it; or None, if none could be). They are those of the store, told by the process in
    which they happen.

    Raises:
        StorageError: the database can't be opened.
    """

    def __init__(
        self,
        store: Store | str | os.PathLike[str] | None = None,
        metrics: Service | None = None,
    ) -> None:
        self._use_store(metrics.store if store is None and metrics is not None else store)
        self._live = LiveEvaluator(self._store)
        self.is_decided = False  # somebody has called start_evaluation or stop_evaluation
        self._reset()
        self._store.attach(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()  # guards the evaluator
        self._starting = threading.Lock()  # guards what follows
        self._evaluation: Schedule | None = None
        self._feed: Schedule | None = None

    def _read(self, query: Callable[[Connection], T]) -> T:
        def checked(connection: Connection) -> T:
            alert_rules.check_version(connection)
            return query(connection)

        return self._store.read(checked)

    # -- rules ------------------------------------------------------------------------------------

    def create_rule(
        self,
        name: str,
        description: str,
        metric_type: str,
        condition: AlertCondition | Mapping[str, Any],
        severity: AlertSeverity | str,
        *,
        labels: Mapping[str, str] | None = None,
        cooldown_ms: int = 300_000,
        enabled: bool = True,
        tenant_id: str | None = None,
        match_labels: Mapping[str, str] | None = None,
        for_ms: int = 0,
        auto_resolve: bool = False,
        no_data: NoDataPolicy | str = NoDataPolicy.IGNORE,
        by: Iterable[str] = (),
    ) -> str:
        """Add a rule; its id. What the arguments mean is said at `AlertRule`.

        Raises:
            AlertRuleError: one of them has a wrong value.
        """
        now_ms = self._store.clock.time_ms()
        rule = AlertRule(
            id=new_id(),
            name=name,
            description=description,
            enabled=enabled,
            metric_type=metric_type,
            condition=condition,  # type: ignore[arg-type]  # a mapping becomes a condition
            severity=severity,  # type: ignore[arg-type]  # and a string a severity
            labels={} if labels is None else labels,  # type: ignore[arg-type]  # copied
            cooldown_ms=cooldown_ms,
            created_at=now_ms,
            updated_at=now_ms,
            tenant_id=tenant_id,
            match_labels=match_labels,  # type: ignore[arg-type]  # copied
            for_ms=for_ms,
            auto_resolve=auto_resolve,
            no_data=no_data,
            by=by,  # type: ignore[arg-type]  # becomes a tuple
        )
        self._store.write(lambda connection: alert_rules.insert_rule(connection, rule))
        self._store.events.emit("rule.created", rule)
        return rule.id

    def update_rule(self, rule_id: str, **changes: Any) -> AlertRule:
        """Change fields of a rule; the rule as it is now. What it was waiting for begins anew.

        Raises:
            AlertRuleError: there is no such rule, it is broken, or a value is wrong.
        """
        allowed = [each.name for each in fields(AlertRule) if each.name not in _FIXED]
        if unknown := sorted(set(changes) - set(allowed)):
            raise TypeError(
                f"a rule has no {', '.join(unknown)} to change; there are {', '.join(allowed)}"
            )

        def change(connection: Connection) -> AlertRule:
            rule = alert_rules.get_rule(connection, rule_id)
            if rule is None:
                raise _no_rule(rule_id)
            rule = replace(rule, **changes, updated_at=self._store.clock.time_ms())
            alert_rules.update_rule(connection, rule)
            return rule

        rule = self._store.write(change)
        self._store.events.emit("rule.updated", rule_id)
        return rule

    def delete_rule(self, rule_id: str) -> None:
        """Delete a rule. Its alerts stay as they are.

        Raises:
            AlertRuleError: there is no such rule.
        """
        if not self._store.write(lambda connection: alert_rules.delete_rule(connection, rule_id)):
            raise _no_rule(rule_id)
        self._store.events.emit("rule.deleted", rule_id)

    def get_rule(self, rule_id: str) -> AlertRule | None:
        """The rule; None if there is none of this id.

        Raises:
            AlertRuleError: another program stored it wrong; the message says what.
        """
        return self._read(lambda connection: alert_rules.get_rule(connection, rule_id))

    def list_rules(
        self,
        enabled: bool | None = None,
        metric_type: str | None = None,
        *,
        tenant_id: str | None = None,
    ) -> list[AlertRule]:
        """The rules that match, in the order of their making; see also `broken_rules`."""
        rules, _ = self._read(
            lambda connection: alert_rules.find_rules(
                connection, enabled=enabled, metric_type=metric_type, tenant_id=tenant_id
            )
        )
        return rules

    def broken_rules(self) -> list[BrokenRule]:
        """What another program stored as a rule and is none; it can only be deleted."""
        return self._read(alert_rules.find_rules)[1]

    def load_rules(
        self, path: str | os.PathLike[str], *, dry_run: bool = False, prune: bool = False
    ) -> RulesLoaded:
        """Make the rules in a YAML or TOML file those of the database.

        Rules are matched by name with those that came from the file before, and changed in place:
        to load a file again changes nothing. Rules that were made otherwise stay as they are. All
        of the file is stored, or nothing; `ax_monitor.alerting.rules_file` says how to write it.

        Args:
            path: The file.
            dry_run: Only say what would be done.
            prune: Delete rules that came from the file and are no longer in it.

        Raises:
            RulesFileError: the file has mistakes; it lists all of them.
            OSError: it can't be read.
        """
        file = read_rules_file(path)
        now_ms = self._store.clock.time_ms()
        if dry_run:
            planned = self._read(lambda connection: plan_rules(connection, file, now_ms))
            return planned.summary(prune=prune)
        planned = self._store.write(
            lambda connection: store_rules(connection, file, now_ms, prune=prune)
        )
        events = self._store.events
        for rule in planned.create:
            events.emit("rule.created", rule)
        for rule in planned.update:
            events.emit("rule.updated", rule.id)
        for rule in planned.left_over if prune else ():
            events.emit("rule.deleted", rule.id)
        return planned.summary(prune=prune)

    def backtest(
        self, rule: AlertRule | str, start: int, end: int, *, interval_ms: int = 60_000
    ) -> Backtest:
        """What a rule would have done, had it been evaluated at every interval of a time.

        Args:
            rule: An `AlertRule`, stored or not, or the id of one.
            start: Time of the first evaluation, in ms since the epoch.
            end: No evaluation is later than this.
            interval_ms: Between two evaluations.

        Raises:
            AlertRuleError: there is no such rule, or it is broken.
            ValueError: the times are in the wrong order.

        Cost: some 20 µs for an evaluation, and the reading of the samples.
        """
        check_positive("interval_ms", interval_ms)
        if not isinstance(rule, AlertRule):
            found = self.get_rule(rule)
            if found is None:
                raise _no_rule(rule)
            rule = found
        return run_backtest(self._store, rule, start, end, interval_ms)

    # -- evaluation -------------------------------------------------------------------------------

    def start_evaluation(self, interval_ms: int = 60_000) -> None:
        """Evaluate all rules now, and then at every interval, on the store's scheduler.

        Between two evaluations, samples are taken in every 5 s. Called again, it only changes the
        interval. Evaluations that come too late, because the machine slept or was busy, are
        skipped.

        Raises:
            ValueError: `interval_ms` is no integer of at least 1.
            StorageError: the store has been closed.
        """
        check_positive("interval_ms", interval_ms)
        interval_s = interval_ms / 1000
        self.is_decided = True
        with self._starting:
            if self._evaluation is not None and self._evaluation.interval_s == interval_s:
                return
            self._cancel()
            scheduler = self._store.scheduler
            self._evaluation = scheduler.every(
                "the evaluation of alert rules", interval_s, self._evaluate_quietly, first_s=0
            )
            if interval_s > FEED_S:
                self._feed = scheduler.every("alerting", FEED_S, self._take_feed)

    def stop_evaluation(self) -> None:
        """End that; an evaluation under way is waited for. May be called twice."""
        self.is_decided = True
        with self._starting:
            self._cancel()

    def _cancel(self) -> None:
        for schedule in (self._feed, self._evaluation):
            if schedule is not None:
                schedule.cancel()
        self._evaluation = self._feed = None

    def evaluate_now(self) -> list[Alert]:
        """Evaluate all rules once; the alerts that were triggered by that, in this process.

        Raises:
            StorageError: the database can't be read or written. What was not done comes next time.
        """
        with self._lock:
            result = self._live.evaluate()
        self._tell(result)
        if result.error is not None:
            raise result.error
        return result.triggered

    def _evaluate_quietly(self) -> None:
        try:
            self.evaluate_now()
        except Exception as error:  # the next evaluation may do better
            if not self._store.closed:
                self._store.events.emit("evaluation.error", {"rule": None, "error": str(error)})

    def _take_feed(self) -> None:
        try:
            with self._lock:
                self._live.take_feed()
        except Exception:  # the next evaluation has the same trouble, and tells
            pass

    def _tell(self, result: Pass) -> None:
        events = self._store.events
        for rule in result.broken:
            events.emit("evaluation.error", {"rule": rule.id, "error": rule.error})
        for alert in result.triggered:
            events.emit("alert.triggered", alert)
        for alert in result.resolved:
            events.emit("alert.resolved", alert.id)

    # -- alerts -----------------------------------------------------------------------------------

    def acknowledge_alert(self, alert_id: str, user_id: str) -> bool:
        """Say that somebody has taken notice; False unless there is such an active alert."""
        now_ms = self._store.clock.time_ms()
        done = self._store.write(
            lambda connection: alerts.acknowledge(connection, alert_id, user_id, now_ms)
        )
        if done:
            self._store.events.emit(
                "alert.acknowledged", {"alert_id": alert_id, "user_id": user_id}
            )
        return done

    def resolve_alert(self, alert_id: str, user_id: str | None = None) -> bool:
        """Say that it is over; False if there is no such alert, or it is resolved already."""
        now_ms = self._store.clock.time_ms()
        done = self._store.write(
            lambda connection: alerts.resolve(connection, alert_id, now_ms, actor=user_id)
        )
        if done:
            self._store.events.emit("alert.resolved", alert_id)
        return done

    def get_alert(self, alert_id: str) -> Alert | None:
        """The alert; None if there is none of this id."""
        return self._read(lambda connection: alerts.get_alert(connection, alert_id))

    def list_alerts(
        self,
        status: AlertStatus | str | None = None,
        severity: AlertSeverity | str | None = None,
        tenant_id: str | None = None,
        limit: int | None = None,
        *,
        rule_id: str | None = None,
    ) -> list[Alert]:
        """The alerts that match, the newest first."""
        wanted_status = None if status is None else AlertStatus.parse(status)
        wanted_severity = None if severity is None else AlertSeverity.parse(severity)
        return self._read(
            lambda connection: alerts.find_alerts(
                connection,
                status=wanted_status,
                severity=wanted_severity,
                tenant_id=tenant_id,
                rule_id=rule_id,
                limit=limit,
            )
        )

    def get_active_alert_count(
        self, severity: AlertSeverity | str | None = None, *, tenant_id: str | None = None
    ) -> int:
        """How many alerts are active: neither acknowledged nor resolved."""
        wanted = None if severity is None else AlertSeverity.parse(severity)
        return self._read(
            lambda connection: alerts.count_active(connection, severity=wanted, tenant_id=tenant_id)
        )

    def get_alert_history(self, alert_id: str) -> list[AlertTransition]:
        """What became of an alert, in the order in which it happened."""
        return self._read(lambda connection: alerts.alert_history(connection, alert_id))

    def get_rule_history(self, rule_id: str, limit: int | None = None) -> list[AlertTransition]:
        """What became of the alerts of a rule, the newest first."""
        return self._read(lambda connection: alerts.rule_history(connection, rule_id, limit))

    def cleanup(self, retention_days: float = 30) -> int:
        """Delete alerts that were resolved longer ago, with their history; how many it were.

        Alerts that are not resolved stay, however old. In small transactions.
        """
        before_ms = self._first_moment_kept(retention_days)
        self._store.write(lambda connection: alerts.delete_silences(connection, before_ms))
        return self._store.delete_in_slices(
            lambda connection, limit: alerts.delete_resolved(connection, before_ms, limit)
        )

    # -- silences ---------------------------------------------------------------------------------

    def silence(
        self,
        *,
        duration_ms: int | None = None,
        ends_at: int | None = None,
        starts_at: int | None = None,
        rule_id: str | None = None,
        severity: AlertSeverity | str | None = None,
        labels: Mapping[str, str] | None = None,
        created_by: str | None = None,
        comment: str | None = None,
    ) -> str:
        """Raise no alerts for a time; the silence's id.

        A rule that is met meanwhile raises its alert, if it is still met, when the silence ends.
        Alerts that are open stay so, and are resolved as ever.

        Args:
            duration_ms: How long it lasts; or
            ends_at: when it ends, in ms since the epoch.
            starts_at: When it begins (default: now).
            rule_id: Only alerts of this rule.
            severity: Only alerts of this severity.
            labels: Only alerts with all of these labels.
            created_by: Who makes it.
            comment: Why.

        Raises:
            ValueError: it would not last, or not both or neither of `duration_ms` and `ends_at` are
                given.
        """
        silence, started = make_silence(
            Moment.now(self._store.clock),
            duration_ms=duration_ms,
            ends_at=ends_at,
            starts_at=starts_at,
            rule_id=rule_id,
            severity=severity,
            labels=labels,
            created_by=created_by,
            comment=comment,
        )
        self._store.write(lambda connection: alerts.insert_silence(connection, silence, started))
        return silence.id

    def list_silences(self, *, ended: bool = False) -> list[Silence]:
        """The silences that have not ended, by their end; with `ended`, those that have too."""
        now = Moment.now(self._store.clock)
        return self._read(lambda connection: alerts.find_silences(connection, now, ended=ended))

    def expire_silence(self, silence_id: str) -> bool:
        """End a silence now; False if there is none of this id, or it has ended."""
        now = Moment.now(self._store.clock)
        return self._store.write(
            lambda connection: alerts.expire_silence(connection, silence_id, now)
        )

    # -- the end ----------------------------------------------------------------------------------

    def stop(self) -> None:
        """End the evaluation; close the store if this service opened it. May be called twice."""
        self.stop_evaluation()
        super().stop()

    def store_closes(self) -> None:
        """Called by the store."""
        self.stop_evaluation()

    def after_fork_in_child(self) -> None:
        """Called by the store."""
        self._live.after_fork_in_child()
        self._reset()


def _no_rule(rule_id: object) -> AlertRuleError:
    return AlertRuleError(f"there is no alert rule {rule_id!r}")
