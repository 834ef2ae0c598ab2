"""Which models are served: their entries, the table of routes, labels, and loads and unloads."""
