"""How a recommendation fares on videos that it was not made from: leave-one-video-out cross-validation.

The recommended setting was chosen because it agreed on these very questions, so its agreement flatters it, the more the
more settings were tried. Here each video judges a choice that it had no part in. Only what was measured is needed.
"""

from __future__ import annotations

from videox2l.evaluation.calibration.choose import Groups, Wanted, cheapest, summaries
from videox2l.evaluation.suites.metrics import wilson
from videox2l.store.calibration import HeldOut


def held_out(groups: Groups, wanted: Wanted) -> HeldOut | None:
    """Choose a setting for each video from all others, and pool how these agree; ``None`` of fewer than two videos.

    Where no setting is good enough on the others, a video's questions count as no agreement: the estimate must not gain
    by what could not be answered for.
    """
    videos = dict.fromkeys(found.video for group in groups.values() for found in group)
    if len(videos) < 2:
        return None
    agreed = questions = without_setting = 0
    for video in videos:
        others = {setting: [found for found in group if found.video != video] for setting, group in groups.items()}
        chosen = cheapest(summaries(others), wanted)
        # Every setting was asked the same; the first tells how much that is.
        own = [found for found in groups[chosen or next(iter(groups))] if found.video == video]
        questions += len(own)
        if chosen is None:
            without_setting += len(own)
        else:
            agreed += sum(found.agrees for found in own)
    return HeldOut(agreed / questions, wilson(agreed, questions), without_setting)
