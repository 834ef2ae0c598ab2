# cython: language_level=3, boundscheck=False, wraparound=False
# image: pixels become a tensor in one pass: resized, cut or padded, scaled, laid out. The loops are resize.h's. `flatten` blends
# transparent pixels with a background, and makes colors gray.
# Never in here: file formats, steps, requests. Bytes outside of an array are never read or written, whatever its shape.

from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.string cimport strcmp

cdef extern from "resize.h" nogil:
    enum:
        BILINEAR
        NEAREST
        BICUBIC
        AREA
        BOX
        MAX_TAPS
    const int LARGEST_SIDE "MAX_SIDE"
    const int MOST_CHANNELS "MAX_CHANNELS"
    ctypedef struct AxisTable "Axis":
        size_t nbytes
    ctypedef struct Image:
        const uint8_t *pixels
        int32_t height, width
        int channels
    ctypedef struct Target:
        char *base
        ptrdiff_t row, plane
        int channels, planar, reversed, floating
        float *factors
        float *offsets
    ctypedef int (*Loop)(const Image *, const AxisTable *, const AxisTable *, const Target *) noexcept
    ctypedef struct Level:
        const char *name
        Loop resample, exactly_columns_first, exactly_rows_first, pick
    ctypedef struct Source:
        int32_t in_ "in"
        double origin, span
    int32_t axis_taps(Source source, int32_t resized, int method, int antialias) noexcept
    int axis_fill(AxisTable *table, Source source, int32_t resized, int method, int antialias, int exact, int32_t first,
                  int32_t count) noexcept
    int rows_first(int32_t height, int32_t width, int32_t resized_height, int32_t resized_width) noexcept
    void axis_free(AxisTable *table) noexcept
    const Level *levels_here() noexcept
    void fill_outside(const Target *, int32_t height, int32_t width, int32_t y0, int32_t y1, int32_t x0, int32_t x1, int fill) noexcept

cdef enum:
    KEPT_TABLES = 32            # of one Transform: servers see the same sizes again and again
    KEPT_NBYTES = 1 << 18       # of one table; larger ones are made anew each time

MAX_SIDE = LARGEST_SIDE
MAX_CHANNELS = MOST_CHANNELS
cdef dict methods = {"BILINEAR": BILINEAR, "NEAREST": NEAREST, "BICUBIC": BICUBIC, "AREA": AREA}


def instruction_sets():
    """The names of the sets of instructions that this machine can run, the one that is used first."""
    cdef const Level *level = levels_here()
    cdef list names = []
    while level.name != NULL:
        names.append(level.name.decode())
        level += 1
    return tuple(names)


cdef class Axis:
    """A table of weights, which threads share."""

    cdef AxisTable table        # its memory is this object's

    def __dealloc__(self):
        axis_free(&self.table)


cdef class Pixels:
    """The memory of a C-contiguous array of three axes, held while this lives."""

    cdef Py_buffer view         # shape, format, and where it is
    cdef bint held              # view is to be given back

    def __cinit__(self, array, str what, str datatype, bint writable):
        cdef int flags = PyBUF_FORMAT | PyBUF_C_CONTIGUOUS | (PyBUF_WRITABLE if writable else 0)
        try:
            PyObject_GetBuffer(array, &self.view, flags)
        except (BufferError, TypeError, ValueError) as error:
            kind = "writable array" if writable else "array"
            raise ValueError(f"{what}: expected a C-contiguous {kind}, got {type(array).__name__}") from error
        self.held = True
        if self.view.ndim != 3 or strcmp(self.view.format, b"f" if datatype == "FP32" else b"B") != 0:
            shape = [self.view.shape[axis] for axis in range(self.view.ndim)]
            raise ValueError(f"{what}: expected {datatype} of three axes, got format {self.view.format.decode()!r} of shape {shape}")

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.view)


cdef int32_t checked(object number, str what, int32_t least, int32_t most) except? -1:
    if not least <= number <= most:
        raise ValueError(f"{what}: expected {least} to {most}, got {number}")
    return number


cdef Source source_of(int32_t size, double origin, double span) except *:
    cdef Source source
    if not (origin >= 0 and span > 0 and origin + span <= size):
        raise ValueError(f"box: expected a part of {size} pixels, got {span} from {origin} on")
    source.in_, source.origin, source.span = size, origin, span
    return source


def flatten(pixels, background, out):
    cdef Pixels source = Pixels(pixels, "pixels", "UINT8", False)
    cdef Pixels made = Pixels(out, "out", "UINT8", True)
    cdef int channels = <int>source.view.shape[2]
    cdef uint8_t[3] behind
    cdef int channel
    if channels not in (3, 4) or made.view.shape[2] not in (1, 3):
        raise ValueError(f"expected pixels of 3 or 4 channels and out of 1 or 3, got {channels} and {made.view.shape[2]}")
    if source.view.shape[0] != made.view.shape[0] or source.view.shape[1] != made.view.shape[1]:
        raise ValueError("out: expected the height and width of pixels")
    for channel in range(3):
        behind[channel] = 0 if channels == 3 else checked(background[channel], "background", 0, 255)
    with nogil:
        flatten_all(<const uint8_t *>source.view.buf, channels, behind, <uint8_t *>made.view.buf, <int>made.view.shape[2],
                    source.view.shape[0] * source.view.shape[1])


