"""`python -m local.sandbox --port 8400`: a server that simulates SerpApi, TravClan, a push service
and Stripe.
"""

import argparse

import uvicorn

from local.mail import HOST
from local.sandbox import app


def main() -> None:
    arguments = argparse.ArgumentParser(description="Simulate the outside services on the loopback.")
    arguments.add_argument("--port", type=int, required=True)
    options = arguments.parse_args()
    uvicorn.run(app.build(), host=HOST, port=options.port, access_log=False, log_level="critical")


if __name__ == "__main__":
    main()
