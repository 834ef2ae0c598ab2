"""Which failed runs may be run again. A pure policy, after grpc-core's retry throttling: a bucket of tokens, no clock.

A run of several requests fails because of one of them, or because the model is broken. In the first case, running parts of it again saves
most requests, in the second none. So a part that fails costs a token, and a part that succeeds earns SUCCESS_TOKENS:

- While there are tokens, a failed run is divided until each bad request has failed alone. One bad request in n costs 2 log2(n) runs and
  earns more than it costs, so that its neighbours are saved however often that happens.
- A model that fails always spends the tokens at once. From then on a failed run brings REJECTION_TOKENS, until there are tokens again.
- A client whose requests failed in a part of their own is on probation for some failed runs, with exponential backoff. Without tokens,
  the requests of such clients fail at once, and those of all others are run again, and divided if they fail. So a client that floods the
  model with bad requests does not use up the tokens of its neighbours.

Never in here: runs, requests, errors.
"""

from __future__ import annotations

MAX_TOKENS = 64.0  # and the most that may be owed, as the division of a run is never cut short
SUCCESS_TOKENS = 16.0  # gained by a part that succeeds
REJECTION_TOKENS = 0.1  # gained by a failed run that is not divided
FIRST_PROBATION, MAX_PROBATION = 4, 256  # failed runs


class RetryBudget:
    """The tokens of one instance. Clients are numbers from the batcher, some 1,000: several connections may share one."""

    def __init__(self) -> None:
        self.tokens = MAX_TOKENS
        self._probations: dict[int, tuple[int, int]] = {}  # by client: failed runs left, and given

    def admit(self) -> bool:
        """Called when a run failed. True: it may be divided, whoever its clients are. Else it gains REJECTION_TOKENS."""
        if self.tokens >= 1.0:
            return True
        self.tokens += REJECTION_TOKENS
        return False

    def count_probation(self, clients: set[int]) -> set[int]:
        """Counts a failed run for those of its clients that are on probation. Returns the others."""
        found = set(clients)
        for client in clients & self._probations.keys():
            left, given = self._probations[client]
            if left > 0:
                self._probations[client] = left - 1, given
                found.discard(client)
        return found

    def succeeded(self, clients: set[int]) -> None:
        """Called when a part with requests of these clients was run again, and succeeded."""
        self.tokens = min(self.tokens + SUCCESS_TOKENS, MAX_TOKENS)
        for client in clients & self._probations.keys():
            left, given = self._probations[client]
            if given > FIRST_PROBATION:
                self._probations[client] = left // 2, given // 2
            else:
                del self._probations[client]

    def failed(self, clients: set[int]) -> None:
        """Called when a part with requests of these clients was run again, and failed."""
        self.tokens = max(self.tokens - 1.0, -MAX_TOKENS)
        if len(clients) == 1:
            (client,) = clients
            _, given = self._probations.get(client, (0, FIRST_PROBATION // 2))
            given = min(2 * given, MAX_PROBATION)
            self._probations[client] = given, given
