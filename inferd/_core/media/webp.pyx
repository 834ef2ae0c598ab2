# cython: language_level=3, boundscheck=False, wraparound=False
# webp: WebP files -> pixels, by libwebp, without the GIL.
#
# A still picture is decoded in one call, straight into the caller's memory. Damaged and cut files are errors.
# Never in here: Python's memory, the meaning of chunks (steps/picture_file.py), limits, EXIF (steps/picture.py).

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


def decode(const uint8_t[::1] data not None, uint8_t[:, :, ::1] pixels not None):
    cdef VP8StatusCode status
    if pixels.shape[2] not in (3, 4):
        raise ValueError("pixels: expected UINT8 [height, width, 3 or 4]")
    with nogil:
        status = read_pixels(&data[0], data.shape[0], &pixels[0, 0, 0], pixels.shape[0], pixels.shape[1], pixels.shape[2])
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
