# memory: where the sessions' libnghttp2 has its memory from. A request takes eight small blocks of it, which go back when it is
# answered. Kept by size they cost a fraction of what malloc does, whose own lists are shorter than the requests of one read are many.
# Larger blocks are malloc's. All of it runs with the GIL held: the lists need no lock.
# Never in here: messages (message.pyx), what the blocks hold.

from inferd._core.http2.nghttp2 cimport nghttp2_mem

cdef nghttp2_mem memory         # for nghttp2_session_server_new3, which copies it
