"""Colours, type and the style sheet: one accent per meaning, the same everywhere.

Owns every colour and font size of the window. Must not know widgets or what they show.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from PySide6.QtGui import QColor, QFont, QPalette

FAMILIES = (
    "Inter",
    "Inter Variable",
    "SF Pro Text",
    "Segoe UI Variable Text",
    "Segoe UI",
    "Roboto",
    "Noto Sans",
    "Cantarell",
    "Helvetica Neue",
    "Liberation Sans",
    "Arial",
    "DejaVu Sans",
)
TINY, BODY, FAR, CLOCK = 11, 13, 20, 28
"""Pixel sizes: the smallest anything, body, read from afar, clock."""

CONTOUR = "#F5B301"
"""The contour lies on the picture, so it is the same amber in both themes."""
EDGE = "#0D1117"
"""The dark edge under the contour, seen on bright mucosa."""


@dataclass(frozen=True, slots=True)
class Palette:
    """The colours of one theme, as #RRGGBB."""

    name: str
    """`dark` or `light`."""
    ground: str
    """Behind everything."""
    panel: str
    """Panels."""
    raised: str
    """Buttons and tracks on panels."""
    hairline: str
    """Lines between panels."""
    text: str
    """What is read."""
    secondary: str
    """What is read second."""
    finding: str
    """A finding."""
    landmark: str
    """An anatomical landmark."""
    therapy: str
    """Therapy in progress."""
    blind: str
    """What could not be judged; always hatched."""
    failure: str
    """A failure."""
    running: str
    """Healthy, running."""

    def colour(self, role: str, alpha: float = 1.0) -> QColor:
        """The colour of a role, e.g. `finding`, with an opacity of 0..1."""
        colour = QColor(getattr(self, role))
        colour.setAlphaF(alpha)
        return colour


DARK = Palette(
    name="dark",
    ground="#0D1117",
    panel="#151B23",
    raised="#1F2731",
    hairline="#27303A",
    text="#E6EDF3",
    secondary="#9AA7B4",
    finding="#F5B301",
    landmark="#4CC9F0",
    therapy="#B388EB",
    blind="#6B7280",
    failure="#EF4444",
    running="#34D399",
)
LIGHT = Palette(
    name="light",
    ground="#E9EDF2",
    panel="#F6F8FA",
    raised="#E1E7ED",
    hairline="#C9D1DA",
    text="#17202B",
    secondary="#4A5664",
    finding="#9A6300",
    landmark="#0B5F86",
    therapy="#6A3BB5",
    blind="#5B6470",
    failure="#B42318",
    running="#04694A",
)
THEMES = {palette.name: palette for palette in (DARK, LIGHT)}


