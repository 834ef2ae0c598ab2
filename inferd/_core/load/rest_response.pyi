# Nothing of it is Python's.
