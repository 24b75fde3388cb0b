"""Threads and the values that cross them: a source, an analyzer, a tracker and their sinks at work."""
