"""Starts the API server process: `python -m services.api`."""

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
from shared.telemetry import exposition, logging, tracing

#: The time that open requests have to finish after SIGTERM and the drain. Including the time to
#: close connections to Postgres and Redis, the process stops at most 5 s after the drain.
GRACE_S = 3


def main() -> None:
    try:
        read = settings.read(os.environ, needs=("database_url", "redis_url", "secret_key"))
        logging.configure("api", read.log_format)
        read.warn_of_ignored()
        application = app.build(read)
        preflight.check(read.database_url)
        exposition.serve(read.metrics_host, read.metrics_port)
        tracing.start(read, "api")
    except SettingsError as error:
        sys.stderr.write(f"api: {error}\n")
        sys.exit(2)
    # uvicorn raises the received SIGTERM again once it has stopped. This handler exits with code 0
    # then, because an orderly stop is not a failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # Exempt all objects loaded so far from garbage collection. Scanning them takes a fifth of the
    # CPU time of a large batch.
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
    try:
        with contextlib.suppress(KeyboardInterrupt):
            server.run()
    finally:
        tracing.stop()
    if not server.started:
        sys.exit(STARTUP_FAILURE)


if __name__ == "__main__":
    main()
