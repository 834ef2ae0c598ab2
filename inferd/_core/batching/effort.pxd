# effort: estimates how long it takes to make a run's inputs of what clients send, by the first bytes of each element. Header-only,
# bounds-checked, a few reads an element, more of an OGG file, because it runs on the event loop. An estimate orders queues, chooses between
# them, and says which request makes room. The step that decodes a file rejects one that is not what its head says.

from libc.stdint cimport int64_t, uint32_t, uint64_t, uint8_t
from libc.string cimport memcmp, memcpy

cdef enum Content:                  # the kind of an input, for the steps; steps/pipeline.py has the same numbers
    UNPREPARED = 0
    NUMBERS = 1
    TEXT = 2
    PICTURE = 3
    SOUND = 4

cdef enum:                          # nanoseconds of one core (docs/preprocessing.md, "Cost")
    ROW_NS = 10_000
    NUMBER_BYTE_NS = 1
    TEXT_BYTE_NS = 300              # tokens, or a record's columns
    PICTURE_BYTE_NS = 10            # entropy coding
    PIXEL_NS = 8
    WAVE_BYTE_NS = 10
    SOUND_BYTE_NS = 140             # an MP3 at 64 kbit/s
    SAMPLE_NS = 20
    MAX_JPEG_SEGMENTS = 64          # segments skipped on the way to the size; cameras write about ten
    MAX_PAGE_BYTES = 65_307         # a page of an OGG file; the last one has the number of samples
    MAX_SCANNED_BYTES = 1 << 18     # bytes read of all files of an input, on the way to their last pages
    HIDDEN_PIXELS = 50_000_000      # assumed for a file that does not say its size: an odd file costs no less
    HIDDEN_SAMPLES = 14_400_000     # the same for sound: five minutes


cdef inline uint64_t big_endian(const uint8_t *at, int nbytes) noexcept nogil:
    cdef uint64_t number = 0
    cdef int i
    for i in range(nbytes):
        number = number << 8 | at[i]
    return number


cdef inline uint64_t little_endian(const uint8_t *at, int nbytes) noexcept nogil:
    cdef uint64_t number = 0
    cdef int i
    for i in range(nbytes - 1, -1, -1):
        number = number << 8 | at[i]
    return number


cdef inline uint64_t jpeg_pixels(const uint8_t *file, Py_ssize_t nbytes) noexcept nogil:
    """HIDDEN_PIXELS where the head is not as encoders write it."""
    cdef Py_ssize_t at = 2
    cdef int _looked
    for _looked in range(MAX_JPEG_SEGMENTS):
        if at + 9 > nbytes or file[at] != 0xFF:
            break
        # SOF0 to SOF15, but DHT, JPG and DAC among them
        if 0xC0 <= file[at + 1] <= 0xCF and file[at + 1] not in (0xC4, 0xC8, 0xCC):
            return big_endian(file + at + 5, 2) * big_endian(file + at + 7, 2)
        # Tables, APP0 to APP15 and comments have a length. Padding and markers without one would be misread.
        if file[at + 1] not in (0xC4, 0xCC, 0xDB, 0xDD, 0xFE) and not 0xE0 <= file[at + 1] <= 0xEF:
            break
        at += 2 + <Py_ssize_t>big_endian(file + at + 2, 2)
    return HIDDEN_PIXELS


cdef inline uint64_t webp_pixels(const uint8_t *file, Py_ssize_t nbytes) noexcept nogil:
    """nbytes: 26 or more. HIDDEN_PIXELS where decoders would not take the head."""
    cdef uint64_t bits
    if nbytes >= 30 and memcmp(file + 12, b"VP8X", 4) == 0:
        return (1 + little_endian(file + 24, 3)) * (1 + little_endian(file + 27, 3))
    if memcmp(file + 12, b"VP8L", 4) == 0:
        bits = little_endian(file + 21, 4)
        return (1 + (bits & 0x3FFF)) * (1 + (bits >> 14 & 0x3FFF))
    if nbytes >= 30 and memcmp(file + 12, b"VP8 ", 4) == 0:
        return (little_endian(file + 26, 2) & 0x3FFF) * (little_endian(file + 28, 2) & 0x3FFF)
    return HIDDEN_PIXELS


