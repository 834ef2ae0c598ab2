# keepalive_policy: when the server sends a PING to a silent client. When a connection drains, for its age or for having no calls. When the
# second GOAWAY of a drain is due. The policy: integers in, one step out, header-only; no clock, no frames. The caller takes the step.

from libc.stdint cimport int64_t, uint64_t

cdef enum:
    NOTICE_NS = 90_000_000              # the least time between the two GOAWAYs of a drain, in which requests on their way arrive

cdef enum Step:
    STAY = 0
    PING = 1                            # send one: nothing has come for keepalive_ns
    DRAIN_FOR_AGE = 2                   # drain: the connection is older than max_age_ns
    DRAIN_IDLE = 3                      # drain: it has had no call for max_idle_ns
    LAST_GOAWAY = 4                     # send the second GOAWAY of a drain
    DEAD = 5                            # abort: nothing came after the PING for keepalive_timeout_ns
    OVERDUE = 6                         # abort: calls are left after grace_ns

cdef struct KeepaliveRules:             # for all connections; 0: no such limit
    int64_t keepalive_ns
    int64_t keepalive_timeout_ns
    int64_t max_idle_ns
    int64_t grace_ns

cdef struct KeepalivePolicy:            # one connection's, as of the last look; times of 0: not yet
    bint begun                          # there was a look
    int64_t opened_ns                   # the first look
    int64_t busy_ns                     # the last look at which it had a call
    int64_t heard_ns                    # the last look at which bytes had come
    uint64_t heard_nbytes               # bytes that had come by then
    int64_t pinged_ns                   # when the PING was sent after which nothing has come yet; 0: there is none
    bint drains, said_last              # the first GOAWAY was sent, the second one was
    int64_t draining_ns                 # the look that sent the first GOAWAY, or the first one after it


cdef inline Step next_step(KeepalivePolicy *keepalive, const KeepaliveRules *rules, int64_t max_age_ns, uint64_t received_nbytes, bint busy,
                           bint may_ping, bint draining, int64_t now_ns) noexcept:
    """received_nbytes: so far. busy: the connection has a call, or had one since the last look. may_ping: a PING would reach the socket
    now. max_age_ns: this connection's; 0: no limit. draining: the first GOAWAY was sent."""
    if not keepalive.begun:
        keepalive.begun, keepalive.opened_ns, keepalive.busy_ns, keepalive.heard_ns = True, now_ns, now_ns, now_ns
    if busy:
        keepalive.busy_ns = now_ns
    if received_nbytes != keepalive.heard_nbytes:
        keepalive.heard_nbytes, keepalive.heard_ns, keepalive.pinged_ns = received_nbytes, now_ns, 0
    if rules.keepalive_timeout_ns > 0 and keepalive.pinged_ns > 0 and now_ns - keepalive.pinged_ns >= rules.keepalive_timeout_ns:
        return DEAD
    if draining:
        if not keepalive.drains:
            keepalive.drains, keepalive.draining_ns = True, now_ns
        if not keepalive.said_last and now_ns - keepalive.draining_ns >= NOTICE_NS:
            keepalive.said_last = True
            return LAST_GOAWAY
        if keepalive.said_last and rules.grace_ns > 0 and now_ns - keepalive.draining_ns >= rules.grace_ns:
            return OVERDUE
    elif max_age_ns > 0 and now_ns - keepalive.opened_ns >= max_age_ns:
        keepalive.drains, keepalive.draining_ns = True, now_ns
        return DRAIN_FOR_AGE
    elif rules.max_idle_ns > 0 and now_ns - keepalive.busy_ns >= rules.max_idle_ns:
        keepalive.drains, keepalive.draining_ns = True, now_ns
        return DRAIN_IDLE
    if keepalive.pinged_ns == 0 and rules.keepalive_ns > 0 and may_ping and now_ns - keepalive.heard_ns >= rules.keepalive_ns:
        keepalive.pinged_ns = now_ns
        return PING
    return STAY
