# classes: an output as the texts of its largest values, as the classification extension has it.

from inferd._core.tensor.tensor cimport Tensors

# The texts of an output of a run, for all requests of the batch that ask for as many. `outputs` keeps them.
cdef Tensors classes_of(Tensors outputs, int index, Py_ssize_t count, object labels)
# The texts themselves: an array.
cdef object classify(object array, object labels, Py_ssize_t count, bint batched)
