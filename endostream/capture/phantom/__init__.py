"""A procedural colonoscopy with ground truth: demo and test bed, never a source of accuracy claims.

Owns made-up frames by index and what is true about them; it must not know files, codecs or pacing.
"""

from endostream.capture.phantom.intervals import Interval
from endostream.capture.phantom.phantom import Phantom, PhantomFrame
from endostream.capture.phantom.truth import describe, write_truth

__all__ = ["Interval", "Phantom", "PhantomFrame", "describe", "write_truth"]
