"""`headframe underground`: from videos below ground to frames and labels.

Examples:
    headframe underground frames shift.mp4 --every 2 --out frames
"""

import typer

from headframe.cli.underground_frames import frames

app = typer.Typer(no_args_is_help=True)
app.command("frames")(frames)