cdef void flatten_all(const uint8_t *pixel, int channels, const uint8_t *behind, uint8_t *flat, int flat_channels,
                      Py_ssize_t count) noexcept nogil:
    cdef uint8_t[3] color
    cdef uint32_t sum_
    cdef const uint8_t *end = pixel + count * channels
    cdef int channel
    while pixel < end:
        for channel in range(3):
            color[channel] = pixel[channel]
            if channels == 4:
                sum_ = pixel[channel] * pixel[3] + behind[channel] * (255 - pixel[3]) + 128
                color[channel] = <uint8_t>((sum_ + (sum_ >> 8)) >> 8)
        if flat_channels == 1:
            flat[0] = <uint8_t>((color[0] * 19595 + color[1] * 38470 + color[2] * 7471 + 0x8000) >> 16)
        else:
            flat[0], flat[1], flat[2] = color[0], color[1], color[2]
        pixel += channels
        flat += flat_channels


cdef class Transform:
    """One pass from pixels to a tensor: resize, window, affine, layout. Immutable, called from several threads at once.

    size: height and width of the tensor. method: BILINEAR, NEAREST, BICUBIC or AREA, the mean over the covered area.
    antialias: when it shrinks, BILINEAR and BICUBIC look at all that a pixel covers, as Pillow does, or only at its neighbours, as OpenCV
    does. Resized pixels are whole levels, and one level from Pillow's (13 or later) at most; exact: to the bit the same, as BICUBIC's
    always are. AREA is one level from the mean at most; exact: Pillow's BOX, which counts each pixel whole or not at all.
    fill: of what lies outside. factors, offsets: out = x * factor + offset in single precision, one for all of out's channels or one for
    each. datatype: out's, UINT8 or FP32; UINT8 takes factor 1 and offset 0 only. channels_first: out is [channels, height, width].
    reverse_channels: out's first channel is the last of the pixels. instruction_set: one of instruction_sets(), all of which give the same.
    Raises ValueError.
    """

    cdef tuple size             # height and width of out
    cdef int channels           # of pixels and of out
    cdef str datatype           # of out
    cdef const Level *level     # the loops
    cdef Target target          # of an out at address 0
    cdef int32_t height         # of out
    cdef int32_t width          # of out
    cdef int method             # as resize.h counts them
    cdef bint antialias
    cdef bint exact             # always by Pillow's recipe
    cdef int fill               # 0 to 255
    cdef dict tables            # (size, origin, span, resized, method, exact, first, count) -> Axis, oldest first; KEPT_TABLES at most

    def __cinit__(self, size, *, int channels, str method="BILINEAR", bint antialias=True, bint exact=False, int fill=0, factors=(1.0,),
                  offsets=(0.0,), str datatype="UINT8", bint channels_first=False, bint reverse_channels=False, str instruction_set=""):
        cdef int channel
        height, width = size
        self.height = checked(height, "height", 1, MAX_SIDE)
        self.width = checked(width, "width", 1, MAX_SIDE)
        self.size = (self.height, self.width)
        if channels not in (1, 3, 4):
            raise ValueError(f"channels: expected 1, 3 or 4, got {channels}")
        if method not in methods:
            raise ValueError(f"method: expected one of {', '.join(methods)}, got {method!r}")
        if datatype not in ("UINT8", "FP32"):
            raise ValueError(f"datatype: expected UINT8 or FP32, got {datatype!r}")
        if exact and not antialias and method in ("BILINEAR", "BICUBIC"):
            raise ValueError("exact: Pillow antialiases always, so it cannot be exact without")
        factors, offsets = tuple(factors), tuple(offsets)
        for name, numbers in (("factors", factors), ("offsets", offsets)):
            if len(numbers) not in (1, channels):
                raise ValueError(f"{name}: expected 1 or {channels} numbers, got {len(numbers)}")
        if datatype == "UINT8" and (set(factors) != {1.0} or set(offsets) != {0.0}):
            raise ValueError("datatype: UINT8 takes factor 1 and offset 0 only")
        self.channels = self.target.channels = channels
        self.datatype = datatype
        self.method = BOX if exact and method == "AREA" else <int>methods[method]
        self.antialias = antialias
        self.exact = exact or self.method == BICUBIC
        self.fill = checked(fill, "fill", 0, 255)
        self.target.planar = channels_first
        self.target.reversed = reverse_channels
        self.target.floating = datatype == "FP32"
        self.target.row = self.width if channels_first else <ptrdiff_t>self.width * channels
        self.target.plane = <ptrdiff_t>self.height * self.width
        for channel in range(channels):
            self.target.factors[channel] = factors[channel % len(factors)]
            self.target.offsets[channel] = offsets[channel % len(offsets)]
        self.level = levels_here()
        while instruction_set and self.level.name != instruction_set.encode():
            self.level += 1
            if self.level.name == NULL:
                raise ValueError(f"instruction_set: expected one of {', '.join(instruction_sets())}, got {instruction_set!r}")
        self.tables = {}

    def apply(self, pixels, out, resized, corner=(0, 0), box=None):
        """pixels: UINT8 [height, width, channels] -> out, whose shape and datatype are the constructor's; both C-contiguous, apart.

        R is the `box` of pixels (top, left, height and width, fractions included; None: all of them), resized to
        `resized` (height, width). out[y, x] = affine(R[y + corner[0], x + corner[1]]) where that lies in R, else affine(fill). A centre
        crop has a positive corner, a letterbox a negative one. Only the window is computed.
        Sides are at most MAX_SIDE, corners from -MAX_SIDE to MAX_SIDE. The GIL is released. Raises ValueError, and MemoryError.
        """
        cdef Pixels source = Pixels(pixels, "pixels", "UINT8", False)
        cdef Pixels made = Pixels(out, "out", self.datatype, True)
        cdef Axis rows = None
        cdef Axis columns = None
        cdef Target target = self.target
        cdef Loop loop = self.level.pick
        cdef Image image
        cdef int32_t height = checked(resized[0], "resized", 1, MAX_SIDE)
        cdef int32_t width = checked(resized[1], "resized", 1, MAX_SIDE)
        cdef int32_t top = checked(corner[0], "corner", -MAX_SIDE, MAX_SIDE)
        cdef int32_t left = checked(corner[1], "corner", -MAX_SIDE, MAX_SIDE)
        # The window's part that lies in R: rows y0 to y1 and columns x0 to x1 of out; empty where they do not meet.
        cdef int32_t y0 = max(0, -top)
        cdef int32_t x0 = max(0, -left)
        cdef int32_t y1 = min(self.height, height - top)
        cdef int32_t x1 = min(self.width, width - left)
        cdef int method = self.method
        cdef bint exact = self.exact
        cdef int status = 0
        cdef bint meets = y0 < y1 and x0 < x1
        cdef Source down, across
        image.pixels = <const uint8_t *>source.view.buf
        image.height = checked(source.view.shape[0], "pixels' height", 1, MAX_SIDE)
        image.width = checked(source.view.shape[1], "pixels' width", 1, MAX_SIDE)
        image.channels = self.channels
        self.check_shapes(source, made)
        box = (0, 0, image.height, image.width) if box is None else box
        down = source_of(image.height, box[0], box[2])
        across = source_of(image.width, box[1], box[3])
        if height == down.span and width == across.span and down.origin == <int32_t>down.origin and across.origin == <int32_t>across.origin:
            method = NEAREST
        elif method != NEAREST and not exact:
            exact = (axis_taps(down, height, method, self.antialias) > MAX_TAPS
                     or axis_taps(across, width, method, self.antialias) > MAX_TAPS)
        if meets:
            rows = self.table_of(down, height, method, exact, y0 + top, y1 - y0)
            columns = self.table_of(across, width, method, exact, x0 + left, x1 - x0)
            if method != NEAREST and not exact:
                loop = self.level.resample
            elif method != NEAREST and rows_first(image.height, image.width, height, width):
                loop = self.level.exactly_rows_first
            elif method != NEAREST:
                loop = self.level.exactly_columns_first
        else:
            y0 = y1 = 0
        target.base = <char *>made.view.buf
        with nogil:
            if y1 - y0 < self.height or x1 - x0 < self.width:
                fill_outside(&target, self.height, self.width, y0, y1, x0, x1, self.fill)
            if meets:
                target.base += (y0 * target.row + x0 * (1 if target.planar else target.channels)) * (4 if target.floating else 1)
                status = loop(&image, &rows.table, &columns.table, &target)
        if status != 0:
            raise MemoryError

    cdef int check_shapes(self, Pixels source, Pixels made) except -1:
        expected = (self.channels, *self.size) if self.target.planar else (*self.size, self.channels)
        shape = tuple([made.view.shape[axis] for axis in range(3)])
        if shape != expected:
            raise ValueError(f"out: expected shape {expected}, got {shape}")
        if source.view.shape[2] != self.channels:
            raise ValueError(f"pixels: expected {self.channels} channels, got {source.view.shape[2]}")
        return 0

    cdef Axis table_of(self, Source source, int32_t resized, int method, bint exact, int32_t first, int32_t count):
        """The weights of `count` outputs from `first` on. Under the GIL; each run holds a reference to its tables."""
        cdef tuple key = (source.in_, source.origin, source.span, resized, method, exact, first, count)
        cdef Axis axis = self.tables.get(key)
        if axis is None:
            axis = Axis()
            if axis_fill(&axis.table, source, resized, method, self.antialias, exact, first, count) != 0:
                raise MemoryError
            if axis.table.nbytes <= KEPT_NBYTES:
                while len(self.tables) >= KEPT_TABLES:
                    del self.tables[next(iter(self.tables))]
                self.tables[key] = axis
        return axis
