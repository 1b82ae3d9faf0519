"""Fingerprint of a dataset's files, by which a resumed run checks that it reads the same data as before.

For files in a folder it consists of their names, their sizes and the offsets of their records. The offsets come from
the index of each file, so the records themselves are not read. For files at an address it is their names alone. It does
not depend on where the files lie.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from gqn.data import Source
from gqn.data.files.stored import Stored
from gqn.data.remote import fetch
from gqn.data.remote.source import Remote

NAMED = 3  # at most so many differing files are named in a message
Files = dict[str, list[Any] | None]  # file name -> [size in bytes, digest of the index]; None for a file at an address


def files(scenes: Source) -> Files:
    """The files that hold the scenes of a source; empty for rendered scenes."""
    if isinstance(scenes, Remote):
        return {Path(fetch.plain(address)).name: None for address in scenes.addresses}
    if isinstance(scenes, Stored):
        used = scenes.files[: int(np.searchsorted(scenes.ends, scenes.num_scenes)) + 1]
        index = [hashlib.sha256(file.offsets.astype("<i8").tobytes()).hexdigest()[:16] for file in used]
        return {file.path.name: [file.state[0], found] for file, found in zip(used, index, strict=True)}
    return {}


def digest(splits: dict[str, Files]) -> str:
    """A hash of the files of all splits; "" if there are no files."""
    text = json.dumps(splits, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32] if any(splits.values()) else ""


def differences(here: dict[str, Files], there: dict[str, Files]) -> str:
    """A message that says which files differ between two fingerprints (split -> files), naming at most `NAMED`."""
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
