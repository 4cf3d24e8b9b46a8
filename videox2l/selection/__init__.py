"""Which chunks a question re-loads at low compression: scorers say how relevant each is, a policy chooses."""

from videox2l.selection.scorer import QuestionContext, Retrieved, Scorer
from videox2l.selection.select import (
    SCORERS,
    Selection,
    check_selection,
    needs_scores,
    select,
    share_queries,
    shares_queries,
)

__all__ = [
    "SCORERS",
    "QuestionContext",
    "Retrieved",
    "Scorer",
    "Selection",
    "check_selection",
    "needs_scores",
    "select",
    "share_queries",
    "shares_queries",
]
