"""Prose by a language model on an OpenAI-compatible server, kept only where the facts bear it out.

Owns the prompt, the ladder (JSON schema, plain chat, template) and the reading of answers. The model gets
reviewed, structured facts alone: no picture, no source name. Must not know the session or the report's
layout. Server trouble never raises: the template stands, with one clear line.
"""

from __future__ import annotations

import ipaddress
import json
import re
import threading
from collections.abc import Iterable, Mapping
from typing import Any

import httpx

from endostream.errors import InputError
from endostream.records.facts import Facts
from endostream.records.report.exchange import Exchange, NoAnswer, one_line
from endostream.records.report.prose import Prose, Sentence
from endostream.records.report.verify import Verifier, split_sentences

AUTO = "http://localhost:1234/v1"
MOST_SENTENCES = 60
LONGEST = 400
ANSWER_TOKENS = 1500
_REASONING = ("reasoning_content", "reasoning", "thinking")
_SCHEMA = {
    "name": "endoscopy_summary",
    "strict": True,
    "schema": {
        "type": "object",
        "properties": {"sentences": {"type": "array", "items": {"type": "string"}}},
        "required": ["sentences"],
        "additionalProperties": False,
    },
}
RULES = """\
You write the summary of an automatic analysis of an endoscopy video for a research report.
Use only the facts given as JSON. A program checks every sentence and deletes what is not in them.
- Short plain sentences; one finding or landmark per sentence, named by its "say" text or its label.
- Copy numbers from the facts: times as mm:ss or in seconds, scores with two decimals, counts as digits.
- No size, shape, place, side, grade, scale, histology, diagnosis, advice, order of events or judgement.
- Say that something is absent only when the facts say so. Do not speak of the patient.
- Say "candidate" where the facts do; a finding with review "pending" is not yet reviewed.
Answer with JSON: {"sentences": ["...", "..."]}"""


def base_url(url: str, allow_remote: Iterable[str] = ()) -> str:
    """The server's base URL; `auto` is LM Studio on this machine.

    Raises `InputError` for a URL that is none, or for a host that is neither this machine nor named in
    `allow_remote`.
    """
    text = AUTO if url == "auto" else url.strip()
    try:
        parsed = httpx.URL(text)
        host = parsed.host
    except (httpx.InvalidURL, ValueError) as error:
        raise InputError(f"{one_line(text)!r} is not a URL; write something like {AUTO}") from error
    if parsed.scheme not in ("http", "https") or not host or parsed.userinfo:
        raise InputError(f"{one_line(text)!r} is not the URL of a server; write something like {AUTO}")
    if not _is_loopback(host) and host not in {name.lower() for name in allow_remote}:
        raise InputError(
            f"facts stay on this machine, and {one_line(host)} is another one: "
            f'name it in the config as [report] allow_remote = ["{one_line(host)}"] if that is meant'
        )
    return text.rstrip("/").removesuffix("/chat/completions").rstrip("/")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def write_prose(
    facts: Facts,
    *,
    url: str,
    model: str = "",
    timeout: float = 60.0,
    allow_remote: Iterable[str] = (),
    cancel: threading.Event | None = None,
) -> Prose:
    """What the model at `url` makes of `facts`, checked sentence by sentence.

    `timeout` in seconds covers everything; `cancel` ends it within about 0.1 s. Where the server is absent,
    slow or wrong, or nothing it wrote can be verified, `used` is False and `reason` says why in one line.
    Raises `InputError` only for a URL that may not be used (see `base_url`).
    """
    base = base_url(url, allow_remote)
    prompt = f"{RULES}\n\nFacts:\n{json.dumps(facts.for_language_model(), ensure_ascii=False, indent=1)}"
    settings: dict[str, Any] = {
        "url": base,
        "temperature": 0,
        "max_tokens": ANSWER_TOKENS,
        "timeout_s": timeout,
    }
    exchange = Exchange(timeout, cancel)
    try:
        model = model or _first_model(exchange, base)
        sentences, rung = _climb(exchange, base, model, prompt)
    except NoAnswer as why:
        reason = f"the language model at {_where(base)} was not used: {why}"
        return Prose("", (), False, reason, model, prompt, settings)
    settings["rung"] = rung
    verifier = Verifier(facts)
    return _judged([_check(verifier, s) for s in sentences], base, model, prompt, settings)


