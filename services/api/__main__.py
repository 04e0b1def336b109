"""Starts the API: `python -m services.api`."""

import contextlib
import gc
import os
import signal
import sys

import uvicorn
from uvicorn.config import STARTUP_FAILURE

from services.api import app
from services.api.drain import Server
from services.api.http import connection, connections
from services.api.http.connections import Connections
from shared import settings
from shared.errors import SettingsError
from shared.ledger import preflight
from shared.telemetry import exposition, logging

#: Requests get this long to end. With the closing of the servers a stop takes at most 5 s after the drain.
GRACE_S = 3


def main() -> None:
    try:
        read = settings.read(os.environ, needs=("database_url", "redis_url", "secret_key"))
        logging.configure("api", read.log_format)
        read.warn_of_ignored()
        application = app.build(read)
        preflight.check(read.database_url)
        exposition.serve(read.metrics_host, read.metrics_port)
    except SettingsError as error:
        sys.stderr.write(f"api: {error}\n")
        sys.exit(2)
    # uvicorn raises the signal again once it has stopped; an orderly stop is no failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # What is loaded by now stays. Full collections need not walk it: a fifth of a large batch's CPU time.
    gc.freeze()
    connections.reserve_files()
    limits = Connections(read.request_timeout.total_seconds() + connections.HEADER_LIMIT_S)
    config = uvicorn.Config(
        application,
        host=read.api_host,
        port=read.api_port,
        loop="uvloop",
        http=connection.protocol(limits),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        forwarded_allow_ips=read.forwarded_allow_ips,
        timeout_keep_alive=int(read.keep_alive.total_seconds()),
        timeout_graceful_shutdown=GRACE_S,
    )
    server = Server(config, application.state.drain, read.drain.total_seconds())
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(STARTUP_FAILURE)


if __name__ == "__main__":
    main()
