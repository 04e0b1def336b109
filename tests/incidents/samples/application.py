"""A test application that contains sample tasks. Schedulers load it, so they know these tasks and
create their crash counters at startup.
"""

from shared.applications import Application

APPLICATION = Application(name="samples", contracts="tests.incidents.samples.contracts")
