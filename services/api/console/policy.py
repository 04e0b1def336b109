"""Security headers of console pages. They let a page load only files of this site, and forbid other
sites to embed it.
"""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types console",
    # Browsers may cache a page but must revalidate it; shared proxies may not cache it.
    "Cache-Control": "private, no-cache",
    # Pages send their Referer to this site. Without it, browsers would send `Origin: null` with
    # forms, and the CSRF check would refuse them.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Vary": "Accept-Encoding, Cookie",
}
