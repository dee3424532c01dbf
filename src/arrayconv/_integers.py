"""What people write for sizes, made into tuples of integers before anything is cached or built."""

from __future__ import annotations

import operator

Ints = tuple[int, ...]
Pairs = tuple[tuple[int, int], ...]

PADDING_WORDS = ("valid", "same", "same_upper", "same_lower")


def integer(name: str, value: object, minimum: int | None = None) -> int:
    """Return ``value`` as an int of at least ``minimum``; bools and fractions are refused."""
    if type(value) is not int:
        if isinstance(value, bool) or type(value).__name__ in ("bool_", "bool"):
            raise TypeError(f"{name} must be an integer, got the bool {value!r}")
        try:
            value = operator.index(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            raise TypeError(
                f"{name} must be an integer, got {value!r} of type {type(value).__name__}"
            ) from None
    if minimum is not None and value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {value}")
    return value


def integers(name: str, value: object, dims: int, minimum: int = 1) -> Ints:
    """Return one int per spatial dimension; an int or a one-element sequence is broadcast."""
    if type(value) is int and value >= minimum:
        return (value,) * dims
    if not isinstance(value, tuple | list):
        if hasattr(value, "__index__"):
            return (integer(name, value, minimum),) * dims
        raise TypeError(
            f"{name} must be an integer or a tuple of {dims} integers, "
            f"got {value!r} of type {type(value).__name__}"
        )
    if len(value) not in (1, dims):
        raise ValueError(
            f"{name} must be one integer or {dims}, one per spatial dimension, got {value!r}"
        )
    entries = tuple(integer(f"each entry of {name} {value!r}", entry) for entry in value)
    if min(entries) < minimum:
        raise ValueError(f"{name} must be at least {minimum} everywhere, got {value!r}")
    return entries if len(entries) == dims else entries * dims


def padding_argument(value: object, dims: int) -> Pairs | str:
    """Return ``padding`` as (before, after) pairs, or as the word it is, which needs the sizes."""
    if type(value) is int and value >= 0:
        return ((value, value),) * dims
    if isinstance(value, str):
        if value not in PADDING_WORDS:
            raise ValueError(
                f"padding must be integers, (before, after) pairs or one of {PADDING_WORDS}, "
                f"got {value!r}"
            )
        return value if value != "valid" else ((0, 0),) * dims
    if isinstance(value, tuple | list) and any(isinstance(entry, tuple | list) for entry in value):
        if len(value) != dims:
            raise ValueError(
                f"padding as (before, after) pairs needs {dims}, one per spatial dimension, "
                f"got {value!r}"
            )
        if not all(isinstance(entry, tuple | list) and len(entry) == 2 for entry in value):
            raise ValueError(
                f"padding must be all integers or all (before, after) pairs, got {value!r}"
            )
        pairs = [integers(f"padding {value!r}", tuple(entry), 2, 0) for entry in value]
        return tuple((before, after) for before, after in pairs)
    return tuple((entry, entry) for entry in integers("padding", value, dims, 0))


def crop_argument(padding: object, dims: int) -> Pairs:
    """Return a transposed convolution's padding, which crops: pairs, and no word but 'valid'."""
    pairs = padding_argument(padding, dims)
    if isinstance(pairs, str):
        raise ValueError(
            f"padding of a transposed convolution must be integers or (before, after) pairs, "
            f"which crop its output; got {padding!r}"
        )
    return pairs
