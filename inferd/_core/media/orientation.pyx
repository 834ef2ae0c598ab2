# cython: language_level=3, boundscheck=False, wraparound=False
# orientation: pictures turned and mirrored as EXIF's orientation says, in one pass, without the GIL. Never in here: EXIF itself
# (steps/exif.py), decoding.

cdef enum:
    BLOCK = 32                  # pixels of a side: what is read across rows stays in the first cache meanwhile


def orient(const unsigned char[:, :, ::1] pixels not None, unsigned char[:, :, ::1] out not None, int orientation):
    cdef int down = 0 if orientation < 5 else 1         # the axis of the source that runs down in the target
    if not 1 <= orientation <= 8:
        raise ValueError(f"orientation: expected 1 to 8, got {orientation}")
    if pixels.shape[2] not in (1, 3):
        raise ValueError("pixels: expected UINT8 [height, width, 1 or 3]")
    if out.shape[2] != pixels.shape[2]:
        raise ValueError("out: expected UINT8 with the channels of pixels")
    if out.shape[0] != pixels.shape[down] or out.shape[1] != pixels.shape[1 - down]:
        raise ValueError("out: its height and width are not those of the upright picture")
    if pixels.shape[0] == 0 or pixels.shape[1] == 0:
        return
    with nogil:
        turn(&pixels[0, 0, 0], &out[0, 0, 0], pixels.shape[0], pixels.shape[1], pixels.shape[2], orientation)


cdef void turn(
    const unsigned char *source, unsigned char *out, Py_ssize_t height, Py_ssize_t width, Py_ssize_t channels, int orientation,
) noexcept nogil:
    """A pixel down and a pixel right in `out` are so many bytes on in `source`, where its first pixel is out's first one's."""
    cdef Py_ssize_t row = width * channels
    cdef bint mirrored = orientation in (2, 3, 7, 8)    # begins on the right
    cdef bint upside_down = orientation in (3, 4, 6, 7)     # begins at the bottom
    cdef Py_ssize_t sideways = -channels if mirrored else channels
    cdef Py_ssize_t along = -row if upside_down else row
    if mirrored:
        source += row - channels
    if upside_down:
        source += (height - 1) * row
    if orientation < 5:
        gather(source, out, height, width, along, sideways, channels)
    else:
        gather(source, out, width, height, sideways, along, channels)


cdef void gather(
    const unsigned char *source, unsigned char *out, Py_ssize_t height, Py_ssize_t width, Py_ssize_t down, Py_ssize_t right,
    Py_ssize_t channels,
) noexcept nogil:
    cdef Py_ssize_t top = 0
    cdef Py_ssize_t left, y, bottom, count
    while top < height:
        bottom = min(top + BLOCK, height)
        left = 0
        while left < width:
            count = min(<Py_ssize_t>BLOCK, width - left)
            for y in range(top, bottom):
                if channels == 3:
                    gather_colors(source + y * down + left * right, out + (y * width + left) * 3, count, right)
                else:
                    gather_grays(source + y * down + left * right, out + y * width + left, count, right)
            left += BLOCK
        top = bottom


cdef inline void gather_colors(const unsigned char *source, unsigned char *out, Py_ssize_t count, Py_ssize_t right) noexcept nogil:
    cdef Py_ssize_t x
    for x in range(count):
        out[3 * x] = source[x * right]
        out[3 * x + 1] = source[x * right + 1]
        out[3 * x + 2] = source[x * right + 2]


cdef inline void gather_grays(const unsigned char *source, unsigned char *out, Py_ssize_t count, Py_ssize_t right) noexcept nogil:
    cdef Py_ssize_t x
    for x in range(count):
        out[x] = source[x * right]
