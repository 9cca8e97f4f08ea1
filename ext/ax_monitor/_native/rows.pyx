"""Rows of queries as records.

Which columns they have, in which order, is said where the queries are: in `storage/logs.py` and
`storage/traces.py`. Records are frozen dataclasses with slots, and their fields are put right where
the slots are: their own `__init__` would set each by `object.__setattr__`, which takes twenty times as
long. It also means that defaults and `__post_init__` have no part in it.
"""

from operator import attrgetter
from types import MemberDescriptorType

cimport cython
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from libc.stdint cimport int64_t, uint64_t

from ax_monitor._native.decode cimport read_object
from ax_monitor._native.ids cimport UUID_TEXT_BYTES, hex16_write, uuid7_write
from ax_monitor._native.record cimport KEY_SHIFT

cdef extern from "Python.h":
    """
    #include "structmember.h"
    #ifndef Py_T_OBJECT_EX              /* before Python 3.12 */
    #define Py_T_OBJECT_EX T_OBJECT_EX
    #endif
    """
    ctypedef struct PyMemberDef:
        int type
        Py_ssize_t offset
    ctypedef struct PyMemberDescrObject:
        PyMemberDef *d_member
    int OBJECT_EX "Py_T_OBJECT_EX"
    object PyType_GenericAlloc(type cls, Py_ssize_t n)
    object PyUnicode_DecodeASCII(const char *text, Py_ssize_t n, const char *errors)

cdef enum:
    MAX_FIELDS = 32

cdef object _timestamp = attrgetter("timestamp")


@cython.final
cdef class RecordType:
    """A class of records, and where they keep their fields.

    Raises:
        TypeError: it is no dataclass with slots, all of them its own.
    """

    cdef readonly type cls
    cdef Py_ssize_t _count
    cdef Py_ssize_t[MAX_FIELDS] _offset

    def __cinit__(self, type cls not None):
        cdef tuple names = tuple(getattr(cls, "__slots__", ()))
        self.cls = cls
        self._count = len(names)
        if self._count > MAX_FIELDS:
            raise TypeError(f"{cls.__name__} has more than {MAX_FIELDS} fields")
        if cls.__itemsize__ or cls.__basicsize__ != object.__basicsize__ + self._count * sizeof(void *):
            raise TypeError(f"{cls.__name__} has more to it than slots of its own")
        for i, name in enumerate(names):
            slot = cls.__dict__.get(name)
            if type(slot) is not MemberDescriptorType:
                raise TypeError(f"{cls.__name__}.{name} has no slot")
            member = (<PyMemberDescrObject *> slot).d_member
            if member.type != OBJECT_EX:
                raise TypeError(f"{cls.__name__}.{name} is no slot for objects")
            self._offset[i] = member.offset

    cdef object new(self, tuple values):
        cdef Py_ssize_t i
        if len(values) != self._count:
            raise TypeError(
                f"{self.cls.__name__} has {self._count} fields, got {len(values)} values")
        made = PyType_GenericAlloc(self.cls, 0)
        for i in range(self._count):
            value = values[i]
            Py_INCREF(value)
            (<PyObject **> (<char *> <PyObject *> made + self._offset[i]))[0] = <PyObject *> value
        return made

    def make(self, *values):
        """A record with these values of all its fields, in order.

        Thread-safety: any thread. Cost: a tenth of `cls(*values)`.

        Raises:
            TypeError: these are not as many values as there are fields.
        """
        return self.new(values)


cdef object _object_of(object text, object parse):
    """A JSON text as a dict; `parse` has what is unusual."""
    cdef dict found
    if type(text) is str:
        found = read_object(text)
        if found is not None:
            return found
    return parse(text)


cdef object _record_id(int64_t timestamp_ms, uint64_t seq, uint64_t salt):
    cdef char[UUID_TEXT_BYTES] out
    uuid7_write(out, timestamp_ms, seq, salt)
    return PyUnicode_DecodeASCII(out, UUID_TEXT_BYTES, NULL)


