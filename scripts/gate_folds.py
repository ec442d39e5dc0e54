"""Fit a gate to what a comparison's detectors and a SAM say of photographs new to both.

For a figure of fold 0 it is fitted to the others, each looked at by the detector that held it out:

    headframe underground compare recipes/dis-mine/person/plan-folds.yaml --data people --out folds
    python scripts/gate_folds.py recipes/dis-mine/person/plan-folds.yaml --data people \\
        --compared folds --method weighted-trained --folds 1 2 3 --out runs/gate.json

A method with ``fusion: {method: gate}`` and ``gate: runs/gate.json`` then uses it, as does
``headframe underground pack --fusion gate --gate runs/gate.json``.
"""

import argparse
from pathlib import Path

import torch

from headframe.cli import console
from headframe.engine.allocator import TRAINING_BYTES, keep_freed_memory
from headframe.engine.detector_bundle import read_detector
from headframe.engine.detector_data import build_prepare, shown, views_in_light
from headframe.engine.detector_training import read_parts
from headframe.engine.prompting.boxes import answer_boxes
from headframe.underground.chain_found import truth_of
from headframe.underground.chain_parts import Desk, Run, build_sams, detector_recipe
from headframe.underground.chain_plan import load_plan
from headframe.underground.fusion.gate import save_gate
from headframe.underground.fusion.gate_fit import fit_gate, gate_samples


def main():
    arguments = parse()
    keep_freed_memory(TRAINING_BYTES)
    plan, recipes = load_plan(arguments.plan)
    plan = plan.with_sources([str(folder) for folder in arguments.data])
    method = plan.methods[arguments.method]
    samples = []
    with console.progress() as progress:
        desk = Desk(arguments.compared, "cpu", progress)
        for fold in arguments.folds:
            run = Run(method.detector, fold, arguments.seed)
            recipe = detector_recipe(plan, recipes, run, desk=desk)
            sam = build_sams(plan, recipes, run, recipe=recipe, desk=desk)[method.sam]
            detector = read_detector(desk.run_folder(run)).detector
            prepare = build_prepare(recipe.prepare)
            held = read_parts(recipe.photographs).test[:: arguments.every]
            views = views_in_light(held, plan.light)
            progress.start(f"Looking at fold {fold}", len(held) * len(views))
            for photograph in (each for light in views.values() for each in light):
                samples.append(sample(photograph, detector, sam, prepare, method))
                progress.advance()
            progress.finish()
    gate = fit_gate(samples)
    save_gate(gate, arguments.out)
    print(f"{sum(len(s.inside) for s in samples)} pixels of {len(samples)} views: {gate}")


def sample(photograph, detector, sam, prepare, method):
    pixels = shown(photograph, prepare)
    (found,) = detector.detect([torch.from_numpy(pixels)], soft=True)
    asked = found.above(method.sam_score)
    answers = answer_boxes(sam, pixels, asked, classes=method.classes)
    return gate_samples(asked, answers, truth_of(photograph))


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plan", type=Path)
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--compared", type=Path, required=True, help="of underground compare")
    parser.add_argument("--method", required=True, help="whose detector and SAM are asked")
    parser.add_argument("--folds", type=int, nargs="+", required=True, help="that it learns from")
    parser.add_argument("--every", type=int, default=1, help="each so many photographs of a fold")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="file of the gate")
    return parser.parse_args()


if __name__ == "__main__":
    main()
