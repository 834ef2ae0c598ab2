# cython: language_level=3
"""classes: Triton's classification extension: the largest values of an output as texts, "value:index:label".

Never in here: protobuf, files of labels.
"""

from inferd._core.tensor.tensor cimport Tensors

import numpy

from inferd._core.media.scores import top_k

cdef enum:
    BREATH = 4096               # texts that are made in one go; then other threads have their turn

cdef dict FORMS = {"f": "%f:%d", "i": "%d:%d", "u": "%d:%d"}     # by numpy's kind; what C++'s std::to_string writes


cdef object classify(object array, object labels, Py_ssize_t count, bint batched):
    """The `count` largest values of each row as texts, or as many as a row has: largest first, equal ones in order of their places. An
    object array [rows, count], or [count] without a batch axis. All of a row's axes are one.

    array: FP16, FP32, FP64 or whole numbers. labels: texts by place; one that is empty or missing is left out.
    """
    cdef Py_ssize_t rows = len(array) if batched else 1
    cdef Py_ssize_t known = len(labels)
    cdef Py_ssize_t elements = array.size // rows if rows else 0
    cdef Py_ssize_t i
    cdef list texts = []
    flat = array.reshape(rows, elements)
    count = min(count, elements)
    made = numpy.empty((rows, count), object)
    if count > 0:
        values, places = best(flat, count)
        form = FORMS[array.dtype.kind]
        for i, (value, place) in enumerate(zip(values.reshape(-1).tolist(), places.reshape(-1).tolist())):
            text = form % (value, place)
            if place < known and labels[place]:
                text = f"{text}:{labels[place]}"
            texts.append(text)
            if i % BREATH == BREATH - 1:
                with nogil:
                    pass
        made.reshape(-1)[:] = texts
    return made if batched else made[0]


cdef tuple best(object flat, Py_ssize_t count):
    """Values and places of the largest of each row."""
    kind = flat.dtype.kind
    if kind == "f" and flat.itemsize <= 4:
        return top_k(numpy.ascontiguousarray(flat, numpy.float32), count)
    keys = numpy.where(numpy.isnan(flat), -numpy.inf, flat) if kind == "f" else flat
    # Backwards twice: a stable sort keeps equal values in order, and the largest are to come first.
    places = flat.shape[1] - 1 - numpy.argsort(keys[:, ::-1], axis=1, kind="stable")[:, ::-1][:, :count]
    return numpy.take_along_axis(flat, places, axis=1), places


cdef Tensors classes_of(Tensors outputs, int index, Py_ssize_t count, object labels):
    cdef tuple key = (index, count)
    if outputs.classes is None:
        outputs.classes = {}
    found = outputs.classes.get(key)
    if found is None:
        texts = classify(outputs.arrays[index], labels, count, outputs.batched)
        found = outputs.classes[key] = Tensors([texts], ["BYTES"], outputs.batched)
    return found
