"""The record: one thing that happened, as bytes. Shared by every kernel that touches records.

Layout, little-endian, always a multiple of 8 bytes and 8-byte aligned in the ring:

    RecordHeader                    32 bytes; `length` is the commit word and is stored last
    uint32 field[n_fields]          (type << 28) | byte length, padded to 8 bytes
    payload                         the fields' bytes, one after the other, padded with zeros

A field is NULL, UTF-8 text, a signed 64-bit integer or a double. What the fields of a kind mean is
not known here: `storage/records.py` names them.

A record of kind SAMPLES has no fields; its payload is an array of `Sample`, which grows as long as
the record is the newest of its ring. Every sample has a sequence number of its own: `seq` is that of
the first.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    RECORD_MAX_FIELDS = 32
    RECORD_MAX_BYTES = 0x100000         # a record fits into one segment: see SEGMENT_MIN_BYTES in ring.pyx
    TEXT_MAX_BYTES = 0x40000            # FAULTS O5: longer text is cut on a character boundary
    ID_MAX_BYTES = 4096                 # the same for ids and names
    FIELD_TYPE_SHIFT = 28
    FIELD_LENGTH_MASK = 0x0FFFFFFF

cdef enum:
    KEY_SHIFT = 12                      # keys of log records: 4096 a millisecond; the schema knows it too

cdef enum:
    KIND_SAMPLES = 8                    # the one kind whose records every kernel has to tell apart

cdef enum FieldType:
    FIELD_NULL = 0
    FIELD_TEXT = 1
    FIELD_INT = 2
    FIELD_FLOAT = 3

cdef struct RecordHeader:
    uint32_t length         # bytes, header included; 0: nothing here yet. Release store, last.
    uint32_t checksum       # of everything behind it, and of the length
    uint64_t seq            # 1, 2, 3 … within the ring; no gaps
    int64_t timestamp_ns    # wall clock, since the Unix epoch
    uint8_t kind            # 1 … 15, see storage/records.py
    uint8_t tag             # small number of the kind's own (a log's severity number)
    uint16_t n_fields
    uint32_t nonce          # the ring's: bytes of an older payload can't pass for a record


cdef struct Sample:
    int64_t series          # 62 bits of a hash, see storage/records.py
    int64_t timestamp_ms    # since the Unix epoch
    double value


cdef inline uint32_t record_count(const RecordHeader *record) noexcept nogil:
    """How many things were recorded by it: the samples of a record of samples, else one."""
    if record.kind != KIND_SAMPLES:
        return 1
    return (record.length - sizeof(RecordHeader)) // sizeof(Sample)


cdef inline uint64_t record_last_seq(const RecordHeader *record) noexcept nogil:
    """The sequence number of the last thing in it."""
    return record.seq + record_count(record) - 1


cdef inline uint32_t align8(uint32_t n) noexcept nogil:
    return (n + 7) & ~<uint32_t>7


cdef inline uint32_t fields_offset(uint32_t n_fields) noexcept nogil:
    """Where the payload begins, from the record's start."""
    return sizeof(RecordHeader) + align8(4 * n_fields)


cdef inline uint32_t record_checksum(const RecordHeader *record, uint32_t length) noexcept nogil:
    """Four independent multiply lanes over 64-bit words; every single flipped bit changes it.

    It guards against torn pages and stray writes, not against an adversary.
    """
    cdef const uint64_t *word = <const uint64_t *> record
    cdef uint32_t i = 1, n = length >> 3
    cdef uint64_t a = <uint64_t> length * 0x9E3779B97F4A7C15ULL
    cdef uint64_t b = 0xC2B2AE3D27D4EB4FULL, c = 0x165667B19E3779F9ULL, d = 0x27D4EB2F165667C5ULL
    while i + 4 <= n:
        a = (a ^ word[i]) * 0x9FB21C651E98DF25ULL
        b = (b ^ word[i + 1]) * 0x9E3779B97F4A7C15ULL
        c = (c ^ word[i + 2]) * 0xD6E8FEB86659FD93ULL
        d = (d ^ word[i + 3]) * 0xC2B2AE3D27D4EB4FULL
        i += 4
    while i < n:
        a = (a ^ word[i]) * 0x9FB21C651E98DF25ULL
        a ^= a >> 29
        i += 1
    a ^= b >> 23
    a = (a ^ (b << 41) ^ c) * 0x9E3779B97F4A7C15ULL
    a = (a ^ (a >> 31) ^ d) * 0xD6E8FEB86659FD93ULL
    return <uint32_t> (a ^ (a >> 32)) | 1       # odd: CHECKSUM_PENDING in ring.pyx is even
