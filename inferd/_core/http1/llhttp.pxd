# llhttp: declarations of the parser of HTTP/1.1 that Node.js has. parser.pyx reads requests with it, load/http1.pyx responses. None of its
# lenient flags is ever set.

from libc.stdint cimport uint8_t, uint16_t, uint64_t

cdef extern from "<llhttp.h>" nogil:
    ctypedef enum llhttp_type_t:
        HTTP_REQUEST
        HTTP_RESPONSE

    ctypedef enum llhttp_errno_t:
        HPE_OK
        HPE_CR_EXPECTED
        HPE_LF_EXPECTED
        HPE_STRICT
        HPE_UNEXPECTED_CONTENT_LENGTH
        HPE_UNEXPECTED_SPACE
        HPE_INVALID_METHOD
        HPE_INVALID_URL
        HPE_INVALID_CONSTANT
        HPE_INVALID_VERSION
        HPE_INVALID_HEADER_TOKEN
        HPE_INVALID_CONTENT_LENGTH
        HPE_INVALID_CHUNK_SIZE
        HPE_INVALID_TRANSFER_ENCODING
        HPE_PAUSED
        HPE_PAUSED_H2_UPGRADE
        HPE_USER

    ctypedef enum llhttp_method_t:
        HTTP_GET
        HTTP_HEAD
        HTTP_POST
        HTTP_OPTIONS

    ctypedef struct llhttp_t:
        void *data
        uint64_t content_length
        uint8_t method
        uint8_t http_major
        uint8_t http_minor
        uint8_t upgrade
        uint16_t status_code

    ctypedef int (*llhttp_data_cb)(llhttp_t *, const char *at, size_t length) noexcept nogil
    ctypedef int (*llhttp_cb)(llhttp_t *) noexcept nogil

    ctypedef struct llhttp_settings_t:
        llhttp_data_cb on_url
        llhttp_data_cb on_header_field
        llhttp_data_cb on_header_value
        llhttp_data_cb on_body
        llhttp_cb on_header_value_complete
        llhttp_cb on_headers_complete
        llhttp_cb on_chunk_header
        llhttp_cb on_message_complete

    void llhttp_settings_init(llhttp_settings_t *settings)
    void llhttp_init(llhttp_t *parser, llhttp_type_t type, const llhttp_settings_t *settings)
    llhttp_errno_t llhttp_execute(llhttp_t *parser, const char *source, size_t nbytes)
    llhttp_errno_t llhttp_finish(llhttp_t *parser)
    int llhttp_should_keep_alive(const llhttp_t *parser)
    void llhttp_resume(llhttp_t *parser)
    const char *llhttp_get_error_pos(const llhttp_t *parser)
    const char *llhttp_get_error_reason(const llhttp_t *parser)
    const char *llhttp_method_name(llhttp_method_t method)
