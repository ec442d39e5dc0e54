import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import save_file

from headframe.core.errors import BundleError, JobError, MissingFileError, RecipeError
from headframe.engine import weights
from headframe.engine.weights import encoder_start, names_bundle


def test_init_is_a_bundle_or_weights():
    assert names_bundle("tailings-s2-rgb")
    assert names_bundle("runs/a/bundle")
    for init in ("imagenet", "none", "w.safetensors", "runs/W.PTH"):
        assert not names_bundle(init)


def test_files_of_tensors(tmp_path):
    state = {"conv1.weight": torch.ones(2, 3)}
    save_file(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "b.pth")
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "c.pt")
    for name in ("a.safetensors", "b.pth", "c.pt"):
        found = encoder_start(str(tmp_path / name), "resnet50")
        assert list(found) == ["conv1.weight"]
        assert torch.equal(found["conv1.weight"], state["conv1.weight"])
    assert encoder_start("none", "resnet50") is None
    torch.save({"epoch": 3}, tmp_path / "d.pth")
    with pytest.raises(BundleError, match=r"d\.pth: holds no tensors"):
        encoder_start(str(tmp_path / "d.pth"), "resnet50")
    with pytest.raises(MissingFileError, match=r"none\.pth"):
        encoder_start(str(tmp_path / "none.pth"), "resnet50")


def test_imagenet_offline_is_one_line(monkeypatch):
    def offline(repository, name):
        assert (repository, name) == ("timm/resnet50.tv_in1k", "model.safetensors")
        raise LocalEntryNotFoundError("no connection\nsecond line")

    monkeypatch.setattr(weights, "hf_hub_download", offline)
    with pytest.raises(JobError, match=r"'resnet50' \(timm/resnet50\.tv_in1k\) cannot") as caught:
        encoder_start("imagenet", "resnet50")
    assert "\n" not in str(caught.value)


def test_imagenet_from_the_hub(monkeypatch, tmp_path):
    save_file({"conv1.weight": torch.ones(2)}, tmp_path / "model.safetensors")
    monkeypatch.setattr(weights, "hf_hub_download", lambda *_: str(tmp_path / "model.safetensors"))
    assert list(encoder_start("imagenet", "vgg16")) == ["conv1.weight"]


@pytest.mark.parametrize(
    ("encoder", "match"),
    [
        (None, "no ImageNet weights that come with a package"),
        ("efficientnet_b6", "there are no ImageNet weights"),
        ("nonsense", "there are no ImageNet weights"),
        ("resnet50.nope", "Invalid pretrained tag"),
    ],
)
def test_no_imagenet_weights(encoder, match):
    with pytest.raises(RecipeError, match=match):
        encoder_start("imagenet", encoder)
