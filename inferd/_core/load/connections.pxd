# connections: all connections of one Generator, as functions over the State that they share: which one sends next, whether one is left.
# Never in here: one connection's bytes (connection), times and sleep (generator).

from libc.stdint cimport int64_t

from inferd._core.base.linux cimport epoll_event
from inferd._core.load.connection cimport LoadConnection, State

# Raises the KeyboardInterrupt (or the like) that came while TLS was at work, and ended that connection.
cdef int check_raised(State *state) except -1
# Whether each connection that is not dead has the SETTINGS of its server.
cdef bint is_greeted(State *state) noexcept nogil
# Whether some connection takes requests, now or once it is free.
cdef bint is_connected(State *state) noexcept nogil
# Round-robin over the connections that take requests; NULL: there is none, or by HTTP/1.1 none is free.
cdef LoadConnection *next_connection(State *state) noexcept nogil
# Begins a closed loop on connections that are not full.
cdef void fill(State *state) noexcept nogil
# Sends the requests that a connection rejected when it went away on others; they wait until there is one.
cdef void send_rejected(State *state) noexcept nogil
cdef void flush_marked(State *state, int epoll) noexcept nogil
# Cancels requests whose deadline has passed.
cdef void end_late(State *state, int64_t now_ns) noexcept nogil
# Moves from_ns before all that is under way. Returns how many requests of these were warm-up until now.
cdef int64_t measure_left(State *state, int64_t *from_ns) noexcept nogil
# Forgets a connection; its socket is the caller's.
cdef int drop(LoadConnection *connection, int epoll) except -1
# Events of the connections, at most `room`. Sleeps until one is there, or until spin_ns before the time.
cdef int wait(State *state, int epoll, epoll_event *events, int room, int64_t until_ns, int64_t spin_ns) noexcept nogil
