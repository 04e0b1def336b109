"""Checks from outside whether a process of the local system works."""

import smtplib
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException

import psutil

HOST = "127.0.0.1"
TIMEOUT_S = 2.0


def url(port: int) -> str:
    return f"http://{HOST}:{port}"


def serves(port: int, path: str) -> bool:
    """Whether a GET request to this port and path is answered with 200."""
    return _status(port, path) == HTTPStatus.OK


def is_ready(port: int) -> bool:
    """Whether the service on this port is ready.

    A service without a readiness check counts as ready if it serves metrics.
    """
    if (status := _status(port, "/health/ready")) == HTTPStatus.NOT_FOUND:
        return serves(port, "/metrics")
    return status == HTTPStatus.OK


def trouble(port: int) -> str | None:
    """Ask a service's liveness check. Returns the problem that it reports.

    Returns None if there is no problem, or no such check.
    """
    match _status(port, path := "/health/live"):
        case None:
            return f"{url(port)}{path} does not answer"
        case HTTPStatus.OK | HTTPStatus.NOT_FOUND:
            return None
        case status:
            return f"{url(port)}{path} answers {status}"


def greets(port: int) -> bool:
    """Whether an SMTP server answers on this port."""
    try:
        with smtplib.SMTP(HOST, port, timeout=TIMEOUT_S):
            return True
    except (OSError, smtplib.SMTPException):
        return False


def listens(pid: int, port: int) -> bool:
    """Whether this process itself listens on the port, and not another program."""
    try:
        connections = psutil.Process(pid).net_connections("tcp")
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        # PostgreSQL may run under another account, whose connections cannot be read; see `account`.
        return True
    return any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in connections)


def _status(port: int, path: str) -> int | None:
    connection = HTTPConnection(HOST, port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()
