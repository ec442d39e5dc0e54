"""`headframe underground`: from videos below ground to frames and labels.

Examples:
    headframe underground frames shift.mp4 --every 2 --out frames
    headframe underground filter frames --out filtered
    headframe underground import via.json --images frames --out instances.json
    headframe underground export instances.json --as yolo --out labels
    headframe underground darken photographs --light 0.03 --out dark
    headframe underground segment frames --model dis-mine-person --out found
    headframe underground annotate plan.yaml --images frames --manual manual.json --out labelled
    headframe underground score found --truth labels/instances.json
    headframe underground run shift.mp4 --model dis-mine-person --out shift
    headframe underground draw --images 60 --tunnels 12 --out drawn
"""

import typer

from headframe.cli.underground_annotate import annotate
from headframe.cli.underground_detect import compare, train_detector
from headframe.cli.underground_draw import draw
from headframe.cli.underground_frames import filter_command, frames
from headframe.cli.underground_labels import export_labels, import_labels
from headframe.cli.underground_light import darken, train_enhancer
from headframe.cli.underground_run import run
from headframe.cli.underground_sam import train_sam
from headframe.cli.underground_score import classes, score
from headframe.cli.underground_segment import pack, segment

app = typer.Typer(no_args_is_help=True)
app.command("frames")(frames)
app.command("filter")(filter_command)
app.command("import")(import_labels)
app.command("export")(export_labels)
app.command("darken")(darken)
app.command("draw")(draw)
app.command("train-enhancer")(train_enhancer)
app.command("train-detector")(train_detector)
app.command("compare")(compare)
app.command("segment")(segment)
app.command("run")(run)
app.command("pack")(pack)
app.command("train-sam")(train_sam)
app.command("annotate")(annotate)
app.command("score")(score)
app.command("classes")(classes)
