from headframe.cli.scene_options import band_names


def test_names_are_divided_at_commas_and_trimmed():
    assert band_names("blue, green,red") == ("blue", "green", "red")


def test_no_names_stay_none():
    assert band_names(None) is None
