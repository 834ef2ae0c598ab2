# response: what a response says beside its body: statuses and headers, the same for every HTTP.
# Never in here: sockets, how headers are written (http1, http2).

# The HTTP status of a RequestError.
cpdef int status_of(error)
# "Not Found" of 404; "" of a status that has no words.
cpdef str reason_phrase(int status)
# The body of an error's response: {"error": "...", "code": "INVALID_ARGUMENT"}.
cpdef bytes error_body(error)
# Date of a response that leaves now.
cpdef bytes http_date()
# REST's rejection of a body that could not be decompressed. error: as of Conversion.
cpdef decompression_error(error, str encoding)
# The headers of an error's response beside its content: Retry-After, WWW-Authenticate; pairs of bytes, names in lower case.
cpdef tuple error_headers(error)
