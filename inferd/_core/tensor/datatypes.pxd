# datatypes: numbers, words and sizes of the datatypes of tensors. Never in here: tensors.

from libc.string cimport memcmp

cdef enum Datatype:             # the numbers of model_config.proto's DataType
    INVALID = 0
    BOOL = 1
    UINT8 = 2
    UINT16 = 3
    UINT32 = 4
    UINT64 = 5
    INT8 = 6
    INT16 = 7
    INT32 = 8
    INT64 = 9
    FP16 = 10
    FP32 = 11
    FP64 = 12
    BYTES = 13
    BF16 = 14

cdef extern from *:
    """
    static const unsigned char ITEM_NBYTES[] = {0, 1, 1, 2, 4, 8, 1, 2, 4, 8, 2, 4, 8, 0, 2};
    """
    const unsigned char *ITEM_NBYTES

# datatype_of, of any word but the most frequent one.
cdef int find_datatype(const char *word, Py_ssize_t nbytes) noexcept nogil
# The same for Python's objects: only a str names one.
cdef int number_of(object word) except -1
# The word of a datatype, its length in nbytes; "INVALID" for anything else.
cdef const char *word_of(int datatype, Py_ssize_t *nbytes) noexcept nogil
# numpy's dtype; bits as uint16 for BF16, objects for BYTES, None for INVALID.
cdef object dtype_of(int datatype)


cdef inline Py_ssize_t itemsize(int datatype) noexcept nogil:
    """Bytes of one element; 0 for BYTES and INVALID."""
    return ITEM_NBYTES[datatype] if 0 < datatype <= BF16 else 0


cdef inline int datatype_of(const char *word, Py_ssize_t nbytes) noexcept nogil:
    """The datatype that a word of the wire ("FP32") names, or INVALID."""
    return FP32 if nbytes == 4 and memcmp(word, b"FP32", 4) == 0 else find_datatype(word, nbytes)
