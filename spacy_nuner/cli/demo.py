"""`spacy nuner demo`: a page on this machine to try a pipeline or a backbone on."""

import typer

from ._util import msg

PORT = 8501


def demo_cli(
    pipeline: str = typer.Argument(
        "default",
        help="Saved pipeline, or a backbone: a folder, hub name, package:NAME/PATH or "
        "default",
    ),
    port: int = typer.Option(
        PORT, min=1, max=65535, help="Port of this machine to listen on"
    ),
    pipe_name: str | None = typer.Option(
        None, help="Name of the component [default: the first one]"
    ),
    lang: str = typer.Option("en", help="Language of the text, with a backbone"),
) -> None:
    """Open a page to type texts and concepts on and see the spans; Ctrl-C ends it."""
    demo(pipeline, port=port, pipe_name=pipe_name, lang=lang)
    msg.info("The demo has ended.")


def demo(
    pipeline: str = "default",
    *,
    port: int = PORT,
    pipe_name: str | None = None,
    lang: str = "en",
) -> None:
    """Serve a page on this machine until Ctrl-C.

    pipeline (str): A saved pipeline, or a backbone with a concept encoder.
    port (int): The port to listen on.
    pipe_name (str | None): Name of the component of a pipeline; None for the first
        nuner_concepts or nuner_ner, and where there is none, for the entities.
    lang (str): Language of the texts, with a backbone.
    RAISES (NunerError): N006 without Streamlit; what `check_port`, `SpanFinder.load`
        and `serve` raise.
    """
    from importlib.util import find_spec

    from ..errors import Errors, NunerError

    if find_spec("streamlit") is None:
        raise NunerError(Errors.N006, package="streamlit", extra="demo")
    from ..demo.finder import SpanFinder
    from ..demo.server import check_port, serve

    check_port(port)
    # What can't be loaded is told here, and not on the page.
    SpanFinder.load(pipeline, pipe_name=pipe_name, lang=lang)
    serve(
        pipeline,
        pipe_name=pipe_name,
        lang=lang,
        port=port,
        on_ready=lambda address: msg.good(f"Demo: {address} (Ctrl-C ends it)"),
    )
