"""SDG and data processing with the real libraries, killed anywhere and started again (ILAB_KILL_POINTS=all)."""

import json
from pathlib import Path

from tests.e2e.stages import in_stages


def test_stages_that_were_killed_end_as_those_that_were_not(tmp_path: Path) -> None:
    """Trap 64. Of ten requests to the teacher, those that were under way are asked again, two at most."""
    seen = json.loads(in_stages("tests/e2e/run_kills.py", str(tmp_path)))
    assert [seen[stage]["faults"] for stage in ("processed", "generated")] == [[], []]
    assert 10 <= seen["generated"]["requests"] <= 12
