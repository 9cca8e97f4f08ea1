cpdef dict decode_object(str text)
