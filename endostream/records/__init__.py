"""The session folder: what a run leaves behind, read again and turned into reports."""
