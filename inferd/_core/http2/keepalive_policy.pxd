# keepalive_policy: when the server sends a PING on a silent connection, and when it drains a connection. The policy: integers in,
# one step out, header-only; no clock, no frames. Its caller asks now and then, and takes the step.

from libc.stdint cimport int64_t, uint64_t

cdef enum Step:
    STAY = 0
    ASK = 1                             # a PING: nothing has come for keepalive_ns
    RETIRE = 2                          # GOAWAY, first phase: it is older than max_age_ns
    IDLE = 3                            # the same: it has had no call for max_idle_ns
    LEAVE = 4                           # GOAWAY, second phase
    DEAD = 5                            # cut it off: the PING was not answered
    OVERDUE = 6                         # cut it off: calls are left after grace_ns

cdef struct Terms:                      # of all connections; 0: no such limit
    int64_t keepalive_ns
    int64_t keepalive_timeout_ns
    int64_t max_idle_ns
    int64_t grace_ns

cdef enum Phase:
    NEW = 0                             # nobody has looked yet
    PRESENT = 1
    ANNOUNCED = 2                       # the first GOAWAY was said
    LEAVING = 3                         # and the second

cdef struct Lifetime:                   # of one connection, as of the last look
    Phase phase
    bint asked                          # a PING waits for its response, or for anything else
    int64_t asked_ns
    int64_t opened_ns
    int64_t busy_ns                     # when it had a call
    int64_t announced_ns
    int64_t heard_ns                    # when received_nbytes was seen to have grown
    uint64_t heard_nbytes


cdef inline Step next_step(Lifetime *life, const Terms *terms, int64_t max_age_ns, uint64_t received_nbytes, bint busy, bint may_ask,
                           int64_t now_ns) noexcept:
    """received_nbytes: so far. busy: it has a call, or had one since the last look. may_ask: a PING would reach the socket now.
    max_age_ns: of this connection; 0: none."""
    if life.phase == NEW:
        life.phase, life.opened_ns, life.busy_ns, life.heard_ns = PRESENT, now_ns, now_ns, now_ns
    if busy:
        life.busy_ns = now_ns
    if received_nbytes != life.heard_nbytes:
        life.heard_nbytes, life.heard_ns, life.asked = received_nbytes, now_ns, False
    if life.asked and now_ns - life.asked_ns >= terms.keepalive_timeout_ns:
        return DEAD
    if life.phase == ANNOUNCED:
        life.phase = LEAVING            # requests that were on their way at the last look are here by now
        return LEAVE
    if life.phase == LEAVING and terms.grace_ns > 0 and now_ns - life.announced_ns >= terms.grace_ns:
        return OVERDUE
    if life.phase == PRESENT and max_age_ns > 0 and now_ns - life.opened_ns >= max_age_ns:
        life.phase, life.announced_ns = ANNOUNCED, now_ns
        return RETIRE
    if life.phase == PRESENT and terms.max_idle_ns > 0 and now_ns - life.busy_ns >= terms.max_idle_ns:
        life.phase, life.announced_ns = ANNOUNCED, now_ns
        return IDLE
    if not life.asked and terms.keepalive_ns > 0 and may_ask and now_ns - life.heard_ns >= terms.keepalive_ns:
        life.asked, life.asked_ns = True, now_ns
        return ASK                      # last: who is told something else now is asked at the next look
    return STAY