cdef inline uint64_t picture_pixels(const uint8_t *file, Py_ssize_t nbytes) noexcept nogil:
    """Height times width by the head of a JPEG, PNG, WebP or BMP file; 0: it is none of these, or too short."""
    cdef uint64_t height
    if nbytes < 26:
        return 0
    if file[0] == 0xFF and file[1] == 0xD8:
        return jpeg_pixels(file, nbytes)
    if memcmp(file, b"\x89PNG", 4) == 0:
        return big_endian(file + 16, 4) * big_endian(file + 20, 4)
    if memcmp(file, b"RIFF", 4) == 0:
        return webp_pixels(file, nbytes)
    if file[0] == 0x42 and file[1] == 0x4D:     # BM; a negative height: the rows stand from the top
        height = little_endian(file + 22, 4)
        return little_endian(file + 18, 4) * (height if height < 0x80000000u else 0x100000000u - height)
    return 0


cdef inline Py_ssize_t page_nbytes(const uint8_t *page, Py_ssize_t nbytes) noexcept nogil:
    """The bytes of a page of OGG, its head and table of segments included; 0: these are not all there. nbytes: 28 or more."""
    cdef Py_ssize_t total = 27 + page[26]
    cdef int i
    if total > nbytes:
        return 0
    for i in range(page[26]):
        total += page[27 + i]
    return total


cdef inline uint64_t ogg_samples(const uint8_t *file, Py_ssize_t nbytes, Py_ssize_t *scanned) noexcept nogil:
    """By the last page of an OGG file, which ends with it; 0: it was not found."""
    cdef Py_ssize_t at = nbytes - 28
    cdef Py_ssize_t least = nbytes - MAX_PAGE_BYTES
    while at >= 0 and at >= least and scanned[0] < MAX_SCANNED_BYTES:
        if file[at] == 0x4F and memcmp(file + at, b"OggS", 4) == 0 and at + page_nbytes(file + at, nbytes - at) == nbytes:
            return little_endian(file + at + 6, 8)
        at -= 1
        scanned[0] += 1
    return 0


cdef inline double sound_ns(const uint8_t *file, Py_ssize_t nbytes, Py_ssize_t *scanned) noexcept nogil:
    cdef double samples = 0
    if nbytes < 26 or memcmp(file, b"RIFF", 4) == 0:
        return <double>nbytes * WAVE_BYTE_NS
    if memcmp(file, b"fLaC", 4) == 0:
        samples = <double>(big_endian(file + 18, 8) & 0xFFFFFFFFFULL) * (1 + (file[20] >> 1 & 7))
    elif memcmp(file, b"OggS", 4) == 0:
        samples = <double>ogg_samples(file, nbytes, scanned)
    else:
        return <double>nbytes * SOUND_BYTE_NS
    return (samples if samples > 0 else <double>HIDDEN_SAMPLES) * SAMPLE_NS


cdef inline double files_ns(const uint8_t *data, Py_ssize_t nbytes, int content) noexcept nogil:
    """The estimate of a BYTES tensor: length (4 bytes) and bytes of each element."""
    cdef double total = 0
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t scanned = 0
    cdef uint32_t length
    while at + 4 <= nbytes:
        memcpy(&length, data + at, 4)
        at += 4
        if length > nbytes - at:
            break
        if content == PICTURE:
            total += <double>picture_pixels(data + at, length) * PIXEL_NS + <double>length * PICTURE_BYTE_NS
        else:
            total += sound_ns(data + at, length, &scanned)
        at += length
    return total


cdef inline int64_t content_ns(const uint8_t *data, Py_ssize_t nbytes, int content) noexcept nogil:
    """The estimate of one input of a request."""
    cdef double total = 0
    if content == PICTURE or content == SOUND:
        total = files_ns(data, nbytes, content)
    elif content != UNPREPARED:
        total = <double>nbytes * (TEXT_BYTE_NS if content == TEXT else NUMBER_BYTE_NS)
    return <int64_t>min(total, 1e15)            # 11 days
