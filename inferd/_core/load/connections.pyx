# cython: language_level=3, boundscheck=False, wraparound=False
# connections: all connections of one Generator (see connections.pxd).

from libc.stdint cimport int64_t
from posix.time cimport timespec

from inferd._core.base.clock cimport monotonic_ns
from inferd._core.base.linux cimport EPOLL_CTL_DEL, epoll_ctl, epoll_event, epoll_wait, wait_readable
from inferd._core.load.connection cimport (
    DEADLINE_EXCEEDED, LoadConnection, State, Stream, cancel_late, end_rejected, flush, free_connection, has_room, send_again, send_next,
)
from inferd._core.load.tls cimport Tls

cdef enum:
    DEADLINE_LOOK_NS = 1_000_000        # how late a deadline may be noticed


cdef int check_raised(State *state) except -1:
    cdef LoadConnection *connection = state.connections
    while connection != NULL and state.died > 0:
        if connection.seal != NULL and (<Tls>connection.seal.tls).raised is not None:
            raise (<Tls>connection.seal.tls).raised
        connection = connection.next
    return 0


cdef bint is_greeted(State *state) noexcept nogil:
    cdef LoadConnection *connection = state.connections
    while connection != NULL and (connection.greeted or connection.dead):
        connection = connection.next
    return connection == NULL


cdef bint is_connected(State *state) noexcept nogil:
    cdef LoadConnection *connection = state.connections
    while connection != NULL and (connection.leaving or connection.dead):
        connection = connection.next
    return connection != NULL


cdef LoadConnection *next_connection(State *state) noexcept nogil:
    cdef LoadConnection *first
    cdef LoadConnection *connection
    if state.turn == NULL:
        state.turn = state.connections
    first = connection = state.turn
    while connection != NULL:
        state.turn = connection.next if connection.next != NULL else state.connections
        if not connection.leaving and not connection.dead and (has_room(connection) or not state.protocol.waits_free):
            return connection
        connection = state.turn
        if connection == first:
            break
    return NULL


cdef void fill(State *state) noexcept nogil:
    cdef LoadConnection *connection = state.connections
    while connection != NULL:
        while connection.in_flight < state.streams and state.startable > 0 and not connection.leaving and not connection.dead:
            if not send_next(connection, state.now_ns, state.now_ns):
                break
        connection = connection.next


cdef void send_rejected(State *state) noexcept nogil:
    cdef LoadConnection *connection
    while state.rejected != NULL:
        connection = next_connection(state)
        if connection == NULL or not send_again(connection):
            break


cdef void flush_marked(State *state, int epoll) noexcept nogil:
    cdef LoadConnection *connection
    while state.unflushed != NULL:
        connection = state.unflushed
        state.unflushed = connection.next_unflushed
        connection.unflushed = False
        flush(connection, epoll)


cdef void end_late(State *state, int64_t now_ns) noexcept nogil:
    cdef LoadConnection *connection = state.connections
    while connection != NULL:
        cancel_late(connection, now_ns)
        connection = connection.next
    end_rejected(state, DEADLINE_EXCEEDED, now_ns - state.deadline_ns)


cdef int64_t count_left(Stream *stream, int64_t before_ns, int64_t *earliest_ns) noexcept nogil:
    """How many of a list of requests under way were meant for a time before that."""
    cdef int64_t count = 0
    while stream != NULL:
        count += stream.intended_ns < before_ns
        earliest_ns[0] = min(earliest_ns[0], stream.intended_ns)
        stream = stream.next
    return count


cdef int64_t measure_left(State *state, int64_t *from_ns) noexcept nogil:
    cdef LoadConnection *connection = state.connections
    cdef int64_t before_ns = min(from_ns[0], state.measure_from_ns)
    cdef int64_t count = count_left(state.rejected, before_ns, from_ns)
    while connection != NULL:
        count += count_left(connection.first, before_ns, from_ns)
        connection = connection.next
    return count


cdef int drop(LoadConnection *connection, int epoll) except -1:
    epoll_ctl(epoll, EPOLL_CTL_DEL, connection.fd, NULL)
    free_connection(connection)
    return 0


cdef int wait(State *state, int epoll, epoll_event *events, int room, int64_t until_ns, int64_t spin_ns) noexcept nogil:
    cdef timespec timeout
    cdef int64_t now_ns = monotonic_ns()        # sending has taken its time
    cdef int64_t rest_ns = until_ns - now_ns
    cdef int count = epoll_wait(epoll, events, room, 0)
    if state.deadline_ns > 0:
        rest_ns = min(rest_ns, DEADLINE_LOOK_NS)
    if count != 0 or rest_ns <= spin_ns:
        return max(count, 0)
    rest_ns -= spin_ns
    timeout.tv_sec = rest_ns // 1_000_000_000
    timeout.tv_nsec = rest_ns % 1_000_000_000
    wait_readable(epoll, &timeout)
    state.waited_ns += monotonic_ns() - now_ns
    return max(epoll_wait(epoll, events, room, 0), 0)
