"""An application whose workflows begin by the clock."""

from shared.applications import Application

APPLICATION = Application(name="clockwork", workflows="tests.clockwork.workflows")
