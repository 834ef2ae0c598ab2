# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""boxes: a detector's FP32 output -> the best box of each object. Decoding, threshold, non-maximum suppression within each class.

The work over one image is bounded: all boxes are looked at once, and MAX_CANDIDATES of them, the best, against what is kept at most. It
runs without the GIL. Never in here: what an image is, scaling of coordinates, labels.
"""

from libc.math cimport INFINITY, isfinite
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.stdlib cimport free, malloc

from inferd._core.media.scores cimport INT64_FORMAT, Lent, Scores, index_of_key, lend, score_key, scores_here, sift_down

import numpy

cdef enum:
    BLOCK = 256             # columns whose best class is looked for together: their scores stay in the first cache
    CANDIDATES = 4096       # boxes of one image that enter the suppression, best first
    LAYOUT_COUNT = 3

cdef enum Layout:           # DetectBoxes.Layout
    CENTER_CLASSES = 0
    CENTER_OBJECTNESS_CLASSES = 1
    CORNERS_SCORE_CLASS = 2

MAX_CANDIDATES = CANDIDATES

cdef Py_ssize_t MAX_SIZE = 0x7FFFFFFF   # boxes and classes: places have 31 bits
cdef const Scores *scores = scores_here(False)
cdef object zeros = numpy.zeros
cdef object single = numpy.dtype("f4")
cdef object whole = numpy.dtype("i8")
cdef object small = numpy.dtype("i4")

cdef struct Grid:               # one image's output
    const float *data           # the value v of box b is at b * box_step + v * value_step
    Py_ssize_t box_step
    Py_ssize_t value_step
    Py_ssize_t image_step       # from one image to the next
    Py_ssize_t boxes
    Py_ssize_t classes          # of the layouts that have a score of each
    int layout

cdef struct Rules:
    float score_threshold       # only what scores more
    float overlap_threshold     # what overlaps a better box of its class by more is left out
    Py_ssize_t max_boxes

cdef struct Corners:
    float x1
    float y1
    float x2
    float y2

cdef struct Found:              # where the results of one image go
    Corners *boxes
    float *scores
    int64_t *classes


cdef inline bint corners_of(const Grid *grid, Py_ssize_t box, Corners *corners) noexcept nogil:
    """Whether the box is one: finite, no side negative. Sizes are taken in FP64, so that none overflows."""
    cdef const float *at = grid.data + box * grid.box_step
    cdef double a = at[0], b = at[grid.value_step], c = at[2 * grid.value_step], d = at[3 * grid.value_step]
    if grid.layout == CORNERS_SCORE_CLASS:
        corners.x1, corners.y1, corners.x2, corners.y2 = <float>a, <float>b, <float>c, <float>d
    else:
        if not (c >= 0 and d >= 0):
            return False
        corners.x1, corners.y1 = narrow(a - c / 2), narrow(b - d / 2)
        corners.x2, corners.y2 = narrow(a + c / 2), narrow(b + d / 2)
    return (isfinite(corners.x1) and isfinite(corners.y1) and isfinite(corners.x2) and isfinite(corners.y2)
            and corners.x2 >= corners.x1 and corners.y2 >= corners.y1)


cdef inline float narrow(double x) noexcept nogil:
    """FP32; infinity for what is too large, which C leaves open."""
    if -3.4028235e38 <= x <= 3.4028235e38:
        return <float>x
    return INFINITY


cdef inline bint overlap(const Corners *a, const Corners *b, double threshold) noexcept nogil:
    """Whether the intersection is more than that part of the union. Boxes without area overlap nothing."""
    cdef double width = min(<double>a.x2, <double>b.x2) - max(<double>a.x1, <double>b.x1)
    cdef double height = min(<double>a.y2, <double>b.y2) - max(<double>a.y1, <double>b.y1)
    cdef double common
    if width <= 0 or height <= 0:
        return False
    common = width * height
    return common > threshold * (area(a) + area(b) - common)


cdef inline double area(const Corners *box) noexcept nogil:
    return (<double>box.x2 - <double>box.x1) * (<double>box.y2 - <double>box.y1)


cdef void scores_of(const Grid *grid, Py_ssize_t first, Py_ssize_t count, float *best, int32_t *classes) noexcept nogil:
    """Score and class of `count` boxes, BLOCK at most; -infinity or NaN where a box has none."""
    cdef const float *at = grid.data + first * grid.box_step
    cdef const float *of_classes = at + (5 if grid.layout == CENTER_OBJECTNESS_CLASSES else 4) * grid.value_step
    cdef Py_ssize_t i
    if grid.layout == CORNERS_SCORE_CLASS:
        for i in range(count):
            best[i] = at[i * grid.box_step + 4 * grid.value_step]
            classes[i] = class_of(at[i * grid.box_step + 5 * grid.value_step])
            if classes[i] < 0:
                best[i] = -INFINITY
    elif grid.box_step == 1:
        scores.best_of_columns(of_classes, <size_t>grid.value_step, <size_t>count, <size_t>grid.classes, best, classes)
    else:
        for i in range(count):
            best[i] = scores.largest(of_classes + i * grid.box_step, <size_t>grid.classes)
            classes[i] = -1                 # looked for where the score is good enough
    if grid.layout == CENTER_OBJECTNESS_CLASSES:
        for i in range(count):
            if best[i] > -INFINITY:         # else no class has a score, at any objectness
                best[i] *= at[i * grid.box_step + 4 * grid.value_step]


cdef inline int32_t class_of(float value) noexcept nogil:
    """-1 where it is none: NaN, negative, beyond 31 bits."""
    return <int32_t>value if 0 <= value < 2147483648.0 else -1


cdef int32_t first_best(const Grid *grid, Py_ssize_t box) noexcept nogil:
    """The first class that has the best score; there is one."""
    cdef const float *at = grid.data + box * grid.box_step
    cdef int32_t i, best = 0
    at += (5 if grid.layout == CENTER_OBJECTNESS_CLASSES else 4) * grid.value_step
    for i in range(1, <int32_t>grid.classes):
        if not at[i * grid.value_step] <= at[best * grid.value_step] and at[i * grid.value_step] == at[i * grid.value_step]:
            best = i                        # larger, or the first that is not NaN
    return best


cdef Py_ssize_t candidates_of(const Grid *grid, const Rules *rules, uint64_t *keys, int32_t *classes) noexcept nogil:
    """The boxes that score enough -> how many; their keys, inverted so that the best is the least, as a heap. classes: of each box."""
    cdef float[BLOCK] best
    cdef Corners corners
    cdef Py_ssize_t first = 0, i, count, found = 0
    while first < grid.boxes:
        count = min(<Py_ssize_t>BLOCK, grid.boxes - first)
        scores_of(grid, first, count, best, classes + first)
        for i in range(count):
            if best[i] > rules.score_threshold and corners_of(grid, first + i, &corners):
                keys[found] = ~score_key(best[i], <size_t>(first + i))
                found += 1
        first += count
    for i in range(found // 2 - 1, -1, -1):
        sift_down(keys, <size_t>found, <size_t>i)
    return found


cdef Py_ssize_t suppress(const Grid *grid, const Rules *rules, uint64_t *keys, int32_t *classes, Py_ssize_t left,
                         Found *found) noexcept nogil:
    """Takes the candidates from the heap, best first, and keeps those that no better one of their class covers -> how many."""
    cdef Corners corners
    cdef Py_ssize_t kept = 0, taken = 0, box, i
    cdef int32_t kind
    while left > 0 and taken < CANDIDATES and kept < rules.max_boxes:
        box = <Py_ssize_t>index_of_key(~keys[0])
        left -= 1
        taken += 1
        if classes[box] < 0:
            classes[box] = first_best(grid, box)
        kind = classes[box]
        corners_of(grid, box, &corners)
        for i in range(kept):
            if found.classes[i] == kind and overlap(&found.boxes[i], &corners, rules.overlap_threshold):
                break
        else:
            found.boxes[kept] = corners
            found.scores[kept] = score_at(grid, box, kind)
            found.classes[kept] = kind
            kept += 1
        keys[0] = keys[left]
        sift_down(keys, <size_t>left, 0)
    return kept


cdef inline float score_at(const Grid *grid, Py_ssize_t box, int32_t kind) noexcept nogil:
    cdef const float *at = grid.data + box * grid.box_step
    if grid.layout == CORNERS_SCORE_CLASS:
        return at[4 * grid.value_step]
    if grid.layout == CENTER_CLASSES:
        return at[(4 + kind) * grid.value_step]
    return at[(5 + kind) * grid.value_step] * at[4 * grid.value_step]


cdef int detect_all(Grid *grid, const Rules *rules, Py_ssize_t images, Found *found, int32_t *counts) noexcept nogil:
    """-> 0, or -1 where there is no memory."""
    cdef uint64_t *keys = <uint64_t *>malloc(<size_t>grid.boxes * (sizeof(uint64_t) + sizeof(int32_t)) + 1)
    cdef int32_t *classes
    cdef Py_ssize_t image, candidates
    if keys == NULL:
        return -1
    classes = <int32_t *>(keys + grid.boxes)
    for image in range(images):
        candidates = candidates_of(grid, rules, keys, classes)
        counts[image] = <int32_t>suppress(grid, rules, keys, classes, candidates, found)
        grid.data += grid.image_step
        found.boxes += rules.max_boxes
        found.scores += rules.max_boxes
        found.classes += rules.max_boxes
    free(keys)
    return 0


cdef int fill_grid(object array, int layout, bint transposed, Grid *grid) except -1:
    """-> grid of the first image. Raises ValueError where the array is none of that layout."""
    cdef Lent source
    cdef Py_ssize_t values
    if not 0 <= layout < LAYOUT_COUNT:
        raise ValueError(f"expected a layout from 0 to {LAYOUT_COUNT - 1}, got {layout}")
    lend(array, b"f", False, &source)
    grid.boxes, values = (source.sizes[2], source.sizes[1]) if transposed else (source.sizes[1], source.sizes[2])
    grid.classes = 1 if layout == CORNERS_SCORE_CLASS else values - (4 if layout == CENTER_CLASSES else 5)
    if source.rank != 3 or grid.classes < 1 or grid.classes > MAX_SIZE or grid.boxes > MAX_SIZE \
            or (layout == CORNERS_SCORE_CLASS and values != 6):
        raise ValueError(f"no boxes of layout {layout} are in an array of shape {list(array.shape)}{', transposed' if transposed else ''}")
    grid.data = <const float *>source.data
    grid.box_step = 1 if transposed else values
    grid.value_step = grid.boxes if transposed else 1
    grid.image_step = grid.boxes * values
    grid.layout = layout
    return 0


def detect_boxes(array, int layout, bint transposed, float score_threshold, float overlap_threshold, Py_ssize_t max_boxes):
    cdef Grid grid
    cdef Rules rules
    cdef Found found
    cdef Lent lent
    cdef int32_t *filled
    cdef Py_ssize_t images
    cdef int status
    fill_grid(array, layout, transposed, &grid)
    if not 1 <= max_boxes <= CANDIDATES:
        raise ValueError(f"expected max_boxes from 1 to {CANDIDATES}, got {max_boxes}")
    images = array.shape[0]
    rules.score_threshold, rules.overlap_threshold, rules.max_boxes = score_threshold, overlap_threshold, max_boxes
    boxes, best = zeros((images, max_boxes, 4), single), zeros((images, max_boxes), single)
    classes, counts = zeros((images, max_boxes), whole), zeros((images, 1), small)
    lend(boxes, b"f", True, &lent)
    found.boxes = <Corners *>lent.data
    lend(best, b"f", True, &lent)
    found.scores = <float *>lent.data
    lend(classes, INT64_FORMAT(), True, &lent)
    found.classes = <int64_t *>lent.data
    lend(counts, b"i", True, &lent)
    filled = <int32_t *>lent.data
    with nogil:
        status = detect_all(&grid, &rules, images, &found, filled)
    if status < 0:
        raise MemoryError
    return boxes, best, classes, counts
