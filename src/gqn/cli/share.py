"""`gqn export` and `gqn view`: export a model, or explore it in a browser."""

from pathlib import Path

from gqn.artifacts import trained
from gqn.cli.parsing import Parser, positive, whole
from gqn.errors import RUN, BadInput


def export(argv: list[str]) -> int:
    """`gqn export RUN --to safetensors | onnx | hub`: write a model for others to use."""
    about = "Write a model to give away: a folder with a model card, the same as a repository on the hub, or a sampler."
    parser = Parser("gqn export", description=about)
    add = parser.add_argument
    add("run", metavar="RUN", help=RUN)
    add("--to", required=True, choices=("safetensors", "onnx", "hub"), help="what to write, or where to")
    add("--out", type=Path, metavar="DIR", help="folder (default: export/NAME, NAME that of RUN)")
    add("--dtype", choices=("f32", "bf16"), default="f32", help="numbers of safetensors (default: %(default)s)")
    add("--repo", metavar="OWNER/NAME", help="repository on the hub, made if it is not there")
    given = parser.parse_args(argv)
    if bool(given.repo) != (given.to == "hub"):
        raise BadInput("--to hub and --repo OWNER/NAME go together")
    if given.to == "onnx" and given.dtype != "f32":
        raise BadInput("a sampler is in float32: leave --dtype away")

    out = given.out or Path("export") / trained.name(given.run)
    if given.to == "onnx":
        from gqn.sharing import onnx

        print(onnx.export(given.run, out))
        return 0
    from gqn.sharing import export

    if given.to == "hub":
        print(export.upload(given.run, out, given.dtype, given.repo))
    else:
        print(export.export(given.run, out, given.dtype))
    return 0


def view(argv: list[str]) -> int:
    """`gqn view RUN`: serve a page for the browser until Ctrl-C."""
    about = "Explore what a model imagines: drag a camera around a scene that it has seen twice, in a browser."
    parser = Parser("gqn view", description=about)
    add = parser.add_argument
    add("run", metavar="RUN", help=RUN)
    add("--data", metavar="DIR", help="show the scenes of files, in a folder or at an address, and not rendered ones")
    add("--host", default="127.0.0.1", help="address to listen on; beyond this machine a token is asked for")
    add("--port", type=whole, default=8000, help="0: any that is free (default: %(default)s)")
    add(
        "--threads",
        type=positive,
        metavar="N",
        help="threads for the model (default: all but one, which the browser needs)",
    )
    add("--token", help="what the page's address must hold (beyond this machine, by default: a new random one)")
    given = parser.parse_args(argv)
    try:
        import aiohttp  # noqa: F401
    except ImportError as error:
        raise BadInput("gqn view needs the extra viewer: pip install 'gqn[viewer]'") from error

    import asyncio

    import torch

    from gqn.artifacts import checkpoint
    from gqn.viewer.server import Server, serve
    from gqn.viewer.session import Session

    torch.set_num_threads(given.threads or max(1, torch.get_num_threads() - 1))
    config, model = checkpoint.load(given.run)
    session = Session(trained.name(given.run), config, model, given.data)
    server = Server(session, given.host, given.port, given.token)
    asyncio.run(serve(server, lambda url: print(f"open {url} (Ctrl-C stops)", flush=True)))
    return 0
