# jpeg: JPEG files -> pixels, by libturbojpeg, without the GIL. Built only where pkg-config finds that library.
#
# It speaks the TurboJPEG 2 interface, which libjpeg-turbo 3 has, too. Each file has a decoder of its own: one that is used again would
# keep the tables of the file before, and lend them to a file that comes without. What the library only warns of (a file that is cut
# short, codes that cannot be) is an error here. Never in here: Python's memory, EXIF, limits (steps/picture.py).

from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdlib cimport free, malloc
from libc.string cimport memchr

cdef extern from "turbojpeg.h" nogil:
    ctypedef void *tjhandle
    enum:
        TJPF_RGB
        TJPF_GRAY
        TJPF_CMYK
        TJCS_RGB
        TJCS_YCbCr
        TJCS_GRAY
        TJCS_CMYK
        TJCS_YCCK
        TJERR_WARNING
        TJFLAG_STOPONWARNING
        TJFLAG_LIMITSCANS
    tjhandle tjInitDecompress()
    int tjDecompressHeader3(
        tjhandle handle, const unsigned char *source, unsigned long nbytes, int *width, int *height, int *sampling, int *color)
    int tjDecompress2(
        tjhandle handle, const unsigned char *source, unsigned long nbytes, unsigned char *pixels,
        int width, int pitch, int height, int order, int flags)
    int tjGetErrorCode(tjhandle handle)
    int tjDestroy(tjhandle handle)

cdef enum:
    DECODED = 0
    DAMAGED = 1                 # not a picture, cut short, or with codes that cannot be
    NO_MEMORY = 2
    OTHER_SIZE = 3              # the picture has no scale of that size

cdef struct Header:
    int width
    int height
    int color                   # TJCS_...
    Py_ssize_t scans            # passes over the picture: 1, or some ten of a progressive file; 0: its end is missing
    bint whole                  # the library keeps the coefficients of the whole picture
    bint arithmetic             # coded arithmetically, not by Huffman's codes


cdef enum Marker:               # the byte behind 0xFF
    STUFFED = 0x00              # none: the data of a scan has a 0xFF there
    TEMPORARY = 0x01            # without a length, as the next three
    FIRST_FRAME = 0xC0          # the four bits below: how the picture is coded, or one of the next three
    HUFFMAN_TABLES = 0xC4
    RESERVED = 0xC8
    ARITHMETIC_TABLES = 0xCC
    LAST_FRAME = 0xCF
    FIRST_RESTART = 0xD0
    LAST_RESTART = 0xD7
    START_OF_IMAGE = 0xD8
    END_OF_IMAGE = 0xD9
    START_OF_SCAN = 0xDA
    FILLING = 0xFF

cdef enum:
    MOST_SEGMENTS = 1000        # as in steps/picture_file.py
    PROGRESSIVE = 2             # the two bits of a frame's marker that say so


def header(data not None):
    """(height, width, scans, components, whole, arithmetic) of a JPEG file; None where its head cannot be read, or not without a warning.

    scans: how many passes over the picture its data makes, each of which costs time, whatever the file's size; 0 where the file does not
    come to the end of the image. components: 1 gray, 3 colors, or 4 inks. whole: the library keeps 2 bytes of each component of each
    pixel while it decodes, at whatever scale. arithmetic: its data is coded so, as far as its segments can be read.
    """
    cdef Py_buffer source
    cdef Header found
    cdef int status
    PyObject_GetBuffer(data, &source, PyBUF_SIMPLE)
    try:
        with nogil:
            status = read_header(<const unsigned char *>source.buf, source.len, &found)
            if status == DECODED:
                look_at_scans(<const unsigned char *>source.buf, source.len, &found)
    finally:
        PyBuffer_Release(&source)
    if status == NO_MEMORY:
        raise MemoryError
    if status != DECODED:
        return None
    components = 1 if found.color == TJCS_GRAY else 4 if has_inks(&found) else 3
    return found.height, found.width, found.scans, components, bool(found.whole), bool(found.arithmetic)


