"""The commands of `spacy nuner` and `python -m spacy_nuner`."""

import typer

from ._util import OVERRIDES, ManyValues, tell_errors
from .annotate import annotate
from .average import average_cli
from .calibrate import calibrate
from .convert import convert
from .draw import draw
from .export import export
from .fewshot import fewshot
from .import_ import import_
from .pretrain import pretrain_cli
from .report import report
from .sample import sample
from .show import show
from .stats import stats

HELP = "NuNER: pre-train an entity encoder and see what it is worth."

app = typer.Typer(
    name="nuner",
    help=HELP,
    no_args_is_help=True,
    add_completion=False,
    # Local variables may hold an API key.
    pretty_exceptions_show_locals=False,
)

# One command a file; a command imports what it needs inside its function, so that
# `spacy --help` stays fast. Registered as: app.command("name")(tell_errors(function)).
app.command("draw")(tell_errors(draw))
app.command("sample")(tell_errors(sample))
app.command("annotate")(tell_errors(annotate))
app.command("export")(tell_errors(export))
app.command("import")(tell_errors(import_))
app.command("convert")(tell_errors(convert))
app.command("stats")(tell_errors(stats))
app.command("pretrain", context_settings=OVERRIDES)(tell_errors(pretrain_cli))
app.command("average")(tell_errors(average_cli))
app.command("fewshot", cls=ManyValues)(tell_errors(fewshot))
app.command("calibrate")(tell_errors(calibrate))
app.command("show", cls=ManyValues)(tell_errors(show))
app.command("report")(tell_errors(report))
