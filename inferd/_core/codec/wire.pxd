# wire: protobuf's wire format, header-only. Every read is checked against the end of the message or submessage. A function
# returns a status and leaves the fault, as static text, in the reader. Strict where protobuf's own parser (upb) is.
# Never in here: what a field means, memory, Python objects.

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from inferd._core.base.yielding cimport Turn, yield_after

cdef enum:
    VARINT = 0                  # wire types
    FIXED64 = 1
    DELIMITED = 2
    GROUP = 3
    GROUP_END = 4
    FIXED32 = 5
    MAX_DEPTH = 100             # unknown groups inside each other
    MAX_FIELDS = 1 << 16        # of one message, typed contents aside, which have a limit of their own: each costs, and means nothing
    MAX_STRINGS_NBYTES = 1 << 20        # of all strings of one message: they are checked to be UTF-8, decoded and echoed on the event loop
    YIELD_NBYTES = 16 << 10      # of a long message, between two looks at whether others are to run

cdef struct Bytes:              # a length-delimited field's content; owns nothing
    const char *data
    Py_ssize_t nbytes

cdef struct Allowance:          # what one message may still have
    int64_t fields
    int64_t strings_nbytes
    const uint8_t *yield_at      # where its thread looks whether its turn is over
    Turn turn

cdef struct Reader:             # the rest of one message or submessage
    const uint8_t *at           # next byte to read; after a fault: where it is
    const uint8_t *end          # behind its last byte
    const uint8_t *start        # of the outermost message: positions in errors count from here
    const char *fault           # static text: what is wrong at `at`; NULL: nothing so far
    Allowance *left             # of the outermost reader, shared by those of its submessages
    Allowance left_of_all       # what that points to, where this is the outermost one


cdef inline void open_reader(Reader *reader, const char *data, Py_ssize_t nbytes) noexcept nogil:
    reader.at = <const uint8_t *>data
    reader.end = reader.at + nbytes
    reader.start = reader.at
    reader.fault = NULL
    reader.left_of_all.fields = MAX_FIELDS
    reader.left_of_all.strings_nbytes = MAX_STRINGS_NBYTES
    reader.left_of_all.yield_at = reader.at + YIELD_NBYTES
    reader.left_of_all.turn.began_ns = reader.left_of_all.turn.run_ns = 0
    reader.left = &reader.left_of_all


cdef inline void enter(Reader *inner, const Reader *outer, const Bytes *content) noexcept nogil:
    """A reader of a submessage of `outer`'s message."""
    inner.at = <const uint8_t *>content.data
    inner.end = inner.at + content.nbytes
    inner.start = outer.start
    inner.fault = NULL
    inner.left = outer.left


cdef inline int fail(Reader *reader, const char *fault) noexcept nogil:
    reader.fault = fault
    return -1


cdef inline int fail_as(Reader *outer, const Reader *inner) noexcept nogil:
    """Hands a submessage's fault outwards."""
    outer.at = inner.at
    outer.fault = inner.fault
    return -1


cdef inline int read_long_varint(Reader *reader, uint64_t *value, int max_nbytes) noexcept nogil:
    cdef uint64_t sum = 0
    cdef int i
    for i in range(max_nbytes):
        if reader.at + i >= reader.end:
            return fail(reader, "the message ends inside a number (varint)")
        sum |= <uint64_t>(reader.at[i] & 0x7F) << (7 * i)
        if reader.at[i] < 0x80:
            reader.at += i + 1
            value[0] = sum
            return 0
    return fail(reader, "a number (varint) is too long")


cdef inline int read_varint(Reader *reader, uint64_t *value) noexcept nogil:
    """A varint of up to 10 bytes; bits above 64 are lost, as in protobuf."""
    if reader.at < reader.end and reader.at[0] < 0x80:
        value[0] = reader.at[0]
        reader.at += 1
        return 0
    return read_long_varint(reader, value, 10)


cdef inline int read_tag(Reader *reader, uint32_t *tag) noexcept nogil:
    """The next field's number << 3 | wire type: 1; at the end: 0; malformed: -1."""
    cdef uint64_t value
    if reader.at >= reader.end:
        return 0
    if reader.at[0] < 0x80:
        value = reader.at[0]
        reader.at += 1
    else:
        if read_long_varint(reader, &value, 5) < 0:
            return -1
        if value > 0xFFFFFFFFU:
            return fail(reader, "a field number is out of range")
    if value < 8:
        return fail(reader, "a field has the number 0")
    tag[0] = <uint32_t>value
    return 1


cdef inline void let_others_run(Reader *reader, const uint8_t *at) noexcept nogil:
    """Called again and again, without the GIL, while much is read of a message: it has been read up to `at`."""
    if at >= reader.left.yield_at:
        reader.left.yield_at = at + YIELD_NBYTES
        yield_after(&reader.left.turn)


