"""What other methods keep of a teacher: the peers of MineC2FNet's distillation (methods 4.2).

With an unchanged set of classes MiB's unbiased distillation is plain distillation, which
``distillation.prediction_distillation`` gives without attention and gate.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from headframe.core.errors import GridMismatchError
from headframe.losses.distillation import check_levels

_SCALES = (1, 2, 4)
_CELLS = 16


def pooled_distillation(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """Distance of features pooled along rows and columns at several scales (PLOP's Local POD).

    Squares of features are averaged along the rows and along the columns of each of s x s regions,
    s = 1, 2, 4 as far as a level has so many cells; all that is of length 1 for a sample, and the
    distance of student and teacher is averaged over samples, scales and levels (Douillard et al.
    2021, eq. 4 to 6).

    Args:
        student: (N, C, h, w) a level.
        teacher: the same shapes; no gradient goes there.

    Returns:
        A float32 scalar >= 0; 0 where both agree.

    Raises:
        GridMismatchError: levels or shapes differ.
    """
    check_levels(student, teacher)
    found = []
    for own, told in zip(student, teacher, strict=True):
        least = min(own.shape[-2:])
        for scale in (s for s in _SCALES if s <= least):
            a, b = _strips(own, scale), _strips(told.detach(), scale)
            found.append(torch.linalg.vector_norm(a - b, dim=1).mean())
    return torch.stack(found).mean()


def _strips(features: Tensor, scale: int) -> Tensor:
    """Pool the rows and columns of scale x scale regions; (N, P), of length 1."""
    energy = features.float().square()
    height, width = (side - side % scale for side in energy.shape[-2:])
    energy = energy[..., :height, :width]
    rows = functional.avg_pool2d(energy, (1, width // scale))  # (N, C, h, scale)
    columns = functional.avg_pool2d(energy, (height // scale, 1))  # (N, C, scale, w)
    return functional.normalize(torch.cat([rows.flatten(1), columns.flatten(1)], dim=1), dim=1)


def relation_distillation(student: Tensor, teacher: Tensor, *, tau: float = 0.1) -> Tensor:
    """Divergence of how cells of different images resemble each other (CIRKD, Yang et al. 2022).

    Every cell of an image has a distribution over the cells of each image of the batch: the softmax
    of the cosines of their features by ``tau``. The student's is to be the teacher's. This is the
    method's first term, within a batch; its memory of earlier batches is left out.

    Args:
        student: (N, C, h, w); coarser than 16 cells a side it is as it is, else averaged to that.
        teacher: (N, D, h, w); no gradient goes there.
        tau: temperature, > 0.

    Returns:
        A float32 scalar >= 0; 0 where both agree.

    Raises:
        GridMismatchError: samples or cells differ.
    """
    if (len(student), student.shape[-2:]) != (len(teacher), teacher.shape[-2:]):
        raise GridMismatchError(
            f"student {tuple(student.shape)} and teacher {tuple(teacher.shape)} differ in samples "
            "or cells; give the same level of both."
        )
    own, told = (_resemblance(level, tau) for level in (student, teacher.detach()))
    return functional.kl_div(own, told, reduction="none", log_target=True).sum(dim=-1).mean()


def _resemblance(features: Tensor, tau: float) -> Tensor:
    """Log-distributions (N, N, P, P) of the cells of one image over those of another."""
    size = (min(features.shape[-2], _CELLS), min(features.shape[-1], _CELLS))
    cells = functional.adaptive_avg_pool2d(features.float(), size).flatten(2)  # (N, C, P)
    unit = functional.normalize(cells, dim=1)
    cosines = torch.einsum("ncp,mcq->nmpq", unit, unit)
    return (cosines / tau).log_softmax(dim=-1)


class Anchor:
    """Elastic weight consolidation (Kirkpatrick et al. 2017): weights that mattered stay near.

    Attributes:
        start: the weights as they were, by name.
        matter: how much each mattered, the diagonal of the Fisher information.
    """

    def __init__(self, start: Mapping[str, Tensor], matter: Mapping[str, Tensor]) -> None:
        """Keep both; names and shapes agree."""
        self.start = dict(start)
        self.matter = dict(matter)

    def loss(self, network: nn.Module) -> Tensor:
        """Give half the sum of ``matter`` times the square of what each weight has moved."""
        moved = [
            (self.matter[name] * (value - self.start[name]).square()).sum()
            for name, value in network.named_parameters()
            if name in self.start
        ]
        return 0.5 * torch.stack(moved).sum()
