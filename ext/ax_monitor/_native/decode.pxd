cdef dict read_object(str text)     # see decode_object(); None has to be kept from it
