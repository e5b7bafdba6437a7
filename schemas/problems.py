"""Validation errors for people: where, what, and the nearest known name; never more than a short excerpt of the input."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

EXCERPT = 80


def explain_error(error: ValidationError) -> str:
    """`data.severity: Input should be 'low', 'medium', … (got 'hgh')`, several joined by `; `, at most three."""
    found = error.errors(include_url=False)
    told = [f"{path(item['loc'])}: {item['msg']}{_got(item['input'], item['type'])}" for item in found[:3]]
    if len(found) > 3:
        told.append(f"and {len(found) - 3} more")
    return "; ".join(told)


def path(loc: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in loc) or "(the whole)"


def _got(value: object, kind: str) -> str:
    if kind in ("missing", "extra_forbidden") or isinstance(value, dict | list):
        return ""
    text = repr(value)
    return f" (got {text if len(text) <= EXCERPT else text[: EXCERPT - 1] + '…'})"


def below(name: str, error: ValidationError) -> ValidationError:
    """The same faults, told from one level further up."""
    details = [
        InitErrorDetails(
            type=PydanticCustomError(item["type"], "{said}", {"said": item["msg"]}),
            loc=(name, *item["loc"]),
            input=item["input"],
        )
        for item in error.errors(include_url=False)
    ]
    return ValidationError.from_exception_data(error.title, details)


def unknown(name: str, value: str, known: Iterable[str]) -> ValidationError:
    """A value that is none of the known ones, with the nearest of them."""
    known = list(known)
    near = get_close_matches(value, known, n=1, cutoff=0.4)
    message = f"unknown; {f'did you mean {near[0]}?' if near else 'known are ' + ', '.join(known)}"
    error = InitErrorDetails(type=PydanticCustomError("unknown", "{said}", {"said": message}), loc=(name,), input=value)
    return ValidationError.from_exception_data("Notice", [error])
