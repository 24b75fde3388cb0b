"""A recorded live session again: the same frames through the same networks, and how the findings compare.

Owns what a replay takes over from its session and what counts as the same. Must not know how its result is
printed, or how pictures are decoded.
"""

from endostream.replay.comparison import Comparison, compare
from endostream.replay.run import DOCUMENT, FOLDER, Replay, Wish, replay
from endostream.replay.wording import as_text

__all__ = ["DOCUMENT", "FOLDER", "Comparison", "Replay", "Wish", "as_text", "compare", "replay"]
