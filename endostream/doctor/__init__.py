"""Is this computer ready? `examine` gives one line per thing that matters, with what to do where it is not.

Owns the checks behind `endostream doctor`. Must not know how they are printed.
"""

from endostream.doctor.checks import Check, CheckState, as_json, as_text, examine, worst

__all__ = ["Check", "CheckState", "as_json", "as_text", "examine", "worst"]
