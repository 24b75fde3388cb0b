"""A sentence as words, names of classes, numbers and times.

Owns reading; must not know whether anything is true.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from endostream.records.report.lexicon import SYNONYMS
from endostream.vocabulary import TERMS, term

Kind = Literal["word", "label", "time", "range", "percent", "number", "ordinal", "mark"]

_SMALL = """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
    seventeen eighteen nineteen
"""
_TENTHS = "twenty thirty forty fifty sixty seventy eighty ninety"
_PLACES = "first second third fourth fifth sixth seventh eighth ninth tenth"
_UNITS = {word: number for number, word in enumerate(_SMALL.split())}
_TENS = {word: 10 * number for number, word in enumerate(_TENTHS.split(), 2)}
_ORDINALS = {word: number for number, word in enumerate(_PLACES.split(), 1)}
_TENS_AND_UNITS = re.compile(rf"\b({'|'.join(_TENS)})(?:[\s-]+({'|'.join(list(_UNITS)[1:10])}))?\b")
_ONE_WORD = re.compile(rf"\b({'|'.join(_UNITS)}|single)\b")
_N = r"(\d+(?:\.\d+)?)"
_S = r"(?:seconds?|secs?|s)\b"
_SHARED_UNIT = re.compile(rf"(?<![\d.:]){_N}\s*(to|-|and|until|through)\s*{_N}\s*{_S}")
_NUMBERS: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    ("time", re.compile(r"(?:(\d+):)?(\d{1,3}):(\d{2}(?:\.\d+)?)(?![\d:])(?:\s*(?:minutes|mins?|h)\b\.?)?")),
    ("time", re.compile(rf"(){_N}\s*(?:minutes?|mins?|m)\b\s*(?:and\s+)?{_N}\s*{_S}")),
    ("time", re.compile(rf"{_N}\s*-?\s*{_S}")),
    ("percent", re.compile(rf"{_N}\s*(?:%|percent\b|per\s+cent\b)")),
    ("ordinal", re.compile(r"(\d+)(?:st|nd|rd|th)\b")),
    ("number", re.compile(r"(\d*\.\d+|\d+)")),
)
_MINUTES = re.compile(rf"{_N}\s*-?\s*(?:minutes?|mins?)\b")
_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?")
_TO = {"to", "-", "until", "through", "till"}


@dataclass(frozen=True, slots=True)
class Token:
    """One piece of a sentence."""

    kind: Kind
    """What it is."""
    text: str
    """How it was written."""
    value: float = 0.0
    """Seconds, per cent, number or position."""
    until: float = 0.0
    """End of a range in seconds."""
    step: float = 1.0
    """The last written digit's worth: 0.01 for 0.93, 60 for whole minutes."""
    labels: tuple[str, ...] = ()
    """The classes that a name may stand for."""

    def means(self, fact: float | None, *, floor: bool = False) -> bool:
        """True when `fact`, rounded (or with `floor` cut) to the digits written, is this number."""
        if fact is None:
            return False
        return abs(fact - self.value) <= self.step / 2 + 1e-6 or (
            floor and 0 <= fact - self.value < self.step
        )


def normalised(text: str) -> str:
    """Lower case, plain dashes and quotes, digits for number words, no mark-up."""
    text = unicodedata.normalize("NFKC", text).lower()
    text = re.sub(r"[‐-―−]", "-", text)
    text = re.sub(r"[‘’´`]", "'", text)
    text = re.sub(r"[*_#“”\"]", " ", text)
    text = re.sub(r"\bcan't\b|\bcannot\b", "can not", text)
    text = re.sub(r"n't\b", " not", text)
    text = re.sub(r"(?<=\d),(?=\d{3}\b)", "", text)
    text = re.sub(r"(\d)\s*/\s*(\d)", r"\1 of \2", text)
    text = _TENS_AND_UNITS.sub(lambda m: str(_TENS[m[1]] + _UNITS.get(m[2] or "zero", 0)), text)
    text = _ONE_WORD.sub(lambda m: str(_UNITS.get(m[1], 1)), text)
    return _SHARED_UNIT.sub(r"\1 s \2 \3 s", text)


