"""What component labels should keep: slopes inside excavations, sets of classes that exclude."""

from collections import Counter
from collections.abc import Iterator

from headframe.core.components import CLASS_SETS, SLOPES, BitArray, overlaps, stray_slopes


class ComponentTally:
    """Counts pixels that break the rules of papers/002 (Table 1, section 2.3), chip after chip."""

    def __init__(self) -> None:
        self._slopes: dict[str, Counter[str]] = {name: Counter() for name in SLOPES}
        self._overlaps: dict[str, Counter[str]] = {
            name: Counter() for name, entry in CLASS_SETS.items() if not entry.union
        }

    def add(self, bits: BitArray, where: str) -> None:
        """Count one chip's mask of components (H, W); ``where`` names the chip."""
        for name, chips in self._slopes.items():
            count = int(stray_slopes(bits, name).sum())
            if count:
                chips[where] = count
        for name, chips in self._overlaps.items():
            count = int(overlaps(bits, CLASS_SETS[name]).sum())
            if count:
                chips[where] = count

    def broken(self) -> Iterator[tuple[str, str, str]]:
        """Give (rule, chip with the most pixels, what is wrong) for each rule that is broken."""
        for name, chips in self._slopes.items():
            if chips:
                text = f"{name} lies outside every excavation in {_amount(chips)}"
                yield "slopes", chips.most_common(1)[0][0], text
        for name, chips in self._overlaps.items():
            if chips:
                text = (
                    f"two classes of {name} share {_amount(chips)}; readers keep the smaller object"
                )
                yield "overlaps", chips.most_common(1)[0][0], text


def _amount(chips: Counter[str]) -> str:
    worst = chips.most_common(1)[0][1]
    return f"{chips.total()} pixels of {len(chips)} chip(s), here {worst}"
