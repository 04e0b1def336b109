"""Defines the security headers, which restrict what browsers may do with an answer."""

from collections.abc import Collection

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
_ENCODED = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
#: Browsers may cache answers whose path begins like this: the files of the documentation page
#: change only with the installed package.
_KEPT = "/docs"


def missing(names: Collection[bytes], path: str) -> list[tuple[bytes, bytes]]:
    """The security headers that an answer lacks. A header that the handler has set is kept."""
    is_kept = path.startswith(_KEPT)
    return [
        header
        for header in _ENCODED
        if header[0] not in names and not (is_kept and header[0] == b"cache-control")
    ]
