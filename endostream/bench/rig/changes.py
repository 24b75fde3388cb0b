"""What a live run does when something else comes than before: other sizes, damage, time stamps that jump.

Owns the scripts of these runs and their figures. Must not know how a change is brought about.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from endostream.bench.rig.clips import Scene, make_clip
from endostream.bench.rig.faults import BACK_S, DEADLINE_S, NO_SIGNAL_S
from endostream.bench.rig.live_run import LiveRun
from endostream.bench.rig.result import Figure
from endostream.bench.rig.steady import balance
from endostream.bench.rig.stub import block_box
from endostream.bench.rig.view import View, Views
from endostream.capture.loopback import Protocol, open_sender
from endostream.capture.towers import find_profile
from endostream.types import Analysis, Frame

NEXT_S = 1.0
"""Demand: from another kind of picture to the first good one."""
OFF_PX = 2.0
"""Demand: pixels that a mask may lie beside the block; the masks of the stub are exact, but for what coding
does to edges."""
QUICK_S = 0.01
"""Delay of the stub networks: so quick that every mask is that of its own frame."""
DRIP_SHARE, DRIPPED_S = 0.6, 4.0
"""Share of what a clip needs that a line lets through which is too slow, and for how long."""
LATENESS_S = 0.3
"""Seconds by which the lateness that is said may be wrong."""


def sizes(protocol: Protocol, scenes: Sequence[Scene], profile: str = "none") -> list[Figure]:
    """Change size and kind of the picture in mid-stream, scene by scene, behind a tower profile."""
    views = Views(scenes, find_profile(profile))
    titles = [f"{s.height}{'i' if s.interlaced else 'p'}" for s in scenes]
    name = f"{protocol}, {' to '.join(titles)}" + (f", profile {profile}" if profile != "none" else "")
    clips = [make_clip(scene) for scene in scenes]
    figures = list[Figure]()
    with open_sender(protocol, clips[0]) as sender, LiveRun(sender, views, QUICK_S) as run:
        run.settle()
        for scene, clip, title in zip(scenes[1:], clips[1:], titles[1:], strict=True):
            view, switched = views.of(scene), sender.switch(clip)
            seen = run.wait_shown(_whole(view), DEADLINE_S)
            masked = run.wait_overlay(_masked(view), DEADLINE_S)
            off = None if masked is None or run.overlay is None else _off(view, run.overlay)
            figures += [
                Figure(name, f"good picture in {title} after", _since(switched, seen), "s", NEXT_S),
                Figure(name, f"mask in {title} after", _since(switched, masked), "s"),
                Figure(name, f"mask in {title} beside the block by", off, "px", OFF_PX),
            ]
        run.close()
        figures += _end(name, run)
    return figures


def oddities(protocol: Protocol, scene: Scene) -> list[Figure]:
    """Silence, a line too slow, damage, jumping time stamps, a picture that stays: one after the other."""
    name = f"{protocol}, oddities"
    figures = list[Figure]()
    with open_sender(protocol, make_clip(scene)) as sender, LiveRun(sender, Views([scene]), QUICK_S) as run:
        run.settle()
        silent = sender.stall()
        gone = run.wait_state("no-signal", DEADLINE_S)
        figures.append(Figure(name, "stalled: NO SIGNAL after", _since(silent, gone), "s", NO_SIGNAL_S))
        figures.append(_back(name, "stalled: picture back after", run, sender.resume()))
        figures += _dripped(name, run)
        figures.append(_back(name, "100 kB of noise: picture after", run, sender.garbage(100_000)))
        for seconds in (60.0, -30.0):
            figures.append(
                _back(name, f"time stamps {seconds:+g} s: picture after", run, sender.jump(seconds))
            )
        still = sender.freeze()
        frozen = run.wait_state("frozen", DEADLINE_S)
        figures.append(Figure(name, "picture stays: FROZEN after", _since(still, frozen), "s", DEADLINE_S))
        figures.append(_back(name, "picture stays: moves again after", run, sender.resume()))
        run.close()
        figures += _end(name, run)
    return figures


def _dripped(name: str, run: LiveRun) -> list[Figure]:
    """A line that is too slow: pictures come, and come ever later."""
    clip = run.sender.clip
    line = f"{DRIP_SHARE:.0%} of its rate"
    run.sender.drip(DRIP_SHARE * sum(len(unit.data) for unit in clip.units) / clip.seconds)
    time.sleep(DRIPPED_S)
    behind, said = run.behind(), run.pipeline.status().lag
    # What the picture is late by on a line that is fast enough is not counted as lateness.
    wrong = None if behind is None else abs(behind - said)
    return [
        Figure(name, f"{line}: picture is late by", behind, "s", None, f"after {DRIPPED_S:g} s"),
        Figure(name, f"{line}: lateness said is wrong by", wrong, "s", LATENESS_S),
        _back(name, f"{line}: picture back after", run, run.sender.resume()),
    ]


def _back(name: str, what: str, run: LiveRun, moment: float) -> Figure:
    return Figure(name, what, _since(moment, run.wait_fresh(moment, DEADLINE_S)), "s", BACK_S)


def _since(began: float, ended: float | None) -> float | None:
    return None if ended is None else ended - began


def _end(name: str, run: LiveRun) -> list[Figure]:
    status = run.status()
    failed = 0.0 if status.error is None else 1.0
    return [balance(name, status.counts), Figure(name, "errors", failed, "", 0.0, status.error or "")]


def _whole(view: View) -> Callable[[Frame], bool]:
    """A good picture of this view: its size, and a counter that can be read."""

    def whole(frame: Frame) -> bool:
        return view.read(frame.image) is not None

    return whole


def _masked(view: View) -> Callable[[Analysis], bool]:
    """A frame with a mask that was computed from it: one that was carried along may lie a little beside."""

    def masked(analysis: Analysis) -> bool:
        mask = analysis.mask
        own = analysis.mask_source == "network"
        return own and mask is not None and mask.shape == view.shape and bool(mask.any())

    return masked


def _off(view: View, analysis: Analysis) -> float | None:
    """Pixels between the edges of a mask and those of the block in the frame that it belongs to."""
    number = view.read(analysis.frame.image)
    found = None if analysis.mask is None else block_box(analysis.mask)
    if number is None or found is None:
        return None
    return float(max(abs(a - b) for a, b in zip(found, view.block_at(number), strict=True)))
