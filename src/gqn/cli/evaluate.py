"""`gqn eval` and `gqn compare`: measure runs, and compare them."""

from gqn.artifacts import trained
from gqn.cli.parsing import DATA, Parser, numbers, positive, positive_or_all
from gqn.errors import RUN


def evaluate(argv: list[str]) -> int:
    """`gqn eval RUN`: print tables, and write eval.json, eval.npz and eval.png to the run folder."""
    parser = Parser("gqn eval", description="Measure a run on held-out scenes, beside the baselines.")
    add = parser.add_argument
    add("run", metavar="RUN", help=RUN)
    add(
        "--context",
        type=numbers,
        default=(3,),
        metavar="M,...",
        help="numbers of context views (default: 3); several also give curves, eval.png",
    )
    add("--scenes", type=positive_or_all, default=1000, metavar="N", help="held-out scenes, or all (default: 1000)")
    add(
        "--samples",
        type=positive,
        default=8,
        metavar="S",
        help="samples from the prior for each query (default: %(default)s)",
    )
    add(
        "--importance-samples",
        type=positive,
        default=4,
        metavar="K",
        help="draws for the importance-weighted bound (default: %(default)s)",
    )
    add("--dataset-name", "-d", metavar="NAME", help="a dataset other than the run's")
    add("--data", metavar="DIR", help=DATA)
    add(
        "--num-views",
        type=positive,
        default=0,
        metavar="N",
        help="use the first N views of each scene (default: as the run does)",
    )
    add("--skip-damaged", action="store_true", help="skip damaged scenes of files, and count them")
    add("--gpu", action="store_true", help="use the GPU instead of the CPU")
    add("--devices", type=positive, default=1, metavar="N", help="GPUs, or CPU processes (default: %(default)s)")
    given = parser.parse_args(argv)

    from gqn.evaluation import results
    from gqn.evaluation.evaluate import Settings, evaluate

    settings = Settings(
        context=given.context,
        scenes=given.scenes,
        samples=given.samples,
        importance_samples=given.importance_samples,
        dataset=given.dataset_name,
        data=given.data,
        num_views=given.num_views,
        skip_damaged=given.skip_damaged,
        gpu=given.gpu,
        devices=given.devices,
    )
    if found := evaluate(given.run, settings):
        results.show(found)
        print(trained.beside(given.run) / "eval.json")
    return 0


def compare(argv: list[str]) -> int:
    """`gqn compare RUN RUN ...`: evaluated runs side by side."""
    parser = Parser("gqn compare", description="Evaluated runs side by side, against the first.")
    parser.add_argument("runs", nargs="+", metavar="RUN", help=f"after gqn eval: {RUN}")
    given = parser.parse_args(argv)

    from gqn.evaluation.compare import compare, show

    show(given.runs, compare(given.runs))
    return 0
