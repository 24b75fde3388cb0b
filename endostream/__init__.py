"""EndoStream: real-time endoscopy video analysis. Research use only, not for diagnosis."""

__version__ = "0.1.0"
