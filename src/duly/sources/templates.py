"""`{title}-{year}`: texts with places that a record fills. Only looked up, never evaluated."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Never

from duly.errors import InvalidSource

_PLACE: Final = re.compile(r"\{([^{}|]+)(?:\|([^{}|]+))?\}")


def slug(text: str) -> str:
    """Return a text in lower case, with all but letters and digits (of any script) as single hyphens.

    The beginning of a web address, `https://www.`, is left out: the same page is often written with and without.
    """
    plain = unicodedata.normalize("NFC", text).casefold().replace("'", "").replace("’", "")
    plain = re.sub(r"^\s*https?://(www\.)?", "", plain)
    return re.sub(r"[\W_]+", "-", plain).strip("-")


_FILTERS: Final[Mapping[str, Callable[[str], str]]] = {"slug": slug, "lower": str.lower}


@dataclass(frozen=True, slots=True)
class Template:
    """A text with places, or, without any brace, the name of one field.

    A place names a field (`{title}`), a field within a field (`{place.city}`), the file (`{file.stem}`,
    `{file.parent}`), with a filter if need be (`{title|slug}`). Fields are looked up in mappings only: no
    attribute, index or format of Python's can be reached.
    """

    text: str
    fields: tuple[str, ...]

    @classmethod
    def read(cls, text: str) -> Template:
        """Return the template of a text; InvalidSource for a stray brace or an unknown filter."""
        if "{" not in text and "}" not in text:
            return cls(text, (text,))
        if re.search(r"[{}]", _PLACE.sub("", text)):
            raise InvalidSource(f"{text!a} has a stray brace; places are written {{field}} or {{field|slug}}")
        for _, name in _PLACE.findall(text):
            if name and name not in _FILTERS:
                raise InvalidSource(f"{text!a} has the unknown filter {name!a}; known: {', '.join(_FILTERS)}")
        return cls(text, tuple(field for field, _ in _PLACE.findall(text)))

    @property
    def is_field(self) -> bool:
        """Whether it is the name of one field, whose value is then taken as it is."""
        return "{" not in self.text

    @property
    def record_fields(self) -> frozenset[str]:
        """The fields that the record itself must have."""
        return frozenset(field for field in self.fields if not field.startswith("file."))

    def value(self, scope: Mapping[str, Any], *, what: str) -> object:
        """Return the field's value or the filled text; None if the record has none of its fields.

        Raises InvalidSource, naming `what`, if it has some of them but not all, or one that is no text or
        whole number where a text is to be filled.
        """
        if self.is_field:
            return look_up(scope, self.text)
        missing = [field for field in self.fields if is_missing(look_up(scope, field))]
        if self.record_fields and self.record_fields <= set(missing):
            return None
        if missing:
            raise InvalidSource(f"{what}: the field {missing[0]!a} is missing")
        return _PLACE.sub(lambda place: _filled(look_up(scope, place[1]), place, what), self.text)


def look_up(scope: Mapping[str, Any], path: str) -> Any:
    """Return what a path leads to: the field of that very name, or a field within a field, or None."""
    if path in scope:
        return scope[path]
    first, dot, rest = path.partition(".")
    inner = scope.get(first)
    return look_up(inner, rest) if dot and isinstance(inner, Mapping) else None


def is_missing(value: object) -> bool:
    """Whether a field says nothing."""
    return value is None or (isinstance(value, str) and not value.strip())


def _filled(value: object, place: re.Match[str], what: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        _refuse(value, place, what)
    text = str(value).strip()
    if not place[2]:
        return text
    filtered = _FILTERS[place[2]](text)
    if not filtered:
        _refuse(value, place, what)
    return filtered


def _refuse(value: object, place: re.Match[str], what: str) -> Never:
    raise InvalidSource(f"{what}: {place[0]} cannot be filled with {ascii(value)[:60]}")
