# split: which requests of a model without a version go to the candidate of a canary (Envoy's weighted clusters).
# Never in here: routes, models, when the share changes.

cimport cython
from libc.stdint cimport uint64_t

@cython.final
cdef class Split:
    cdef public object candidate        # its Route
    cdef uint64_t salt                  # of the rollout: the same keys come first in no two rollouts
    cdef uint64_t threshold             # places below it are the candidate's
    cdef bint whole                     # all are
    cdef uint64_t drawn                 # the state of the generator for requests without a key; never 0
    # Whether a request of this key goes to the candidate; 0: it has none, and chance decides.
    cdef bint takes(self, uint64_t key) noexcept
