"""Builds small HTML pages for people who follow a link in a mail: a text, at most one button, and
no script.
"""

from litestar import MediaType, Response

_PAGE = """<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="robots" content="noindex">
  <title>{title}</title>
  <style>
    body {{ font-family: Arial, Helvetica, sans-serif; max-width: 32rem; margin: 4rem auto;
            padding: 0 1rem; color: #1f2933 }}
    button {{ font: inherit; padding: .6rem 1.2rem; border: 0; border-radius: 6px;
              background: #0b7285; color: #fff }}
  </style>
</head>
<body><h1>{title}</h1>{content}</body>
</html>
"""
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


def answer(title: str, content: str) -> Response[str]:
    """Build a page with `content`, which is HTML. Its forms may be sent only to this API."""
    page = _PAGE.format(title=title, content=content)
    return Response(page, media_type=MediaType.HTML, headers=_HEADERS)
