"""Gates by hand: each of them, their order, what a person decided, what is narrow."""

import numpy as np
import pytest

from headframe.metrics.matching import encode
from headframe.underground.annotate.candidates import BOX, DETECTOR, Candidate, Note
from headframe.underground.annotate.gates import Kept, judge, tally
from headframe.underground.annotate.plan import GateSection, ReviewSection


def rle(top, left, tall, wide):
    mask = np.zeros((1, 20, 30), np.bool_)
    mask[0, top : top + tall, left : left + wide] = True
    (code,) = encode(mask)
    return {"size": list(code["size"]), "counts": code["counts"].decode("ascii")}


def candidate(
    place=(0, 0, 10, 10), *, score=0.9, iou=0.95, stability=0.99, origin=DETECTOR, label=1, own=None
):
    own = rle(*(own or place)) if origin == DETECTOR else None
    return Candidate(label, (0, 0, 1, 1), origin, score, iou, stability, rle(*place), own)


def judged(*candidates, decided=(), **gates):
    note = Note("a.png", (20, 30), candidates)
    return judge(note, gates=GateSection(**gates), review=ReviewSection(), decided=decided)


def reasons(*candidates, **more):
    return [mask.reasons for mask in judged(*candidates, **more).masks]


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, ()),
        ({"score": 0.7, "iou": 0.85, "stability": 0.9}, ()),  # a gate is passed at its value
        ({"score": 0.69}, ("score",)),
        ({"iou": 0.84}, ("predicted_iou",)),
        ({"stability": 0.89}, ("stability",)),
        ({"place": (0, 0, 3, 5)}, ("least_px",)),
        ({"place": (0, 0, 4, 4)}, ()),
        ({"score": 0.1, "iou": 0.1, "stability": 0.1, "place": (0, 0, 1, 1)},
         ("score", "predicted_iou", "stability", "least_px")),
        ({"score": 0.1, "origin": BOX}, ()),  # what a person pointed at has no score
    ],
)  # fmt: skip
def test_each_gate(changes, wanted):
    assert reasons(candidate(**changes)) == [wanted]


def test_of_equals_the_surer_is_taken_whatever_the_order():
    sure, less = candidate(score=0.95), candidate((0, 0, 10, 9), score=0.8)
    assert reasons(less, sure) == [("duplicate_iou",), ()]
    assert reasons(sure, less) == [(), ("duplicate_iou",)]
    assert reasons(less, sure, duplicate_iou=0.95) == [(), ()]
    assert reasons(less, candidate(label=2)) == [(), ()]
    # one that failed stands in nobody's way
    assert reasons(candidate(score=1.0, iou=0.84), less) == [("predicted_iou",), ()]
    assert reasons(candidate(iou=0.1), less) == [("predicted_iou", "duplicate_iou"), ()]


def test_a_person_decides_first():
    keep, drop = (Kept("k", 1, rle(0, 0, 10, 10), kept) for kept in (True, False))
    found = judged(candidate(), decided=[keep])
    assert [mask.reasons for mask in found.masks] == [(), ("duplicate_iou",)]
    assert [mask.reviewed for mask in found.masks] == [True, False]
    assert reasons(candidate((0, 0, 10, 9)), decided=[drop]) == [("dropped",)]
    assert reasons(candidate(label=2), decided=[drop]) == [()]
    assert reasons(candidate((10, 0, 10, 10)), decided=[drop]) == [()]
    elsewhere = Kept("k", 1, {**rle(0, 0, 10, 10), "size": [10, 60]}, keep=False)
    assert reasons(candidate(), decided=[elsewhere]) == [()]  # kept at another size


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, ""),
        ({"score": 0.74}, "narrowly taken: score 0.74"),
        ({"iou": 0.81}, "narrowly rejected: predicted_iou 0.81"),
        ({"iou": 0.79}, ""),
        ({"iou": 0.81, "stability": 0.88}, ""),
        ({"iou": 0.81, "place": (0, 0, 1, 1)}, ""),
        ({"own": (0, 0, 10, 4)}, "narrowly taken: the networks agree by 0.40"),
    ],
)
def test_what_is_narrow(changes, wanted):
    (mask,) = judged(candidate(**changes)).masks
    assert mask.review == wanted


def test_a_photograph_is_whole_where_no_sure_object_is_left_out():
    assert judged(candidate(), candidate((10, 0, 10, 10), score=0.4)).whole
    assert judged(candidate(), candidate((0, 0, 10, 10), score=0.8)).whole
    assert not judged(candidate(), candidate((10, 0, 10, 10), stability=0.4)).whole
    assert judged(candidate(), candidate((10, 0, 10, 10), score=0.4, iou=0.1)).whole


def test_photographs_to_review():
    assert judged().review == "nothing was found"
    assert judged(candidate(iou=0.1)).review == "no mask was taken"
    assert judged(candidate()).review == ""


def test_tally_counts_every_reason():
    trouble = Note("b.png", trouble="cannot be read")
    broken = judge(trouble, gates=GateSection(), review=ReviewSection())
    counts = tally([
        judged(candidate(), candidate((10, 0, 10, 10), score=0.1, iou=0.1), candidate(score=0.71)),
        judged(candidate(iou=0.1)),
        broken,
    ])  # fmt: skip
    assert counts == {
        "photographs": 3, "with_masks": 1, "whole": 1, "unreadable": 1, "masks": 4, "accepted": 1,
        "reviewed": 0, "score": 1, "predicted_iou": 2, "stability": 0, "least_px": 0,
        "duplicate_iou": 1, "dropped": 0, "review": 1,
    }  # fmt: skip
