"""What ``headframe label --assist`` does: proposes polygons to be judged."""

from dataclasses import dataclass
from pathlib import Path

from headframe.core.errors import InputError


@dataclass(frozen=True)
class AssistRequest:
    """Options of ``label`` that only ``--assist`` has, as typed; None where not said.

    Attributes:
        model: bundle that maps.
        sam: network that draws outlines; ``none`` for none.
        min_area_ha: least area of a proposal.
        threshold: score of the target.
    """

    model: str | None
    sam: str | None
    min_area_ha: float | None
    threshold: float | None

    def refuse(self) -> None:
        """Refuse them where ``--assist`` is not said."""
        for name, value in vars(self).items():
            if value is not None:
                raise InputError(f"--{name.replace('_', '-')} has no meaning without --assist.")


def run_assist(
    scenes: list[str],
    out: Path,
    request: AssistRequest,
    *,
    scaling: tuple[float | None, float | None],
    as_json: bool,
) -> None:
    """Propose polygons for scenes and say what to do next."""
    from headframe.cli import console
    from headframe.engine.mapping import MapOptions
    from headframe.engine.prompting import CacheOptions, default_cache
    from headframe.io.scene import SceneOptions
    from headframe.surface.assist import AssistOptions, assist

    if request.model is None:
        raise InputError("--assist needs a model that finds mines: give --model, a bundle.")
    sam = "litemedsam" if request.sam is None else request.sam
    least = 0.5 if request.min_area_ha is None else request.min_area_ha
    options = AssistOptions(
        map=MapOptions(
            scene=SceneOptions(scale=scaling[0], offset=scaling[1]),
            min_area_ha=least,
            threshold=request.threshold,
        ),
        cache=CacheOptions(default_cache()),
    )
    with console.progress() as shown:
        report = assist(
            scenes,
            model=request.model,
            out=out,
            sam=None if sam == "none" else sam,
            options=options,
            progress=shown,
        )
    if as_json:
        console.emit_json(report)
        return
    counts = ", ".join(f"{n} {name}" for name, n in report.proposals.items()) or "nothing"
    console.say(f"{report.out}: proposed {counts} on {report.scenes} scene(s)")
    if report.agreement is not None:
        agreed = f"mean IoU with the model's {report.agreement:.2f}"
        console.say(f"SAM drew {report.tightened} outlines; {agreed}")
    for picture in report.pictures:
        console.say(f"Picture: {picture}")
    console.say(
        f"Next: judge them in QGIS, then headframe label {scenes[0]} --reviewed {report.out} "
        "--out dataset"
    )
