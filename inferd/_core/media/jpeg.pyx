# cython: language_level=3, boundscheck=False, wraparound=False
# jpeg: JPEG files -> pixels, by libjpeg-turbo, without the GIL.
#
# jpeg_library.h is the library. jpeg_huffman.h reads the codes of sequential files in its place, faster, and leaves unknown and damaged
# files to it. Each file has a decoder of its own: a used one would lend the tables of the file before to a file without any.
# The library's warnings (a file that is cut short, codes that cannot be) are errors here.
# Never in here: Python's memory, EXIF, limits (steps/picture.py).

from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memset

cdef extern from "jpeg_library.h" nogil:
    ctypedef int J_COLOR_SPACE
    enum:
        JCS_GRAYSCALE
        JCS_RGB
        JCS_YCbCr
        JCS_CMYK
        JCS_YCCK
    enum:
        JPEG_DECODED
        JPEG_DAMAGED
        JPEG_NO_MEMORY
        JPEG_OTHER_SIZE
        JPEG_LEFT
    struct jpeg_decompress_struct:
        unsigned int image_height
        unsigned int image_width
        J_COLOR_SPACE jpeg_color_space
    struct jpeg_file:
        jpeg_decompress_struct library
    struct jpeg_huffman:
        pass
    int jpeg_file_open(jpeg_file *file, const unsigned char *source, size_t nbytes)
    int jpeg_file_decode(
        jpeg_file *file, int eighths, J_COLOR_SPACE colors, unsigned char *pixels, size_t height, size_t width, size_t pitch,
        jpeg_huffman *huffman)
    void jpeg_file_close(jpeg_file *file)

cdef struct Header:
    int width
    int height
    int color                   # JCS_...
    Py_ssize_t scans            # passes over the picture: 1, or some ten of a progressive file; 0: its end is missing
    bint whole                  # the library keeps the coefficients of the whole picture
    bint arithmetic             # coded arithmetically, not by Huffman's codes


cpdef enum:                     # who reads the codes
    OURS = 1
    LIBJPEG = 2


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


def header(const unsigned char[::1] data not None):
    cdef Header found
    cdef int status
    with nogil:
        status = read_header(&data[0], data.shape[0], &found)
        if status == JPEG_DECODED:
            look_at_scans(&data[0], data.shape[0], &found)
    if status == JPEG_NO_MEMORY:
        raise MemoryError
    if status != JPEG_DECODED:
        return None
    components = 1 if found.color == JCS_GRAYSCALE else 4 if has_inks(&found) else 3
    return found.height, found.width, found.scans, components, bool(found.whole), bool(found.arithmetic)


def decode(const unsigned char[::1] data not None, unsigned char[:, :, ::1] pixels not None, int readers=OURS | LIBJPEG):
    cdef int status
    if pixels.shape[2] not in (1, 3):
        raise ValueError("pixels: expected UINT8 [height, width, 1 or 3]")
    with nogil:
        status = read_pixels(&data[0], data.shape[0], &pixels[0, 0, 0], pixels.shape[0], pixels.shape[1], <int>pixels.shape[2], readers)
    if status == JPEG_NO_MEMORY:
        raise MemoryError
    if status == JPEG_OTHER_SIZE:
        raise ValueError(f"pixels: {pixels.shape[0]}x{pixels.shape[1]} is no scale of this picture")
    return status == JPEG_DECODED


def scaled_size(Py_ssize_t height, Py_ssize_t width, int eighths):
    return scaled(height, eighths), scaled(width, eighths)


cdef inline Py_ssize_t scaled(Py_ssize_t length, int eighths) noexcept nogil:
    return (length * eighths + 7) // 8


cdef int read_header(const unsigned char *source, Py_ssize_t nbytes, Header *found) noexcept nogil:
    cdef jpeg_file file
    cdef int status
    memset(&file, 0, sizeof(jpeg_file))
    status = jpeg_file_open(&file, source, nbytes)
    if status == JPEG_DECODED:
        status = header_of(&file, found)
    jpeg_file_close(&file)
    return status


