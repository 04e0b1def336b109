"""Serves the console's static files, such as scripts and stylesheets. Their URL contains a digest
of all files, so browsers may cache them forever.
"""

import gzip
import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.exceptions import NotFoundException
from litestar.params import FromPath

MEDIA_TYPES = {
    "css": "text/css",
    "js": "text/javascript",
    "svg": "image/svg+xml",
}
HEADERS = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}


@dataclass(frozen=True, slots=True)
class File:
    media_type: str
    content: bytes
    packed: bytes


class StaticFiles:
    """Return the console's static files, which are read from the folder `static` only once."""

    def __init__(self) -> None:
        self.by_name = {name: _file(name, content) for name, content in sorted(_contents())}
        digest = hashlib.sha256()
        for name, file in self.by_name.items():
            digest.update(name.encode() + b"\0" + file.content)
        self.digest = digest.hexdigest()[:16]

    def address(self, name: str) -> str:
        if name not in self.by_name:
            raise LookupError(f"no file {name} in static")
        return f"/console/static/{self.digest}/{name}"


def _contents() -> list[tuple[str, bytes]]:
    folder = files(__package__) / "static"
    return [(each.name, each.read_bytes()) for each in folder.iterdir() if _ending(each.name) in MEDIA_TYPES]


def _file(name: str, content: bytes) -> File:
    return File(MEDIA_TYPES[_ending(name)], content, gzip.compress(content, mtime=0))


def _ending(name: str) -> str:
    return name.rpartition(".")[2]


@get("/static/{digest:str}/{name:str}", sync_to_thread=False)
def static_file(
    request: Request[Any, Any, Any],
    digest: FromPath[str],
    name: FromPath[str],
    static_files: NamedDependency[StaticFiles],
) -> Response[bytes]:
    file = static_files.by_name.get(name)
    if file is None or digest != static_files.digest:
        raise NotFoundException
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(
            file.packed, media_type=file.media_type, headers={**HEADERS, "Content-Encoding": "gzip"}
        )
    return Response(file.content, media_type=file.media_type, headers=HEADERS)
