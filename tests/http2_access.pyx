# cython: language_level=3
"""http2_access: libnghttp2's allocator with addresses, for tests. Apart from native_access: it needs the library (setup.py)."""

from inferd._core.http2.memory cimport memory


def take(size_t nbytes):
    return <size_t>memory.malloc(nbytes, NULL)


def take_zeroed(size_t count, size_t each_nbytes):
    return <size_t>memory.calloc(count, each_nbytes, NULL)


def take_other(size_t address, size_t nbytes):
    return <size_t>memory.realloc(<void *>address, nbytes, NULL)


def give(size_t address):
    memory.free(<void *>address, NULL)
