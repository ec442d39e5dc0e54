"""What is taken for a network that answers prompts, and what is said of the rest."""

import pytest
import torch
from safetensors.torch import save_file

from headframe.core.errors import BundleError, FormatError, InputError, UnknownNameError
from headframe.engine.prompting import load_prompter
from headframe.models.sam import build_sam


@pytest.fixture
def tiny(tmp_path):
    torch.manual_seed(4)
    state = build_sam("tiny").state_dict()
    save_file(state, tmp_path / "tiny.safetensors")
    return tmp_path / "tiny.safetensors", state


def test_a_file_of_weights_answers_points_and_is_told_by_its_hash(tiny):
    path, state = tiny
    prompter = load_prompter(str(path), device="cpu")
    assert (prompter.takes_points, prompter.multimask, prompter.takes_masks) == (True, True, False)
    assert not any(p.requires_grad for p in prompter.sam.parameters())
    changed = path.with_name("other.safetensors")
    save_file(state | {"decoder.iou_token.weight": torch.zeros(1, 256)}, changed)
    assert load_prompter(str(changed), device="cpu").fingerprint != prompter.fingerprint


def test_what_is_no_prompter_is_told_in_one_line(tiny):
    path, state = tiny
    lacking = path.with_name("lacking.safetensors")
    save_file({k: v for k, v in state.items() if k != "decoder.iou_token.weight"}, lacking)
    with pytest.raises(FormatError, match=r"lacking\.safetensors: 1 of .* missing, 'decoder\.iou"):
        load_prompter(str(lacking))
    with pytest.raises(UnknownNameError, match=r"'litemedsan' is neither.*shipped are .*tailings"):
        load_prompter("litemedsan")
    with pytest.raises(BundleError, match="tailings-s2-rgb: answers no prompts"):
        load_prompter("tailings-s2-rgb")
    with pytest.raises(InputError, match="--device toaster: cannot be used"):
        load_prompter(str(path), device="toaster")
