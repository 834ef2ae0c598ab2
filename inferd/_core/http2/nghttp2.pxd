# nghttp2: what http2 and its parts, and generator use of libnghttp2's C interface, and no more. Declarations only.
# The callbacks' types hold the GIL, for http2's; generator's run without it, and so do the functions where both need them.

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

cdef extern from "nghttp2/nghttp2.h":
    ctypedef Py_ssize_t nghttp2_ssize
    ctypedef struct nghttp2_session:
        pass
    ctypedef struct nghttp2_session_callbacks:
        pass
    ctypedef struct nghttp2_option:
        pass
    ctypedef struct nghttp2_frame_hd:
        size_t length
        int32_t stream_id
        uint8_t type
        uint8_t flags
    ctypedef enum nghttp2_headers_category:
        NGHTTP2_HCAT_REQUEST
    ctypedef struct nghttp2_headers:
        nghttp2_frame_hd hd
        nghttp2_headers_category cat
    ctypedef struct nghttp2_goaway:
        nghttp2_frame_hd hd
        int32_t last_stream_id
        uint32_t error_code
        uint8_t *opaque_data
        size_t opaque_data_len
    ctypedef union nghttp2_frame:
        nghttp2_frame_hd hd
        nghttp2_headers headers
        nghttp2_goaway goaway
    ctypedef struct nghttp2_nv:
        uint8_t *name
        uint8_t *value
        size_t namelen
        size_t valuelen
        uint8_t flags
    ctypedef union nghttp2_data_source:
        int fd
        void *ptr
    ctypedef nghttp2_ssize (*nghttp2_data_source_read_callback2)(
        nghttp2_session *session, int32_t stream_id, uint8_t *buf, size_t length,
        uint32_t *data_flags, nghttp2_data_source *source, void *user_data) noexcept
    ctypedef struct nghttp2_data_provider2:
        nghttp2_data_source source
        nghttp2_data_source_read_callback2 read_callback
    ctypedef struct nghttp2_settings_entry:
        int32_t settings_id
        uint32_t value
    ctypedef struct nghttp2_info:
        const char *version_str

    enum:
        NGHTTP2_DATA
        NGHTTP2_HEADERS
        NGHTTP2_SETTINGS
        NGHTTP2_PING
        NGHTTP2_PRIORITY
        NGHTTP2_GOAWAY
        NGHTTP2_WINDOW_UPDATE
        NGHTTP2_RST_STREAM
        NGHTTP2_CONTINUATION
        NGHTTP2_FLAG_NONE
        NGHTTP2_FLAG_END_STREAM
        NGHTTP2_FLAG_ACK
        NGHTTP2_FLAG_PADDED
        NGHTTP2_NV_FLAG_NONE
        NGHTTP2_NV_FLAG_NO_COPY_NAME
        NGHTTP2_NV_FLAG_NO_COPY_VALUE
        NGHTTP2_DATA_FLAG_EOF
        NGHTTP2_DATA_FLAG_NO_END_STREAM
        NGHTTP2_NO_ERROR
        NGHTTP2_INTERNAL_ERROR
        NGHTTP2_REFUSED_STREAM
        NGHTTP2_CANCEL
        NGHTTP2_ENHANCE_YOUR_CALM
        NGHTTP2_PROTOCOL_ERROR
        NGHTTP2_ERR_CANCEL
        NGHTTP2_ERR_DEFERRED
        NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE
        NGHTTP2_ERR_BAD_CLIENT_MAGIC
        NGHTTP2_ERR_FLOODED
        NGHTTP2_ERR_FRAME_SIZE_ERROR
        NGHTTP2_SETTINGS_ENABLE_PUSH
        NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS
        NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE
        NGHTTP2_SETTINGS_MAX_FRAME_SIZE
        NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE
        NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES

    ctypedef int (*nghttp2_on_begin_frame_callback)(nghttp2_session *, const nghttp2_frame_hd *, void *) noexcept
    ctypedef int (*nghttp2_on_begin_headers_callback)(nghttp2_session *, const nghttp2_frame *, void *) noexcept
    ctypedef int (*nghttp2_on_header_callback)(nghttp2_session *, const nghttp2_frame *, const uint8_t *, size_t,
                                               const uint8_t *, size_t, uint8_t, void *) noexcept
    ctypedef int (*nghttp2_on_frame_recv_callback)(nghttp2_session *, const nghttp2_frame *, void *) noexcept
    ctypedef int (*nghttp2_on_data_chunk_recv_callback)(nghttp2_session *, uint8_t, int32_t, const uint8_t *, size_t,
                                                        void *) noexcept
    ctypedef int (*nghttp2_unpack_extension_callback)(nghttp2_session *, void **payload, const nghttp2_frame_hd *, void *) noexcept
    ctypedef int (*nghttp2_on_stream_close_callback)(nghttp2_session *, int32_t, uint32_t, void *) noexcept

    int nghttp2_session_callbacks_new(nghttp2_session_callbacks **)
    void nghttp2_session_callbacks_set_on_begin_frame_callback(nghttp2_session_callbacks *, nghttp2_on_begin_frame_callback)
    void nghttp2_session_callbacks_set_on_begin_headers_callback(nghttp2_session_callbacks *, nghttp2_on_begin_headers_callback)
    void nghttp2_session_callbacks_set_on_header_callback(nghttp2_session_callbacks *, nghttp2_on_header_callback)
    void nghttp2_session_callbacks_set_on_frame_recv_callback(nghttp2_session_callbacks *, nghttp2_on_frame_recv_callback)
    void nghttp2_session_callbacks_set_on_data_chunk_recv_callback(nghttp2_session_callbacks *, nghttp2_on_data_chunk_recv_callback)
    void nghttp2_session_callbacks_set_unpack_extension_callback(nghttp2_session_callbacks *, nghttp2_unpack_extension_callback)
    void nghttp2_session_callbacks_set_on_stream_close_callback(nghttp2_session_callbacks *, nghttp2_on_stream_close_callback)

    ctypedef struct nghttp2_mem:
        void *mem_user_data
        void *(*malloc)(size_t nbytes, void *mem_user_data) noexcept
        void (*free)(void *, void *mem_user_data) noexcept
        void *(*calloc)(size_t count, size_t nbytes, void *mem_user_data) noexcept
        void *(*realloc)(void *, size_t nbytes, void *mem_user_data) noexcept

    ctypedef struct nghttp2_extpri:
        uint32_t urgency
        int inc

    const uint32_t NGHTTP2_EXTPRI_DEFAULT_URGENCY

    int nghttp2_option_new(nghttp2_option **)
    void nghttp2_option_del(nghttp2_option *)
    void nghttp2_option_set_no_auto_window_update(nghttp2_option *, int)
    void nghttp2_option_set_no_closed_streams(nghttp2_option *, int)
    void nghttp2_option_set_max_outbound_ack(nghttp2_option *, size_t)
    void nghttp2_option_set_user_recv_extension_type(nghttp2_option *, uint8_t type)
    void nghttp2_option_set_max_settings(nghttp2_option *, size_t)
    void nghttp2_option_set_stream_reset_rate_limit(nghttp2_option *, uint64_t burst, uint64_t rate)
    void nghttp2_option_set_max_continuations(nghttp2_option *, size_t)

    int nghttp2_session_client_new2(nghttp2_session **, const nghttp2_session_callbacks *, void *user_data, const nghttp2_option *)
    int nghttp2_session_change_extpri_stream_priority(nghttp2_session *, int32_t stream_id, const nghttp2_extpri *,
                                                      int ignore_client_signal)
    int nghttp2_session_terminate_session(nghttp2_session *, uint32_t error_code)
    int nghttp2_session_server_new3(nghttp2_session **, const nghttp2_session_callbacks *, void *user_data, const nghttp2_option *,
                                    nghttp2_mem *)
    void nghttp2_session_del(nghttp2_session *) nogil
    nghttp2_ssize nghttp2_session_mem_recv2(nghttp2_session *, const uint8_t *, size_t) nogil
    nghttp2_ssize nghttp2_session_mem_send2(nghttp2_session *, const uint8_t **) nogil
    int nghttp2_session_want_read(nghttp2_session *) nogil
    int nghttp2_session_check_request_allowed(nghttp2_session *) nogil
    int nghttp2_session_want_write(nghttp2_session *) nogil
    size_t nghttp2_session_get_outbound_queue_size(nghttp2_session *) nogil
    int nghttp2_session_consume_connection(nghttp2_session *, size_t)
    int nghttp2_session_resume_data(nghttp2_session *, int32_t stream_id)
    int nghttp2_session_get_stream_remote_close(nghttp2_session *, int32_t stream_id)
    void *nghttp2_session_get_stream_user_data(nghttp2_session *, int32_t stream_id) nogil
    int nghttp2_session_set_stream_user_data(nghttp2_session *, int32_t stream_id, void *) nogil
    int nghttp2_session_set_local_window_size(nghttp2_session *, uint8_t flags, int32_t stream_id, int32_t window_size)
    int32_t nghttp2_session_get_stream_local_window_size(nghttp2_session *, int32_t stream_id)
    int nghttp2_submit_window_update(nghttp2_session *, uint8_t flags, int32_t stream_id, int32_t window_size_increment)
    int32_t nghttp2_session_get_stream_remote_window_size(nghttp2_session *, int32_t stream_id)
    int32_t nghttp2_session_get_last_proc_stream_id(nghttp2_session *)
    int nghttp2_submit_settings(nghttp2_session *, uint8_t flags, const nghttp2_settings_entry *, size_t)
    int nghttp2_submit_response2(nghttp2_session *, int32_t stream_id, const nghttp2_nv *, size_t, const nghttp2_data_provider2 *)
    int32_t nghttp2_submit_request2(nghttp2_session *, const void *priority, const nghttp2_nv *, size_t,
                                    const nghttp2_data_provider2 *, void *stream_user_data) nogil
    int32_t nghttp2_submit_headers(nghttp2_session *, uint8_t flags, int32_t stream_id, const void *priority, const nghttp2_nv *, size_t,
                                   void *stream_user_data)
    int nghttp2_submit_trailer(nghttp2_session *, int32_t stream_id, const nghttp2_nv *, size_t)
    uint32_t nghttp2_session_get_remote_settings(nghttp2_session *, int settings_id) nogil
    int nghttp2_submit_ping(nghttp2_session *, uint8_t flags, const uint8_t *opaque_data)
    int nghttp2_submit_rst_stream(nghttp2_session *, uint8_t flags, int32_t stream_id, uint32_t error_code) nogil
    int nghttp2_submit_shutdown_notice(nghttp2_session *)
    int nghttp2_submit_goaway(nghttp2_session *, uint8_t flags, int32_t last_stream_id, uint32_t error_code,
                              const uint8_t *, size_t)
    const char *nghttp2_strerror(int error) nogil
    const char *nghttp2_http2_strerror(uint32_t error_code) nogil
    nghttp2_info *nghttp2_version(int least_version)
