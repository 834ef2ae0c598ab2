"""Models behind URLs, as folders of this machine. fetching.py is the door: it gives a path, and nothing else knows of URLs."""
