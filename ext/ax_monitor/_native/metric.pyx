"""The metric call: the series looked up, the value checked, 24 bytes written into the ring."""

cimport cython

from cpython.dict cimport PyDict_CheckExact, PyDict_Next, PyDict_Size
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_CheckExact
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_Check, PyUnicode_CheckExact
from libc.stdint cimport int64_t, uint64_t

from ax_monitor._native.clock cimport realtime_ns
from ax_monitor._native.context cimport RecordContext, current_record_context
from ax_monitor._native.ring cimport RecordRing, fork_generation

cdef extern from "Python.h":
    """
    /* Of the text itself, also for subclasses (a StrEnum hashes its name, in Python). */
    #define ax_text_hash(o) (PyUnicode_Type.tp_hash(o))
    """
    Py_hash_t ax_text_hash(PyObject *text)
    int PyUnicode_Compare(PyObject *a, PyObject *b)
    PyObject *PyDict_GetItemWithError(PyObject *d, PyObject *key)

cdef enum:
    NS_PER_MS = 1_000_000
    REDEFINE_NS = 3_600_000_000_000     # a series is defined anew so often: cleanup counts on it
    FIRST_SLOTS = 256

cdef int64_t TIMESTAMP_MAX_MS = 1LL << 50       # as for logs: far beyond any calendar

MAX_TIMESTAMP_MS = TIMESTAMP_MAX_MS
cdef PyObject *NONE = <PyObject *> None


@cython.final
cdef class MetricSettings:
    """What a collector and its series share; changes take effect at the next call."""

    cdef public int policy          # overflow: 0 block, 1 drop newest, 2 drop oldest
    cdef public bint listening      # somebody listens to `metric.recorded`
    cdef readonly object resolve    # (metric_type, unit, labels, tenant_id) -> (MetricSeries, remember it?)
    cdef readonly object define     # (MetricSeries) -> False if its definition was dropped
    cdef readonly object publish    # (MetricSeries, timestamp_ms, value) -> None
    cdef readonly object reject     # (metric_type, value, timestamp, why) -> None

    def __init__(self, *, resolve, define, publish, reject, int policy=0):
        self.resolve = resolve
        self.define = define
        self.publish = publish
        self.reject = reject
        self.policy = policy


@cython.final
cdef class MetricSeries:
    """One metric with its labels, unit and tenant: the fastest way to record.

    Thread-safety: any thread, without a lock. Cost: some 50 nanoseconds a sample.
    """

    cdef RecordRing _ring
    cdef MetricSettings _settings
    cdef bytes _defined_in          # id of the ring that holds its definition
    cdef int64_t _defined_until_ns
    cdef readonly int64_t series
    cdef readonly str metric_type
    cdef readonly str unit
    cdef readonly dict labels
    cdef readonly str tenant_id

    def __init__(self, RecordRing ring not None, MetricSettings settings not None, *, int64_t series,
                 str metric_type not None, str unit, dict labels not None, str tenant_id):
        self._ring = ring
        self._settings = settings
        self.series = series
        self.metric_type = metric_type
        self.unit = unit
        self.labels = labels
        self.tenant_id = tenant_id

    def record(self, value):
        """Record `value` now.

        NaN and infinities are rejected and counted; what is no number is a TypeError.
        """
        cdef double number
        if PyFloat_CheckExact(value):
            number = PyFloat_AS_DOUBLE(value)
        elif not _to_double(value, &number):
            self._settings.reject(self.metric_type, value, None, "not a finite number")
            return
        self._append(number, realtime_ns(), True, 0)

    def record_at(self, value, timestamp):
        """Record `value` with a time of its own, in ms since the epoch."""
        cdef double number
        cdef int64_t timestamp_ms
        if not _to_double(value, &number):
            self._settings.reject(self.metric_type, value, timestamp, "not a finite number")
        elif not _to_timestamp(timestamp, &timestamp_ms):
            self._settings.reject(self.metric_type, value, timestamp, "the timestamp is out of range")
        else:
            self._append(number, realtime_ns(), False, timestamp_ms)

    def record_many(self, const double[::1] values not None, const int64_t[::1] timestamps) -> int:
        """Record many, with their times or (None) all now; how many were accepted."""
        cdef Py_ssize_t i, n = values.shape[0]
        cdef int64_t accepted = 0, now = realtime_ns()
        if timestamps is not None and timestamps.shape[0] != n:
            raise ValueError(f"there are {n} values, but {timestamps.shape[0]} timestamps")
        for i in range(n):
            if timestamps is None:
                accepted += self._append(values[i], now, True, 0)
            elif -TIMESTAMP_MAX_MS <= timestamps[i] <= TIMESTAMP_MAX_MS:
                accepted += self._append(values[i], now, False, timestamps[i])
            else:
                self._settings.reject(self.metric_type, values[i], timestamps[i], "the timestamp is out of range")
        return accepted

    cdef inline int _append(self, double number, int64_t now_ns, bint stamp, int64_t timestamp_ms) except -1:
        """1 if the sample was accepted; else it is counted as rejected or dropped."""
        cdef RecordRing ring = self._ring
        if number - number != 0.0:          # NaN or infinite
            self._settings.reject(self.metric_type, number, None if stamp else timestamp_ms, "not a finite number")
            return 0
        if (self._defined_in is not ring.ring_id or now_ns >= self._defined_until_ns
                or ring._fork_generation != fork_generation()):
            if not self._settings.define(self):
                return 0
            self._defined_in = ring.ring_id
            self._defined_until_ns = now_ns + REDEFINE_NS
        if stamp:
            timestamp_ms = now_ns // NS_PER_MS
        if not ring.append_sample(self.series, timestamp_ms, number, self._settings.policy):
            return 0
        if self._settings.listening:
            self._settings.publish(self, timestamp_ms, number)
        return 1


