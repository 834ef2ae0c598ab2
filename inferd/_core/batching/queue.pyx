# cython: language_level=3, boundscheck=False, wraparound=False
"""queue: the batching policy (see queue.pxd). Which of the waiting requests run together, and when.

Integers in, integers out. Never in here: clocks, locks, threads, requests, models.
"""

cimport cython
from libc.stdint cimport INT64_MAX, int64_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from inferd._core.base.lazy_pages cimport map_zeroed, unmap
from inferd._core.batching.run_times cimport RunTimes

cdef double MAX_WAIT_NS = 1e18      # 32 years: longer waiting counts as so much


cdef int64_t after(int64_t time_ns, int64_t duration_ns) noexcept nogil:
    """time + duration, both >= 0; INT64_MAX where that does not fit."""
    return INT64_MAX if duration_ns > INT64_MAX - time_ns else time_ns + duration_ns


cdef inline int64_t expires_ns(const Entry *entry) noexcept nogil:
    """When the queue drops it: its deadline, or the timeout of the queue policy if that is earlier."""
    return min(entry.deadline_ns, after(entry.queued_ns, entry.timeout_ns)) if entry.timeout_ns > 0 else entry.deadline_ns


cdef inline int64_t reserve_ns(const Entry *entry) noexcept nogil:
    """How long before its deadline its response should be ready, to be there in time."""
    if entry.deadline_ns == INT64_MAX or entry.deadline_ns <= entry.queued_ns:
        return 0
    return (entry.deadline_ns - entry.queued_ns) // RESERVE


cdef inline int64_t begin_by(const Entry *entry, int64_t next_batch_ns) noexcept nogil:
    """When its run has to begin, if it is likely to take next_batch_ns (0: nothing is known of that)."""
    if next_batch_ns == 0 or entry.deadline_ns == INT64_MAX:
        return expires_ns(entry)
    return min(expires_ns(entry), entry.deadline_ns - min(reserve_ns(entry), most_reserve_ns(next_batch_ns)) - next_batch_ns)


cdef inline int64_t most_reserve_ns(int64_t next_batch_ns) noexcept nogil:
    """The most reserve kept for a batch that is about to run: its time is known better now than when its requests came."""
    return max(next_batch_ns, <int64_t>RESERVE_NS)


cdef inline bint is_near(const Entry *entry, const Entry *head) noexcept nogil:
    return entry.near_key == head.near_key and entry.priority == head.priority


