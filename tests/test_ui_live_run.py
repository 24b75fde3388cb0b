"""The window over a real stream: it waits, loses the picture, gets it back, records, and can be closed."""

from __future__ import annotations

import time
from pathlib import Path

import av
from endostream_ui.controller import Controller
from endostream_ui.indicator import Kind
from endostream_ui.main_window import MainWindow
from endostream_ui.preferences import Preferences
from endostream_ui.wiring import Wiring
from PySide6.QtWidgets import QApplication
from small import tissue, write_pack
from ui_fakes import qt, spin  # noqa: F401

from endostream.capture.loopback import UdpSender, encode_clip
from endostream.config import Settings

SIZE = (320, 180)


def test_real_stream_from_waiting_to_a_window_that_closes_in_a_black_hole(
    qt: QApplication,  # noqa: F811
    tmp_path: Path,
) -> None:
    session = tmp_path / "session"
    pack = write_pack(tmp_path / "tiny")
    settings = Settings(pack=str(pack), engine="torch", device="cpu", profile="none")
    controller = Controller(settings, keep=lambda source: session)
    window = MainWindow(controller, Preferences(tmp_path / "window.ini"))
    wiring = Wiring(controller, window)
    window.show()
    with UdpSender(encode_clip([tissue(i, SIZE) for i in range(25)], 25)) as sender:
        controller.open(sender.url)
        spin(lambda: "waiting for a picture" in controller.indicator.detail)
        sender.start()
        spin(lambda: window.view.analysis_shown is not None)
        assert controller.live and window.act["record"].isEnabled()
        window.act["record"].trigger()
        spin(lambda: window.strip.recording.startswith("REC"))
        spin(lambda: "shown" in window.footer.figures and "overlay p95" in window.footer.figures)

        cut = sender.cut()
        spin(lambda: controller.indicator.kind is Kind.NO_SIGNAL)
        assert time.monotonic() - cut < 2.0, "1 s is the rig's limit; a busy machine gets another"
        assert window.view.analysis_shown is None and window.scores.heading == "NO SIGNAL"
        lost = window.view.frame_shown
        sender.restore()
        spin(lambda: window.view.frame_shown is not lost and window.view._outage is None)
        spin(lambda: window.view.analysis_shown is not None)
        assert controller.indicator.kind is not Kind.NO_SIGNAL
        assert [s.reason for s in window.timeline._blind if s.reason == "no-signal"]

        sender.black_hole()
        spin(lambda: controller.indicator.kind is Kind.NO_SIGNAL)
        began = time.monotonic()
        window.close()
        spin(lambda: not window.isVisible())
        controller.close()
        assert time.monotonic() - began < 3.0
    assert controller.failure is None and (session / "findings.json").is_file()
    with av.open(str(session / "recording.mkv")) as container:
        assert sum(1 for _ in container.decode(video=0)) > 5
    del wiring
    window.deleteLater()
    controller.deleteLater()
