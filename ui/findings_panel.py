"""The list of findings and landmarks with stills and review marks.

Owns the rows. Must not know where findings come from; it emits what a person wants:
`seekRequested(seconds)`, `reviewRequested(key, review)`. A key is (id, is it a landmark): findings and
landmarks are counted apart.
"""

from __future__ import annotations

from PySide6.QtCore import QRectF, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QFont, QImage, QMouseEvent, QPainter, QPaintEvent, QPen, QPixmap
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QScrollArea, QToolButton, QVBoxLayout, QWidget

from endostream.types import Finding
from endostream.vocabulary import term

from . import icons, theme
from .ledger import Key
from .samples import spoken_time

STILL = QSize(92, 64)
ROW_HEIGHT = 82
VERDICTS = {"pending": "", "confirmed": "confirmed", "rejected": "rejected"}


def colour_role(finding: Finding, landmark: bool) -> str:
    """The accent of a finding: amber, landmarks cyan, therapy violet."""
    if landmark:
        return "landmark"
    return "therapy" if term(finding.label).role == "therapy" else "finding"


class FindingRow(QWidget):
    """One finding: still, class, time, probability, ✓ and ✗."""

    clicked = Signal(object)
    reviewed = Signal(object, str)

    def __init__(self, finding: Finding, landmark: bool, palette: theme.Palette) -> None:
        super().__init__()
        self.finding, self.landmark = finding, landmark
        self._palette = palette
        self._still: QPixmap | None = None
        self._chosen = False
        self.setFixedHeight(ROW_HEIGHT)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 12, 0)
        row.setSpacing(4)
        row.addStretch()
        self.confirm_button = self._button("check", "confirmed", "Confirm: this was real  (Y)")
        self.reject_button = self._button("cross", "rejected", "Reject: this was false  (N)")
        row.addWidget(self.confirm_button)
        row.addWidget(self.reject_button)
        self.set_palette(palette)

    @property
    def key(self) -> Key:
        """Its id and whether it is a landmark."""
        return (self.finding.id, self.landmark)

    def _button(self, shape: str, review: str, tip: str) -> QToolButton:
        button = QToolButton(self)
        button.setObjectName("flat")
        button.setFixedSize(34, 34)
        button.setIconSize(QSize(16, 16))
        button.setToolTip(tip)
        button.setAccessibleName(tip)
        button.setProperty("shape", shape)
        button.clicked.connect(lambda: self._review(review))
        return button

    def _review(self, review: str) -> None:
        wanted = "pending" if self.finding.review == review else review
        self.reviewed.emit(self.key, wanted)

    def set_finding(self, finding: Finding) -> None:
        """Show the finding as it is now."""
        self.finding = finding
        self.set_palette(self._palette)

    def set_still(self, image: QImage) -> None:
        """Show this picture, cut to the row's shape."""
        size = STILL * 2
        grown = image.scaled(
            size, Qt.AspectRatioMode.KeepAspectRatioByExpanding, Qt.TransformationMode.SmoothTransformation
        )
        left, top = (grown.width() - size.width()) // 2, (grown.height() - size.height()) // 2
        self._still = QPixmap.fromImage(grown.copy(left, top, size.width(), size.height()))
        self.update()

    def set_chosen(self, chosen: bool) -> None:
        """Mark the row that the review keys act on."""
        self._chosen = chosen
        self.update()

    def set_palette(self, palette: theme.Palette) -> None:
        """Take the colours of a theme."""
        self._palette = palette
        faint = palette.colour("blind")
        for button, review, role in (
            (self.confirm_button, "confirmed", "running"),
            (self.reject_button, "rejected", "failure"),
        ):
            ink = palette.colour(role if self.finding.review == review else "secondary")
            button.setIcon(icons.icon(str(button.property("shape")), ink, faint, 16))
        self.update()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Emit that this finding is wanted."""
        self.clicked.emit(self.key)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw still and words."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        role = colour_role(self.finding, self.landmark)
        if self._chosen:
            painter.fillRect(self.rect(), self._palette.colour("raised"))
        box = QRectF(16, (ROW_HEIGHT - STILL.height()) / 2, STILL.width(), STILL.height())
        if self._still is not None:
            painter.drawPixmap(box, self._still, QRectF(self._still.rect()))
        else:
            painter.fillRect(box, self._palette.colour("ground"))
        rejected = self.finding.review == "rejected"
        frame = self._palette.colour("blind" if rejected else role)
        painter.setPen(QPen(frame, 2.0))
        painter.drawRect(box)
        self._paint_words(painter, box.right() + 14, role, rejected)
        painter.end()

    def _paint_words(self, painter: QPainter, x: float, role: str, rejected: bool) -> None:
        width = self.confirm_button.x() - x - 6
        bold = theme.font(15, QFont.Weight.DemiBold)
        bold.setStrikeOut(rejected)
        painter.setFont(bold)
        painter.setPen(self._palette.colour("secondary" if rejected else "text"))
        mark = QRectF(x, 20, 11, 11)
        icons.draw(painter, "diamond" if self.landmark else "triangle", mark, self._palette.colour(role))
        text = painter.fontMetrics().elidedText(
            self.finding.label, Qt.TextElideMode.ElideRight, int(width - 18)
        )
        painter.drawText(QRectF(x + 18, 14, width - 18, 22), Qt.AlignmentFlag.AlignVCenter, text)
        painter.setFont(theme.font(theme.BODY))
        painter.setPen(self._palette.colour("secondary"))
        shown = f"{spoken_time(self.finding.start)}   {self.finding.peak.confidence:.2f}"
        painter.drawText(QRectF(x, 38, width, 18), Qt.AlignmentFlag.AlignVCenter, shown)
        painter.setFont(theme.font(theme.TINY))
        painter.drawText(QRectF(x, 56, width, 16), Qt.AlignmentFlag.AlignVCenter, self._third_line())

    def _third_line(self) -> str:
        finding = self.finding
        if finding.end is None:
            lasting = "open"
        else:
            lasting = "landmark" if self.landmark else f"{finding.end - finding.start:.1f} s"
        return "  ·  ".join(part for part in (lasting, VERDICTS[finding.review]) if part)


class FindingsPanel(QWidget):
    """Findings and landmarks in order of time, the newest kept in view."""

    seekRequested = Signal(float)
    reviewRequested = Signal(object, str)

    def __init__(self, palette: theme.Palette = theme.DARK) -> None:
        super().__init__()
        self.setObjectName("panel")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self._palette = palette
        self._rows: dict[Key, FindingRow] = {}
        self._chosen: Key | None = None
        self._late: dict[Key, Finding] = {}
        heading = QLabel("findings")
        heading.setObjectName("heading")
        heading.setContentsMargins(16, 10, 16, 6)
        self._count = QLabel("")
        self._count.setObjectName("quiet")
        self._count.setContentsMargins(0, 10, 16, 6)
        head = QHBoxLayout()
        head.addWidget(heading)
        head.addStretch()
        head.addWidget(self._count)
        self._empty = QLabel("none yet")
        self._empty.setObjectName("quiet")
        self._empty.setContentsMargins(16, 4, 16, 0)
        self._list = QWidget()
        self._column = QVBoxLayout(self._list)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(0)
        self._column.addWidget(self._empty)
        self._column.addStretch()
        self._area = QScrollArea()
        self._area.setWidgetResizable(True)
        self._area.setFrameShape(QFrame.Shape.NoFrame)
        self._area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._area.setWidget(self._list)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addLayout(head)
        column.addWidget(self._area)
        self._timer = QTimer(self)
        self._timer.setInterval(250)
        self._timer.timeout.connect(self._settle)
        self._timer.start()

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is listed, in order of time."""
        return tuple(self._late.get(key, row.finding) for key, row in self._rows.items())

    @property
    def chosen_key(self) -> Key | None:
        """The finding the review keys act on: the chosen one, else the newest."""
        if self._chosen in self._rows:
            return self._chosen
        return next(reversed(self._rows), None)

    def row(self, key: Key) -> FindingRow:
        """The row of a finding."""
        return self._rows[key]

    def clear(self) -> None:
        """Forget everything."""
        for key in list(self._rows):
            self.remove(key)
        self._chosen = None

    def put(self, finding: Finding, landmark: bool) -> None:
        """List a finding, or show it as it is now; numbers settle four times a second."""
        key = (finding.id, landmark)
        if key in self._rows:
            self._late[key] = finding
            return
        row = FindingRow(finding, landmark, self._palette)
        row.clicked.connect(self._choose)
        row.reviewed.connect(self.reviewRequested)
        bar = self._area.verticalScrollBar()
        following = bar.value() >= bar.maximum() - ROW_HEIGHT
        place = sum(1 for other in self._rows.values() if other.finding.start <= finding.start)
        self._rows[key] = row
        self._column.insertWidget(place + 1, row)
        self._count_up()
        if following:
            QTimer.singleShot(0, row, lambda: bar.setValue(bar.maximum()))

    def remove(self, key: Key) -> None:
        """Take a finding off the list."""
        row = self._rows.pop(key, None)
        self._late.pop(key, None)
        if row is not None:
            self._column.removeWidget(row)
            row.setParent(None)
            row.deleteLater()
            self._count_up()

    def set_still(self, key: Key, image: QImage) -> None:
        """Give a finding its picture."""
        if key in self._rows:
            self._rows[key].set_still(image)

    def set_palette(self, palette: theme.Palette) -> None:
        """Take the colours of another theme."""
        self._palette = palette
        for row in self._rows.values():
            row.set_palette(palette)

    def _choose(self, chosen: Key) -> None:
        self._chosen = chosen
        for key, row in self._rows.items():
            row.set_chosen(key == chosen)
        self.seekRequested.emit(self._rows[chosen].finding.start)

    def _count_up(self) -> None:
        landmarks = sum(1 for row in self._rows.values() if row.landmark)
        found = len(self._rows) - landmarks
        words = [f"{found}"] if found else []
        words += [f"{landmarks} landmark" + "s" * (landmarks > 1)] if landmarks else []
        self._count.setText("  ·  ".join(words))
        self._empty.setVisible(not self._rows)

    def _settle(self) -> None:
        late, self._late = self._late, {}
        for key, finding in late.items():
            self._rows[key].set_finding(finding)
