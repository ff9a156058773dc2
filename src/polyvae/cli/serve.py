"""The command that opens a page to try out a model."""

from polyvae import app
from polyvae.cli.common import say
from polyvae.cli.use import ModelFlags
from polyvae.fitting import SamplerKind
from polyvae.runs.plan import device_named

LOOPBACK = "127.0.0.1"


def serve(
    model: ModelFlags,
    *,
    data: str | None = None,
    prior: SamplerKind | None = None,
    host: str = LOOPBACK,
    port: int = 7860,
) -> None:
    """Open a page in the browser (extra [app]): choose a row and the given modalities, and see what the model draws.

    Only this machine can reach the page, unless you set --host. Stop it with Ctrl+C.

    Args:
        data: The rows, as `run` takes them. Default: the run's test rows.
        prior: If nothing is given, draw from a prior fitted by fit-prior, not from the model's own.
        host: Address to listen on. With 0.0.0.0, anyone who can reach this machine can use the page.
        port: Port to listen on.
    """
    vae = model.load(prior)
    blocks = app.page(vae, model.rows(vae, data).held(model.seed).to(device_named(model.device)), model.folder.name)
    if not model.quiet:
        say(f"http://{host}:{port}: stop with Ctrl+C")
    blocks.launch(server_name=host, server_port=port, share=False, quiet=True)
