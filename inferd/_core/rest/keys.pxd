# keys: the keys of the JSON of a request, and their values in an object. Header-only. Never in here: what a value means.

from libc.stdint cimport uint32_t

from inferd._core.rest.yyjson cimport NOTHING, behind, count_of, is_key, type_of, yyjson_val

cdef extern from *:
    """
    typedef struct { const char *text; Py_ssize_t nbytes; } KeyWord;
    #define KEY_WORD(text) {text, sizeof text - 1}
    static const KeyWord REQUEST_WORDS[] = {KEY_WORD("id"), KEY_WORD("parameters"), KEY_WORD("inputs"), KEY_WORD("outputs")};
    static const KeyWord TENSOR_WORDS[] = {
        KEY_WORD("name"), KEY_WORD("parameters"), KEY_WORD("shape"), KEY_WORD("datatype"), KEY_WORD("data"),
    };
    static const KeyWord PARAMETER_WORDS[] = {
        KEY_WORD("priority"), KEY_WORD("timeout"), KEY_WORD("provenance"), KEY_WORD("binary_data_output"), KEY_WORD("nan_as_null"),
        KEY_WORD("binary_data_size"), KEY_WORD("binary_data"), KEY_WORD("classification"), KEY_WORD("shared_memory_region"),
        KEY_WORD("inferd_key"),
    };
    """
    ctypedef struct KeyWord:
        const char *text
        Py_ssize_t nbytes
    const KeyWord *REQUEST_WORDS
    const KeyWord *TENSOR_WORDS
    const KeyWord *PARAMETER_WORDS

cdef enum:                      # of the body
    ID
    REQUEST_PARAMETERS
    INPUTS
    OUTPUTS
    REQUEST_KEYS

cdef enum:                      # of an input; an output has the first two
    NAME
    TENSOR_PARAMETERS
    OUTPUT_KEYS
    SHAPE = OUTPUT_KEYS
    DATATYPE
    DATA
    INPUT_KEYS

cdef enum:                      # of parameters: those that the server knows
    PRIORITY
    TIMEOUT
    PROVENANCE
    BINARY_DATA_OUTPUT
    NAN_AS_NULL
    BINARY_DATA_SIZE
    BINARY_DATA
    CLASSIFICATION
    SHARED_MEMORY_REGION
    INFERD_KEY
    KNOWN_PARAMETERS


cdef inline int scan(const yyjson_val *object, const KeyWord *words, int count, const yyjson_val **found) noexcept nogil:
    """Finds the values of an object's keys that are among the words; NULL: there is no such key, or its value is null. Returns the index of
    a word that is there twice, or -1."""
    cdef const yyjson_val *key = object + 1
    cdef Py_ssize_t _i
    cdef uint32_t seen = 0              # bits of the words
    cdef int word
    for word in range(count):
        found[word] = NULL
    for _i in range(count_of(object)):
        for word in range(count):
            if is_key(key, words[word].text, words[word].nbytes):
                if seen >> word & 1:
                    return word
                seen |= <uint32_t>1 << word
                if type_of(key + 1) != NOTHING:
                    found[word] = key + 1
                break
        key = behind(key + 1)
    return -1