def decode(data not None, pixels not None):
    """Decodes a JPEG file into `pixels`, writable UINT8 [height, width, 1 or 3], C-contiguous: gray (its luma), or red, green, blue.

    height and width are the file's, or that of any number of eighths of it, see scaled_size. False: the file is damaged or cut short,
    and `pixels` holds anything. The GIL is released meanwhile. Raises ValueError for another size.
    """
    cdef Py_buffer source, out
    cdef int status
    PyObject_GetBuffer(pixels, &out, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)
    try:
        if out.ndim != 3 or out.itemsize != 1 or out.shape[2] not in (1, 3):
            raise ValueError("pixels: expected UINT8 [height, width, 1 or 3]")
        PyObject_GetBuffer(data, &source, PyBUF_SIMPLE)
        try:
            with nogil:
                status = read_pixels(
                    <const unsigned char *>source.buf, source.len, <unsigned char *>out.buf, out.shape[0], out.shape[1],
                    <int>out.shape[2])
        finally:
            PyBuffer_Release(&source)
    finally:
        PyBuffer_Release(&out)
    if status == NO_MEMORY:
        raise MemoryError
    if status == OTHER_SIZE:
        raise ValueError(f"pixels: {out.shape[0]}x{out.shape[1]} is no scale of this picture")
    return status == DECODED


def scaled_size(Py_ssize_t height, Py_ssize_t width, int eighths):
    """(height, width) of a picture that is decoded at so many eighths of its size."""
    return scaled(height, eighths), scaled(width, eighths)


cdef inline Py_ssize_t scaled(Py_ssize_t length, int eighths) noexcept nogil:
    return (length * eighths + 7) // 8


cdef int read_header(const unsigned char *source, Py_ssize_t nbytes, Header *found) noexcept nogil:
    cdef tjhandle decoder = tjInitDecompress()
    cdef int status
    if decoder == NULL:
        return NO_MEMORY
    status = read_header_by(decoder, source, nbytes, found)
    tjDestroy(decoder)
    return status


cdef int read_header_by(tjhandle decoder, const unsigned char *source, Py_ssize_t nbytes, Header *found) noexcept nogil:
    cdef int sampling = -1
    found.width = found.height = 0
    found.color = -1
    found.scans = 0
    found.whole = False
    found.arithmetic = False
    if nbytes <= 0:
        return DAMAGED
    # It calls files wrong whose sampling has no name in its interface, and decodes them well: what counts is whether all is known.
    if tjDecompressHeader3(decoder, source, <unsigned long>nbytes, &found.width, &found.height, &sampling, &found.color) != 0:
        if tjGetErrorCode(decoder) == TJERR_WARNING:
            return DAMAGED
    if found.width < 1 or found.height < 1 or found.color < 0:
        return DAMAGED
    return DECODED


cdef void look_at_scans(const unsigned char *source, Py_ssize_t nbytes, Header *found) noexcept nogil:
    """Fills in `scans`, `whole` and `arithmetic`. What segments hold, such as a thumbnail, is passed over by their lengths.

    jpeg_scans of steps/picture_file.py is the same where this module is missing. `whole` is so by libjpeg's own rule
    (has_multiple_scans), which looks at no scan but the first.
    """
    cdef const unsigned char *at = source + 2
    cdef const unsigned char *end = source + nbytes - 1     # a marker has two bytes
    cdef Py_ssize_t scans = 0
    cdef Py_ssize_t length
    cdef int _segment
    cdef int components = 0                                 # of the frame
    cdef bint progressive = False
    for _segment in range(MOST_SEGMENTS):
        at = next_marker(at, end)
        if at == NULL or at[0] == START_OF_IMAGE:
            return
        if at[0] == END_OF_IMAGE:
            found.scans = scans
            return
        length = at[1] << 8 | at[2] if end - at >= 2 else 0 # it has two bytes, and counts them
        if length < 2 or length > end - at:
            return
        if is_frame(at[0]) and at[0] > RESERVED:
            found.arithmetic = True
        if is_frame(at[0]) and length >= 8:
            progressive = at[0] & 3 == PROGRESSIVE
            components = at[8]                              # behind the precision, the height and the width
        elif at[0] == START_OF_SCAN:
            scans += 1
            if scans == 1:
                found.whole = progressive or (length > 2 and at[3] < components)
        at += 1 + length


