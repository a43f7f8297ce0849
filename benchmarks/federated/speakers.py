"""Shakespeare by speaker: a document for each who speaks enough, from plays in XML (PLAY/SPEECH/SPEAKER/LINE).

    python benchmarks/federated/speakers.py ../shared/data/federated/shakespeare_plays_xml.zip data/speakers

writes data/speakers/train/PLAY-SPEAKER.txt, the first nine tenths of a speaker's lines, and the last tenth of all in
data/speakers/validation.txt, or of each speaker's tenth the first `--share`. A speaker is a client: a natural partition
that is far from even (LEAF, arXiv 1812.01097).
"""

from __future__ import annotations

import argparse
import math
import re
import zipfile
from pathlib import Path
from xml.etree import ElementTree

LINES = 20
"""Of a speaker, at least."""


def spoken(archive: Path) -> dict[str, list[str]]:
    """Return the lines of each speaker of each play, in order; one who speaks with others has the lines, too."""
    found: dict[str, list[str]] = {}
    with zipfile.ZipFile(archive) as plays:
        for name in sorted(name for name in plays.namelist() if name.endswith(".xml")):
            for speech in ElementTree.fromstring(plays.read(name)).iter("SPEECH"):
                lines = ["".join(line.itertext()).strip() for line in speech.iter("LINE")]
                for speaker in speech.iter("SPEAKER"):
                    key = re.sub(r"\W+", "_", f"{Path(name).stem}-{(speaker.text or '').strip()}")
                    found.setdefault(key, []).extend(line for line in lines if line)
    return found


def write(archive: Path, folder: Path, share: float) -> int:
    """Write the documents, and return how many there are; of a speaker's lines to score on the first share."""
    train = folder / "train"
    train.mkdir(parents=True, exist_ok=True)
    held: list[str] = []
    speakers = {name: lines for name, lines in spoken(archive).items() if len(lines) >= LINES}
    for name, lines in speakers.items():
        cut = len(lines) * 9 // 10
        (train / f"{name}.txt").write_text("\n".join(lines[:cut]) + "\n", encoding="utf-8")
        held += lines[cut : cut + math.ceil(share * (len(lines) - cut))]
    (folder / "validation.txt").write_text("\n".join(held) + "\n", encoding="utf-8")
    return len(speakers)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--share", type=float, default=1.0, help="of the lines to score on")
    asked = parser.parse_args()
    count = write(asked.archive, asked.folder, asked.share)
    print(f"{count} speakers with {LINES} lines or more in {asked.folder / 'train'}")
