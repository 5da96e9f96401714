"""Which of several forms of an answer a client would like best (RFC 9110, section 12.5.1)."""

from collections.abc import Sequence


def choose(accept: str, *, offered: Sequence[str]) -> str:
    """The offered media type that an `Accept` header ranks highest; of equals the first, and the first where none fits.

    The header is a wish: who asks for what there is not still gets an answer, and sees by its type what it is.
    """
    if accept in offered:
        return accept
    ranges = [_parse(part) for part in accept.split(",")]
    return max(offered, key=lambda media_type: _quality(media_type, ranges=ranges))


def _quality(media_type: str, *, ranges: Sequence[tuple[str, float]]) -> float:
    """0 to 1, by the most exact range that fits."""
    family = media_type.partition("/")[0]
    for pattern in (media_type, f"{family}/*", "*/*"):
        found = [quality for name, quality in ranges if name == pattern]
        if found:
            return max(found)
    return 0.0


def _parse(part: str) -> tuple[str, float]:
    """`image/png;q=0.5` → name and quality; a quality that is no number counts as 1."""
    name, *parameters = (word.strip().lower() for word in part.split(";"))
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key == "q":
            try:
                return name, float(value)
            except ValueError:
                break
    return name, 1.0
