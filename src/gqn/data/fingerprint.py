"""What the files of a dataset are, wherever they lie: by this a run knows its data again.

Of files in a folder it is their names, sizes, and where their records begin, which the index of each holds: nothing
else has to be read. Of files at an address it is what the address lists, their names.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from gqn.data import fetch
from gqn.data.remote import Remote
from gqn.data.stored import Stored
from gqn.data.tasks import Source

NAMED = 3  # files that differ, at most
Files = dict[str, list[Any] | None]  # by name: bytes and a digest of the index; None at an address


def files(scenes: Source) -> Files:
    """The files that hold the scenes of a source; none of rendered ones."""
    if isinstance(scenes, Remote):
        return {Path(fetch.plain(address)).name: None for address in scenes.addresses}
    if isinstance(scenes, Stored):
        used = scenes.files[: int(np.searchsorted(scenes.ends, scenes.num_scenes)) + 1]
        index = [hashlib.sha256(file.offsets.astype("<i8").tobytes()).hexdigest()[:16] for file in used]
        return {file.path.name: [file.state[0], found] for file, found in zip(used, index, strict=True)}
    return {}


def digest(splits: dict[str, Files]) -> str:
    """The files of splits in a word: that of others is another; "" if there are none."""
    text = json.dumps(splits, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32] if any(splits.values()) else ""


def differences(here: dict[str, Files], there: dict[str, Files]) -> str:
    """In which files of their splits two records differ, in words, naming a few."""
    lines = []
    for split in sorted(here.keys() | there.keys()):
        a, b = here.get(split, {}), there.get(split, {})
        for name in sorted(a.keys() | b.keys()):
            ours, theirs, file = a.get(name), b.get(name), f"{split}/{name}"
            if name not in b:
                lines.append(f"{file} was not there")
            elif name not in a:
                lines.append(f"{file} is not here")
            elif ours is None or theirs is None:
                if ours != theirs:
                    lines.append(f"{file} is {'at an address' if ours is None else 'in a folder'} and was not")
            elif ours[0] != theirs[0]:
                lines.append(f"{file} has {ours[0]:,} bytes here, {theirs[0]:,} there")
            elif ours != theirs:
                lines.append(f"{file} has other records")
    more = f", and {len(lines) - NAMED} more" if len(lines) > NAMED else ""
    return ", ".join(lines[:NAMED]) + more
