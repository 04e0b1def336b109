"""Code around httpx that the sync and the async client share: options, answers and errors."""

from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from often_client.exchange import Reply, Request, Unreachable
from often_client.version import VERSION

if TYPE_CHECKING:
    from ssl import SSLContext

    import httpx

E = TypeVar("E", bound=BaseException)

#: Path under which all routes of the API are.
API_PATH = "/api/v1/"
USER_AGENT = f"often-client/{VERSION}"
SCHEMES = ("http", "https")
#: Time limit for opening a connection, in seconds. It bounds the wait for an address that silently
#: drops packets.
CONNECT_TIMEOUT_S = 5.0
#: Maximum number of open connections of one client.
MAX_CONNECTIONS = 100
#: Seconds after which an idle connection is closed. A request that is sent while the other side
#: closes the connection would be lost: load balancers often close idle connections after 60 s, the
#: API after 75 s.
KEEP_ALIVE_S = 30.0


def http_options(base_url: str, proxy: str | None, verify: "SSLContext | bool") -> dict[str, Any]:
    """The arguments for httpx.Client and httpx.AsyncClient. Raises ValueError for an address that
    cannot be used.
    """
    check_proxy(proxy)
    return {
        "base_url": api_url(base_url),
        "headers": {"User-Agent": USER_AGENT},
        "proxy": proxy,
        "verify": verify,
        "trust_env": False,
    }


def limits() -> "httpx.Limits":
    """The connection limits of a client. All connections stay open when idle, because a burst of
    requests often follows another one.
    """
    import httpx  # noqa: PLC0415 - see `Client._http`

    return httpx.Limits(
        max_connections=MAX_CONNECTIONS,
        max_keepalive_connections=MAX_CONNECTIONS,
        keepalive_expiry=KEEP_ALIVE_S,
    )


def check_proxy(proxy: str | None) -> None:
    """Check the address of a proxy. Raises ValueError if it cannot be used."""
    if proxy is not None and urlsplit(proxy).scheme not in SCHEMES:
        raise ValueError(f"The proxy's address must look like http://proxy.example:3128, not {proxy!r}.")


def api_url(base_url: str) -> str:
    """The base URL of the API's routes. `base_url` may end with API_PATH or not.

    Raises ValueError if it is not an HTTP address.
    """
    parts = urlsplit(base_url)
    if parts.scheme not in SCHEMES or not parts.hostname:
        raise ValueError(f"The API's address must look like https://tasks.example, not {base_url!r}.")
    return f"{base_url.rstrip('/').removesuffix(API_PATH.rstrip('/'))}{API_PATH}"


def arguments_of(request: Request) -> dict[str, Any]:
    """The arguments with which httpx sends a request.

    There is no time limit for getting a free connection of the client: if the caller uses all of
    them at once, that is not a fault of the API.
    """
    import httpx  # noqa: PLC0415 - see `Client._http`

    connect_s = min(CONNECT_TIMEOUT_S, request.timeout_s)
    return {
        "method": request.method,
        "url": request.path,
        "params": request.query,
        "headers": request.headers,
        "content": request.content,
        "timeout": httpx.Timeout(request.timeout_s, connect=connect_s, pool=None),
    }


def reply_of(response: "httpx.Response") -> Reply:
    """Convert httpx's response. The reply to an open event stream has no content yet."""
    retry_after = response.headers.get("Retry-After", "")
    return Reply(
        response.status_code,
        response.content if response.is_closed else b"",
        retry_after_s=float(retry_after) if retry_after.isdecimal() else None,
        media_type=response.headers.get("Content-Type", "").partition(";")[0].strip().lower(),
    )


def unreachable(error: "httpx.TransportError") -> Unreachable:
    """Convert httpx's error to the result of a request that got no answer."""
    from ssl import SSLCertVerificationError  # noqa: PLC0415 - httpx has imported it

    import httpx  # noqa: PLC0415 - see `Client._http`

    was_sent = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
    return Unreachable(error, was_sent=was_sent, may_pass=cause_of(error, SSLCertVerificationError) is None)


def cause_of(error: BaseException, kind: type[E]) -> E | None:
    """Find an exception of this type among the causes of an exception; None if there is none."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, kind):
        cause = cause.__cause__ or cause.__context__
    return cause
