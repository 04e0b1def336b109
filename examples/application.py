"""The examples as an application: `OFTEN_APPLICATIONS=shared.hotel,examples make run` runs them too."""

from shared.applications import Application

APPLICATION = Application(
    name="examples",
    contracts="examples.contracts",
    bodies="examples.bodies",
    gateways="examples.gateways:build",
)
