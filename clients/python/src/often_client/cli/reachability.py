"""Explains why the API did not answer: the host name, the connection, the certificate, or the
address.
"""

import socket
import ssl

from often_client.cli.finding import Finding
from often_client.connection import cause_of

NETWORK = "Check that it runs, and that no firewall is between. Behind a proxy, set OFTEN_PROXY."


def not_reached(api: str, error: Exception) -> Finding:
    """The finding of `often doctor` for a request that got no answer."""
    if untrusted := cause_of(error, ssl.SSLCertVerificationError):
        remedy = "Give the authority's certificate with --ca-file or OFTEN_CA_FILE, or correct the host name."
        return Finding("tls", False, f"{api} is not trusted: {untrusted.verify_message}", remedy)
    if broken := cause_of(error, ssl.SSLError):
        remedy = "The port may speak plain HTTP: try http://, or ask for the right port."
        return Finding("tls", False, f"no TLS connection to {api}: {broken.reason or broken}", remedy)
    if cause_of(error, socket.gaierror):
        remedy = "Check the spelling of the address, and the name server of this machine."
        return Finding("reachable", False, f"the name in {api} has no address", remedy)
    if cause_of(error, ConnectionRefusedError):
        remedy = "Start the API, or correct the port. `make run` prints the address that it uses."
        return Finding("reachable", False, f"nothing listens at {api}", remedy)
    reason = f"{type(error).__name__}: {error}".removesuffix(": ")
    return Finding("reachable", False, f"{api} does not answer ({reason})", NETWORK)
