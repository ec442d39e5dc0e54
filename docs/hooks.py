"""mkdocs hooks: modules of a room, and pictures that may be absent."""

import csv
import re
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "headframe"
_ROOM = re.compile(r"^<!-- modules of (\w+) -->$", re.MULTILINE)
_RESULTS = re.compile(r"^<!-- results (\S+) -->$", re.MULTILINE)
_SCORES = ("low", "high", "precision", "recall")
_PICTURE = re.compile(r"^<!-- picture (\S+): (.+) -->$", re.MULTILINE)


def on_page_markdown(markdown, page, config, **_):
    """Write out modules of a room, measured tables, and pictures of ``scripts/docs_pictures.py``."""
    markdown = _ROOM.sub(lambda match: _modules(match[1]), markdown)
    folder = Path(config["docs_dir"])
    markdown = _RESULTS.sub(lambda match: _table(folder / "results" / match[1]), markdown)
    up = "../" * page.file.src_uri.count("/")

    def picture(match):
        if not (folder / "pictures" / match[1]).is_file():
            return f"*(No picture here: `python scripts/docs_pictures.py` draws it. {match[2]})*"
        return f"![{match[2]}]({up}pictures/{match[1]})\n\n*{match[2]}*"

    return _PICTURE.sub(picture, markdown)


def _table(path):
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    several = any(int(r["runs"]) > 1 for r in rows)
    adapted = any("trained_m" in r for r in rows)
    head = ["", "IoU", "95 % over sites", "precision", "recall", "M parameters"]
    head += ["M trained", "s"] * adapted + ["runs", "their IoU"] * several
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for r in rows:
        low, high, precision, recall = (f"{float(r[k]):.3f}" for k in _SCORES)
        cells = [r["what"], f"**{float(r['iou']):.3f}**", f"{low}–{high}", precision, recall]
        cells += [r["parameters_m"]] + [r.get("trained_m", ""), r["seconds"]] * adapted
        if several:
            cells += [r["runs"], f"{float(r['run_min']):.3f}–{float(r['run_max']):.3f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _modules(room):
    names = []
    for path in sorted((PACKAGE / room).rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[-1] != "__init__" and not parts[-1].startswith("_"):
            names.append("headframe." + ".".join(parts))
    return "\n\n".join(f"::: {name}" for name in names)
