"""How nginx spreads requests over replicas some of which refuse."""

from __future__ import annotations

import pytest

from tests.deployment.balanced import CONFIGURATION
from tests.load.replicas import failures, two_of_ten_refuse

pytestmark = pytest.mark.deployment


def test_replicas_that_refuse_do_not_attract_requests() -> None:
    (phase,) = failures(CONFIGURATION.read_text(), ((80, 1.5),))
    assert (phase.sent, phase.failed) == (120, 0)


@pytest.mark.long
def test_at_20_and_80_a_second_none_of_720_fails() -> None:
    before, after = two_of_ten_refuse()
    assert sum(phase.sent for phase in after) == 720
    assert [phase.failed for phase in after] == [0, 0]
    # the balancer of before fails: the stand-ins show the trouble
    assert [phase.failed_share > 0.05 for phase in before] == [True, True]
