# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""feature_counts: how often each feature fell into each bin of a reference (see feature_counts.pxd).

One pass over the rows of each request, where they lie anyway. All words are whole numbers, which add and subtract exactly: those of
several processes, and those at two times. Writers hold the GIL.

Never in here: what a reference is, windows, verdicts, files.
"""

cimport cython
from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.math cimport INFINITY, NAN, cosf, isfinite, nextafterf, sqrt
from libc.stdint cimport (
    int8_t,
    int16_t,
    int32_t,
    int64_t,
    uint8_t,
    uint16_t,
    uint32_t,
    uint64_t,
)
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy

from inferd._core.batching.batch cimport Batch
from inferd._core.batching.request cimport Request, sent_views
from inferd._core.tensor.datatypes cimport (
    BF16,
    BOOL,
    BYTES,
    FP16,
    FP32,
    FP64,
    INT8,
    INT16,
    INT32,
    INT64,
    UINT8,
    UINT32,
    UINT64,
    itemsize,
)
from inferd._core.tensor.tensor cimport Tensors
from inferd._core.tensor.view cimport ArrayView, TensorView

import logging
from enum import IntEnum

log = logging.getLogger("inferd.monitor")


class Side(IntEnum):
    """Which tensors a feature is read from; feature_counts.pxd describes each."""

    SENT, TAKEN, GIVEN, WHOLE = range(4)


class Reading(IntEnum):
    """The number that a feature is in one row; feature_counts.pxd describes each."""

    ELEMENT, TEXT, LENGTH, MEAN, SPREAD, CLASS, WAVES, ROW, SCORE = range(9)


HEAD = ("rows", "missing", "repeats", "sum", "squares")     # the words of a feature before those of its bins: Head
UNIT = 65536            # of sum and squares

cdef double UNIT_ = 65536.0
cdef double FARTHEST = 65536.0  # a value farther from the centre, in units of the scale, counts as this far

@cython.final
cdef class FeatureCounts:
    """The counts of one version's features.

    features: of each a mapping with

    - side, reading, tensor, place: which number it is (Side, Reading; the tensor's place in the signature, the element's in a row);
    - at: the edges of its bins, rising; with exact the values of its bins, rising. A TEXT's values are 0, 1, ...;
    - exact, centre, scale;
    - scores: of each bin, and then of a missing value;
    - texts: of a TEXT, the known ones as bytes, in the order of their bins;
    - waves: of WAVES, float32 rows of weights, the last element of each a phase;
    - kept: where a reference is made, a float64 buffer for the values of the first rows, of WAVES for those of each wave. A TEXT then
      gives each new text the next number. Left out: none are kept.

    words: of each a writable buffer of 64-bit words, `words_of(feature)` of them. Raises ValueError for what does not fit.
    """

    def __cinit__(self, list features not None, list words not None):
        cdef int i
        self.count = 0
        self.features = <Feature *>calloc(len(features) + 1, sizeof(Feature))
        self.recent = <uint64_t *>calloc(RECENT_ROWS, sizeof(uint64_t))
        if self.features == NULL or self.recent == NULL:
            raise MemoryError
        if len(words) != len(features):
            raise ValueError(f"{len(features)} features, {len(words)} buffers")
        self.texts, self.held, self.examples = [], [], [None] * len(features)
        for i in range(<int>len(features)):
            self.count = i + 1
            fill_feature(&self.features[i], features[i])
            self.texts.append(numbered(features[i]["texts"]) if features[i]["reading"] == TEXT else None)
            if len(words[i]) != words_of(features[i]):
                raise ValueError(f"feature {i}: expected {words_of(features[i])} words, got {len(words[i])}")
            self.features[i].head = <Head *>words_in(words[i])
            self.features[i].counts = <uint64_t *>self.features[i].head + HEAD_WORDS
            self.held.append(words[i])
            if features[i].get("kept") is not None:
                self.features[i].kept = <double *>words_in(features[i]["kept"])
                self.features[i].kept_rows = len(features[i]["kept"]) // max(self.features[i].waves, 1)
                self.held.append(features[i]["kept"])

    def __dealloc__(self):
        cdef int i
        if self.features != NULL:
            for i in range(self.count):
                free(self.features[i].at)
                free(self.features[i].scores)
                free(self.features[i].wave)
        free(self.features)
        free(self.recent)
        free(self.row_scores)
        free(self.parts)

    cpdef see(self, Batch batch, Tensors outputs):
        """Counts the rows of a batch that has run. Never raises: a request does not fail for its counts."""
        try:
            self.count_rows(batch.requests, outputs, 0)
        except Exception:
            log.exception("features of a batch could not be counted")

    def add(self, Request request not None, Tensors outputs not None, Py_ssize_t first_row):
        """Counts a checked request whose outputs begin at `first_row`."""
        self.count_rows([request], outputs, first_row)

    cdef int count_rows(self, list requests, Tensors outputs, Py_ssize_t first_row) except -1:
        """Feature by feature, so that the bins of each stay in the processor's cache. Outputs begin at `first_row`."""
        cdef int n = <int>len(requests)
        cdef int i = 0
        cdef int k, end
        cdef Py_ssize_t floats
        cdef Feature *feature
        self.reserve_parts(n)
        self.rows = 0
        for k in range(n):
            self.parts[k].first = self.rows
            self.parts[k].rows = max((<Request>requests[k]).entry.rows, 0)
            self.rows += self.parts[k].rows
        self.reserve(self.rows)
        while i < self.count:
            feature = &self.features[i]
            end = i + 1
            if feature.side == WHOLE:
                self.count_whole(i, requests, n)
            else:
                while end < self.count and self.features[end].side == feature.side and self.features[end].tensor == feature.tensor:
                    end += 1
                for k in range(n):
                    if not self.find_column(feature, &self.parts[k], <Request>requests[k], outputs, first_row):
                        self.parts[k].column.data = NULL
                floats = least_floats(self.parts, n)
                for i in range(i, end):
                    self.count_feature(i, requests, n, floats)
            i = end
        return 0

    cdef bint find_column(self, const Feature *feature, Part *part, Request request, Tensors outputs, Py_ssize_t first_row) except -1:
        cdef int count
        cdef const TensorView *sent
        if part.rows == 0:
            return False
        if feature.side == GIVEN:
            return array_column(&part.column, outputs, feature.tensor, first_row + part.first, part.rows)
        if feature.side == TAKEN:
            return view_column(&part.column, request.inputs, request.input_count, feature.tensor, part.rows)
        sent = sent_views(request, &count)
        return view_column(&part.column, sent, count, feature.tensor, part.rows)

    cdef int count_feature(self, int i, list requests, int n, Py_ssize_t floats) except -1:
        """floats: so many elements of each row are FP32 in all requests."""
        cdef Feature *feature = &self.features[i]
        cdef Column *column
        cdef double *scores
        cdef int k
        if feature.reading == ELEMENT and feature.kept == NULL and feature.place < floats:
            k = add_floats(feature, self.parts, n, self.row_scores)
            if k >= 0:
                self.note(i, requests[k])
            return 0
        for k in range(n):
            column, scores = &self.parts[k].column, self.row_scores + self.parts[k].first
            if column.data == NULL:
                continue
            if feature.reading == WAVES:
                add_waves(feature, column, self.parts[k].rows)
            elif column.datatype == BYTES:
                add_texts(feature, column, self.parts[k].rows, self.texts[i], scores)
            else:
                add_numbers(feature, column, self.parts[k].rows, scores)
            if feature.unusual:
                self.note(i, requests[k])
        return 0

    cdef int count_whole(self, int i, list requests, int n) except -1:
        cdef Feature *feature = &self.features[i]
        cdef int k
        for k in range(n):
            if feature.reading == ROW:
                self.add_rows(feature, <Request>requests[k], self.parts[k].rows)
            else:
                add_scores(feature, self.row_scores + self.parts[k].first, self.parts[k].rows)
            if feature.unusual:
                self.note(i, requests[k])
        return 0

    cdef int note(self, int i, request) except -1:
        """Keeps the id of the first request with an unusual value."""
        self.features[i].unusual = False
        if self.examples[i] is None:
            self.examples[i] = getattr(request, "id", "")[:MAX_ID_CHARS]
        return 0

    def take_example(self, int feature):
        """The id of a request since the last call that had no value, or one outside of the reference; None where there was none."""
        found, self.examples[feature] = self.examples[feature], None
        return found

    def scores(self, int64_t rows):
        """How unusual the first `rows` rows of the last batch were: the sum of the scores of their bins."""
        cdef int64_t i
        return [self.row_scores[i] for i in range(min(rows, self.rows))]

    cdef int add_rows(self, Feature *feature, Request request, int64_t rows) noexcept:
        """Counts rows, and those whose inputs equal a recent row's."""
        cdef Column column
        cdef int64_t row
        cdef int i
        cdef uint64_t found
        cdef const char *at
        cdef const char *end
        for row in range(rows):
            found = 0x9E3779B97F4A7C15ULL
            for i in range(request.input_count):
                if view_column(&column, request.inputs, request.input_count, i, rows):
                    at = column.data + row * (column.nbytes // rows)
                    end = at + column.nbytes // rows
                    if column.datatype == BYTES:
                        at = after(column.data, column.data + column.nbytes, row * column.elements)
                        end = after(at, column.data + column.nbytes, column.elements)
                    found = hashed(found, at, min(end - at, <Py_ssize_t>HASHED_NBYTES))
            feature.head.rows += 1
            if self.recent[found & (RECENT_ROWS - 1)] == found:
                feature.head.repeats += 1
                feature.unusual = True
            self.recent[found & (RECENT_ROWS - 1)] = found
        return 0

    def texts_of(self, int feature):
        """The known texts of a TEXT, in the order of their numbers."""
        return list(self.texts[feature])

    cdef int reserve(self, int64_t rows) except -1:
        cdef double *room
        cdef int64_t i
        if rows > self.most_rows:
            room = <double *>realloc(self.row_scores, rows * sizeof(double))
            if room == NULL:
                raise MemoryError
            self.row_scores, self.most_rows = room, rows
        for i in range(rows):
            self.row_scores[i] = 0.0
        return 0

    cdef int reserve_parts(self, int count) except -1:
        cdef Part *room
        if count > self.most_parts:
            room = <Part *>realloc(self.parts, count * sizeof(Part))
            if room == NULL:
                raise MemoryError
            self.parts, self.most_parts = room, count
        return 0


# ---- columns ----

cdef bint view_column(Column *column, const TensorView *views, int count, int index, int64_t rows) noexcept:
    """False: there is no such tensor, or it has no rows of equal length."""
    cdef const TensorView *view
    cdef int axis
    if index >= count:
        return False
    view = &views[index]
    column.data, column.nbytes, column.datatype = view.data, view.nbytes, view.datatype
    column.itemsize, column.elements = itemsize(view.datatype), 1
    if column.itemsize > 0:
        column.elements = view.nbytes // column.itemsize
    else:
        for axis in range(view.rank):
            column.elements *= view.shape[axis]
    if column.elements % rows != 0:
        return False
    column.elements //= rows
    return column.elements > 0


cdef bint array_column(Column *column, Tensors arrays, int index, Py_ssize_t first_row, int64_t rows) except -1:
    cdef ArrayView *view
    cdef int axis
    if index >= arrays.count:
        return False
    view = &arrays.views[index]
    if arrays.batched and (view.rank == 0 or first_row + rows > view.shape[0]):
        return False
    column.datatype, column.itemsize, column.elements = view.datatype, itemsize(view.datatype), 1
    for axis in range(1 if arrays.batched else 0, view.rank):
        column.elements *= view.shape[axis]
    if view.datatype == BYTES:
        arrays.serialize(index)
        if not arrays.batched:
            first_row, rows = 0, 1
        column.data = view.data + view.row_offsets[first_row]
        column.nbytes = view.row_offsets[first_row + rows] - view.row_offsets[first_row]
    else:
        column.data = view.data + (first_row * view.row_nbytes if arrays.batched else 0)
        column.nbytes = view.row_nbytes * (rows if arrays.batched else 1)
    return column.elements > 0


cdef const char *after(const char *at, const char *end, Py_ssize_t elements) noexcept nogil:
    """Where the elements of BYTES behind so many begin."""
    cdef uint32_t length
    while elements > 0 and end - at >= 4:
        memcpy(&length, at, 4)
        at += 4
        if length > end - at:
            return end
        at += length
        elements -= 1
    return at


cdef inline uint64_t hashed(uint64_t found, const char *at, Py_ssize_t nbytes) noexcept nogil:
    cdef uint64_t other = 0x165667B19E3779F9ULL
    cdef uint64_t word
    while nbytes >= 16:         # two at a time, as neither waits for the other
        memcpy(&word, at, 8)
        found = (found ^ word) * 0xFF51AFD7ED558CCDULL
        found ^= found >> 32
        memcpy(&word, at + 8, 8)
        other = (other ^ word) * 0xC4CEB9FE1A85EC53ULL
        other ^= other >> 32
        at += 16
        nbytes -= 16
    found ^= other
    while nbytes > 0:
        word = 0
        memcpy(&word, at, min(nbytes, 8))
        found = (found ^ word) * 0xFF51AFD7ED558CCDULL
        found ^= found >> 32
        at += 8
        nbytes -= 8
    return found


cdef inline float from_half(uint16_t bits) noexcept nogil:
    """FP16 as a float."""
    cdef int exponent = (bits >> 10) & 31
    cdef float value
    cdef uint32_t wide
    if exponent == 0:
        value = <float>(bits & 1023) * <float>5.9604644775390625e-08
        return -value if bits & 0x8000 else value
    wide = (<uint32_t>(bits & 0x8000) << 16) | (<uint32_t>(bits & 0x7FFF) << 13)
    wide += 0x70000000 if exponent == 31 else 0x38000000
    memcpy(&value, &wide, 4)
    return value


cdef inline double load(int datatype, const char *at) noexcept nogil:
    """One number, which need not be aligned."""
    cdef float f
    cdef double d
    cdef int64_t i8
    cdef uint64_t u8
    cdef int32_t i4
    cdef uint32_t u4
    cdef int16_t i2
    cdef uint16_t u2
    if datatype == FP32:
        memcpy(&f, at, 4)
        return f
    elif datatype == FP64:
        memcpy(&d, at, 8)
        return d
    elif datatype == INT64:
        memcpy(&i8, at, 8)
        return <double>i8
    elif datatype == INT32:
        memcpy(&i4, at, 4)
        return i4
    elif datatype == UINT8 or datatype == BOOL:
        return (<const uint8_t *>at)[0]
    elif datatype == INT8:
        return (<const int8_t *>at)[0]
    elif datatype == INT16:
        memcpy(&i2, at, 2)
        return i2
    elif datatype == UINT32:
        memcpy(&u4, at, 4)
        return u4
    elif datatype == UINT64:
        memcpy(&u8, at, 8)
        return <double>u8
    memcpy(&u2, at, 2)
    if datatype == FP16:
        return from_half(u2)
    elif datatype == BF16:
        u4 = <uint32_t>u2 << 16
        memcpy(&f, &u4, 4)
        return f
    return u2                   # UINT16


# ---- features ----

cdef void add_numbers(Feature *feature, const Column *column, int64_t rows, double *row_scores) noexcept:
    cdef Py_ssize_t stride = column.elements * column.itemsize
    cdef const char *at = column.data
    cdef double value
    cdef int64_t row
    if feature.place >= column.elements:
        return
    for row in range(rows):
        if feature.reading == ELEMENT:
            value = load(column.datatype, at + feature.place * column.itemsize)
        elif feature.reading == LENGTH:
            value = <double>column.elements
        else:
            value = summary(feature.reading, column, at)
        row_scores[row] += put(feature, value)
        at += stride


cdef double class_of_floats(const char *at, Py_ssize_t elements) noexcept nogil:
    """The place of the first of the largest; NAN where one is none."""
    cdef float best = -INFINITY
    cdef Py_ssize_t place = 0
    cdef Py_ssize_t i
    cdef float value
    for i in range(elements):
        memcpy(&value, at + 4 * i, 4)
        if value > best:
            best, place = value, i
        elif value != value:
            return NAN
    return <double>place


cdef double summary(int reading, const Column *column, const char *at) noexcept nogil:
    """MEAN, SPREAD or CLASS of one row."""
    cdef double total = 0.0
    cdef double squares = 0.0
    cdef double best = -INFINITY
    cdef Py_ssize_t place = 0
    cdef Py_ssize_t i
    cdef double value, mean
    if reading == CLASS and column.datatype == FP32:
        return class_of_floats(at, column.elements)
    for i in range(column.elements):
        value = load(column.datatype, at + i * column.itemsize)
        if reading == CLASS:
            if value > best:
                best, place = value, i
            elif value != value:
                return NAN
        else:
            total += value
            squares += value * value
    if reading == CLASS:
        return <double>place
    mean = total / column.elements
    return mean if reading == MEAN else sqrt(max(squares / column.elements - mean * mean, 0.0))


cdef int add_texts(Feature *feature, const Column *column, int64_t rows, dict texts, double *row_scores) except -1:
    """TEXT, or LENGTH of a text. Known texts are found by their bytes."""
    cdef const char *end = column.data + column.nbytes
    cdef const char *row_at = column.data
    cdef const char *at
    cdef uint32_t length
    cdef int64_t row
    cdef double value
    if feature.place >= column.elements or feature.reading not in (TEXT, LENGTH):
        return 0
    for row in range(rows):
        at = after(row_at, end, feature.place)
        row_at = after(at, end, column.elements - feature.place)
        if end - at < 4:
            return 0
        memcpy(&length, at, 4)
        if length > end - at - 4:
            return 0
        if feature.reading == LENGTH:
            value = length
        elif length == 0:
            value = NAN
        else:
            text = at[4:4 + length]
            value = texts.get(text, -1.0)
            if value < 0 and feature.kept != NULL and len(texts) < MAX_TEXTS:
                value = texts[text] = <double>len(texts)
        row_scores[row] += put(feature, value)
    return 0


cdef inline int above_of(const Feature *feature, double value) noexcept nogil:
    """How many of `at` a finite value is not below."""
    cdef int above = 0
    cdef int half = (feature.edges + 1) >> 1
    while half > 0:
        above += half if feature.at[above + half - 1] <= value else 0
        half >>= 1
    return above


cdef inline int bin_of(const Feature *feature, double value) noexcept nogil:
    cdef int above = above_of(feature, value)
    return exact_bin(feature, above, value) if feature.exact else above


cdef inline int exact_bin(const Feature *feature, int above, double value) noexcept nogil:
    """The bin of a value where bins are values, and so many of them are not above it."""
    return above - 1 if above > 0 and feature.at[above - 1] == value else feature.bins - 1


cdef inline bint is_unusual(const Feature *feature, int bin) noexcept nogil:
    return bin == feature.bins - 1 or (bin == 0 and not feature.exact)


cdef inline double from_centre(const Feature *feature, double value) noexcept nogil:
    return min(max((value - feature.centre) / feature.scale, -FARTHEST), FARTHEST)


cdef inline double put(Feature *feature, double value) noexcept:
    """Counts one value. Returns its score."""
    cdef int bin
    cdef double z
    feature.head.rows += 1
    if feature.head.rows <= feature.kept_rows:
        feature.kept[feature.head.rows - 1] = value
    if not isfinite(value):
        feature.head.missing += 1
        feature.last, feature.unusual = NAN, True
        return feature.scores[feature.bins]
    feature.head.repeats += value == feature.last
    feature.last = value
    bin = bin_of(feature, value)
    feature.unusual = feature.unusual or is_unusual(feature, bin)
    feature.counts[bin] += 1
    z = from_centre(feature, value)
    feature.head.sum += <uint64_t><int64_t>(z * UNIT_)
    feature.head.squares += <uint64_t>(z * z * UNIT_)
    return feature.scores[bin]


cdef Py_ssize_t least_floats(const Part *parts, int n) noexcept nogil:
    """How many elements of a row each request has at least, if all have them as FP32; else 0."""
    cdef Py_ssize_t least = parts[0].column.elements if n > 0 else 0
    cdef int k
    for k in range(n):
        if parts[k].column.data == NULL or parts[k].column.datatype != FP32:
            return 0
        least = min(least, parts[k].column.elements)
    return least


cdef int add_floats(Feature *feature, const Part *parts, int n, double *row_scores) noexcept nogil:
    """As `put` for one element of each row of all requests. The place of the first request with an unusual value; -1: there is none."""
    cdef Head head = feature.head[0]
    cdef const double *scores = feature.scores
    cdef uint64_t *counts = feature.counts
    cdef double last = feature.last
    cdef double centre = feature.centre
    cdef double factor = 1.0 / feature.scale
    cdef int least = 0 if feature.exact else 1  # of bins, the first that is not unusual,
    cdef int most = feature.bins - 2            # and the last
    cdef int unusual = -1
    cdef const char *at
    cdef float narrow
    cdef double value, z
    cdef int64_t row
    cdef int k, bin
    for k in range(n):
        at = parts[k].column.data + feature.place * 4
        for row in range(parts[k].first, parts[k].first + parts[k].rows):
            memcpy(&narrow, at, 4)
            at += parts[k].column.elements * 4
            value = narrow
            head.rows += 1
            if not isfinite(value):
                head.missing += 1
                last, bin = NAN, most + 2
            else:
                head.repeats += value == last
                last = value
                bin = edges_at_or_below(feature.narrow, narrow) if feature.few else above_of(feature, value)
                if least == 0:
                    bin = exact_bin(feature, bin, value)
                counts[bin] += 1
                z = min(max((value - centre) * factor, -FARTHEST), FARTHEST)
                head.sum += <uint64_t><int64_t>(z * UNIT_)
                head.squares += <uint64_t>(z * z * UNIT_)
            row_scores[row] += scores[bin]
            if (bin < least or bin > most) and unusual < 0:
                unusual = k
    feature.head[0] = head
    feature.last = last
    return unusual


cdef void add_scores(Feature *feature, const double *row_scores, int64_t rows) noexcept:
    cdef int64_t row
    for row in range(rows):
        put(feature, row_scores[row])


cdef void add_waves(Feature *feature, const Column *column, int64_t rows) noexcept nogil:
    """cos(w x + phase) of every wave, of WAVE_ROWS rows at most. x: elements evenly spaced, less the centre, over the scale."""
    cdef float[MAX_WAVE_ELEMENTS] x
    cdef Py_ssize_t stride = column.elements * column.itemsize
    cdef int64_t step = (rows + WAVE_ROWS - 1) // WAVE_ROWS
    cdef int64_t row = 0
    cdef const char *at
    cdef const float *weights
    cdef float angle
    cdef int i, wave
    if column.datatype == BYTES or column.elements < feature.wave_elements:
        return
    while row < rows:
        at = column.data + row * stride
        angle = 0.0
        for i in range(feature.wave_elements):
            x[i] = <float>((load(column.datatype, at + i * column.elements // feature.wave_elements * column.itemsize)
                            - feature.centre) / feature.scale)
            angle += x[i]
        feature.head.rows += 1
        if not isfinite(angle):
            feature.head.missing += 1
            feature.unusual = True
        else:
            weights = feature.wave
            for wave in range(feature.waves):
                angle = weights[feature.wave_elements]
                for i in range(feature.wave_elements):
                    angle += weights[i] * x[i]
                angle = cosf(angle)
                feature.counts[wave] += <uint64_t><int64_t>(angle * UNIT_)
                if feature.head.rows <= feature.kept_rows:
                    feature.kept[(feature.head.rows - 1) * feature.waves + wave] = angle
                weights += feature.wave_elements + 1
        row += step


# ---- how features are made ----

def words_of(feature):
    """Words of one feature's counts."""
    return HEAD_WORDS + bins_of(feature)


cdef int bins_of(feature) except -1:
    if feature["reading"] == WAVES:
        return len(feature["waves"])
    return len(feature["at"]) + 1


cdef int fill_feature(Feature *feature, object given) except -1:
    cdef int i
    feature.side, feature.reading = given["side"], given["reading"]
    feature.tensor, feature.place = given["tensor"], given["place"]
    feature.bins, feature.exact = bins_of(given), given["exact"]
    feature.centre, feature.scale = given["centre"], given["scale"]
    feature.last = NAN
    if not (SENT <= feature.side <= WHOLE and ELEMENT <= feature.reading <= SCORE and feature.tensor >= 0 and feature.place >= 0):
        raise ValueError("expected a side, a reading, a tensor and a place, got others")
    if (feature.side == WHOLE) != (feature.reading in (ROW, SCORE)):
        raise ValueError("ROW and SCORE are of all of a request, and no other reading is")
    if feature.bins > MAX_BINS:
        raise ValueError(f"{feature.bins} bins; {<int>MAX_BINS} is the most")
    if not (isfinite(feature.centre) and isfinite(feature.scale) and feature.scale > 0):
        raise ValueError("expected a finite centre, and a finite scale above 0")
    if feature.reading == WAVES:
        return fill_waves(feature, given["waves"])
    at, scores = list(given["at"]), list(given["scores"])
    if any(not low < high for low, high in zip(at, at[1:])) or not all(isfinite(each) for each in [*at, *scores]):
        raise ValueError("expected finite and rising edges, and finite scores")
    if len(scores) != feature.bins + 1:
        raise ValueError(f"expected {feature.bins + 1} scores, got {len(scores)}")
    feature.edges = 1
    while feature.edges < len(at):
        feature.edges = 2 * feature.edges + 1
    feature.at = <double *>calloc(feature.edges, sizeof(double))
    feature.scores = <double *>calloc(len(scores) + 1, sizeof(double))
    if feature.at == NULL or feature.scores == NULL:
        raise MemoryError
    for i in range(feature.edges):
        feature.at[i] = at[i] if i < <int>len(at) else INFINITY
    for i in range(<int>len(scores)):
        feature.scores[i] = scores[i]
    feature.few = len(at) <= EDGES
    for i in range(EDGES):
        feature.narrow[i] = least_float(at[i]) if i < <int>len(at) and feature.few else INFINITY
    return 0


cdef float least_float(double edge) noexcept:
    """The least float that is not below the edge: floats compare with it as with the edge."""
    cdef float narrow = <float>edge
    return narrow if narrow >= edge else nextafterf(narrow, INFINITY)


cdef int fill_waves(Feature *feature, object waves) except -1:
    cdef int i, wave
    feature.waves = <int>len(waves)
    feature.wave_elements = <int>len(waves[0]) - 1 if feature.waves else 0
    if not (0 < feature.waves <= MAX_WAVES and 0 < feature.wave_elements <= MAX_WAVE_ELEMENTS):
        raise ValueError(f"expected 1 to {<int>MAX_WAVES} waves of 1 to {<int>MAX_WAVE_ELEMENTS} elements")
    feature.wave = <float *>calloc(feature.waves * (feature.wave_elements + 1), sizeof(float))
    if feature.wave == NULL:
        raise MemoryError
    for wave in range(feature.waves):
        if len(waves[wave]) != feature.wave_elements + 1:
            raise ValueError("expected waves of equal length")
        for i in range(feature.wave_elements + 1):
            feature.wave[wave * (feature.wave_elements + 1) + i] = waves[wave][i]
    return 0


cdef dict numbered(texts):
    return {text: <double>number for number, text in enumerate(texts)}


cdef uint64_t *words_in(object words) except NULL:
    """The memory of a buffer, which whoever calls keeps."""
    cdef Py_buffer buffer
    cdef uint64_t *found
    PyObject_GetBuffer(words, &buffer, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)
    found = <uint64_t *>buffer.buf
    nbytes = buffer.len
    PyBuffer_Release(&buffer)
    if nbytes != len(words) * 8 or <size_t>found % 8 != 0:
        raise ValueError("expected a buffer of 64-bit words")
    return found
