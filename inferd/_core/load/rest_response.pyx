# cython: language_level=3, boundscheck=False, wraparound=False
# rest_response: checks an inference's response over REST. It must be JSON, of the model that was asked. Its outputs must be this model's,
# with a known datatype and as many elements or bytes as their shape has. By Triton's binary extension, bytes may follow the JSON.
# Never in here: HTTP, values, Python objects.

from libc.stdint cimport int64_t

from inferd._core.codec.contents cimport __builtin_mul_overflow
from inferd._core.codec.wire cimport Bytes
from inferd._core.load.response cimport ANY_NBYTES, Expected, Held, is_one_of, multiply, raw_fault
from inferd._core.rest.yyjson cimport *
from inferd._core.tensor.datatypes cimport BOOL, BYTES, INVALID, datatype_of, itemsize
from inferd._core.tensor.view cimport MAX_TENSORS

cdef enum:
    LONGEST_ERROR_NBYTES = 64 << 10     # of a body that is read for what it says

cdef const char *CODES = (              # gRPC's codes by number, from 1 on
    b"CANCELLED\0UNKNOWN\0INVALID_ARGUMENT\0DEADLINE_EXCEEDED\0NOT_FOUND\0ALREADY_EXISTS\0PERMISSION_DENIED\0RESOURCE_EXHAUSTED\0"
    b"FAILED_PRECONDITION\0ABORTED\0OUT_OF_RANGE\0UNIMPLEMENTED\0INTERNAL\0UNAVAILABLE\0DATA_LOSS\0UNAUTHENTICATED\0")

cdef struct Output:             # as it stands in the JSON; NULL: it does not
    const yyjson_val *name
    const yyjson_val *datatype
    const yyjson_val *shape
    const yyjson_val *data
    const yyjson_val *nbytes    # binary_data_size


cdef inline const yyjson_val *named(const yyjson_val *of, const char *name, Py_ssize_t nbytes) noexcept nogil:
    """A member of an object; NULL: there is none, or it is null, or `of` is no object."""
    cdef const yyjson_val *key = of + 1
    cdef Py_ssize_t _
    if of == NULL or type_of(of) != OBJECT:
        return NULL
    for _ in range(count_of(of)):
        if is_key(key, name, nbytes):
            return key + 1 if type_of(key + 1) != NOTHING else NULL
        key = behind(key + 1)
    return NULL


cdef inline bint is_text(const yyjson_val *value) noexcept nogil:
    """Whether a member is a text, if it is there."""
    return value == NULL or type_of(value) == STRING


cdef inline bint is_word(const yyjson_val *value, const Bytes *words, int count) noexcept nogil:
    """Whether a text is one of these, where there are any."""
    cdef Bytes word = text_of(value)
    return count == 0 or word.nbytes == 0 or is_one_of(&word, words, count)


cdef const char *rest_fault(const char *body, Py_ssize_t nbytes, Py_ssize_t json_nbytes, const Expected *expected,
                            Py_ssize_t *fixed_nbytes) noexcept nogil:
    cdef yyjson_read_err error
    cdef yyjson_doc *document
    cdef const char *fault
    fixed_nbytes[0] = ANY_NBYTES
    if json_nbytes > nbytes:
        return "the response ends inside its JSON"
    document = yyjson_read_opts(<char *>body, json_nbytes, 0, NULL, &error)
    if document == NULL:
        return "there is no memory for the response" if error.code == OUT_OF_MEMORY else "the response is no JSON"
    fault = document_fault(document.root, body + json_nbytes, nbytes - json_nbytes, expected, fixed_nbytes)
    yyjson_doc_free(document)
    return fault


cdef const char *document_fault(const yyjson_val *root, const char *binary, Py_ssize_t binary_nbytes, const Expected *expected,
                                Py_ssize_t *fixed_nbytes) noexcept nogil:
    cdef const yyjson_val *model = named(root, "model_name", 10)
    cdef const yyjson_val *version = named(root, "model_version", 13)
    cdef const yyjson_val *id = named(root, "id", 2)
    cdef const yyjson_val *outputs = named(root, "outputs", 7)
    cdef const yyjson_val *each
    cdef const char *fault
    cdef Py_ssize_t at = 0, _
    cdef bint fixed = True
    if outputs == NULL or type_of(outputs) != ARRAY or count_of(outputs) == 0:
        return "the response has no output"
    if count_of(outputs) > MAX_TENSORS:
        return "the response has too many outputs"
    if not is_text(model) or not is_text(version) or not is_text(id):
        return "the response's model_name, model_version or id is no text"
    if model != NULL and not is_word(model, expected.models, expected.model_count):
        return "the response is another model's"
    if version != NULL and not is_word(version, expected.versions, expected.version_count):
        return "the response is another version's"
    each = outputs + 1
    for _ in range(count_of(outputs)):
        fault = output_fault(each, binary, binary_nbytes, &at, expected, &fixed)
        if fault != NULL:
            return fault
        each = behind(each)
    if at != binary_nbytes:
        return "more bytes follow the response's JSON than its outputs have"
    if fixed:
        fixed_nbytes[0] = at
    return NULL