def phrases(labels: Iterable[str]) -> list[tuple[str, tuple[str, ...]]]:
    """Every way to name every class (those of the vocabulary and of `labels`), longest first."""
    names: dict[str, set[str]] = {}
    for label in {*labels, *TERMS} - {"background"}:
        ways = [label, *SYNONYMS.get(label, ())]
        said = term(label).say
        ways += [said] if label in TERMS and term(label).role != "preparation" else []
        for way in {normalised(w) for w in ways}:
            for form in (way, f"{way}s", way.removesuffix("s") if len(way) > 4 else way):
                for tail in ("", " candidate", " candidates", " finding", " findings", " landmark"):
                    names.setdefault(" ".join(re.findall(r"[a-z0-9]+", form + tail)), set()).add(label)
    names.pop("", None)
    return sorted(
        ((k, tuple(sorted(v))) for k, v in names.items()), key=lambda item: (-len(item[0]), item[0])
    )


class Scanner:
    """Reads sentences about sessions whose pack knows certain classes."""

    def __init__(self, labels: Iterable[str]) -> None:
        """Learn the names of `labels` and of the whole vocabulary."""
        self._names = phrases(labels)
        ways = [r"[\s,()'-]+".join(map(re.escape, name.split())) for name, _ in self._names]
        self._label = re.compile("|".join(rf"({way})(?![a-z0-9])" for way in ways))

    def read(self, text: str) -> list[Token]:
        """The pieces of one sentence, ranges joined."""
        text = normalised(text)
        tokens: list[Token] = []
        at = 0
        while at < len(text):
            if text[at].isspace():
                at += 1
                continue
            token, at = self._next(text, at)
            tokens.append(token)
        return _join_ranges(tokens)

    def _next(self, text: str, at: int) -> tuple[Token, int]:
        if found := self._label.match(text, at):
            labels = self._names[(found.lastindex or 1) - 1][1]
            return Token("label", found[0], labels=labels), found.end()
        if found := _MINUTES.match(text, at):
            shorter = _NUMBERS[1][1].match(text, at)
            if shorter is None:
                return Token("time", found[0], float(found[1]) * 60, step=60 * _step(found[1])), found.end()
        for kind, pattern in _NUMBERS:
            if found := pattern.match(text, at):
                return _number(kind, found), found.end()
        if found := _WORD.match(text, at):
            word = found[0]
            if word in _ORDINALS:
                return Token("ordinal", word, _ORDINALS[word]), found.end()
            return Token("word", word), found.end()
        return Token("mark", text[at]), at + 1


def _step(digits: str) -> float:
    return float(10.0 ** -len(digits.partition(".")[2]))


def _number(kind: Kind, found: re.Match[str]) -> Token:
    parts = found.groups()
    if len(parts) == 3:
        hours, minutes, seconds = parts
        value = float(hours or 0) * 3600 + float(minutes) * 60 + float(seconds)
        return Token("time", found[0], value, step=_step(seconds))
    return Token(kind, found[0], float(parts[0]), step=_step(parts[0]))


def _join_ranges(tokens: list[Token]) -> list[Token]:
    joined: list[Token] = []
    at = 0
    while at < len(tokens):
        window = tokens[at : at + 3]
        between = bool(joined) and joined[-1].text == "between"
        if [t.kind for t in window[::2]] == ["time", "time"] and (
            window[1].text in _TO or (between and window[1].text == "and")
        ):
            first, _, last = window
            step = max(first.step, last.step)
            joined.append(Token("range", f"{first.text} to {last.text}", first.value, last.value, step))
            at += 3
        else:
            joined.append(tokens[at])
            at += 1
    return joined
