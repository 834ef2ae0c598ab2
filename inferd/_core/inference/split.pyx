# cython: language_level=3
"""split: which requests of a model go to the candidate of a canary (see split.pxd)."""

cimport cython
from libc.stdint cimport uint64_t

from inferd._core.base.key cimport key_of, mixed

import os

cdef double PLACES = 18446744073709551616.0     # 2^64


@cython.final
cdef class Split:
    """A share of requests for `candidate`, a Route. salt: a text of the rollout.

    A key has one place among 2^64, and the share is a threshold there. So a key that is the candidate's stays so while the share grows,
    in each process and after a restart. Used with the GIL held.
    """

    def __init__(self, candidate not None, str salt not None, double share):
        cdef bytes text = salt.encode()
        self.candidate = candidate
        self.salt = mixed(key_of(<const char *>text, len(text)))
        self.drawn = int.from_bytes(os.urandom(8), "little") | 1
        self.share = share

    @property
    def share(self):
        """The share of requests that go to the candidate; may change at any time."""
        return 1.0 if self.whole else self.threshold / PLACES

    @share.setter
    def share(self, double share):
        if not 0 <= share <= 1:
            raise ValueError(f"share: expected 0 to 1, got {share}")
        self.whole = share == 1
        self.threshold = 0 if self.whole else <uint64_t>(share * PLACES)

    cdef bint takes(self, uint64_t key) noexcept:
        if key == 0:
            self.drawn ^= self.drawn << 13
            self.drawn ^= self.drawn >> 7
            self.drawn ^= self.drawn << 17
            key = self.drawn
        return self.whole or mixed(key ^ self.salt) < self.threshold
