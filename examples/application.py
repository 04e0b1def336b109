"""The example application. `OFTEN_APPLICATIONS=shared.hotel,examples make run` runs it beside the
hotel application.
"""

from shared.applications import Application

APPLICATION = Application(
    name="examples",
    contracts="examples.contracts",
    bodies="examples.bodies",
    gateways="examples.gateways:build",
)
