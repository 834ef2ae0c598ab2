# webp: WebP files -> pixels, by libwebp, without the GIL.
#
# A still picture is decoded in one call, straight into the caller's memory. Damaged and cut files are errors.
# Never in here: Python's memory, the meaning of chunks (steps/picture_file.py), limits, EXIF (steps/picture.py).

from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint8_t

cdef extern from "webp/decode.h" nogil:
    ctypedef enum VP8StatusCode:
        VP8_STATUS_OK
        VP8_STATUS_INVALID_PARAM
    ctypedef enum WEBP_CSP_MODE:
        MODE_RGB
        MODE_RGBA
    ctypedef struct WebPBitstreamFeatures:
        int width, height
    ctypedef struct WebPRGBABuffer:
        uint8_t *rgba
        int stride
        size_t size
    ctypedef union Planes "":
        WebPRGBABuffer RGBA
    ctypedef struct WebPDecBuffer:
        WEBP_CSP_MODE colorspace
        int is_external_memory
        Planes u
    ctypedef struct WebPDecoderConfig:
        WebPBitstreamFeatures input
        WebPDecBuffer output
    int WebPInitDecoderConfig(WebPDecoderConfig *config)
    VP8StatusCode WebPGetFeatures(const uint8_t *data, size_t nbytes, WebPBitstreamFeatures *features)
    VP8StatusCode WebPDecode(const uint8_t *data, size_t nbytes, WebPDecoderConfig *config)


def decode(data not None, pixels not None):
    """Decodes a WebP picture into `pixels`, writable UINT8 [height, width, 3 or 4], C-contiguous: red, green, blue, how opaque.

    data: a still file, or its chunk VP8 or VP8L alone, with ALPH in front. In a file, libwebp reads on behind a chunk that is cut short.
    False: it is damaged, cut short, an animation or of another size, or there is no memory, which libwebp reports as damage. `pixels`
    holds anything then. The GIL is released meanwhile. Raises ValueError for another shape.
    """
    cdef Py_buffer source, out
    cdef VP8StatusCode status
    PyObject_GetBuffer(pixels, &out, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)
    try:
        if out.ndim != 3 or out.itemsize != 1 or out.shape[2] not in (3, 4):
            raise ValueError("pixels: expected UINT8 [height, width, 3 or 4]")
        PyObject_GetBuffer(data, &source, PyBUF_SIMPLE)
        try:
            with nogil:
                status = read_pixels(<const uint8_t *>source.buf, source.len, <uint8_t *>out.buf, out.shape[0], out.shape[1], out.shape[2])
        finally:
            PyBuffer_Release(&source)
    finally:
        PyBuffer_Release(&out)
    return status == VP8_STATUS_OK


cdef VP8StatusCode read_pixels(
    const uint8_t *source, Py_ssize_t nbytes, uint8_t *pixels, Py_ssize_t height, Py_ssize_t width, Py_ssize_t channels,
) noexcept nogil:
    cdef WebPDecoderConfig config
    cdef VP8StatusCode status
    if not WebPInitDecoderConfig(&config):
        return VP8_STATUS_INVALID_PARAM
    status = WebPGetFeatures(source, nbytes, &config.input)
    if status != VP8_STATUS_OK:
        return status
    if config.input.height != height or config.input.width != width:
        return VP8_STATUS_INVALID_PARAM
    config.output.colorspace = MODE_RGBA if channels == 4 else MODE_RGB
    config.output.is_external_memory = 1
    config.output.u.RGBA.rgba = pixels
    config.output.u.RGBA.stride = <int>(width * channels)
    config.output.u.RGBA.size = height * width * channels
    return WebPDecode(source, nbytes, &config)      # frees what it takes, whatever happens