cdef int header_of(const jpeg_file *file, Header *found) noexcept nogil:
    found.height = <int>file.library.image_height
    found.width = <int>file.library.image_width
    found.color = file.library.jpeg_color_space
    found.scans = 0
    found.whole = False
    found.arithmetic = False
    if found.color not in (JCS_GRAYSCALE, JCS_RGB, JCS_YCbCr, JCS_CMYK, JCS_YCCK):
        return JPEG_DAMAGED
    return JPEG_DECODED


cdef void look_at_scans(const unsigned char *source, Py_ssize_t nbytes, Header *found) noexcept nogil:
    """Fills in `scans`, `whole` and `arithmetic`. Segments, such as a thumbnail's, are passed over by their lengths. `whole` follows
    libjpeg's own rule (has_multiple_scans), which looks at the first scan alone."""
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
    const unsigned char *source, Py_ssize_t nbytes, unsigned char *pixels, Py_ssize_t height, Py_ssize_t width, int channels, int readers,
) noexcept nogil:
    cdef jpeg_huffman *huffman
    cdef int status = JPEG_LEFT                 # what is damaged to us may be whole to the library
    if readers & OURS:
        huffman = <jpeg_huffman *>malloc(sizeof(jpeg_huffman))
        if huffman == NULL:
            return JPEG_NO_MEMORY
        status = read_pixels_by(huffman, source, nbytes, pixels, height, width, channels)
        free(huffman)
    if status in (JPEG_LEFT, JPEG_DAMAGED) and readers & LIBJPEG:
        status = read_pixels_by(NULL, source, nbytes, pixels, height, width, channels)
    return status


cdef int read_pixels_by(
    jpeg_huffman *huffman, const unsigned char *source, Py_ssize_t nbytes, unsigned char *pixels, Py_ssize_t height, Py_ssize_t width,
    int channels,
) noexcept nogil:
    cdef jpeg_file file
    cdef int status
    memset(&file, 0, sizeof(jpeg_file))
    status = jpeg_file_open(&file, source, nbytes)
    if status == JPEG_DECODED:
        status = decode_open(&file, huffman, pixels, height, width, channels)
    jpeg_file_close(&file)
    return status


cdef int decode_open(
    jpeg_file *file, jpeg_huffman *huffman, unsigned char *pixels, Py_ssize_t height, Py_ssize_t width, int channels,
) noexcept nogil:
    cdef Header found
    cdef unsigned char *inks
    cdef int eighths
    cdef int status = header_of(file, &found)
    if status != JPEG_DECODED:
        return status
    eighths = eighths_of(&found, height, width)
    if eighths == 0:
        return JPEG_OTHER_SIZE
    if not has_inks(&found):
        return jpeg_file_decode(
            file, eighths, JCS_RGB if channels == 3 else JCS_GRAYSCALE, pixels, height, width, width * channels, huffman)
    inks = <unsigned char *>malloc(height * width * 4)
    if inks == NULL:
        return JPEG_NO_MEMORY
    status = jpeg_file_decode(file, eighths, JCS_CMYK, inks, height, width, width * 4, huffman)
    if status == JPEG_DECODED:
        mix(inks, pixels, height * width, channels)
    free(inks)
    return status


cdef inline bint has_inks(const Header *found) noexcept nogil:
    return found.color == JCS_CMYK or found.color == JCS_YCCK


cdef int eighths_of(const Header *found, Py_ssize_t height, Py_ssize_t width) noexcept nogil:
    """The largest scale of that size; 0: there is none."""
    cdef int eighths
    for eighths in range(8, 0, -1):
        if scaled(found.height, eighths) == height and scaled(found.width, eighths) == width:
            return eighths
    return 0


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
