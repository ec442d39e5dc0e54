"""What is done so far, a line a frame, and the files that are made of it at the end.

Nothing is held in memory but where each frame's line begins, so that an hour of video is no more
than a minute of it.
"""

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from headframe.core.errors import OutputError
from headframe.io.files import make_folder, replacing, writing_into
from headframe.underground.segment.record import FrameRecord, record_of
from headframe.underground.segment.summary import COLUMNS

INSTANCES, JOURNAL = "instances.json", "segment.jsonl"
SUMMARY_CSV, SUMMARY_JSON = "summary.csv", "summary.json"
_FIRST = ("file_name", "video", "frame", "at_s")


class Journal:
    """``segment.jsonl``: one line a frame, written when the frame is done.

    A context manager. A line that a killed run left half-written is cut off; of two lines of one
    frame the later counts.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Open it, and check what is there.

        Args:
            folder: of the output.
            settings: plain values that decide the result, the first line of the file.

        Raises:
            OutputError: frames there were made with other settings, or it cannot be written.
        """
        self.folder = folder
        self.path = folder / JOURNAL
        self._begins: dict[str, int] = {}
        self._file: BinaryIO | None = None
        make_folder(folder)
        with writing_into(folder):
            head = {"settings": json.loads(json.dumps(settings))}
            end = self._read_lines(head) if self.path.is_file() else 0
            self._file = self.path.open("a+b")
            self._file.truncate(end)
            if not end:
                self._line(head)

    def __enter__(self) -> Self:
        """Give the journal itself; it is open already."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def __len__(self) -> int:
        """Count the frames."""
        return len(self._begins)

    def __contains__(self, name: object) -> bool:
        """Whether a frame is done."""
        return name in self._begins

    def add(self, record: FrameRecord) -> None:
        """Note a frame."""
        self._begins[record.file_name] = self._line(record.to_json())

    def get(self, name: str) -> FrameRecord | None:
        """Give a frame that is done, else None."""
        if name not in self._begins:
            return None
        assert self._file is not None
        self._file.seek(self._begins[name])
        return record_of(json.loads(self._file.readline()))

    def records(self, names: Sequence[str] | None = None) -> Iterator[FrameRecord]:
        """Give frames one by one, in the order of ``names`` or of their first line."""
        for name in list(self._begins) if names is None else names:
            record = self.get(name)
            if record is not None:
                yield record

    def _line(self, value: Mapping[str, Any]) -> int:
        assert self._file is not None
        with writing_into(self.folder):
            self._file.seek(0, 2)
            begins = self._file.tell()
            self._file.write(json.dumps(value, ensure_ascii=False).encode() + b"\n")
            self._file.flush()
        return begins

    def _read_lines(self, head: Mapping[str, Any]) -> int:
        """Find where frames begin; return where the last whole line ends."""
        end = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file):
                try:
                    value = json.loads(line) if line.endswith(b"\n") else None
                except ValueError:
                    value = None
                if value is None:
                    return end
                if number == 0 and value != head:
                    raise OutputError(
                        f"{self.path}: the frames here were made with another model or other "
                        "settings. Choose another --out."
                    )
                if number:
                    self._begins[value["file_name"]] = end
                end += len(line)
        return end


def write_instances(
    journal: Journal, names: Sequence[str] | None, categories: Mapping[str, int]
) -> tuple[int, int]:
    """Write ``instances.json`` in COCO's format, every frame listed.

    Beside COCO's own fields an annotation has ``score``, ``source`` and, of a video, ``track_id``;
    an image of a video has ``video``, ``frame`` and ``at_s``.

    Args:
        journal: what is done.
        names: frames, in the order they are listed in; None: all, as they were done.
        categories: name to number.

    Returns:
        How many images and annotations were written.
    """
    images = annotations = 0
    with replacing(journal.folder / INSTANCES) as part, part.open("w", encoding="utf-8") as file:
        file.write('{"images": [')
        for record in journal.records(names):
            file.write(",\n" if images else "\n")
            images += 1
            file.write(json.dumps(_image(record, images), ensure_ascii=False))
        file.write('\n], "annotations": [')
        for number, record in enumerate(journal.records(names), start=1):
            for found in _annotations(record, number):
                file.write(",\n" if annotations else "\n")
                annotations += 1
                file.write(json.dumps({"id": annotations, **found}))
        listed = [{"id": number, "name": name} for name, number in categories.items()]
        file.write(f'\n], "categories": {json.dumps(listed, ensure_ascii=False)}}}\n')
    return images, annotations


def _image(record: FrameRecord, number: int) -> dict[str, Any]:
    told: dict[str, Any] = {
        "id": number,
        "file_name": record.file_name,
        "width": record.width,
        "height": record.height,
    }
    if record.video is not None:
        told |= {"video": record.video, "frame": record.frame, "at_s": record.at_s}
    return told


def _annotations(record: FrameRecord, image: int) -> Iterator[dict[str, Any]]:
    for found in record.objects:
        told = {
            "image_id": image,
            "category_id": found.category_id,
            "score": found.score,
            "bbox": list(found.bbox),
            "area": found.area,
            "segmentation": dict(found.segmentation),
            "iscrowd": 0,
            "source": found.source,
        }
        yield told if found.track_id is None else told | {"track_id": found.track_id}


def write_summary(
    journal: Journal, names: Sequence[str] | None, more: Mapping[str, Any]
) -> dict[str, Any]:
    """Write ``summary.csv`` and ``summary.json``: the safe path frame by frame, and totals.

    Args:
        journal: what is done.
        names: frames, in their order; None: all, as they were done.
        more: what else goes among the totals.

    Returns:
        The totals: frames, objects, most people at once, seconds by part, and ``more``.
    """
    seconds: Counter[str] = Counter()
    totals: dict[str, Any] = {"frames": 0, "objects": 0, "most_people": None}
    with (
        replacing(journal.folder / SUMMARY_CSV) as sheet,
        replacing(journal.folder / SUMMARY_JSON) as whole,
        sheet.open("w", encoding="utf-8", newline="") as rows,
        whole.open("w", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(rows, (*_FIRST, *COLUMNS, "objects"), lineterminator="\n")
        writer.writeheader()
        file.write('{"frames": [')
        for record in journal.records(names):
            row = {key: getattr(record, key) for key in _FIRST}
            row |= {**record.summary, "objects": len(record.objects)}
            writer.writerow(row)
            file.write(",\n" if totals["frames"] else "\n")
            file.write(json.dumps(row, ensure_ascii=False))
            totals["frames"] += 1
            totals["objects"] += len(record.objects)
            if (people := record.summary.get("people")) is not None:
                totals["most_people"] = max(totals["most_people"] or 0, people)
            seconds.update(record.seconds)
        parts = {part: round(value, 3) for part, value in seconds.items()}
        totals |= {"seconds": parts, **more}
        file.write(f'\n], "totals": {json.dumps(totals, ensure_ascii=False)}}}\n')
    return totals
