"""Frozen records made of rows.

The `__init__` of a frozen dataclass sets each field by `object.__setattr__`, which takes about ten
times as long as this does. A query makes hundreds of records.
"""

cdef extern from "Python.h":
    int PyObject_GenericSetAttr(object thing, object name, object value) except -1


def new_frozen(type cls not None, tuple values not None):
    """An instance of a frozen dataclass with slots, with these values of all its fields in order.

    Defaults and `__post_init__` have no part in it. Thread-safety: any thread. Cost: a tenth of `cls(*values)`.

    Raises:
        TypeError: these are not as many values as there are fields.
    """
    cdef tuple names = cls.__slots__
    cdef Py_ssize_t i
    if len(names) != len(values):
        raise TypeError(f"{cls.__name__} has {len(names)} fields, got {len(values)} values")
    made = cls.__new__(cls)
    for i in range(len(names)):
        PyObject_GenericSetAttr(made, names[i], values[i])
    return made
