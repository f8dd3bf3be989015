"""About: where a .tflite file comes from, in a metadata entry of its own, as JSON."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from edge.errors import UsageError

KEY = "edge"
"""Name of the entry."""


@dataclass(frozen=True)
class About:
    """:ivar source: name of the Keras file or SavedModel.
    :ivar source_sha256: of its content; of a folder, of its files' names and contents.
    :ivar variant: ``float32``, ``float16``, ``dynamic``, ``int8`` or ``int16x8``.
    :ivar made_by: the converter's packages and versions.
    :ivar preprocessing: what became of pixels or sound before the model; None if nobody said.
    :ivar labels: names of the classes, in the order of the scores.
    """

    source: str
    source_sha256: str
    variant: str
    made_by: str
    preprocessing: str | None = None
    labels: tuple[str, ...] = ()


def dumps(about: About) -> bytes:
    return json.dumps(dataclasses.asdict(about), sort_keys=True).encode()


def parse(text: str | None) -> About | None:
    """Whoever wrote it: what does not look like ours is nobody's."""
    try:
        found = json.loads(text or "")
        labels = tuple(found.pop("labels"))
        made = About(**found, labels=labels)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    words = [made.source, made.source_sha256, made.variant, made.made_by, *labels]
    if not all(isinstance(word, str) for word in words):
        return None
    return made if made.preprocessing is None or isinstance(made.preprocessing, str) else None


def labels(path: Path) -> tuple[str, ...]:
    """Names of classes, one a line.

    :raises UsageError: it can't be read, or holds none.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--labels {path} can't be read ({error}): one name a line") from None
    found = tuple(line.strip() for line in lines if line.strip())
    if not found:
        raise UsageError(f"--labels {path} holds no names: one a line")
    return found
