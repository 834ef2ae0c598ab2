"""A model's data, watched. feature.py has a number of each row that is watched, with its bins, and how its counts are read."""
