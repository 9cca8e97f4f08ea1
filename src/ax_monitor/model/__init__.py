"""The records that queries return, and the vocabularies in them, a module for each surface.

Records are frozen, slotted dataclasses. A field has the name of its column, times are integer
milliseconds since the Unix epoch (UTC), durations are in milliseconds, and `to_dict()` gives the
record as JSON data.

Nothing is imported here: making a dataclass takes a millisecond, and a command needs few of them.
"""
