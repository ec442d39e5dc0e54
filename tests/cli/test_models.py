import json
import sys

import pytest

from headframe.cli import main as cli


def run(*words):
    with pytest.raises(SystemExit) as stop:
        cli.main(list(words))
    return stop.value.code


def test_list_names_bundles_and_architectures(capsys):
    assert run("models", "list", "--json") == 0
    value = json.loads(capsys.readouterr().out)
    assert "tailings-s2-rgb" in [entry["name"] for entry in value["bundles"]]
    names = [entry["name"] for entry in value["architectures"]]
    for name in ("unet", "unetplusplus", "linknet", "fpn", "deeplabv3plus", "segformer"):
        assert name in names
    assert {"minesegsat-b0", "minesegsat-b3"} < set(names)
    assert run("models", "list") == 0
    assert "minesegsat-b3" in capsys.readouterr().out


def test_chains_are_listed_and_shown(capsys, monkeypatch):
    assert run("models", "list", "--json") == 0
    (chain,) = json.loads(capsys.readouterr().out)["chains"]
    assert chain["name"] == "dis-mine-person"
    assert chain["finds"] == ["person"]
    assert chain["megabytes"] < 60
    assert run("models", "show", "dis-mine-person", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["parameters"] == 7_859_067
    assert told["metrics"]
    assert run("models", "show", "dis-mine-person") == 0
    assert "a chain below ground" in capsys.readouterr().out
    monkeypatch.setitem(sys.modules, "headframe.underground.chain_bundle", None)
    assert run("models", "list", "--json") == 0  # also without the extra
    assert json.loads(capsys.readouterr().out)["chains"] == []


def test_enhancers_are_listed_and_shown(capsys, tmp_path):
    assert run("models", "list", "--json") == 0
    (enhancer,) = json.loads(capsys.readouterr().out)["enhancers"]
    assert enhancer["name"] == "kind-s"
    assert enhancer["megabytes"] < 8
    assert run("models", "show", "kind-s", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["restoration_parameters"] > told["decomposition_parameters"] > 200_000
    assert told["training"]["photographs"] > 0
    assert run("models", "show", "kind-s") == 0
    shown = capsys.readouterr().out
    assert "kind-s: an enhancer" in shown
    assert "(--json shows it)" in shown
    assert "halve_at" not in shown
    assert run("models", "show", str(tmp_path)) == 2  # a folder, but of no model
    assert "error: " in capsys.readouterr().err


def test_show_an_architecture(capsys):
    assert run("models", "show", "minesegsat-b3", "--json") == 0
    value = json.loads(capsys.readouterr().out)
    assert value["parameters"] == 44_626_433
    assert value["bands"][:4] == ["red", "green", "blue", "nir"]
    assert len(value["bands"]) == 12
    dropped = {"dropout": 0.1, "drop_path": 0.15, "legacy_drop_path": False}
    assert value["options"] == {**dropped, "indices": []}
    assert "MineSegSAT" in value["source"]
    assert run("models", "show", "fpn") == 0
    assert "tf_efficientnet_lite0" in capsys.readouterr().out


def test_show_a_bundle_counts_its_parameters(capsys):
    assert run("models", "show", "tailings-s2-rgb", "--json") == 0
    value = json.loads(capsys.readouterr().out)
    assert value["architecture"] == "fpn"
    assert value["parameters"] > 4_000_000


def test_show_names_the_base_of_an_adapted_sam(make, tmp_path, capsys):
    folder = make.bundle(tmp_path / "sam")
    value = json.loads((folder / "model.json").read_text())
    base = {"source": "litemedsam", "architecture": "tiny", "sha256": "ab" * 32}
    value |= {"architecture": "sam-tiny", "options": {"peft": "lora"}, "base": base}
    (folder / "model.json").write_text(json.dumps(value))
    assert run("models", "show", str(folder), "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["base"] == base
    assert 0 < shown["trained_parameters"] < shown["parameters"]
    assert run("models", "show", str(folder)) == 0
    assert "abababababab" in capsys.readouterr().out


def test_show_a_base_of_sam(capsys):
    assert run("models", "show", "litemedsam", "--json") == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["parameters"], value["frame_px"], value["stride_px"]) == (9_791_300, 256, 4)
    assert value["license"] == "Apache-2.0"
    assert run("models", "show", "litemedsam") == 0
    assert "9,791,300" in capsys.readouterr().out


def test_show_a_file_that_is_not_there(capsys):
    assert run("models", "show", "sam_vit_b.pth") == 2
    assert "sam_vit_b.pth" in capsys.readouterr().err
