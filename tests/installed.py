"""The applications with which the tests run. They are read from OFTEN_APPLICATIONS, as in any
process of the platform.

If OFTEN_APPLICATIONS is set to an empty text, the platform is tested without any application.
"""

import os

from shared import applications

#: Names of the applications' Python packages, separated by commas as in OFTEN_APPLICATIONS.
NAMES = os.environ.get(applications.VARIABLE, applications.DEFAULT)
INSTALLED = applications.find(NAMES)
#: True if the hotel application is installed.
HOTEL = any(application.name == "hotel" for application in INSTALLED)
