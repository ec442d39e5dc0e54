import numpy as np

from headframe.underground.segment.tracks import Tracker, TrackOptions


def box(x, y=10, side=10):
    return (float(x), float(y), float(side), float(side))


def test_two_that_pass_keep_their_numbers():
    tracker = Tracker()
    for step in range(12):
        left, right = box(4 * step, y=10), box(60 - 4 * step, y=30)
        order = [left, right] if step % 2 == 0 else [right, left]
        numbers = tracker.update(order, [1, 1], at_s=step / 10)
        assert numbers == ((1, 2) if step % 2 == 0 else (2, 1))


def test_the_best_pairs_of_all_are_taken():
    tracker = Tracker(TrackOptions(overlap=0.1))
    assert tracker.update([box(0), box(8)], [1, 1], at_s=0) == (1, 2)
    # the first would take track 2 for itself, were it asked alone
    assert tracker.update([box(5), box(12)], [1, 1], at_s=0.1) == (1, 2)


def test_a_fast_one_is_found_by_nearness():
    tracker = Tracker()
    tracker.update([box(0)], [1], at_s=0)
    assert tracker.update([box(7)], [1], at_s=0.1) == (1,)
    assert tracker.update([box(14.4)], [1], at_s=0.2) == (1,)
    assert tracker.update([box(36)], [1], at_s=0.3) == (2,)


def test_classes_do_not_mix():
    tracker = Tracker()
    tracker.update([box(0)], [1], at_s=0)
    assert tracker.update([box(0), box(0)], [2, 1], at_s=0.1) == (2, 1)


def test_a_track_is_ended_after_a_while():
    tracker = Tracker(TrackOptions(patience_s=0.5))
    tracker.update([box(0)], [1], at_s=0)
    assert tracker.update([], [], at_s=0.2) == ()
    assert tracker.update([box(1)], [1], at_s=0.5) == (1,)
    assert tracker.update([box(1)], [1], at_s=1.1) == (2,)
    assert len(tracker._tracks) == 1


def test_numbers_of_a_frame_differ():
    rng = np.random.default_rng(0)
    tracker = Tracker()
    for step in range(30):
        count = int(rng.integers(0, 9))
        boxes = [tuple(map(float, rng.uniform(0, 40, 4))) for _ in range(count)]
        numbers = tracker.update(boxes, [1] * count, at_s=step / 25)
        assert len(set(numbers)) == count
        assert all(number >= 1 for number in numbers)
