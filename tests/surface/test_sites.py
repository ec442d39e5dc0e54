import pytest
from hypothesis import given
from hypothesis import strategies as st

from headframe.core.errors import SiteError
from headframe.surface.sites import match_site, normalise_site, region_of


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Madre de Dios", "madre_de_dios"),
        ("madre-de.dios_agm_region_3", "madre_de_dios"),
        ("madre_de_dios_agm_region_3_00012", "madre_de_dios"),
        ("São João/1", "sao_joao_1"),
        ("brazil_000", "brazil_000"),
        ("__", ""),
    ],
)
def test_normalise(name, key):
    assert normalise_site(name) == key


@given(st.text())
def test_normalise_is_idempotent(name):
    assert normalise_site(normalise_site(name)) == normalise_site(name)


def test_region():
    assert region_of("x_agm_region_12") == 12
    assert region_of("x_agm_region_2_00004") == 2
    assert region_of("x_12") is None


def test_exact_comes_before_prefix():
    assert match_site("Rio Tapajos", ["rio", "rio_tapajos", "rio_tapajos_norte"]) == "rio_tapajos"


def test_unique_prefix_either_way():
    assert match_site("rio_tapajos_norte", ["rio_tapajos", "other"]) == "rio_tapajos"
    assert match_site("rio", ["rio_tapajos", "other"]) == "rio_tapajos"
    assert match_site("elsewhere", ["rio_tapajos"]) is None
    assert match_site("__", ["rio_tapajos"]) is None


def test_a_number_is_not_cut_in_two():
    assert match_site("mine_1", ["mine_10"]) is None
    assert match_site("mine_10", ["mine_1"]) is None


def test_ambiguous_prefix():
    with pytest.raises(SiteError, match="'rio' of the images could be 'rio_a', 'rio_b'"):
        match_site("rio", ["rio_a", "rio_b"])