@cython.final
cdef class BatchQueue:
    """Which of the waiting requests run together, and when. It decides from its arguments alone.

    - Requests wait in priority levels, 1 first, each in order of arrival. Connections with requests in one level take turns by cost
      (start-time fair queueing): the requests of one connection do not delay those of another. A request costs
      its rows, unless it says otherwise. A request with no level, or with one that is not there, gets the default level.
    - The head is the first request of the first level that has one. A batch is the head and, in order, requests of its shape key
      from its level and lower ones, up to max_rows. The first that does not fit closes the batch:
      no smaller one overtakes it. A request larger than max_rows is a batch of its own (max_rows=1: nothing is batched).
      A batch is made of the first SCAN_LIMIT requests that wait. Without a delay, requests of the head's level and near key run
      alone if they have NEAR_ROWS together: no lower level overtakes the rest.
    - Without a delay, a batch is due at once. After expect(), it is due when as many requests wait as expected, when they have
      max_rows, or when the expected time is over. No request expires for that.
      With a delay, a batch is due when it can grow no further, or when its oldest request has waited max_delay_ns. It is due earlier
      if a request would expire before that, or if its rows are one of preferred_rows (the largest possible). At least as many rows
      as the largest of them are enough, too.
    - A request expires at its deadline, or when it has waited the timeout of its level's queue policy. Where the policy allows it,
      a shorter timeout of the request counts. An expired request is dropped: it never runs.
    - A queue that holds max_queue_requests, or a level that holds its own limit, admits nothing more. Unless it is empty, a queue does
      not admit a request that would take it beyond max_queue_bytes (0: no such limit). Instead, the last request of the level's
      busiest connection is evicted, if the new request's connection has less than half as much waiting.
    - The queue estimates when a response would be ready, by the runs before (run_times), `takers` of them at a time. It rejects a
      request whose estimated wait exceeds max_wait_ns (0: no such limit). It also rejects one whose estimated response falls in the
      last eighth of its time, its reserve. It drops a waiting request that has too little time left for a run and the reserve
      (most_reserve_ns). Else an overloaded model would run only what comes too late. A request that can begin at once is exempt:
      estimates can be wrong, and only runs mend them.

    Nothing is allocated while requests come and go. One decision looks at SCAN_LIMIT entries at most. Dropping looks at all requests
    that wait, but only once one may have expired, or may be too late to run.

    queue_policies: (max_queue_size or 0, default_timeout_ns or 0, allow_timeout_override) of each level, level 1 first.
    """

    def __cinit__(self, int64_t max_rows=1, *, int64_t max_delay_ns=0, preferred_rows=(), int64_t max_queue_requests=4096,
                  int64_t max_queue_bytes=0, int64_t max_wait_ns=0, int64_t takers=1, int priority_levels=0,
                  uint32_t default_priority=0, queue_policies=()):
        cdef int64_t rows
        self.run_times = RunTimes()
        self.level_count = max(priority_levels, 1)
        if min(max_rows, max_queue_requests, takers) < 1 or min(max_delay_ns, max_queue_bytes, max_wait_ns, priority_levels) < 0:
            raise ValueError("expected max_rows, max_queue_requests and takers of 1 or more, all else 0 or more")
        if default_priority > <uint32_t>self.level_count:
            raise ValueError(f"default_priority: expected at most {self.level_count} (priority_levels), got {default_priority}")
        if len(queue_policies) > self.level_count:
            raise ValueError(f"queue_policies: expected at most {self.level_count}, got {len(queue_policies)}")
        self.max_rows = max_rows
        self.max_delay_ns = max_delay_ns
        self.max_requests = max_queue_requests
        self.max_nbytes = max_queue_bytes
        self.max_wait_ns = max_wait_ns
        self.takers = takers
        self.default_level = max(default_priority, 1)
        self.max_preferred_rows = max(preferred_rows, default=max_rows)
        self.next_expiry_ns = self.next_deadline_ns = self.next_needed_ns = INT64_MAX
        self.levels = <Level *>calloc(self.level_count, sizeof(Level))
        self.next_starts = <uint64_t *>map_zeroed((CONNECTION_SLOTS + 1) * sizeof(uint64_t))
        if self.levels == NULL or self.next_starts == NULL:
            raise MemoryError
        for i, (limit, timeout_ns, override) in enumerate(queue_policies):
            self.levels[<int>i].max_requests = limit
            self.levels[<int>i].timeout_ns = timeout_ns
            self.levels[<int>i].timeout_override = override
        if preferred_rows:
            self.preferred = <bint *>calloc(max_rows + 1, sizeof(bint))
            if self.preferred == NULL:
                raise MemoryError
            for rows in preferred_rows:
                if rows < 1 or rows > max_rows:
                    raise ValueError(f"preferred_rows: expected 1 to {max_rows} (max_rows), got {rows}")
                self.preferred[rows] = True

    def __dealloc__(self):
        free(self.levels)
        unmap(self.next_starts, (CONNECTION_SLOTS + 1) * sizeof(uint64_t))
        free(self.preferred)

    cdef int admit(self, Entry *entry, int64_t now_ns) noexcept nogil:
        cdef Level *level
        cdef Entry *last = NULL
        cdef int64_t timeout_ns
        cdef int late, full
        if entry.priority == 0 or entry.priority > <uint32_t>self.level_count:
            entry.priority = <uint16_t>self.default_level
        level = &self.levels[entry.priority - 1]
        full = self.full(level, entry)
        if full != ADMITTED:
            last = self.evictable(level, entry)
            if last == NULL:
                return full
        entry.queued_ns = now_ns
        if entry.deadline_ns < INT64_MAX or self.max_wait_ns > 0:
            late = self.late(entry, now_ns)
            if late != ADMITTED:
                return late
        if last != NULL:
            self.evict(last)
        timeout_ns = level.timeout_ns
        if level.timeout_override and 0 < entry.timeout_ns < timeout_ns:     # without a default there is none to shorten, as in Triton
            timeout_ns = entry.timeout_ns
        entry.timeout_ns = timeout_ns
        entry.state = WAITING
        entry.evicted = 0
        entry.previous = self.place(level, entry)
        if entry.previous != NULL:
            entry.next = entry.previous.next
            entry.previous.next = entry
        else:
            entry.next = level.first
            level.first = entry
        if entry.next != NULL:
            entry.next.previous = entry
            level.placed = entry
            self.overtaken += 1
        else:
            level.last = entry
        level.requests += 1
        level.rows += entry.rows
        self.requests += 1
        self.rows += entry.rows
        self.nbytes += entry.nbytes
        self.next_expiry_ns = min(self.next_expiry_ns, expires_ns(entry))
        self.next_deadline_ns = min(self.next_deadline_ns, entry.deadline_ns)
        self.next_needed_ns = min(self.next_needed_ns, entry.deadline_ns - reserve_ns(entry))
        return ADMITTED

    cdef int full(self, const Level *level, const Entry *entry) noexcept nogil:
        """Whether there is no room for one more, as an Admission."""
        if self.requests >= self.max_requests:
            return QUEUE_FULL
        if self.max_nbytes > 0 and self.requests > 0 and self.nbytes + entry.nbytes > self.max_nbytes:
            return BYTES_FULL
        if level.max_requests > 0 and level.requests >= level.max_requests:
            return LEVEL_FULL
        return ADMITTED

    cdef Entry *evictable(self, const Level *level, const Entry *entry) noexcept nogil:
        """The entry that makes room in a full queue: the last of the level, which belongs to the busiest connection. NULL: this entry's
        connection has half as much waiting, or more, or the room would not be enough."""
        cdef Entry *last = level.last
        cdef uint64_t start = max(self.virtual_time, self.next_starts[entry.connection_slot])
        if entry.connection_slot == 0 or last == NULL or last.connection_slot == 0 or last.start <= start:
            return NULL
        if self.max_nbytes > 0 and self.requests > 1 and self.nbytes - last.nbytes + entry.nbytes > self.max_nbytes:
            return NULL
        return last if last.start - start > start - self.virtual_time else NULL

    cdef void evict(self, Entry *entry) noexcept nogil:
        cdef uint64_t *next_start = &self.next_starts[entry.connection_slot]
        if next_start[0] == entry.start + entry.cost:
            next_start[0] = entry.start             # it never ran, and costs nothing
        self.remove(entry)
        entry.evicted = 1
        entry.next = self.evicted
        self.evicted = entry
        self.evictions += 1

    cdef Entry *place(self, Level *level, Entry *entry) noexcept nogil:
        """Gives the entry its virtual start time, and returns the entry before it; NULL: it is the first. A connection's requests start as
        far apart as each costs, from the virtual time on. So a connection with little waiting goes before those with more. At most
        SCAN_LIMIT entries are looked at."""
        cdef Entry *before = level.last
        cdef Entry *following
        cdef uint64_t *next_start = &self.next_starts[entry.connection_slot]
        cdef int looked = 0
        if entry.connection_slot == 0:
            entry.start = before.start if before != NULL else self.virtual_time
            return before
        entry.start = max(self.virtual_time, next_start[0])
        next_start[0] = entry.start + entry.cost
        if before == NULL or before.start <= entry.start:
            return before
        before = level.placed if level.placed != NULL and level.placed.start <= entry.start else NULL
        following = before.next if before != NULL else level.first
        while following.start <= entry.start and looked < SCAN_LIMIT:
            before, following = following, following.next
            looked += 1
        return before

    @cython.cdivision(True)
    cdef int late(self, Entry *entry, int64_t now_ns) noexcept nogil:
        """Whether a request would wait too long, as an Admission. Sets entry.at_once."""
        cdef int64_t requests = 0
        cdef int64_t rows = 0
        cdef int64_t wait_ns, batch_rows
        cdef uint32_t level
        for level in range(entry.priority - 1):
            requests += self.levels[level].requests
            rows += self.levels[level].rows
        self.count_ahead(&self.levels[entry.priority - 1], entry, &requests, &rows)
        batch_rows = self.batch_rows(requests, rows)
        entry.at_once = rows < batch_rows * (self.takers - self.running)
        if entry.at_once:
            return ADMITTED
        wait_ns = self.wait_ns(requests, rows, now_ns)
        if self.max_wait_ns > 0 and wait_ns > self.max_wait_ns:
            return WAIT_FULL
        rows = min(rows % batch_rows + entry.rows, batch_rows)
        if now_ns < entry.deadline_ns and entry.deadline_ns - reserve_ns(entry) < now_ns + wait_ns + self.response_ns(rows, now_ns):
            return TOO_LATE
        return ADMITTED

    cdef void count_ahead(self, const Level *level, const Entry *entry, int64_t *requests, int64_t *rows) noexcept nogil:
        """Adds the entries of its level that run before this request: those that start no later. It looks at SCAN_LIMIT entries at most;
        more count as behind it."""
        cdef uint64_t start = max(self.virtual_time, self.next_starts[entry.connection_slot])
        cdef const Entry *ahead = level.first
        cdef int looked = 0
        if entry.connection_slot == 0 or level.last == NULL or start >= level.last.start:
            requests[0] += level.requests
            rows[0] += level.rows
            return
        while ahead.start <= start and looked < SCAN_LIMIT:
            requests[0] += 1
            rows[0] += ahead.rows
            ahead = ahead.next
            looked += 1

    @cython.cdivision(True)
    cdef int64_t batch_rows(self, int64_t requests, int64_t rows) noexcept nogil:
        """Rows of one batch, when so many requests wait. Without batching, a request can have more than max_rows."""
        return max(self.max_rows, rows // requests) if requests > 0 else self.max_rows

    @cython.cdivision(True)
    cdef int64_t wait_ns(self, int64_t requests, int64_t rows, int64_t now_ns) noexcept nogil:
        """How long a request is likely to wait, with so many requests of so many rows ahead of it; 0 where nothing is known."""
        cdef int64_t batch_rows = self.batch_rows(requests, rows)
        cdef int64_t idle = max(self.takers - self.running, 0)
        cdef int64_t batches = rows // batch_rows - idle            # these begin one after the other, as others end
        cdef double batch_ns = max(<double>self.run_times.estimate(batch_rows, now_ns) / self.takers, batch_rows * self.behind_row_ns)
        cdef double first_ns = batch_ns
        if batches < 0:
            return 0
        if idle == 0:
            first_ns = max(self.taken_ns - now_ns + <double>self.run_times.estimate(self.taken_rows, now_ns) / self.takers, 0.0)
        return <int64_t>min(first_ns + batches * batch_ns, MAX_WAIT_NS)

    cdef int64_t retry_ns(self, int64_t now_ns) noexcept nogil:
        """How long a rejected client should wait: until half of the requests that wait are likely to have run. Where nothing is known of
        runs, as long as the present one has lasted."""
        cdef int64_t wait_ns = self.wait_ns((self.requests + 1) // 2, (self.rows + 1) // 2, now_ns)
        if wait_ns == 0 and self.running > 0:
            wait_ns = now_ns - self.taken_ns
        return min(max(wait_ns, <int64_t>MIN_RETRY_NS), <int64_t>MAX_RETRY_NS)

    cdef int64_t response_ns(self, int64_t rows, int64_t now_ns) noexcept nogil:
        """How long a batch of so many rows is likely to take, from its taking to its responses; 0 where nothing is known."""
        return self.run_times.estimate(rows, now_ns) + self.behind_ns

    @cython.cdivision(True)
    cdef void look_behind(self, BatchQueue behind, int64_t now_ns) noexcept nogil:
        """Estimates what `behind` adds, where requests taken from this queue wait again."""
        cdef int64_t rows = min(behind.rows % behind.max_rows + self.max_rows, behind.max_rows)
        self.behind_ns = behind.wait_ns(behind.requests, behind.rows, now_ns) + behind.response_ns(rows, now_ns)
        self.behind_row_ns = <double>behind.run_times.estimate(behind.max_rows, now_ns) / behind.takers / behind.max_rows

    cdef int64_t next_batch_ns(self, int64_t now_ns) noexcept nogil:
        """How long the batch that could be taken now is likely to take; 0: nothing is known, or nothing that waits has a deadline."""
        if self.next_deadline_ns == INT64_MAX:
            return 0
        return self.response_ns(min(self.rows, self.batch_rows(self.requests, self.rows)), now_ns)

    cdef void over(self, int64_t rows, int64_t run_ns, int64_t now_ns) noexcept nogil:
        """A batch of so many rows was delivered, run_ns after it was taken; 0: it failed, or there is nothing to learn from it."""
        self.running -= 1
        if run_ns > 0:
            self.run_times.record(rows, run_ns, now_ns)

    cdef void remove(self, Entry *entry) noexcept nogil:
        cdef Level *level = &self.levels[entry.priority - 1]
        if level.placed == entry:
            level.placed = NULL
        if entry.previous != NULL:
            entry.previous.next = entry.next
        else:
            level.first = entry.next
        if entry.next != NULL:
            entry.next.previous = entry.previous
        else:
            level.last = entry.previous
        entry.next = entry.previous = NULL
        entry.state = TAKEN
        level.requests -= 1
        level.rows -= entry.rows
        self.requests -= 1
        self.rows -= entry.rows
        self.nbytes -= entry.nbytes

    cdef Entry *first_from(self, int level) noexcept nogil:
        """The first entry of that level or the next one that has any; level counts from 0."""
        while level < self.level_count:
            if self.levels[level].first != NULL:
                return self.levels[level].first
            level += 1
        return NULL

    cdef Entry *following(self, Entry *entry) noexcept nogil:
        return entry.next if entry.next != NULL else self.first_from(entry.priority)

    cdef int64_t due(self, int64_t now_ns) noexcept nogil:
        cdef int count = 0
        if self.evicted != NULL:
            return now_ns
        if self.requests == 0:
            return INT64_MAX
        if self.max_delay_ns == 0:
            return self.expected_until_ns if self.gathers(now_ns) else now_ns
        return self.decide(now_ns, &count)

    cdef void expect(self, int64_t requests, int64_t until_ns) noexcept nogil:
        """A batch of so many requests is about to be delivered: their clients are likely to ask again, all at once."""
        self.expected = requests
        self.expected_until_ns = until_ns

    cdef bint gathers(self, int64_t now_ns) noexcept nogil:
        """Without a delay: whether the next batch still waits for the expected requests. Rows that fill a batch do not wait."""
        return now_ns < self.expected_until_ns and self.requests < self.expected and self.rows < self.max_rows and \
            self.next_expiry_ns > self.expected_until_ns and self.no_begin_before(self.next_batch_ns(now_ns)) > self.expected_until_ns

    cdef int64_t no_begin_before(self, int64_t next_batch_ns) noexcept nogil:
        """A lower bound of begin_by over all entries, deadlines alone: may be too early, never too late."""
        return max(self.next_needed_ns, self.next_deadline_ns - most_reserve_ns(next_batch_ns)) - next_batch_ns

    cdef int64_t decide(self, int64_t now_ns, int *count) noexcept nogil:
        """With a delay, and something waiting: when the head's batch is due, and of how many entries it is then."""
        cdef Entry *head = self.first_from(0)
        cdef Entry *entry = head
        cdef int64_t rows = 0
        cdef int64_t oldest_ns = INT64_MAX
        cdef int64_t last_ns = INT64_MAX            # when one of them would be dropped
        cdef int64_t next_batch_ns = self.next_batch_ns(now_ns)
        cdef int64_t until_ns
        cdef int preferred_count = 0
        cdef int looked = 0
        cdef bint closed = False
        count[0] = 0
        while entry != NULL and looked < SCAN_LIMIT and not closed:
            looked += 1
            if entry.shape_key == head.shape_key:
                if rows + entry.rows > self.max_rows and count[0] > 0:
                    closed = True
                    break
                rows += entry.rows
                count[0] += 1
                oldest_ns = min(oldest_ns, entry.queued_ns)
                closed = rows >= self.max_rows
                if self.preferred != NULL and rows <= self.max_rows and self.preferred[rows]:
                    preferred_count = count[0]
            last_ns = min(last_ns, begin_by(entry, next_batch_ns))
            entry = self.following(entry)
        until_ns = after(oldest_ns, self.max_delay_ns)
        if now_ns >= until_ns or last_ns <= until_ns:
            return now_ns
        if preferred_count > 0:
            count[0] = preferred_count
            return now_ns
        if closed or rows >= self.max_preferred_rows:
            return now_ns
        return until_ns

    cdef Entry *form(self, int64_t now_ns) noexcept nogil:
        cdef Entry *head = self.first_from(0)
        cdef Entry *entry = head
        cdef Entry *following
        cdef Entry *last = NULL
        cdef uint64_t shape_key
        cdef int64_t rows = 0
        cdef int count = SCAN_LIMIT
        cdef int looked = 0
        cdef bint near
        if head == NULL or (self.decide(now_ns, &count) > now_ns if self.max_delay_ns > 0 else self.gathers(now_ns)):
            return NULL
        shape_key = head.shape_key
        self.virtual_time = max(self.virtual_time, head.start)
        near = self.max_delay_ns == 0 and self.runs_near(head)
        while entry != NULL and looked < SCAN_LIMIT and count > 0:
            looked += 1
            following = self.following(entry)
            if entry.shape_key == shape_key and (not near or is_near(entry, head)):
                if last != NULL and rows + entry.rows > self.max_rows:
                    break
                rows += entry.rows
                count -= 1
                self.remove(entry)
                if last != NULL:
                    last.next = entry
                last = entry
            entry = following
        self.running += 1
        self.taken_ns = now_ns
        self.taken_rows = rows
        return head

    cdef bint runs_near(self, Entry *head) noexcept nogil:
        """Whether the entries of the head's near key are enough to run alone."""
        cdef Entry *entry = head
        cdef int64_t rows = 0
        cdef int looked = 0
        if head.near_key == 0:
            return False
        while entry != NULL and looked < SCAN_LIMIT and rows < NEAR_ROWS:
            looked += 1
            if entry.shape_key == head.shape_key and is_near(entry, head):
                rows += entry.rows
            entry = self.following(entry)
        return rows >= NEAR_ROWS

    cdef Entry *drop_expired(self, int64_t now_ns) noexcept nogil:
        return self.drop(now_ns, 0)

    cdef Entry *drop_hopeless(self, int64_t now_ns) noexcept nogil:
        return self.drop(now_ns, self.next_batch_ns(now_ns))

    cdef Entry *drop(self, int64_t now_ns, int64_t next_batch_ns) noexcept nogil:
        """next_batch_ns: how long the next run is likely to take; 0: nothing is known, or entries that had to begin may stay."""
        cdef Entry *dropped = self.evicted
        cdef Entry *entry
        cdef Entry *following
        self.evicted = NULL
        if now_ns < self.next_expiry_ns and (next_batch_ns == 0 or now_ns <= self.no_begin_before(next_batch_ns)):
            return dropped
        self.next_expiry_ns = self.next_deadline_ns = self.next_needed_ns = INT64_MAX
        entry = self.first_from(0)
        while entry != NULL:
            following = self.following(entry)
            if expires_ns(entry) <= now_ns or (next_batch_ns > 0 and begin_by(entry, next_batch_ns) < now_ns and not entry.at_once):
                self.remove(entry)
                entry.next = dropped
                dropped = entry
            else:
                self.next_expiry_ns = min(self.next_expiry_ns, expires_ns(entry))
                self.next_deadline_ns = min(self.next_deadline_ns, entry.deadline_ns)
                self.next_needed_ns = min(self.next_needed_ns, entry.deadline_ns - reserve_ns(entry))
            entry = following
        return dropped
