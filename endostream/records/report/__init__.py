"""The report of a session: a deterministic template first, a language model's checked prose second.

Owns `report.md` and `report.html`. The same session and the same prose give the same bytes: neither file
holds a date, a session id, an absolute path or a timing.
"""

from __future__ import annotations

from endostream.records.report.prose import Prose, Sentence, load_prose, store_prose, template_sentences
from endostream.records.report.write import write_report

__all__ = ["Prose", "Sentence", "load_prose", "store_prose", "template_sentences", "write_report"]