cdef inline const unsigned char *next_marker(const unsigned char *at, const unsigned char *end) noexcept nogil:
    """The byte behind the 0xFF of the next marker that means something; NULL where there is none."""
    while at < end:
        at = <const unsigned char *>memchr(at, FILLING, end - at)
        if at == NULL:
            return NULL
        at += 1
        if at[0] != STUFFED and at[0] != TEMPORARY and at[0] != FILLING and not FIRST_RESTART <= at[0] <= LAST_RESTART:
            return at
    return NULL


cdef inline bint is_frame(unsigned char marker) noexcept nogil:
    return FIRST_FRAME <= marker <= LAST_FRAME and marker not in (HUFFMAN_TABLES, RESERVED, ARITHMETIC_TABLES)


cdef int read_pixels(
    const unsigned char *source, Py_ssize_t nbytes, unsigned char *pixels, Py_ssize_t height, Py_ssize_t width, int channels,
) noexcept nogil:
    cdef tjhandle decoder = tjInitDecompress()
    cdef int status
    if decoder == NULL:
        return NO_MEMORY
    status = read_pixels_by(decoder, source, nbytes, pixels, height, width, channels)
    tjDestroy(decoder)
    return status


cdef int read_pixels_by(
    tjhandle decoder, const unsigned char *source, Py_ssize_t nbytes, unsigned char *pixels, Py_ssize_t height, Py_ssize_t width,
    int channels,
) noexcept nogil:
    cdef Header found
    cdef unsigned char *inks
    cdef int status = read_header_by(decoder, source, nbytes, &found)
    if status != DECODED:
        return status
    # The library takes the largest scale that fits into what it is given: only an exact fit fills all of it.
    if not is_scale(&found, height, width):
        return OTHER_SIZE
    if not has_inks(&found):
        return decompress(decoder, source, nbytes, pixels, height, width, TJPF_RGB if channels == 3 else TJPF_GRAY, channels)
    inks = <unsigned char *>malloc(height * width * 4)
    if inks == NULL:
        return NO_MEMORY
    status = decompress(decoder, source, nbytes, inks, height, width, TJPF_CMYK, 4)
    if status == DECODED:
        mix(inks, pixels, height * width, channels)
    free(inks)
    return status


cdef inline bint has_inks(const Header *found) noexcept nogil:
    return found.color == TJCS_CMYK or found.color == TJCS_YCCK


cdef bint is_scale(const Header *found, Py_ssize_t height, Py_ssize_t width) noexcept nogil:
    cdef int eighths
    for eighths in range(1, 9):
        if scaled(found.height, eighths) == height and scaled(found.width, eighths) == width:
            return True
    return False


cdef int decompress(
    tjhandle decoder, const unsigned char *source, Py_ssize_t nbytes, unsigned char *pixels, Py_ssize_t height, Py_ssize_t width,
    int order, int channels,
) noexcept nogil:
    cdef int status = tjDecompress2(
        decoder, source, <unsigned long>nbytes, pixels, <int>width, <int>width * channels, <int>height, order,
        TJFLAG_STOPONWARNING | TJFLAG_LIMITSCANS)
    return DECODED if status == 0 else DAMAGED


cdef void mix(const unsigned char *inks, unsigned char *pixels, Py_ssize_t count, int channels) noexcept nogil:
    """Cyan, magenta, yellow, black as Adobe writes them (255: no ink) -> red, green, blue, or gray: Pillow's own arithmetic."""
    cdef Py_ssize_t i
    cdef unsigned int red, green, blue
    for i in range(count):
        red = lit(inks[4 * i], inks[4 * i + 3])
        green = lit(inks[4 * i + 1], inks[4 * i + 3])
        blue = lit(inks[4 * i + 2], inks[4 * i + 3])
        if channels == 3:
            pixels[3 * i] = <unsigned char>red
            pixels[3 * i + 1] = <unsigned char>green
            pixels[3 * i + 2] = <unsigned char>blue
        else:
            pixels[i] = <unsigned char>((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16)


cdef inline unsigned int lit(unsigned int ink, unsigned int black) noexcept nogil:
    """How much light an ink and the black leave: black - black * (255 - ink) / 255, rounded."""
    cdef unsigned int taken = black * (255 - ink) + 128
    return black - (((taken >> 8) + taken) >> 8)
