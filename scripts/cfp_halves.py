"""CFP in two halves of people: those of the lower numbers to train on, the others to be judged.

    facebridge data import cfp CFP --out lists/cfp.csv
    facebridge data landmarks lists/cfp.csv --weights yunet_n_dynamic.onnx -o lists/cfp_points.csv
    python scripts/cfp_halves.py lists

Writes cfp_train.csv and cfp_test.csv with a column yaw_deg - 0 for frontal pictures, 90 to the side that the nose
points to for profiles -, and of each half the pairs of the protocols whose two people are both in it: cfp_ff_train.csv,
cfp_fp_train.csv, cfp_ff_test.csv, cfp_fp_test.csv.
"""

import argparse
import csv
from pathlib import Path

import numpy as np

from facebridge.data.list_files import LANDMARKS_5
from facebridge.pose import looks_right

HALVES = {"train": range(1, 151), "test": range(151, 301)}
"""Numbers of the people."""


def main() -> None:
    """Split the lists."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lists", type=Path, help="folder of the lists, to which the new ones are written")
    lists = parser.parse_args().lists
    rows = [{**row, "yaw_deg": yaw_deg(row)} for row in read(lists / "cfp_points.csv")]
    for half, people in HALVES.items():
        write(lists / f"cfp_{half}.csv", [row for row in rows if int(row["identity"]) in people])
    there = {row["path"] for row in rows}
    for name in ("ff", "fp"):
        pairs = read(lists / f"cfp_{name}.csv")
        for half, people in HALVES.items():
            inside = [pair for pair in pairs if all(int(pair[f"identity_{side}"]) in people for side in "ab")]
            kept = [pair for pair in inside if pair["path_a"] in there and pair["path_b"] in there]
            write(lists / f"cfp_{name}_{half}.csv", kept)
            print(f"{name}, {half}: {len(kept)} of {len(inside)} pairs; of the others a picture has no face found")


def yaw_deg(row: dict[str, str]) -> str:
    """0, 90 or -90: the set says no more than which pictures are profiles."""
    points = np.array([float(row[name]) for name in LANDMARKS_5]).reshape(5, 2)
    return "0" if row["domain"] == "vis" else "90" if looks_right(points) else "-90"


def read(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write(path: Path, rows: list[dict[str, str]]) -> None:
    """Rows, all with the columns of the first."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
