"""How good automatic labels are, measured where the truth is known and hidden.

Of a labelled data set the labels of some folders (or single photographs) are called manual, those
of all others are hidden; ``headframe underground annotate`` labels them, and what it drew is
scored against what was hidden. The hidden labels are for this figure alone: nothing learns from
them, and no gate is set by them.

    python scripts/annotate_hidden.py recipes/dis-mine/annotate/tunnel.yaml --data drawn \\
        --share 0.3 --out annotated

    python scripts/annotate_hidden.py recipes/dis-mine/person/annotate.yaml \\
        --data ../shared/data/pennfudan --share 0.3 --out annotated-people
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from headframe.cli import console
from headframe.core.detections import Detections
from headframe.datasets.coco import read_coco, write_coco
from headframe.datasets.instances import merge_classes, numbered
from headframe.datasets.photographs import read_photographs
from headframe.io.files import write_json
from headframe.metrics.instances import InstanceEvaluation
from headframe.underground.annotate.material import AUTOMATIC, SOURCE, Sources
from headframe.underground.annotate.plan import load_annotate_plan
from headframe.underground.annotate.run import AnnotateRecipes, annotate

MEASURES = ("precision", "recall", "f1", "mask_ap50", "pixel_f1", "iou")
SEED = 42


def main():
    arguments = parse()
    recipes = AnnotateRecipes(*load_annotate_plan(arguments.plan))
    section = recipes.detector.photographs
    whole = merge_classes(read_coco(arguments.data / "instances.json"), section.merge)
    known, hidden = divide(whole, arguments.share)
    manual = arguments.out / "manual.json"
    write_coco(known, manual)
    images = arguments.data / "images"
    out = arguments.out / "annotated"
    with console.progress() as progress:
        report = annotate(
            Sources(images, manual),
            recipes,
            out=out,
            accelerator=arguments.accelerator,
            progress=progress,
        )
        drawn = read_coco(out / "instances.json")
    told = score(drawn, hidden, images, section)
    told |= {"annotated": report["rounds"][-1]["with_masks"]}
    write_json(arguments.out / "hidden.json", told)
    print(json.dumps(told, indent=2))


def divide(labels, share):
    """Deal whole folders, or single photographs where there are none, to manual and hidden."""
    groups = {image.file_name: group(image) for image in labels.images}
    names = sorted(set(groups.values()))
    order = np.random.default_rng(SEED).permutation(names)
    kept = set(order[: max(round(share * len(names)), 1)])
    parts = [
        replace(labels, images=tuple(i for i in labels.images if (group(i) in kept) is side))
        for side in (True, False)
    ]
    return parts[0], parts[1]


def group(image):
    folder, _, name = image.file_name.rpartition("/")
    return folder or name


def score(drawn, hidden, images, section):
    """Score automatic regions against hidden ones on all photographs of the latter."""
    automatic = {
        image.file_name: tuple(
            r for r in image.regions if (r.provenance or {})[SOURCE] == AUTOMATIC
        )
        for image in drawn.images
    }
    found = replace(
        hidden,
        images=tuple(replace(i, regions=automatic.get(i.file_name, ())) for i in hidden.images),
    )
    classes = numbered(section.categories)
    evaluation = InstanceEvaluation(classes, score=0.0)
    pair = [
        read_photographs(
            labels, images, categories=section.categories, short_side_px=section.short_side_px
        )
        for labels in (hidden, found)
    ]
    for truth, answer in zip(*pair, strict=True):
        evaluation.update(as_detections(truth), as_detections(answer), crowd=truth.crowd)
    report = evaluation.report()
    told = {name: report.mean[name] for name in MEASURES}
    by_class = {
        name: {key: None if np.isnan(value[key]) else round(value[key], 4) for key in MEASURES}
        for name, value in report.per_class.items()
    }
    return {
        "hidden": report.images,
        **{name: None if np.isnan(value) else round(value, 4) for name, value in told.items()},
        "by_class": by_class,
    }


def as_detections(photograph):
    count = len(photograph.labels)
    return Detections(
        photograph.boxes, photograph.labels, np.ones(count, np.float32), photograph.masks
    )


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plan", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="instances.json and images/")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--share", type=float, default=0.3, help="of the folders called manual")
    parser.add_argument("--accelerator", default="auto")
    return parser.parse_args()


if __name__ == "__main__":
    main()