cdef object _span_text(object span_id):
    """A span id as it was given."""
    cdef char[16] out
    if type(span_id) is not int:
        return span_id
    hex16_write(out, <uint64_t> <int64_t> span_id)
    return PyUnicode_DecodeASCII(out, 16, NULL)


def log_entries(RecordType entry not None, list rows not None, levels not None, parse) -> list:
    """The log entries that rows are.

    Args:
        entry: Of `LogEntry`.
        rows: seq, severity, message, source, execution_id, trace_id, span_id, tenant_id, user_id,
            metadata, stack_trace, id, ring_seq, salt; the last two make an id where there is none.
        levels: The level by its severity number.
        parse: Makes a dict of metadata that is not as the recorder writes it.

    Thread-safety: any thread. Cost: half a microsecond a row, mostly for its metadata.
    """
    cdef int64_t timestamp
    cdef list entries = []
    cdef tuple row
    for row in rows:
        (seq, severity, message, source, execution_id, trace_id, span_id, tenant_id, user_id, metadata,
         stack_trace, record_id, ring_seq, salt) = row
        timestamp = <int64_t> seq >> KEY_SHIFT
        if record_id is None:
            record_id = _record_id(timestamp, ring_seq or 0, salt or 0)
        if metadata is not None:
            metadata = _object_of(metadata, parse)
        entries.append(entry.new(
            (record_id, timestamp, levels[severity], message, source, execution_id, trace_id,
             _span_text(span_id), tenant_id, user_id, metadata, stack_trace, seq)))
    return entries


def span_events(RecordType event not None, rows not None, parse) -> dict:
    """The events that rows are, as tuples by span id: oldest first, else in the order of the rows.

    Args:
        event: Of `SpanEvent`.
        rows: id, span_id, timestamp, name, attributes.
        parse: Makes a dict of attributes that are not as the recorder writes them.

    Thread-safety: any thread. Cost: a quarter of a microsecond a row.
    """
    cdef dict found = {}
    cdef tuple row
    cdef list events
    for row in rows:
        event_id, span_id, timestamp, name, attributes = row
        if attributes is not None:
            attributes = _object_of(attributes, parse)
        made = event.new((event_id, span_id, timestamp, name, attributes))
        events = found.get(span_id)
        if events is None:
            found[span_id] = [made]
        else:
            events.append(made)
    for span_id, events in found.items():
        found[span_id] = _oldest_first(events) if len(events) > 1 else tuple(events)
    return found


cdef tuple _oldest_first(list events):
    """In the order of their rows, if another program stored times that can't be compared."""
    try:
        return tuple(sorted(events, key=_timestamp))
    except TypeError:
        return tuple(events)


def spans(RecordType span not None, rows not None, dict events not None, kinds not None,
          statuses not None, parse) -> list:
    """The spans that rows are.

    Args:
        span: Of `Span`.
        rows: span_id, trace_id, parent_span_id, name, kind, started_at, completed_at, duration,
            status, attributes, start_ns, duration_ns, dropped_attributes, dropped_events.
        events: What `span_events` found.
        kinds: The kind by what is stored.
        statuses: The status by what is stored.
        parse: Makes a dict of attributes that are not as the recorder writes them.

    Thread-safety: any thread. Cost: half a microsecond a row, mostly for its attributes.
    """
    cdef list found = []
    cdef tuple row
    for row in rows:
        (span_id, trace_id, parent_span_id, name, kind, started_at, completed_at, duration, status,
         attributes, start_ns, duration_ns, dropped_attributes, dropped_events) = row
        found.append(span.new(
            (span_id, trace_id, parent_span_id, name, kinds[kind], started_at, completed_at, duration,
             statuses[status], _object_of(attributes, parse), start_ns, duration_ns,
             events.get(span_id, ()), dropped_attributes or 0, dropped_events or 0)))
    return found
