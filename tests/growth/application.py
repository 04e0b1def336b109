"""An application that only migrates: what a future release may do to the ledger's largest table."""

from shared.applications import Application

APPLICATION = Application(name="growth", migrations="tests.growth.piccolo_app")
