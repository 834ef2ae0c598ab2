# rest_response: checks a response of REST as response.pxd checks one of gRPC, and reads what an error says (see rest_response.pyx).

from inferd._core.load.response cimport Expected

# The fault of a response, whose JSON is the first json_nbytes of its body, as static text; NULL: none. fixed_nbytes: how many bytes must
# follow the same JSON whenever it comes again; -1: they must be looked at.
cdef const char *rest_fault(const char *body, Py_ssize_t nbytes, Py_ssize_t json_nbytes, const Expected *expected,
                            Py_ssize_t *fixed_nbytes) noexcept nogil
# The gRPC code that an error's body names, -1: none; its message, percent-encoded, in `text` of text_nbytes, which becomes its length.
cdef int rest_error(const char *body, Py_ssize_t nbytes, char *text, int *text_nbytes) noexcept nogil