def _check(verifier: Verifier, text: str) -> Sentence:
    if len(text) > LONGEST:
        return Sentence(f"{text[:LONGEST]}…", (), "it is too long for one sentence")
    return verifier.check(text)


def _judged(checked: list[Sentence], base: str, model: str, prompt: str, settings: dict[str, Any]) -> Prose:
    kept = [s.text for s in checked if s.kept]
    flagged = [s for s in checked if not s.kept]
    if not kept:
        first = f": {flagged[0].reason}" if flagged else ""
        reason = f"the language model at {_where(base)} was not used: no sentence could be verified{first}"
        return Prose("", tuple(checked), False, one_line(reason, 240), model, prompt, settings)
    reason = f"{len(kept)} of {len(checked)} sentences verified"
    return Prose(" ".join(kept), tuple(checked), True, reason, model, prompt, settings)


def _where(base: str) -> str:
    url = httpx.URL(base)
    return f"{url.host}:{url.port}" if url.port else url.host


def _first_model(exchange: Exchange, base: str) -> str:
    """The first model that the server lists; `default` when it lists none."""
    try:
        table = exchange.ask("GET", f"{base}/models")
        return one_line(table["data"][0]["id"])
    except NoAnswer as why:
        if why.final:
            raise
        return "default"
    except (KeyError, IndexError, TypeError):
        return "default"


def _climb(exchange: Exchange, base: str, model: str, prompt: str) -> tuple[list[str], str]:
    """Sentences from the best rung that yields any, and its name; raises `NoAnswer` with the last reason."""
    question: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "temperature": 0,
        "max_tokens": ANSWER_TOKENS,
        "stream": False,
    }
    rungs: tuple[tuple[str, Mapping[str, Any]], ...] = (
        ("json_schema", {"response_format": {"type": "json_schema", "json_schema": _SCHEMA}}),
        ("plain", {}),
    )
    reason = NoAnswer("its answer is empty")
    for name, extra in rungs:
        try:
            answer = exchange.ask("POST", f"{base}/chat/completions", {**question, **extra})
            return _sentences(answer), name
        except NoAnswer as why:
            if why.final:
                raise
            reason = why
    raise reason


def _sentences(answer: Any) -> list[str]:
    """The sentences in a chat completion; raises `NoAnswer` when there are none."""
    try:
        message = answer["choices"][0]["message"]
        content = _text(message.get("content"))
        thoughts = [_text(message.get(key)) for key in _REASONING]
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise NoAnswer("its answer is no chat completion") from error
    content = re.sub(r"<think>.*?(</think>|\Z)", "", content, flags=re.DOTALL).strip()
    if content:
        found = _from_json(content)
        if found is None and not content.startswith(("{", "[", "```")):
            found = [content]
        if found is None:
            raise NoAnswer("its answer was cut off or is not what was asked for")
    else:
        found = next((f for f in map(_from_json, thoughts) if f), None)
    parts = [part for text in found or [] for part in split_sentences(text)]
    if not parts:
        raise NoAnswer("its answer is empty")
    return parts[:MOST_SENTENCES]


def _text(content: Any) -> str:
    """A message's content, which may come in parts."""
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _from_json(text: str) -> list[str] | None:
    """The texts in the last JSON value of the kind asked for in `text`; None when there is none."""
    decoder = json.JSONDecoder()
    found: list[str] | None = None
    at = 0
    while (start := text.find("{", at)) >= 0:
        try:
            value, at = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            at = start + 1
            continue
        found = _texts(value) or found
    return found


def _texts(value: Any) -> list[str] | None:
    if not isinstance(value, dict):
        return None
    items = next((value[key] for key in ("sentences", "summary", "report", "text") if key in value), None)
    if isinstance(items, str):
        return [items]
    if not isinstance(items, list):
        return None
    texts = [item.get("text") if isinstance(item, dict) else item for item in items]
    return [text for text in texts if isinstance(text, str)]
