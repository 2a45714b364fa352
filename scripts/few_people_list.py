"""One training list of the people of LFW and CFP who are at hand: docs/recognisers/real_pictures.md.

    python scripts/few_people_list.py aligned/lfw/faces.csv aligned/cfp/faces.csv lfw.npz cfp.npz -o aligned/few.csv

The lists are those of `facebridge data align` (into folders beside each other), the embeddings those of both lists'
faces by a matcher that knows photographs. Of LFW come the people of the training half of view 1 with two pictures or
more, of CFP the first 200 people; a person of CFP who looks like somebody of LFW's testing half is left out, since the
two sets may show one celebrity.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from facebridge.data import face_list
from facebridge.data.face_list import FaceList

ALIKE = 0.5
"""Cosine of a person's mean frontal embedding and a picture, from which both are taken for one person. With y1 most
people of CFP lie below 0.45, and those who are in LFW too at 0.65 to 0.85."""
CFP_PEOPLE = 200


def main() -> None:
    """Write the list."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lfw", type=Path)
    parser.add_argument("cfp", type=Path)
    parser.add_argument("lfw_embeddings", type=Path)
    parser.add_argument("cfp_embeddings", type=Path)
    parser.add_argument("--out", "-o", type=Path, required=True)
    arguments = parser.parse_args()
    lfw, cfp = face_list.read(arguments.lfw), face_list.read(arguments.cfp)
    known = several(lfw.where(split="train"))
    first = cfp.take([int(identity) <= CFP_PEOPLE for identity in cfp.column("identity").tolist()])
    tested = set(lfw.where(split="test").column("path").tolist())
    seen = seen_in_test(arguments.lfw_embeddings, tested, arguments.cfp_embeddings)
    others = first.take([identity not in seen for identity in first.column("identity").tolist()])
    rows = [*listed(known, arguments.out, "lfw"), *listed(others, arguments.out, "cfp")]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    face_list.write(FaceList(arguments.out.parent, columns), arguments.out)
    print(f"{len(known)} pictures of LFW, {len(others)} of CFP; left out as alike: {sorted(seen) or 'nobody'}")


def several(faces: FaceList) -> FaceList:
    """The pictures of people who have at least two."""
    identities = faces.column("identity")
    names, counts = np.unique(identities, return_counts=True)
    return faces.take(np.isin(identities, names[counts > 1]))


def seen_in_test(lfw: Path, tested: set[str], cfp: Path) -> set[str]:
    """People of CFP who look like somebody of LFW's testing half."""
    one, other = np.load(lfw), np.load(cfp)
    chosen = np.isin(one["path"], sorted(tested))
    if not chosen.any():
        sys.exit(f"{lfw} holds no embedding of the testing half")
    is_frontal = np.array(["/frontal/" in path for path in other["path"].tolist()])
    seen = set()
    for number in range(1, CFP_PEOPLE + 1):
        person = f"{number:03d}"
        mean = other["embeddings"][is_frontal & (other["identity"] == person)].mean(0)
        if (one["embeddings"][chosen] @ mean).max() >= ALIKE * np.linalg.norm(mean):
            seen.add(person)
    return seen


def listed(faces: FaceList, out: Path, name: str) -> list[dict[str, str]]:
    """Rows with paths relative to the new list; a person's name begins with the set's."""
    return [
        {
            "path": str((faces.root.absolute() / row.path).relative_to(out.parent.absolute())),
            "identity": f"{name}_{row.identity}",
            "domain": "vis",
            "crop": row.crop or "",
        }
        for row in (faces[number] for number in range(len(faces)))
    ]


if __name__ == "__main__":
    main()
