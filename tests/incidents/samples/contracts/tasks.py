"""The contracts of the sample tasks that the incidents submit."""

from tests.hostile_tasks import LEAK
from tests.sample_tasks import CRASH, FAIL, INSTANT, STEPS, WAIT

__all__ = ["CRASH", "FAIL", "INSTANT", "LEAK", "STEPS", "WAIT"]
