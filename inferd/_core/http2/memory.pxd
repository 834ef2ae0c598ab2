# memory: the allocator of libnghttp2. A request takes eight small blocks, which come back after its response. Free blocks are kept by
# size: malloc's own lists are too short for the requests of one read. Larger blocks are malloc's. All of it runs with the GIL held: the
# lists need no lock.
# Never in here: messages (message.pyx), what the blocks hold.

from inferd._core.http2.nghttp2 cimport nghttp2_mem

cdef nghttp2_mem memory         # for nghttp2_session_server_new3, which copies it
