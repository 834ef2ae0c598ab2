# yyjson: what is used of the library: its reader, over memory that is there before it begins; header-only. It reads all of a body or
# nothing, without recursion, strictly by RFC 8259. Never in here: what a value means.

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcmp

from inferd._core.codec.wire cimport Bytes

cdef extern from "yyjson.h" nogil:
    ctypedef union yyjson_val_uni:
        uint64_t u64
        int64_t i64
        double f64
        const char *str
        size_t ofs              # of a container: from it to what lies behind it, in bytes

    ctypedef struct yyjson_val:         # 16 bytes; a document's values lie one behind the other, in the order of the text
        uint64_t tag            # the kind, and above it a string's length or a container's count
        yyjson_val_uni uni

    ctypedef struct yyjson_doc:
        yyjson_val *root

    ctypedef struct yyjson_alc:
        void *(*malloc)(void *ctx, size_t size) noexcept
        void *(*realloc)(void *ctx, void *ptr, size_t old_size, size_t size) noexcept
        void (*free)(void *ctx, void *ptr) noexcept
        void *ctx

    ctypedef struct yyjson_read_err:
        uint32_t code
        const char *msg
        size_t pos

    const uint32_t OUT_OF_MEMORY "YYJSON_READ_ERROR_MEMORY_ALLOCATION"

    void yyjson_doc_free(yyjson_doc *doc)
    yyjson_doc *yyjson_read_opts(char *text, size_t nbytes, uint32_t flags, const yyjson_alc *memory, yyjson_read_err *error)

cdef extern from "../rest/arena.h" nogil:    # as any package finds it
    ctypedef struct Arena:
        pass

    Py_ssize_t arena_nbytes(const char *text, Py_ssize_t nbytes)
    yyjson_alc arena_memory(Arena *arena, char *memory, Py_ssize_t nbytes)

cdef enum:                      # a value's kind: type and subtype of its tag
    KIND = 0xFF
    FALSE = 3
    TRUE = 11
    UNSIGNED = 4                # 0 or more
    SIGNED = 12                 # less than 0, or -0
    REAL = 20                   # with a fraction or an exponent, or too long for 64 bits

cdef enum:                      # a value's type alone
    TYPE = 7
    NOTHING = 2                 # null
    STRING = 5
    ARRAY = 6
    OBJECT = 7


cdef inline int kind_of(const yyjson_val *value) noexcept nogil:
    return <int>(value.tag & KIND)


cdef inline int type_of(const yyjson_val *value) noexcept nogil:
    return <int>(value.tag & TYPE)


cdef inline bint is_count(const yyjson_val *value) noexcept nogil:
    """Whether it is a whole number of 0 or more."""
    return kind_of(value) == UNSIGNED or (kind_of(value) == SIGNED and value.uni.i64 == 0)


cdef inline Py_ssize_t count_of(const yyjson_val *value) noexcept nogil:
    """Bytes of a string, elements of an array, pairs of an object."""
    return <Py_ssize_t>(value.tag >> 8)


cdef inline const yyjson_val *behind(const yyjson_val *value) noexcept nogil:
    """The value that follows this one and all that it holds."""
    if type_of(value) >= ARRAY:
        return <const yyjson_val *>(<const char *>value + value.uni.ofs)
    return value + 1


cdef inline Bytes text_of(const yyjson_val *value) noexcept nogil:
    cdef Bytes text
    text.data, text.nbytes = value.uni.str, count_of(value)
    return text


cdef inline bint is_key(const yyjson_val *value, const char *word, Py_ssize_t nbytes) noexcept nogil:
    return count_of(value) == nbytes and memcmp(value.uni.str, word, nbytes) == 0
