"""Tests of inferd/bench."""