def contrast(first: str, second: str) -> float:
    """The WCAG contrast ratio of two colours, 1..21."""

    def luminance(name: str) -> float:
        colour = QColor(name)
        channels = (colour.redF(), colour.greenF(), colour.blueF())
        linear = [c / 12.92 if c <= 0.04045 else float(((c + 0.055) / 1.055) ** 2.4) for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def font(pixels: int = BODY, weight: QFont.Weight = QFont.Weight.Normal) -> QFont:
    """The window's one family at a pixel size, with tabular figures where the family offers them."""
    result = QFont()
    result.setFamilies(list(FAMILIES))
    result.setPixelSize(max(pixels, TINY))
    result.setWeight(weight)
    if hasattr(result, "setFeature"):
        result.setFeature(QFont.Tag("tnum"), 1)
    return result


def qt_palette(palette: Palette) -> QPalette:
    """The same colours for the widgets that Qt draws itself."""
    result = QPalette()
    roles = {
        QPalette.ColorRole.Window: palette.ground,
        QPalette.ColorRole.Base: palette.panel,
        QPalette.ColorRole.AlternateBase: palette.raised,
        QPalette.ColorRole.Button: palette.raised,
        QPalette.ColorRole.ToolTipBase: palette.raised,
        QPalette.ColorRole.Highlight: palette.landmark,
        QPalette.ColorRole.WindowText: palette.text,
        QPalette.ColorRole.Text: palette.text,
        QPalette.ColorRole.ButtonText: palette.text,
        QPalette.ColorRole.ToolTipText: palette.text,
        QPalette.ColorRole.PlaceholderText: palette.secondary,
        QPalette.ColorRole.HighlightedText: palette.ground,
    }
    for role, colour in roles.items():
        result.setColor(role, QColor(colour))
    return result


_SHEET = """
QWidget {{ color: {text}; }}
QMainWindow, QDialog {{ background: {ground}; }}
QDialog {{ border: 1px solid {hairline}; }}
QFrame#panel, QWidget#panel {{ background: {panel}; }}
QLabel#heading {{ color: {secondary}; font-size: 13px; font-weight: 600; }}
QLabel#quiet {{ color: {secondary}; }}
QLabel#title {{ font-size: 20px; font-weight: 600; }}
QLabel#mono {{ background: {raised}; border-radius: 4px; padding: 6px 8px; }}
QSplitter::handle {{ background: {hairline}; }}
QToolTip {{ background: {raised}; color: {text}; border: 1px solid {hairline}; padding: 4px 6px; }}
QPushButton, QToolButton {{
    background: {raised}; border: 1px solid {hairline}; border-radius: 6px; padding: 5px 10px; }}
QPushButton:hover, QToolButton:hover {{ border-color: {secondary}; }}
QPushButton:pressed, QToolButton:pressed {{ background: {hairline}; }}
QPushButton:focus, QToolButton:focus {{ border-color: {landmark}; }}
QPushButton:disabled, QToolButton:disabled {{ color: {blind}; background: transparent; }}
QPushButton:default {{ border-color: {landmark}; }}
QToolButton#flat {{ background: transparent; border: 1px solid transparent; padding: 4px; }}
QToolButton#flat:hover {{ background: {raised}; }}
QToolButton#flat:focus {{ border-color: {landmark}; }}
QToolButton#chip {{ padding: 4px 10px; color: {secondary}; background: transparent; }}
QToolButton#chip:checked {{ color: {text}; background: {raised}; border-color: {secondary}; }}
QToolButton#chip:disabled {{ color: {blind}; border-color: {hairline}; background: transparent; }}
QToolButton::menu-indicator {{ image: none; }}
QMenu {{ background: {panel}; border: 1px solid {hairline}; padding: 6px; }}
QMenu::item {{ padding: 6px 26px 6px 22px; border-radius: 4px; }}
QMenu::item:selected {{ background: {raised}; }}
QMenu::item:disabled {{ color: {blind}; }}
QMenu::separator {{ height: 1px; background: {hairline}; margin: 6px 4px; }}
QLineEdit, QListWidget {{
    background: {panel}; border: 1px solid {hairline}; border-radius: 6px; padding: 6px; }}
QLineEdit:focus, QListWidget:focus {{ border-color: {landmark}; }}
QComboBox {{ background: {raised}; border: 1px solid {hairline}; border-radius: 6px; padding: 6px 10px; }}
QComboBox:hover {{ border-color: {secondary}; }}
QComboBox:focus {{ border-color: {landmark}; }}
QComboBox:disabled {{ color: {secondary}; background: transparent; }}
QComboBox::drop-down {{ border: none; width: 24px; }}
QComboBox QAbstractItemView {{
    background: {panel}; border: 1px solid {hairline}; padding: 4px; outline: none;
    selection-background-color: {raised}; selection-color: {text}; }}
QListWidget::item {{ padding: 8px; border-radius: 4px; }}
QListWidget::item:selected {{ background: {raised}; color: {text}; }}
QListWidget::item:disabled {{ color: {secondary}; }}
QScrollArea, QScrollArea > QWidget > QWidget {{ background: transparent; border: none; }}
QScrollBar:vertical {{ background: transparent; width: 10px; margin: 0; }}
QScrollBar::handle:vertical {{ background: {hairline}; border-radius: 5px; min-height: 28px; }}
QScrollBar::handle:vertical:hover {{ background: {blind}; }}
QScrollBar::add-line, QScrollBar::sub-line {{ height: 0; width: 0; }}
QScrollBar::add-page, QScrollBar::sub-page {{ background: transparent; }}
QSlider::groove:horizontal {{ height: 4px; background: {hairline}; border-radius: 2px; }}
QSlider::sub-page:horizontal {{ background: {secondary}; border-radius: 2px; }}
QSlider::handle:horizontal {{
    width: 14px; height: 14px; margin: -5px 0; border-radius: 7px; background: {text}; }}
QSlider::handle:horizontal:disabled {{ background: {blind}; }}
"""


def style_sheet(palette: Palette) -> str:
    """The Qt style sheet of a theme."""
    return _SHEET.format(**{f.name: getattr(palette, f.name) for f in fields(palette)})
