"""YAML text → plain values: the core schema of YAML 1.2, where `no` is a word and `1:30` is no number."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any, Final, Never

import yaml

from duly.errors import InvalidSource

DEPTH_MAX: Final = 64
VALUES_BY_ALIAS_MAX: Final = 1_000_000
_DIGITS_MAX: Final = 400

# libyaml where PyYAML was built with it: ten times as fast, and the same events.
_Loader: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TEXT_TAGS: Final = ("!", "tag:yaml.org,2002:str")
_CONTAINER_TAGS: Final = ("!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")

_WORDS: Final[dict[str, bool | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
# What begins with a superfluous zero stays text: 007 is an id or a postcode, or an octal of YAML 1.1.
_INTEGER: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]*)", re.ASCII)
_PREFIXED: Final = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+", re.ASCII)
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_NOT_FINITE: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


def read_yaml(text: str, *, what: str) -> object:
    """Return the value of the one document in a YAML text; `what` names the file in the InvalidSource.

    Keys are always text, as written. Refused, with the line: keys given twice, tags other than `!!str`,
    aliases that grow beyond a million values, nesting deeper than 64, infinity and NaN.
    """
    builder = _Builder(what)
    try:
        for event in yaml.parse(text, Loader=_Loader):
            builder.take(event)
    except yaml.YAMLError as error:
        raise InvalidSource(f"{what}: {_said(error, text)}") from None
    return builder.result


@dataclass(slots=True)
class _Open:
    """A list or mapping that has begun and not yet ended."""

    value: list[Any] | dict[str, Any]
    line: int
    anchor: str | None
    size: int = 1
    key: str | None = None
    merged: list[dict[str, Any]] = field(default_factory=list)


class _Builder:
    """Puts values together, event by event, without recursion: no input can exhaust the stack."""

    def __init__(self, what: str) -> None:
        self.result: object = None
        self._what = what
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._grown = 0
        self._documents = 0

    def take(self, event: yaml.Event) -> None:
        """Take the next event of the parser."""
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event, line)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(str(event.anchor), line)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._begin(event, line)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._end()
        elif isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                self._refuse(line, "a second document begins; put everything into one")

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> None:
        if self._wants_key():
            self._key(event.value, line)
            return
        if event.tag is not None and event.tag not in _TEXT_TAGS:
            self._refuse_tag(event.tag, line)
        value = self._plain(event.value, line) if event.implicit[0] and event.tag is None else event.value
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, 1)
        self._place(value, 1, line)

    def _plain(self, text: str, line: int) -> object:
        if text in _WORDS:
            return _WORDS[text]
        if _NOT_FINITE.fullmatch(text):
            self._refuse(line, f"{text} is no number that can be kept; put it in quotes if it is text")
        is_integer = _INTEGER.fullmatch(text) or _PREFIXED.fullmatch(text)
        if not is_integer and not _FLOAT.fullmatch(text):
            return text
        if len(text) > _DIGITS_MAX:
            self._refuse(line, f"a number of {len(text):,} digits; put it in quotes if it is text")
        if is_integer:
            return int(text, 0)
        number = float(text)
        if not math.isfinite(number):
            self._refuse(line, f"{text} is too large a number; put it in quotes if it is text")
        return number

    def _alias(self, name: str, line: int) -> None:
        if name not in self._anchors:
            self._refuse(line, f"*{name} names no value before it (a value cannot contain itself)")
        value, size = self._anchors[name]
        self._grown += size
        if self._grown > VALUES_BY_ALIAS_MAX:
            self._refuse(line, f"the aliases grow beyond {VALUES_BY_ALIAS_MAX:,} values; write them out")
        if not self._wants_key():
            self._place(value, size, line)
        elif isinstance(value, str):
            self._key(value, line)
        else:
            self._refuse(line, "a key must be text")

    def _begin(self, event: yaml.CollectionStartEvent, line: int) -> None:
        if event.tag is not None and event.tag not in _CONTAINER_TAGS:
            self._refuse_tag(event.tag, line)
        if self._wants_key():
            self._refuse(line, "a key must be text, not a list or mapping")
        if len(self._open) >= DEPTH_MAX:
            self._refuse(line, f"nested deeper than {DEPTH_MAX}")
        value: list[Any] | dict[str, Any] = {} if isinstance(event, yaml.MappingStartEvent) else []
        self._open.append(_Open(value, line, event.anchor))

    def _end(self) -> None:
        ended = self._open.pop()
        for merged in ended.merged:
            assert isinstance(ended.value, dict)  # noqa: S101 - only mappings have keys
            ended.value.update({key: value for key, value in merged.items() if key not in ended.value})
        if ended.anchor is not None:
            self._anchors[ended.anchor] = (ended.value, ended.size)
        self._place(ended.value, ended.size, ended.line)

    def _wants_key(self) -> bool:
        return bool(self._open) and isinstance(self._open[-1].value, dict) and self._open[-1].key is None

    def _key(self, text: str, line: int) -> None:
        here = self._open[-1]
        if text in here.value:
            self._refuse(line, f"the key {text!a} is there twice (the mapping begins in line {here.line})")
        here.key = text

    def _place(self, value: Any, size: int, line: int) -> None:
        if not self._open:
            self.result = value
            return
        here = self._open[-1]
        here.size += size
        if isinstance(here.value, list):
            here.value.append(value)
            return
        key, here.key = here.key, None
        assert key is not None  # noqa: S101 - a value follows its key
        if key == "<<":
            here.merged += self._merged(value, line)
        else:
            here.value[key] = value

    def _merged(self, value: Any, line: int) -> list[dict[str, Any]]:
        found = value if isinstance(value, list) else [value]
        if not all(isinstance(each, dict) for each in found):
            self._refuse(line, "'<<' takes a mapping or a list of mappings")
        return found

    def _refuse_tag(self, tag: str, line: int) -> Never:
        short = tag.replace("tag:yaml.org,2002:", "!!")
        self._refuse(line, f"the tag {short!a} is not allowed; write plain text, numbers, lists and mappings")

    def _refuse(self, line: int, why: str) -> Never:
        raise InvalidSource(f"{self._what}: line {line}: {why}")


def _said(error: yaml.YAMLError, text: str) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return f"this is not YAML: {str(error).splitlines()[0]}"
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    indent = line[: len(line) - len(line.lstrip())]
    if "\t" in indent:
        return f"line {mark.line + 1}: a tab cannot indent YAML; use spaces"
    problem = getattr(error, "problem", None) or "something else was expected here"
    return f"line {mark.line + 1}, column {mark.column + 1}: this is not YAML: {problem}"
