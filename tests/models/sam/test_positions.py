import torch

from headframe.models.sam.encoders import ViTEncoder, ViTSize
from headframe.models.sam.positions import centres, resize_table


def _ramp(height, width):
    """A table of two channels: the row and the column."""
    rows, cols = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack((rows, cols), dim=-1)[None].float()


def test_the_native_table_is_left_alone():
    table = _ramp(4, 4)
    assert resize_table(table, (4, 4)) is table


def test_a_ramp_stays_a_ramp_along_its_own_axis():
    small = resize_table(_ramp(8, 8), (4, 2))  # cells of 2 rows and 4 columns
    assert small.shape == (1, 4, 2, 2)
    torch.testing.assert_close(small[0, :, 0, 0], torch.tensor([0.5, 2.5, 4.5, 6.5]))
    torch.testing.assert_close(small[0, 0, :, 1], torch.tensor([1.5, 5.5]))
    large = resize_table(_ramp(2, 2), (4, 2))
    torch.testing.assert_close(large[0, :, 1, 0], torch.tensor([0.0, 0.25, 0.75, 1.0]))
    torch.testing.assert_close(large[0, 3, :, 1], torch.tensor([0.0, 1.0]))


def test_centres_are_fractions_x_before_y():
    found = centres(torch.zeros(1, 7, 2, 4))
    assert found.shape == (2, 4, 2)
    torch.testing.assert_close(found[0, :, 0], torch.tensor([0.125, 0.375, 0.625, 0.875]))
    torch.testing.assert_close(found[:, 0, 1], torch.tensor([0.25, 0.75]))


def _encoder(global_blocks=(0,)):
    torch.manual_seed(0)
    return ViTEncoder(ViTSize(32, 1, 2, global_blocks, frame_px=64, window=3)).eval()


def test_positions_follow_the_frame_to_other_sizes():
    """With all positions zero, a frame of one colour has one embedding inside, at any size."""
    encoder = _encoder()
    pixels = torch.ones(1, 3, 96, 128)
    with torch.inference_mode():
        placed = encoder(pixels)
        encoder.pos_embed.zero_()
        flat = encoder(pixels)
    assert placed.shape == (1, 256, 6, 8)
    torch.testing.assert_close(flat[..., 1:2, 1:2].expand(-1, -1, 4, 6), flat[..., 1:-1, 1:-1])
    assert not torch.allclose(placed[..., 1:-1, 1:-1], flat[..., 1:-1, 1:-1], atol=1e-3)


def test_relative_tables_are_resized_linearly_along_their_own_axis():
    """Where the frame has twice the rows, the table of rows is stretched, that of columns not."""
    encoder, other = _encoder(), _encoder()
    with torch.inference_mode():
        for network in (encoder, other):
            network.pos_embed.zero_()
        attention, theirs = encoder.layers[0].attn, other.layers[0].attn
        steps = torch.arange(-3.0, 4.0)[:, None] / 7  # 7 distances of 4 rows
        attention.rel_pos_h.copy_(steps.expand(-1, 16))
        table = torch.nn.functional.interpolate(
            attention.rel_pos_h.T[None], size=15, mode="linear", align_corners=False
        )[0].T
        theirs.rel_pos_h = torch.nn.Parameter(table)  # 15 distances of 8 rows
        pixels = torch.rand(1, 3, 128, 64)
        torch.testing.assert_close(encoder(pixels), other(pixels))
        wide = torch.rand(1, 3, 64, 128)
        unmoved = _encoder()
        unmoved.pos_embed.zero_()
        assert not torch.allclose(encoder(wide), unmoved(wide), atol=1e-5)
