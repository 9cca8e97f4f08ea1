"""The compiled kernels: the only place from which the rest of the package imports them."""

from ax_monitor._native import batch as _batch
from ax_monitor._native import deadline as _deadline
from ax_monitor._native import samples as _samples
from ax_monitor._native.batch import FSTAT_ADDRESS, TIME_KEY_SHIFT, BatchWriter
from ax_monitor._native.build import BUILD
from ax_monitor._native.context import ContextScope, RecordContext, context_var
from ax_monitor._native.decode import decode_object
from ax_monitor._native.encode import encode_json, encode_text
from ax_monitor._native.ids import new_id, new_span_id, new_trace_id, record_id
from ax_monitor._native.log import LogChannel, LogSettings
from ax_monitor._native.metric import MetricChannel, MetricSeries, MetricSettings
from ax_monitor._native.redact import COLON_WORDS, SENSITIVE_WORDS, is_sensitive, is_sensitive_key
from ax_monitor._native.ring import (
    RING_HEADER_BYTES,
    RING_SEGMENT_MIN_BYTES,
    RecordRing,
    decode_record,
    keep_forever,
    read_ring,
)
from ax_monitor._native.rows import RecordType, log_entries, span_events, spans
from ax_monitor._native.rule_table import RuleTable
from ax_monitor._native.rules import RULE_AGGREGATIONS, RULE_NO_DATA, RULE_OPERATORS
from ax_monitor._native.sampling import Sampler
from ax_monitor._native.scope import SpanScope
from ax_monitor._native.sketch import QuantileSketch
from ax_monitor._native.span import TraceChannel, TraceSettings
from ax_monitor._native.windows import Window
from ax_monitor._native.workflow import (
    OpenExecution,
    OpenStep,
    WorkflowChannel,
    WorkflowSettings,
)

# Three kernels are loadable SQLite extensions too: this is where SQLite finds them.
BATCH_EXTENSION: str = _batch.__file__
BATCH_EXTENSION_ENTRY = "sqlite3_axmonitor_init"
DEADLINE_EXTENSION: str = _deadline.__file__
DEADLINE_EXTENSION_ENTRY = "sqlite3_axdeadline_init"
SAMPLES_EXTENSION: str = _samples.__file__
SAMPLES_EXTENSION_ENTRY = "sqlite3_axsamples_init"

__all__ = [
    "BATCH_EXTENSION",
    "BATCH_EXTENSION_ENTRY",
    "BUILD",
    "COLON_WORDS",
    "DEADLINE_EXTENSION",
    "DEADLINE_EXTENSION_ENTRY",
    "FSTAT_ADDRESS",
    "RING_HEADER_BYTES",
    "RING_SEGMENT_MIN_BYTES",
    "RULE_AGGREGATIONS",
    "RULE_NO_DATA",
    "RULE_OPERATORS",
    "SAMPLES_EXTENSION",
    "SAMPLES_EXTENSION_ENTRY",
    "SENSITIVE_WORDS",
    "TIME_KEY_SHIFT",
    "BatchWriter",
    "ContextScope",
    "LogChannel",
    "LogSettings",
    "MetricChannel",
    "MetricSeries",
    "MetricSettings",
    "OpenExecution",
    "OpenStep",
    "QuantileSketch",
    "RecordContext",
    "RecordRing",
    "RecordType",
    "RuleTable",
    "Sampler",
    "SpanScope",
    "TraceChannel",
    "TraceSettings",
    "Window",
    "WorkflowChannel",
    "WorkflowSettings",
    "context_var",
    "decode_object",
    "decode_record",
    "encode_json",
    "encode_text",
    "is_sensitive",
    "is_sensitive_key",
    "keep_forever",
    "log_entries",
    "new_id",
    "new_span_id",
    "new_trace_id",
    "read_ring",
    "record_id",
    "span_events",
    "spans",
]
