"""A test application whose workflows are started by schedules."""

from shared.applications import Application

APPLICATION = Application(name="clockwork", workflows="tests.clockwork.workflows")
