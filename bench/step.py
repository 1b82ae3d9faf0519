"""Training steps: the forms of the model side by side in one run. `gqn bench step [flags]`, or `python bench/step.py`.

`textbook` is the plain model of the tests, eager, in float32, with plain Adam; `float32` and `bf16` are gqn's steps,
with the preset's optimizer; `graph` is the last of them as a CUDA graph. A form that the machine cannot do is null.

For each form samples per second, and how many times it beats the textbook form; its matrix work, counted, and the share
of the machine's best matrix work that it reaches; the kernels that a step launches at least, counted, the bytes that
they read and write, and the share of these that the machine could copy in that time; the memory that it takes at most.
Then some steps on rendered scenes, for the share of time that training waits for data. `--rounds 0` only counts.
"""

import time

import forms
from gqn.data.sources import source
from gqn.data.tasks import Sampler, batches
from gqn.errors import BadInput
from gqn.runtime import devices
from gqn.runtime.lookup import unknown

UNKNOWN = float("nan")


def figures_of(subject, form, step, given, seconds, best, copied):
    """What is known of a form after some of its steps: `seconds` are by form, `best` by arithmetic."""
    counted = step
    if form == forms.GRAPH:  # which shows nothing to count
        counted = subject.step(subject.arithmetic(form))
        counted()
    flop, launches, moved = forms.count(counted)
    at, textbook = seconds.get(form, UNKNOWN), seconds.get(forms.TEXTBOOK, UNKNOWN)
    return known(
        {
            "samples_per_second": round(given.batch / at, 3),
            "times_textbook": round(textbook / at, 2),
            "gflop_per_sample": round(flop / given.batch / 1e9, 1),
            "gflop_per_second": round(flop / at / 1e9, 1),
            "share_of_best": round(flop / at / best.get(subject.arithmetic(form), UNKNOWN), 3),
            "launches": launches,
            "gbyte_per_sample": round(moved / given.batch / 1e9, 4),
            "share_of_memory": round(moved / at / copied, 3),
            "peak_memory_mb": memory(subject, form, step),
        }
    )


def memory(subject, form, step):
    """MB that a step takes."""
    if form == forms.GRAPH:
        return round(subject.graphs.recorder.bytes / 2**20)
    return subject.peak_memory(step)


def known(figures):
    """Figures with None for what is not known."""
    return {name: None if figure != figure else figure for name, figure in figures.items()}


def waiting(subject, step, given, steps):
    """Share of the time of steps that goes into waiting for rendered tasks."""
    config, warm = forms.config_of(given), 3  # the first steps of a shape record a graph
    scenes = source(config.data.dataset_name, "train", config.data.image_size)
    sampler = Sampler(scenes.order, scenes.num_views, given.batch, given.context, given.context)
    tasks = batches(scenes, sampler, range(warm + steps), given.workers, pin=given.gpu)
    made = subject.task
    for number in range(warm + steps):
        if number == warm:
            began, waited = time.perf_counter(), 0.0
        asked = time.perf_counter()
        subject.task = next(tasks).to(subject.device, non_blocking=True).float()
        if number >= warm:
            waited += time.perf_counter() - asked
        subject.seconds(step)
    subject.task = made
    return waited / (time.perf_counter() - began)


def main():
    parser = forms.parser(__doc__.splitlines()[0])
    add = parser.add_argument
    add("--batch", type=int, help="scenes of a step (default: 8; with --gpu the preset's)")
    add("--workers", type=int, help="processes that render tasks (default: 1; with --gpu one for each core)")
    add("--forms", help="only these, with commas between")
    given = parser.parse_args()
    if given.batch is None:
        given.batch = forms.config_of(given).optimizer.batch_size if given.gpu else 8
    if given.workers is None:
        given.workers = devices.cores() if given.gpu else 1
    subject = forms.Subject(given, given.batch)
    possible = [*subject.forms, *([forms.GRAPH] if subject.device.type in forms.RECORDERS else [])]
    chosen = given.forms.split(",") if given.forms else possible
    for form in chosen:
        if form not in possible:
            raise BadInput(unknown("form", form, possible))

    steps = {form: subject.step(form) for form in chosen}
    seconds = subject.medians(steps, given.rounds, calls=5 if given.gpu else 1)
    if forms.GRAPH in steps and subject.graphs.gone:
        del steps[forms.GRAPH]
    best, copied, waited = {}, UNKNOWN, UNKNOWN
    if given.rounds:
        best = {form: subject.best(forms.FORMS[form]) for form in subject.ours}
        copied = subject.best_copy()
        waited = waiting(subject, [*steps.values()][-1], given, 200 if given.gpu else 5)
    machine = {
        "batch": given.batch,
        "best_gflop_per_second": {form: round(rate / 1e9) for form, rate in best.items()},
        "copied_gbyte_per_second": round(copied / 1e9, 1),
        "waiting_for_data": round(waited, 4),
    }
    figures = {form: figures_of(subject, form, step, given, seconds, best, copied) for form, step in steps.items()}
    forms.tell(forms.described(given) | known(machine) | {forms.GRAPH: None} | figures, given.json)


if __name__ == "__main__":
    main()
