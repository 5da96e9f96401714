"""`segnet serve`: a model behind HTTP, until SIGTERM or Ctrl-C."""

import logging
import math
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cli.options import Model, Store


def command(
    model: Model,
    store: Store = None,
    host: Annotated[
        str, typer.Option(envvar="SEGNET_HOST", help="Address to listen at; beyond this machine with keys.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(envvar="SEGNET_PORT", min=0, max=65535, help="Port; 0: any that is free.")
    ] = 8000,
    recipe: Annotated[
        Path | None, typer.Option(help="Rules where a request names none (TOML); default: the model's own.")
    ] = None,
    recipes_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Recipes that requests may name.", file_okay=False)
    ] = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda", "tensorrt", "openvino"] | None, typer.Option(help="What computes.")
    ] = None,
    require_device: Annotated[
        bool | None,
        typer.Option(
            "--require-device/--no-require-device",
            help="Do not start when that device is not there; else use the CPU.",
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Processor threads of one inference; default: every core.")
    ] = None,
    watch_model_s: Annotated[
        float | None,
        typer.Option(
            "--watch-model-s",
            min=0,
            help="Seconds between looks for a new model; 0: never; default: 2 for store://..., never for a file.",
        ),
    ] = None,
    keys_file: Annotated[
        Path | None, typer.Option(help="File of API keys, by `segnet keys new`.", dir_okay=False)
    ] = None,
    rate_per_minute: Annotated[
        int | None, typer.Option(min=0, help="Requests a minute that one key may make; 0: any number.")
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Listen beyond this machine without keys all the same.")
    ] = False,
) -> None:
    """Serve a model over HTTP: upload an image, get its mask, its measured defects and a verdict.

    With store://champion it follows the model store: who is promoted there takes over within seconds, without a lost
    request, and is rolled back there if it fails its self-test or its first images.

    The page is at /, the API's description at /openapi.json. What is not given here comes from the environment,
    SEGNET_NAME for each of the service's settings (also SEGNET_MAX_BYTES, SEGNET_WAITING_PIXELS, …). The log is JSON
    lines on stderr. SIGTERM stops taking requests and answers those that are there.
    """
    import uvicorn

    from app.main import create_app
    from app.security import check_binding
    from app.settings import Settings
    from app.telemetry import configure_logging

    given: dict[str, Any] = {
        "model": model,
        "store": store,
        "recipe": recipe,
        "recipes_dir": recipes_dir,
        "device": device,
        "require_device": require_device,
        "threads": threads,
        "watch_model_s": watch_model_s,
        "keys_file": keys_file,
        "rate_per_minute": rate_per_minute,
    }
    settings = Settings(**{name: value for name, value in given.items() if value is not None})
    check_binding(host, has_keys=settings.keys_file is not None, insecure=insecure)
    configure_logging(sys.stderr)
    app = create_app(settings)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            ws="none",
            log_config=None,
            # One line per request is ours already.
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=math.ceil(settings.drain_s),
        )
    )
    # What stops the start is told below, in one line: not by uvicorn's traceback as well.
    logging.getLogger("uvicorn.error").addFilter(lambda _: getattr(app.state, "start_error", None) is None)
    # Uvicorn drains and then sends the signal again to whom it belonged before: an orderly end is no failure.
    signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        server.run()
    finally:
        error: Exception | None = getattr(app.state, "start_error", None)
        if error is not None:
            for handler in logging.getLogger().handlers:
                handler.flush()  # written by a thread of its own: what was logged before comes before
            raise error
