"""The platform and the applications that the tests run with, as a process finds them.

With `OFTEN_APPLICATIONS=` in the environment the tests of the platform run without any application.
"""

import os

from shared import applications

#: As OFTEN_APPLICATIONS has it.
NAMES = os.environ.get(applications.VARIABLE, applications.DEFAULT)
INSTALLED = applications.find(NAMES)
#: Whether the hotel application is among them.
HOTEL = any(application.name == "hotel" for application in INSTALLED)
