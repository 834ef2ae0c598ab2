"""A model's configuration: read, checked, and completed from the graph and the server's defaults."""
