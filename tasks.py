"""`invoke` in a checkout: the tasks of edge.tasks, and the demo."""

from __future__ import annotations

from edge.tasks import namespace

__all__ = ["namespace"]
