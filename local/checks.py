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
    """Whether a GET is answered with 200."""
    return _status(port, path) == HTTPStatus.OK


def is_ready(port: int) -> bool:
    """Whether the service behind this port is ready; without a readiness check, whether it has metrics."""
    if (status := _status(port, "/health/ready")) == HTTPStatus.NOT_FOUND:
        return serves(port, "/metrics")
    return status == HTTPStatus.OK


def trouble(port: int) -> str | None:
    """What is wrong according to the liveness check of a service. None: nothing, or it has no such check."""
    match _status(port, path := "/health/live"):
        case None:
            return f"{url(port)}{path} does not answer"
        case HTTPStatus.OK | HTTPStatus.NOT_FOUND:
            return None
        case status:
            return f"{url(port)}{path} answers {status}"


def greets(port: int) -> bool:
    """Whether an SMTP server answers."""
    try:
        with smtplib.SMTP(HOST, port, timeout=TIMEOUT_S):
            return True
    except (OSError, smtplib.SMTPException):
        return False


def listens(pid: int, port: int) -> bool:
    """Whether this very process holds the port: another program may have taken it, and answer there."""
    try:
        connections = psutil.Process(pid).net_connections("tcp")
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # PostgreSQL under its own account; it ends by itself if the port is taken
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
