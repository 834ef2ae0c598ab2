# cython: language_level=3, boundscheck=False, wraparound=False
# datatypes: the words of datatypes, and numpy's dtypes for them (see datatypes.pxd).

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

import numpy

cdef enum:
    DATATYPE_COUNT = 15

cdef struct Word:
    const char *text
    Py_ssize_t nbytes
    uint64_t key                # the text as an integer: comparing it is one instruction

cdef Word[DATATYPE_COUNT] words
cdef list word_texts = [
    b"INVALID", b"BOOL", b"UINT8", b"UINT16", b"UINT32", b"UINT64", b"INT8", b"INT16", b"INT32", b"INT64",
    b"FP16", b"FP32", b"FP64", b"BYTES", b"BF16",
]
cdef list dtypes = [
    None, numpy.dtype("bool"), numpy.dtype("u1"), numpy.dtype("<u2"), numpy.dtype("<u4"), numpy.dtype("<u8"),
    numpy.dtype("i1"), numpy.dtype("<i2"), numpy.dtype("<i4"), numpy.dtype("<i8"),
    numpy.dtype("<f2"), numpy.dtype("<f4"), numpy.dtype("<f8"), numpy.dtype("O"), numpy.dtype("<u2"),
]

cdef dict numbers = {}

DATATYPES = {}


cdef uint64_t word_key(const char *word, Py_ssize_t nbytes) noexcept nogil:
    """Words of 4 to 6 bytes as one integer each, with their length: "FP32" is not "FP32\\0". 0 for any other length."""
    cdef uint32_t head = 0
    cdef uint64_t key
    if nbytes < 4 or nbytes > 6:
        return 0
    memcpy(&head, word, 4)
    key = head
    if nbytes > 4:
        key |= <uint64_t><uint8_t>word[4] << 32
    if nbytes > 5:
        key |= <uint64_t><uint8_t>word[5] << 40
    return key | <uint64_t>nbytes << 48


cdef void fill_words():
    cdef int i
    for i in range(DATATYPE_COUNT):
        text = word_texts[i]
        words[i].text = PyBytes_AS_STRING(text)
        words[i].nbytes = PyBytes_GET_SIZE(text)
        words[i].key = word_key(words[i].text, words[i].nbytes)
        if i != INVALID:
            numbers[text.decode()] = i
            DATATYPES[text.decode()] = (i, itemsize(i), dtypes[i])

fill_words()


cdef int find_datatype(const char *word, Py_ssize_t nbytes) noexcept nogil:
    cdef uint64_t key = word_key(word, nbytes)
    cdef int i
    if key != 0:
        for i in range(1, DATATYPE_COUNT):
            if words[i].key == key:
                return i
    return INVALID


cdef const char *word_of(int datatype, Py_ssize_t *nbytes) noexcept nogil:
    cdef int i = datatype if 0 < datatype < DATATYPE_COUNT else INVALID
    nbytes[0] = words[i].nbytes
    return words[i].text


cdef int number_of(object word) except -1:
    return <int>numbers.get(word, INVALID)


cdef object dtype_of(int datatype):
    return dtypes[datatype]
