"""The commands of `spacy nuner` and `python -m spacy_nuner`."""

import typer

from ._util import OVERRIDES, handle_errors
from .annotate import annotate_cli
from .apply import apply_cli
from .average import average_cli
from .build import build_cli
from .calibrate import calibrate_cli
from .card import card_cli
from .compare import compare_cli
from .convert import convert_cli
from .demo import demo_cli
from .draw import draw_cli
from .export import export_cli
from .fewshot import fewshot_cli
from .grid import grid_cli
from .import_ import import_cli
from .in_context import in_context_cli
from .init import init_cli
from .merge import merge_cli
from .pretrain import pretrain_cli
from .push import push_cli
from .report import report_cli
from .review import review_cli
from .sample import sample_cli
from .show import show_cli
from .simulate import simulate_cli
from .stats import stats_cli
from .suggest import suggest_cli
from .tadner import tadner_cli
from .zero_shot import zero_shot_cli

HELP = "NuNER: pre-train an entity encoder and see what it is worth."

app = typer.Typer(
    name="nuner",
    help=HELP,
    no_args_is_help=True,
    add_completion=False,
    # Local variables may hold an API key.
    pretty_exceptions_show_locals=False,
)

# One command a file: `x_cli` parses the options, `x` works and can be called from
# Python. Both import what they need inside, so that `spacy --help` stays fast.
app.command("build")(handle_errors(build_cli))
app.command("init")(handle_errors(init_cli))
app.command("draw")(handle_errors(draw_cli))
app.command("sample")(handle_errors(sample_cli))
app.command("annotate")(handle_errors(annotate_cli))
app.command("export")(handle_errors(export_cli))
app.command("import")(handle_errors(import_cli))
app.command("convert")(handle_errors(convert_cli))
app.command("merge")(handle_errors(merge_cli))
app.command("stats")(handle_errors(stats_cli))
app.command("pretrain", context_settings=OVERRIDES)(handle_errors(pretrain_cli))
app.command("average")(handle_errors(average_cli))
app.command("fewshot")(handle_errors(fewshot_cli))
app.command("grid")(handle_errors(grid_cli))
app.command("compare")(handle_errors(compare_cli))
app.command("zero-shot")(handle_errors(zero_shot_cli))
app.command("in-context")(handle_errors(in_context_cli))
app.command("tadner")(handle_errors(tadner_cli))
app.command("suggest")(handle_errors(suggest_cli))
app.command("review")(handle_errors(review_cli))
app.command("simulate")(handle_errors(simulate_cli))
app.command("calibrate")(handle_errors(calibrate_cli))
app.command("apply")(handle_errors(apply_cli))
app.command("show")(handle_errors(show_cli))
app.command("demo")(handle_errors(demo_cli))
app.command("report")(handle_errors(report_cli))
app.command("card")(handle_errors(card_cli))
app.command("push")(handle_errors(push_cli))
