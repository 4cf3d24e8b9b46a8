"""Every step that the curriculum can draw is one that the model can be trained on."""

import numpy as np
import pytest

from videox2l.training.curriculum import FIRST_VST_STAGE, STAGES, plan_step
from videox2l.training.model_config import LOW_RATIO, TRAINED_RATIOS


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_steps_are_consistent(stage) -> None:
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(300):
        plan = plan_step(stage, rng)
        seen.add(plan.mode)
        assert plan.scenes <= max(stage.scenes)
        assert plan.clips >= 2
        if plan.ratios is None:
            assert plan.mode == "full"
            continue
        assert len(plan.ratios) == plan.scenes
        assert set(plan.ratios) <= set(TRAINED_RATIOS)
        assert plan.gaps is None or len(plan.gaps) == plan.scenes
        if plan.mode.startswith("bi-level"):
            assert plan.ratios[0] == plan.ratios[-1] == LOW_RATIO
        if plan.code_scenes is not None:
            assert all(plan.ratios[scene] == LOW_RATIO for scene in plan.code_scenes)
    assert ("full" in seen) == (stage.modes.get("full", 0) > 0)


def test_stages_lead_from_uncompressed_to_everything() -> None:
    assert all(set(stage.modes) == {"full"} for stage in STAGES[:FIRST_VST_STAGE])
    assert "full" not in STAGES[FIRST_VST_STAGE].modes or len(STAGES[FIRST_VST_STAGE].modes) > 1
    assert [stage.end for stage in STAGES] == sorted(stage.end for stage in STAGES)
    assert STAGES[-1].end == 1.0
    assert max(STAGES[-1].scenes) == 64
