# flood_policy: how many control frames a client may send (frames that ask for nothing), how often it may PING, and have streams reset.
# Token buckets. The policy: integers in, a verdict out, header-only; no clock, no frames.

from libc.stdint cimport int64_t, uint64_t

cdef enum:
    CONTROL_BURST_S = 10                # seconds' worth of control frames (max_control_frame_rate) may come at once
    EARNED_FRAMES = 4                   # each call allows this many control frames more,
    EARNED_NBYTES = 4 << 10             # and this many bytes of responses allow one more, a WINDOW_UPDATE
    RESET_BURST_S = 5                   # seconds' worth of resets (max_reset_rate) may come at once
    PING_BURST = 3                      # PINGs may come closer than min_ping_interval_s, with no frame of a call in between

cdef enum Verdict:
    FINE = 0
    TOO_MANY_PINGS = 1                         # PINGs too often
    TOO_MANY_CONTROL_FRAMES = 2                        # too many control frames
    TOO_MANY_RESETS = 3                       # too many resets

cdef struct FloodRules:                 # for all connections
    int64_t control_step_ns             # one more control frame may come in each period of this length,
    int64_t control_burst               # and this many at once
    int64_t min_ping_interval_ns        # 0: PINGs have no limit but that of control frames
    int64_t reset_step_ns               # one more stream may be reset in each period of this length,
    int64_t reset_burst                 # and this many at once

cdef struct FloodPolicy:                # one connection's
    int64_t control_frames              # frames since the last verdict, PINGs included
    int64_t pings                       # PINGs since then
    int64_t resets                      # streams that were reset since then, by the client, or by us for an error
    int64_t control_until_ns            # when the bucket of control frames is full again; in the past: it is full
    int64_t ping_until_ns               # the same for PINGs; write_output() sets it to 0 with each DATA, HEADERS or WINDOW_UPDATE frame
    int64_t reset_until_ns              # the same for resets
    int64_t earned_frames               # control frames that calls allow and that have not come yet
    int64_t earned_streams              # opened streams that earned_frames counts: a count, since a client may skip stream ids
    uint64_t earned_nbytes              # bytes of responses that earned_frames counts


cdef inline bint spend(int64_t *until_ns, int64_t count, int64_t each_ns, int64_t burst, int64_t now_ns) noexcept:
    """Takes `count` tokens of a bucket of `burst`, which gains one in each_ns. False: it had fewer."""
    until_ns[0] = max(until_ns[0], now_ns) + count * each_ns
    return until_ns[0] - now_ns <= burst * each_ns


cdef inline int64_t unearned(FloodPolicy *flood, const FloodRules *rules, int64_t frames, int64_t streams, uint64_t sent_nbytes) noexcept:
    """How many of these control frames no call has allowed. Unused allowance is kept, up to a burst."""
    cdef uint64_t nbytes = sent_nbytes - flood.earned_nbytes
    cdef int64_t used
    flood.earned_frames += EARNED_FRAMES * (streams - flood.earned_streams) + <int64_t>(nbytes // EARNED_NBYTES)
    flood.earned_frames = min(flood.earned_frames, rules.control_burst)
    flood.earned_streams = streams
    flood.earned_nbytes = sent_nbytes - nbytes % EARNED_NBYTES
    used = min(frames, flood.earned_frames)
    flood.earned_frames -= used
    return frames - used


cdef inline Verdict judge(FloodPolicy *flood, const FloodRules *rules, int64_t streams, uint64_t sent_nbytes, int64_t now_ns) noexcept:
    """The verdict on the frames since the last one. streams: opened so far, and their requests. sent_nbytes: bytes of responses so far."""
    cdef int64_t frames = flood.control_frames, pings = flood.pings, resets = flood.resets
    flood.control_frames = flood.pings = flood.resets = 0
    if resets > 0 and not spend(&flood.reset_until_ns, resets, rules.reset_step_ns, rules.reset_burst, now_ns):
        return TOO_MANY_RESETS
    if pings > 0 and rules.min_ping_interval_ns > 0 and not spend(
            &flood.ping_until_ns, pings, rules.min_ping_interval_ns, PING_BURST, now_ns):
        return TOO_MANY_PINGS
    frames = unearned(flood, rules, frames, streams, sent_nbytes)
    return FINE if spend(&flood.control_until_ns, frames, rules.control_step_ns, rules.control_burst, now_ns) else TOO_MANY_CONTROL_FRAMES
