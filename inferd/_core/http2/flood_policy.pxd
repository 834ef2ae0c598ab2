# flood_policy: how many frames that ask for nothing a client may send, how often it may PING, and have streams reset. The policy: integers
# in, a verdict out, header-only; no clock, no frames.

from libc.stdint cimport int64_t, uint64_t

cdef enum:
    CONTROL_BURST_S = 10                # seconds' worth of control frames (max_control_frame_rate) that may come at once
    EARNED_FRAMES = 4                   # control frames that each call brings with it, at no cost to that allowance,
    EARNED_NBYTES = 4 << 10             # and one more for so many bytes of responses: windows are opened for them
    RESET_BURST_S = 5                   # seconds' worth of resets (max_reset_rate) at once: 100,000, as of 1024 streams each 10 ms for 1 s
    PING_BURST = 3                      # PINGs closer than min_ping_interval_s, with none of our DATA, HEADERS, WINDOW_UPDATE between them

cdef enum Verdict:
    FINE = 0
    PINGING = 1                         # PINGs too often
    FLOODING = 2                        # too many control frames
    RESETTING = 3                       # too many resets

cdef struct FloodRules:                 # for all connections
    int64_t control_step_ns             # one more control frame may come each so many ns,
    int64_t control_burst               # and so many at once
    int64_t min_ping_interval_ns        # 0: PINGs count as other control frames do
    int64_t reset_step_ns               # one more stream may be reset each so many ns,
    int64_t reset_burst                 # and so many at once

cdef struct FloodPolicy:                # of one connection
    int64_t control_frames              # that came since the last verdict, PINGs among them
    int64_t pings
    int64_t resets                      # of streams, by the client, or by us for what it sent
    int64_t control_until_ns            # when the whole allowance of control frames is there again; in the past: it is
    int64_t ping_until_ns               # the same of PINGs; flush() resets it with each frame that it writes of a call
    int64_t reset_until_ns              # and of resets
    int64_t earned_frames               # control frames that calls brought with them and that did not come yet
    int64_t earned_streams              # that had been opened when those were counted last: a count, since a client may skip numbers,
    uint64_t earned_nbytes              # and how much was sent


cdef inline bint spend(int64_t *until_ns, int64_t count, int64_t each_ns, int64_t burst, int64_t now_ns) noexcept:
    """Takes `count` of what grows by one each each_ns, up to `burst`. False: there was less."""
    until_ns[0] = max(until_ns[0], now_ns) + count * each_ns
    return until_ns[0] - now_ns <= burst * each_ns


cdef inline int64_t unearned(FloodPolicy *flood, const FloodRules *rules, int64_t frames, int64_t streams, uint64_t sent_nbytes) noexcept:
    """How many of these control frames no call brought with it. What was earned and not used is kept, up to a burst."""
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
    """Of the frames that came since the last verdict. streams (opened), sent_nbytes (of responses): so far."""
    cdef int64_t frames = flood.control_frames, pings = flood.pings, resets = flood.resets
    flood.control_frames = flood.pings = flood.resets = 0
    if resets > 0 and not spend(&flood.reset_until_ns, resets, rules.reset_step_ns, rules.reset_burst, now_ns):
        return RESETTING
    if pings > 0 and rules.min_ping_interval_ns > 0 and not spend(
            &flood.ping_until_ns, pings, rules.min_ping_interval_ns, PING_BURST, now_ns):
        return PINGING
    frames = unearned(flood, rules, frames, streams, sent_nbytes)
    return FINE if spend(&flood.control_until_ns, frames, rules.control_step_ns, rules.control_burst, now_ns) else FLOODING
