import pytest

from headframe.core.errors import RecipeError, UnknownNameError
from headframe.underground.fusion import METHODS, FusionOptions


def test_the_paper_is_the_default_but_for_the_grid():
    options = FusionOptions()
    assert options.method == "intersection"
    assert (options.align, options.close, options.open_, options.grid) == (
        True,
        True,
        True,
        "off",
    )
    assert set(METHODS) == {"detector", "sam", "intersection", "weighted", "boundary", "gate"}


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"method": "intersektion"}, UnknownNameError, "closest: intersection"),
        ({"grid": "litteral"}, UnknownNameError, "closest: literal"),
        ({"method": "gate"}, RecipeError, "needs the gate's numbers"),
        ({"weight": 1.2}, RecipeError, r"weight is 1\.2"),
        ({"rescore": -0.1}, RecipeError, r"rescore is -0\.1"),
        ({"min_overlap": 2}, RecipeError, "min_overlap is 2"),
        ({"band": -1}, RecipeError, "band is -1"),
        ({"kernel_px": 0}, RecipeError, "kernel_px 0"),
    ],
)
def test_values_that_make_no_sense(values, error, message):
    with pytest.raises(error, match=message):
        FusionOptions(**values)
