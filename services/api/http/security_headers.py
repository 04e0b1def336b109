"""What every answer tells browsers to leave alone."""

from collections.abc import Collection

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
_ENCODED = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
#: The page's own files may be kept: they change with the installed package only.
_KEPT = "/docs"


def missing(names: Collection[bytes], path: str) -> list[tuple[bytes, bytes]]:
    """The headers that an answer does not have yet; one that the handler has set stays."""
    is_kept = path.startswith(_KEPT)
    return [
        header
        for header in _ENCODED
        if header[0] not in names and not (is_kept and header[0] == b"cache-control")
    ]