cdef bint _to_double(object value, double *out) except -1:
    """False if it has no finite value. A TypeError if it is no number at all."""
    try:
        out[0] = float(value) if not isinstance(value, (str, bytes, bytearray)) else _no_number(value)
    except TypeError:
        _no_number(value)
    except Exception:               # too large an int, or whatever a foreign __float__ raises
        return False
    return out[0] - out[0] == 0.0


cdef double _no_number(object value) except? -1:
    raise TypeError(f"the value of a metric must be a number, got {type(value).__name__}")


cdef bint _to_timestamp(object value, int64_t *out) except -1:
    """False if it is out of range. A TypeError if it is no number at all."""
    cdef object number
    if isinstance(value, (str, bytes, bytearray)):
        raise TypeError(f"timestamp must be in milliseconds since the epoch, got {value!r:.40}")
    try:
        number = int(value)
    except (ValueError, OverflowError):         # NaN, infinite
        return False
    if not -TIMESTAMP_MAX_MS <= number <= TIMESTAMP_MAX_MS:
        return False
    out[0] = number
    return True


# -- from names to series --------------------------------------------------------------------------

cdef struct Entry:
    uint64_t hash
    PyObject *metric_type           # as they were given; kept alive by MetricChannel._keep
    PyObject *unit
    PyObject *labels                # a copy, or None
    PyObject *tenant_id
    PyObject *series                # NULL: an empty slot


cdef class MetricChannel:
    """The recording half of a collector: finds the series of a name and labels, and records into it.

    Thread-safety: any thread, without a lock. Cost: some hundred nanoseconds.
    """

    cdef MetricSettings _settings
    cdef Entry *_entries            # open addressing, at most half full
    cdef Py_ssize_t _n_slots
    cdef Py_ssize_t _n_entries
    cdef list _keep

    def __cinit__(self, *args, **kwargs):
        self._keep = []
        self._n_slots = FIRST_SLOTS
        self._entries = <Entry *> PyMem_Calloc(FIRST_SLOTS, sizeof(Entry))
        if self._entries == NULL:
            raise MemoryError()

    def __init__(self, MetricSettings settings not None):
        self._settings = settings

    def __dealloc__(self):
        PyMem_Free(self._entries)

    def record(self, metric_type, value, *, unit=None, labels=None, tenant_id=None, timestamp=None):
        """Record one sample of a metric, now or at `timestamp` (ms since the epoch)."""
        cdef MetricSeries series = self._find(metric_type, unit, labels, tenant_id)
        if timestamp is None:
            series.record(value)
        else:
            series.record_at(value, timestamp)

    def series(self, metric_type, *, unit=None, labels=None, tenant_id=None) -> MetricSeries:
        """The series of a metric with these labels: its `record(value)` is the fastest way."""
        return self._find(metric_type, unit, labels, tenant_id)

    cdef MetricSeries _find(self, object metric_type, object unit, object labels, object tenant_id):
        cdef RecordContext context
        cdef uint64_t hash
        cdef Entry *entry
        if tenant_id is None:
            context = current_record_context()
            if context is not None:
                tenant_id = context.tenant_id
        hash = _hash(<PyObject *> metric_type, <PyObject *> unit, <PyObject *> labels, <PyObject *> tenant_id)
        if hash:
            entry = self._slot(hash, <PyObject *> metric_type, <PyObject *> unit, <PyObject *> labels,
                               <PyObject *> tenant_id)
            if entry.series != NULL:
                return <MetricSeries> entry.series
        return self._resolve(hash, metric_type, unit, labels, tenant_id)

    cdef Entry *_slot(self, uint64_t hash, PyObject *metric_type, PyObject *unit, PyObject *labels,
                      PyObject *tenant_id) noexcept:
        """The entry of these, or the empty slot where it would be."""
        cdef Py_ssize_t i = <Py_ssize_t> (hash & <uint64_t> (self._n_slots - 1))
        cdef Entry *entry
        while True:
            entry = &self._entries[i]
            if entry.series == NULL or (
                    entry.hash == hash and _same_text(entry.metric_type, metric_type)
                    and _same_text(entry.unit, unit) and _same_text(entry.tenant_id, tenant_id)
                    and _same_labels(entry.labels, labels)):
                return entry
            i = (i + 1) & (self._n_slots - 1)

    cdef MetricSeries _resolve(self, uint64_t hash, object metric_type, object unit, object labels,
                               object tenant_id):
        """Slow path: the first sample of a series, labels that are no texts, or too many series."""
        cdef MetricSeries series
        cdef Entry *entry
        cdef object copied = dict(labels) if hash and labels is not None else None
        series, remember = self._settings.resolve(metric_type, unit, labels, tenant_id)
        if hash and remember:
            if 2 * self._n_entries >= self._n_slots:
                self._grow()
            entry = self._slot(hash, <PyObject *> metric_type, <PyObject *> unit, <PyObject *> copied,
                               <PyObject *> tenant_id)
            if entry.series == NULL:        # else another thread was faster
                self._keep.append((metric_type, unit, copied, tenant_id, series))
                entry.hash = hash
                entry.metric_type = <PyObject *> metric_type
                entry.unit = <PyObject *> unit
                entry.labels = <PyObject *> copied
                entry.tenant_id = <PyObject *> tenant_id
                entry.series = <PyObject *> series
                self._n_entries += 1
        return series

    cdef int _grow(self) except -1:
        cdef Py_ssize_t i, n_before = self._n_slots
        cdef Entry *before = self._entries
        cdef Entry *entries = <Entry *> PyMem_Calloc(2 * n_before, sizeof(Entry))
        if entries == NULL:
            raise MemoryError()
        self._entries = entries
        self._n_slots = 2 * n_before
        for i in range(n_before):
            if before[i].series != NULL:
                self._slot(before[i].hash, before[i].metric_type, before[i].unit, before[i].labels,
                           before[i].tenant_id)[0] = before[i]
        PyMem_Free(before)
        return 0


