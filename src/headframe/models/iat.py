"""Illumination-adaptive transformer (Cui et al., BMVC 2022), 91,348 numbers: a peer of KinD.

Written from the paper and checked with the authors' weights for LOL, which give 25.11 dB PSNR on
``lol-pairs``. Names of tensors are the authors', so their file loads as it is.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LOCAL_REACH_PX = 11
"""Pixels around one that the local branch looks at: 1 + 3 blocks of 1 + 2, + 1."""

_WIDTH = 16
_BLOCKS = 3
_TOKENS = 64
_HEADS = 4
_QUERIES = 10
_FLOOR = 1e-8


class Iat(nn.Module):
    """Brighten by a product and a sum per pixel, then by one colour matrix and one gamma."""

    def __init__(self) -> None:
        super().__init__()
        self.local_net = _Local()
        self.global_net = _Global()

    def forward(self, image: Tensor) -> Tensor:
        """Enhance (N, 3, H, W), values in [0, 1], to the same kind; H and W at least 4."""
        return self.adjust(self.local(image), *self.whole(image))

    def local(self, image: Tensor) -> Tensor:
        """Change every pixel by its neighbourhood; (N, 3, H, W), not yet within [0, 1]."""
        product, more = self.local_net(image)
        changed: Tensor = image * product + more
        return changed

    def whole(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Read gamma (N, 1) and colour matrix (N, 3, 3) from the whole photograph."""
        found: tuple[Tensor, Tensor] = self.global_net(image)
        return found

    @staticmethod
    def adjust(changed: Tensor, gamma: Tensor, colour: Tensor) -> Tensor:
        """Apply gamma and colour matrix of ``whole`` to what ``local`` gave."""
        mixed = torch.einsum("nchw,ndc->ndhw", changed, colour).clamp(_FLOOR, 1)
        return mixed ** gamma[:, :, None, None]


class _Mlp(nn.Module):
    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.fc1, self.fc2 = first, second

    def forward(self, tokens: Tensor) -> Tensor:
        mixed: Tensor = self.fc2(F.gelu(self.fc1(tokens)))
        return mixed


class _ColourNorm(nn.Module):
    """The paper's light normalisation: a colour matrix, then scale and offset per channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, 1, width))
        self.beta = nn.Parameter(torch.zeros(1, 1, width))
        self.color = nn.Parameter(torch.eye(width))

    def forward(self, maps: Tensor) -> Tensor:
        mixed = F.conv2d(maps, self.color[:, :, None, None])
        return mixed * self.alpha.view(1, -1, 1, 1) + self.beta.view(1, -1, 1, 1)


class _Block(nn.Module):
    """A pixel-wise block: position, depth-wise attention 5 x 5, and a mixing of channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pos_embed = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.norm1, self.norm2 = _ColourNorm(width), _ColourNorm(width)
        self.conv1, self.conv2 = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)
        self.attn = nn.Conv2d(width, width, 5, padding=2, groups=width)
        self.mlp = _Mlp(nn.Conv2d(width, 4 * width, 1), nn.Conv2d(4 * width, width, 1))
        self.gamma_1 = nn.Parameter(torch.full((1, width, 1, 1), 1e-4))
        self.gamma_2 = nn.Parameter(torch.full((1, width, 1, 1), 1e-4))

    def forward(self, maps: Tensor) -> Tensor:
        maps = maps + self.pos_embed(maps)
        maps = maps + self.gamma_1 * self.conv2(self.attn(self.conv1(self.norm1(maps))))
        mixed: Tensor = maps + self.gamma_2 * self.mlp(self.norm2(maps))
        return mixed


class _Local(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, _WIDTH, 3, padding=1)
        self.mul_blocks = nn.Sequential(*(_Block(_WIDTH) for _ in range(_BLOCKS)))
        self.add_blocks = nn.Sequential(*(_Block(_WIDTH) for _ in range(_BLOCKS)))
        self.mul_end = nn.Sequential(nn.Conv2d(_WIDTH, 3, 3, padding=1), nn.ReLU())
        self.add_end = nn.Sequential(nn.Conv2d(_WIDTH, 3, 3, padding=1), nn.Tanh())

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        maps = F.leaky_relu(self.conv1(image), 0.2)
        product = self.mul_end(self.mul_blocks(maps) + maps)
        return product, self.add_end(self.add_blocks(maps) + maps)


class _Attention(nn.Module):
    """Learned queries look at the whole photograph."""

    def __init__(self) -> None:
        super().__init__()
        self.q = nn.Parameter(torch.ones(1, _QUERIES, _TOKENS))
        self.k = nn.Linear(_TOKENS, _TOKENS, bias=False)
        self.v = nn.Linear(_TOKENS, _TOKENS, bias=False)
        self.proj = nn.Linear(_TOKENS, _TOKENS)

    def forward(self, tokens: Tensor) -> Tensor:
        queries, keys, values = (
            part.unflatten(-1, (_HEADS, -1)).transpose(1, 2)
            for part in (self.q.expand(len(tokens), -1, -1), self.k(tokens), self.v(tokens))
        )
        seen = F.scaled_dot_product_attention(queries, keys, values)
        joined: Tensor = self.proj(seen.transpose(1, 2).flatten(2))
        return joined


class _Generator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pos_embed = nn.Conv2d(_TOKENS, _TOKENS, 3, padding=1, groups=_TOKENS)
        self.norm1, self.norm2 = nn.LayerNorm(_TOKENS), nn.LayerNorm(_TOKENS)
        self.attn = _Attention()
        self.mlp = _Mlp(nn.Linear(_TOKENS, 4 * _TOKENS), nn.Linear(4 * _TOKENS, _TOKENS))

    def forward(self, maps: Tensor) -> Tensor:
        maps = maps + self.pos_embed(maps)
        found = self.attn(self.norm1(maps.flatten(2).transpose(1, 2)))
        mixed: Tensor = found + self.mlp(self.norm2(found))
        return mixed


class _Embedding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        half = _TOKENS // 2
        self.proj = nn.Sequential(
            nn.Conv2d(3, half, 3, stride=2, padding=1),
            nn.BatchNorm2d(half),
            nn.GELU(),
            nn.Conv2d(half, _TOKENS, 3, stride=2, padding=1),
            nn.BatchNorm2d(_TOKENS),
        )

    def forward(self, image: Tensor) -> Tensor:
        maps: Tensor = self.proj(image)
        return maps


class _Global(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv_large = _Embedding()
        self.generator = _Generator()
        self.gamma_base = nn.Parameter(torch.ones(1))
        self.color_base = nn.Parameter(torch.eye(3))
        self.gamma_linear = nn.Linear(_TOKENS, 1)
        self.color_linear = nn.Linear(_TOKENS, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.generator(self.conv_large(image))  # (N, 1 + 9, 64)
        gamma = self.gamma_linear(tokens[:, :1]).squeeze(-1) + self.gamma_base
        colour = self.color_linear(tokens[:, 1:]).view(-1, 3, 3) + self.color_base
        return gamma, colour


def is_iat(state: object) -> bool:
    """Tell whether tensors bear the names of IAT's authors."""
    return isinstance(state, dict) and {"local_net.conv1.weight", "global_net.gamma_base"} <= set(
        state
    )
