# cython: language_level=3
# fuzz_driver: libFuzzer around a Python function. It makes inputs, sees by the instrumented native modules which ways each of them took,
# and keeps those that took a new one. Lines of chosen Python files count as ways, too. Load it with RTLD_GLOBAL before those modules:
# they look here for what their instrumentation calls. Never in here: what a right result is (targets/), what is run for how long (run.py).

from cpython.buffer cimport PyBUF_WRITE
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uintptr_t
from libc.stdlib cimport abort, malloc
from libc.string cimport memcpy

import traceback

cdef extern from *:
    """
    #include <frameobject.h>
    /* Of libFuzzer. */
    extern int LLVMFuzzerRunDriver(int *argc, char ***argv, int (*callback)(const uint8_t *data, size_t nbytes));
    extern size_t LLVMFuzzerMutate(uint8_t *data, size_t nbytes, size_t room);
    extern void __sanitizer_cov_8bit_counters_init(uint8_t *begin, uint8_t *end);
    extern void __sanitizer_cov_pcs_init(const uintptr_t *begin, const uintptr_t *end);
    """
    int LLVMFuzzerRunDriver(int *argc, char ***argv, int (*callback)(const uint8_t *, size_t) noexcept) except? -1
    size_t LLVMFuzzerMutate(uint8_t *data, size_t nbytes, size_t room) noexcept
    void __sanitizer_cov_8bit_counters_init(uint8_t *begin, uint8_t *end)
    void __sanitizer_cov_pcs_init(const uintptr_t *begin, const uintptr_t *end)
    ctypedef struct PyFrameObject
    ctypedef struct PyCodeObject:
        PyObject *co_filename
    ctypedef int (*Py_tracefunc)(PyObject *, PyFrameObject *, int, PyObject *) noexcept
    const int PyTrace_LINE
    PyCodeObject *PyFrame_GetCode(PyFrameObject *frame)
    int PyFrame_GetLineNumber(PyFrameObject *frame)
    void PyEval_SetTrace(Py_tracefunc function, PyObject *argument)
    void Py_DECREF(PyCodeObject *code)

cdef enum:
    LINES = 1 << 13             # of all Python files that are watched
    CODES = 1 << 12             # code objects of which it is known whether they are watched; a power of 2

cdef struct Code:
    PyCodeObject *code
    int first                   # the counter of line 0 of its file; -1: it is not watched

cdef object check = None        # is given each input
cdef object mutate = None       # changes one in a way of its own, or None
cdef dict watched = {}          # file -> its first counter
cdef Code codes[CODES]
cdef uint8_t lines[LINES]
cdef uintptr_t places[2 * LINES]        # what libFuzzer calls each counter, and flags


cdef int counter_of(PyCodeObject *code) noexcept:
    """The counter of line 0 of a code object's file, or -1."""
    cdef size_t at = (<size_t>code >> 4) & (CODES - 1)
    while codes[at].code != NULL and codes[at].code != code:
        at = (at + 1) & (CODES - 1)
    if codes[at].code == NULL:
        codes[at].first = watched.get(<object>code.co_filename, -1)
        codes[at].code = code
    return codes[at].first


cdef int count_line(PyObject *argument, PyFrameObject *frame, int what, PyObject *value) noexcept:
    cdef PyCodeObject *code
    cdef int first
    if what == PyTrace_LINE:
        code = PyFrame_GetCode(frame)
        Py_DECREF(code)                 # the frame holds it
        first = counter_of(code)
        if first >= 0:
            lines[first + PyFrame_GetLineNumber(frame)] += 1
    return 0


cdef int try_input(const uint8_t *data, size_t nbytes) noexcept:
    try:
        check(PyBytes_FromStringAndSize(<const char *>data, nbytes))
    except BaseException:
        traceback.print_exc()
        abort()                         # libFuzzer writes the input to a file, and stops
    return 0


cdef public size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t nbytes, size_t room, unsigned int seed) noexcept:
    cdef bytes made
    if mutate is None or seed & 1:
        return LLVMFuzzerMutate(data, nbytes, room)
    try:
        made = mutate(PyBytes_FromStringAndSize(<const char *>data, nbytes), seed)[:room]
    except BaseException:
        traceback.print_exc()
        abort()
    memcpy(data, PyBytes_AS_STRING(made), PyBytes_GET_SIZE(made))
    return PyBytes_GET_SIZE(made)


def watch(files):
    """Counts how often each line of these Python files runs, from now on: {file: its last line}. Returns the counters."""
    cdef size_t i
    cdef int count = 0
    for file, line_count in files.items():
        watched[file] = count
        count += line_count + 1
    if count > LINES:
        raise ValueError(f"{count} lines to watch, and counters for {LINES}")
    if count == 0:
        return memoryview(bytearray())
    for i in range(<size_t>count):
        places[2 * i] = <uintptr_t>&lines[i]
    __sanitizer_cov_8bit_counters_init(lines, lines + count)
    __sanitizer_cov_pcs_init(places, places + 2 * count)
    PyEval_SetTrace(count_line, NULL)
    return PyMemoryView_FromMemory(<char *>lines, count, PyBUF_WRITE)


def run(list arguments, function, mutator=None):
    """Calls function(input) with one input after another, and ends the process: arguments are libFuzzer's, the program's name first.
    An exception of the function's is a crash. mutator(input, seed): makes every other input of one that there is."""
    global check, mutate
    cdef int count = <int>len(arguments)
    cdef list held = [argument.encode() for argument in arguments]
    cdef char **values = <char **>malloc((count + 1) * sizeof(char *))
    cdef int i
    check, mutate = function, mutator
    for i in range(count):
        values[i] = PyBytes_AS_STRING(held[i])
    values[count] = NULL
    return LLVMFuzzerRunDriver(&count, &values, try_input)