# None of these runs Python code: only texts are looked at, by their own hash and comparison.

cdef uint64_t _hash(PyObject *metric_type, PyObject *unit, PyObject *labels, PyObject *tenant_id) noexcept:
    """Never 0 but for what is not text throughout: that is for Python to make sense of."""
    cdef uint64_t h, sum = 0
    cdef PyObject *key
    cdef PyObject *value
    cdef Py_ssize_t position = 0
    if not (PyUnicode_Check(<object> metric_type) and (unit == NONE or PyUnicode_Check(<object> unit))
            and (tenant_id == NONE or PyUnicode_Check(<object> tenant_id))):
        return 0
    h = <uint64_t> ax_text_hash(metric_type) * 0x9E3779B97F4A7C15ULL
    if unit != NONE:
        h ^= <uint64_t> ax_text_hash(unit) * 0xC2B2AE3D27D4EB4FULL
    if tenant_id != NONE:
        h ^= <uint64_t> ax_text_hash(tenant_id) * 0xD6E8FEB86659FD93ULL
    if labels != NONE:
        if not PyDict_CheckExact(<object> labels):
            return 0
        while PyDict_Next(<object> labels, &position, &key, &value):
            if not (PyUnicode_CheckExact(<object> key) and PyUnicode_CheckExact(<object> value)):
                return 0
            # In any order: a sum of what each pair gives.
            sum += (<uint64_t> ax_text_hash(key) * 0x9FB21C651E98DF25ULL
                    ^ <uint64_t> ax_text_hash(value)) * 0x165667B19E3779F9ULL
    h ^= sum ^ (sum >> 29)
    return (h ^ (h >> 32)) | 1


cdef bint _same_text(PyObject *a, PyObject *b) noexcept:
    return a == b or (a != NONE and b != NONE and PyUnicode_Compare(a, b) == 0)


cdef bint _same_labels(PyObject *a, PyObject *b) noexcept:
    """Of two dicts of texts; None counts as empty."""
    cdef PyObject *key
    cdef PyObject *value
    cdef PyObject *other
    cdef Py_ssize_t position = 0
    cdef Py_ssize_t n = PyDict_Size(<object> a) if a != NONE else 0
    if n != (PyDict_Size(<object> b) if b != NONE else 0):
        return False
    if n == 0:
        return True
    while PyDict_Next(<object> b, &position, &key, &value):
        other = PyDict_GetItemWithError(a, key)
        if other == NULL or not _same_text(other, value):
            return False
    return True