cdef const char *output_fault(const yyjson_val *said, const char *binary, Py_ssize_t binary_nbytes, Py_ssize_t *at,
                              const Expected *expected, bint *fixed) noexcept nogil:
    """at: where the contents of this output begin, and then those of the next one."""
    cdef Output output
    cdef Held held
    cdef Bytes word, raw
    cdef const yyjson_val *size
    cdef const char *fault
    cdef int datatype
    cdef Py_ssize_t _
    output.name, output.datatype = named(said, "name", 4), named(said, "datatype", 8)
    output.shape, output.data = named(said, "shape", 5), named(said, "data", 4)
    output.nbytes = named(named(said, "parameters", 10), "binary_data_size", 16)
    if output.name == NULL or type_of(output.name) != STRING or count_of(output.name) == 0:
        return "an output has no name"
    if not is_word(output.name, expected.outputs, expected.output_count):
        return "an output is none that the model has by its metadata"
    if output.datatype == NULL or type_of(output.datatype) != STRING:
        return "an output has no datatype that is known"
    word = text_of(output.datatype)
    datatype = datatype_of(word.data, word.nbytes)
    if datatype == INVALID:
        return "an output has no datatype that is known"
    if output.shape == NULL or type_of(output.shape) != ARRAY:
        return "an output's shape is no shape"
    held.elements = 1
    size = output.shape + 1
    for _ in range(count_of(output.shape)):
        if not is_count(size):
            return "an output's shape is no shape"
        fault = multiply(&held.elements, size.uni.u64)
        if fault != NULL:
            return fault
        size = behind(size)
    held.nbytes = ANY_NBYTES
    if datatype != BYTES and __builtin_mul_overflow(held.elements, itemsize(datatype), &held.nbytes):
        return "an output's shape is no shape"
    if output.nbytes == NULL:
        fixed[0] = False
        return data_fault(output.data, datatype, held.elements)
    if output.data != NULL:
        return "an output has its contents twice, in the JSON and behind it"
    if not is_count(output.nbytes) or output.nbytes.uni.u64 > <size_t>(binary_nbytes - at[0]):
        return "fewer bytes follow the response's JSON than its outputs have"
    raw.data, raw.nbytes = binary + at[0], <Py_ssize_t>output.nbytes.uni.u64
    at[0] += raw.nbytes
    fixed[0] &= datatype != BYTES
    return raw_fault(&raw, &held)


cdef const char *data_fault(const yyjson_val *data, int datatype, int64_t elements) noexcept nogil:
    """Elements as JSON has them, nested to any depth."""
    cdef const yyjson_val *value
    cdef int64_t found = 0
    cdef int kind
    if data == NULL or type_of(data) != ARRAY:
        return "an output has no contents"
    value = data + 1
    while value < behind(data):
        kind = type_of(value)
        if kind != ARRAY:
            if kind == OBJECT or kind == NOTHING or (kind == STRING) != (datatype == BYTES):
                return "an output has an element that is none of its datatype"
            if datatype != BOOL and (kind_of(value) == TRUE or kind_of(value) == FALSE):
                return "an output has an element that is none of its datatype"
            found += 1
        value += 1
    if found != elements:
        return "an output has more or fewer elements than its shape"
    return NULL


# ---- errors ---------------------------------------------------------------------------------------------------------------

cdef int rest_error(const char *body, Py_ssize_t nbytes, char *text, int *text_nbytes) noexcept nogil:
    cdef yyjson_read_err error
    cdef yyjson_doc *document = NULL
    cdef const yyjson_val *said = NULL
    cdef Bytes word
    cdef int code = -1, room = text_nbytes[0]
    if nbytes <= LONGEST_ERROR_NBYTES:
        document = yyjson_read_opts(<char *>body, nbytes, 0, NULL, &error)
    if document != NULL:
        said = named(document.root, "error", 5)         # Triton's and MLServer's word, and ours
        if said == NULL:
            said = named(document.root, "detail", 6)    # FastAPI's
        if said == NULL:
            said = named(document.root, "message", 7)
        code = code_named(named(document.root, "code", 4))
    word.data, word.nbytes = body, nbytes
    if said != NULL and type_of(said) == STRING:
        word = text_of(said)
    text_nbytes[0] = percent_encode(&word, text, room)
    if document != NULL:
        yyjson_doc_free(document)
    return code


cdef int code_named(const yyjson_val *word) noexcept nogil:
    cdef const char *at = CODES
    cdef Py_ssize_t nbytes
    cdef int code = 1
    if word == NULL or type_of(word) != STRING:
        return -1
    while at[0] != 0:
        nbytes = 0
        while at[nbytes] != 0:
            nbytes += 1
        if is_key(word, at, nbytes):
            return code
        at += nbytes + 1
        code += 1
    return -1


cdef int percent_encode(const Bytes *word, char *text, int room) noexcept nogil:
    """As much of a text as there is room for, with no character of UTF-8 cut in two. Returns its length."""
    cdef const char *digits = "0123456789ABCDEF"
    cdef unsigned char letter
    cdef int filled = 0, whole = 0
    cdef Py_ssize_t i
    for i in range(word.nbytes):
        letter = <unsigned char>word.data[i]
        if letter & 0xC0 != 0x80:
            whole = filled
        if filled + 3 > room:
            return whole
        if c' ' <= letter <= c'~' and letter != c'%':
            text[filled] = <char>letter
            filled += 1
        else:
            text[filled], text[filled + 1], text[filled + 2] = c'%', digits[letter >> 4], digits[letter & 15]
            filled += 3
    return filled
