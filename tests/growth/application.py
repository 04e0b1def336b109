"""A test application that consists of one migration. The migration changes the largest table,
`task`, as a future release might.
"""

from shared.applications import Application

APPLICATION = Application(name="growth", migrations="tests.growth.piccolo_app")
