"""From frames and network outputs to analyses and findings: numpy only, no threads, no engines."""