cdef inline int count_field(Reader *reader) noexcept nogil:
    reader.left.fields -= 1
    return 0 if reader.left.fields >= 0 else fail(reader, "more fields than a request may have")


cdef inline int next_field(Reader *reader, uint32_t *tag) noexcept nogil:
    """read_tag of a field that counts."""
    cdef int found = read_tag(reader, tag)
    return found if found <= 0 or count_field(reader) == 0 else -1


cdef inline int read_bytes(Reader *reader, Bytes *content) noexcept nogil:
    """The content of a length-delimited field, where it lies."""
    cdef uint64_t nbytes
    if reader.at < reader.end and reader.at[0] < 0x80:
        nbytes = reader.at[0]
        reader.at += 1
    elif read_long_varint(reader, &nbytes, 10) < 0:
        return -1
    if nbytes > <uint64_t>(reader.end - reader.at) or nbytes > 0x7FFFFFFF:
        return fail(reader, "a field is longer than what holds it")
    content.data = <const char *>reader.at
    content.nbytes = <Py_ssize_t>nbytes
    reader.at += nbytes
    return 0


cdef inline int read_string(Reader *reader, Bytes *text) noexcept nogil:
    """read_bytes of a string, which counts. Whether it is UTF-8 is not looked at."""
    if read_bytes(reader, text) < 0:
        return -1
    reader.left.strings_nbytes -= text.nbytes
    if reader.left.strings_nbytes < 0:
        return fail(reader, "expected at most 1048576 bytes of names, ids and parameters in all, got more; send long text as a tensor")
    return 0


cdef inline int read_fixed(Reader *reader, void *value, Py_ssize_t nbytes) noexcept nogil:
    """A little-endian value of 4 or 8 bytes."""
    if reader.end - reader.at < nbytes:
        return fail(reader, "the message ends inside a fixed-size number")
    memcpy(value, reader.at, nbytes)
    reader.at += nbytes
    return 0


cdef inline int skip_value(Reader *reader, uint32_t tag) noexcept nogil:
    """Skips the content of any field but a group."""
    cdef uint64_t number
    cdef Bytes content
    if tag & 7 == VARINT:
        return read_varint(reader, &number)
    if tag & 7 == DELIMITED:
        return read_bytes(reader, &content)
    if tag & 7 == FIXED64:
        return read_fixed(reader, &number, 8)
    if tag & 7 == FIXED32:
        return read_fixed(reader, &number, 4)
    return fail(reader, "a field of no known wire type, or the end of a group that was never begun")


cdef inline int skip_field(Reader *reader, uint32_t tag) noexcept nogil:
    """Skips the content of an unknown field whose tag was read."""
    cdef uint32_t open_groups[MAX_DEPTH]
    cdef int depth = 1
    cdef int found
    if tag & 7 != GROUP:
        return skip_value(reader, tag)
    open_groups[0] = tag >> 3
    while depth > 0:
        found = next_field(reader, &tag)
        if found == 0:
            return fail(reader, "the message ends inside a group")
        if found < 0:
            return -1
        if tag & 7 == GROUP:
            if depth == MAX_DEPTH:
                return fail(reader, "groups are nested too deeply")
            open_groups[depth] = tag >> 3
            depth += 1
        elif tag & 7 == GROUP_END:
            depth -= 1
            if open_groups[depth] != tag >> 3:
                return fail(reader, "a group ends as another one than it began")
        elif skip_value(reader, tag) < 0:
            return -1
    return 0


# ---- writing: the caller has made room for exactly as many bytes --------------------------------------------------

cdef inline Py_ssize_t varint_nbytes(uint64_t value) noexcept nogil:
    cdef Py_ssize_t nbytes = 1
    while value >= 0x80:
        value >>= 7
        nbytes += 1
    return nbytes


cdef inline Py_ssize_t field_nbytes(Py_ssize_t content_nbytes) noexcept nogil:
    """A length-delimited field of a number below 16, tag and length included."""
    return 1 + varint_nbytes(<uint64_t>content_nbytes) + content_nbytes


cdef inline uint8_t *put_varint(uint8_t *at, uint64_t value) noexcept nogil:
    while value >= 0x80:
        at[0] = <uint8_t>(value | 0x80)
        at += 1
        value >>= 7
    at[0] = <uint8_t>value
    return at + 1


cdef inline uint8_t *put_head(uint8_t *at, int number, Py_ssize_t content_nbytes) noexcept nogil:
    """Tag and length of a length-delimited field of a number below 16; its content follows."""
    at[0] = <uint8_t>(number << 3 | DELIMITED)
    return put_varint(at + 1, <uint64_t>content_nbytes)


cdef inline uint8_t *put_bytes(uint8_t *at, int number, const char *content, Py_ssize_t nbytes) noexcept nogil:
    at = put_head(at, number, nbytes)
    memcpy(at, content, nbytes)
    return at + nbytes
