"""Training steps: the forms of the model side by side in one run. `gqn bench step [flags]`, or `python bench/step.py`.

For each form samples per second, work (counted) and the share of the machine's best matrix work that it reaches, peak
memory, and how many times it beats the textbook form: the plain model of the tests, eager, in float32, with plain Adam.
Then a few steps on rendered scenes, for the share of time that training waits for data.
"""

import time

import forms
from gqn.config import preset
from gqn.data.sources import source
from gqn.data.tasks import Sampler, batches


def waiting(subject: forms.Subject, given, steps: int) -> float:
    """Share of the time of steps, in the fastest arithmetic, that goes into waiting for rendered tasks."""
    scenes = source(preset(given.preset).data.dataset_name, "train", subject.task.query.frames.shape[-1])
    sampler = Sampler(scenes.order, scenes.num_views, given.batch, given.context, given.context)
    tasks = batches(scenes, sampler, range(steps + 1), given.workers, pin=given.gpu)
    made, step, waited = subject.task, subject.step(subject.ours[-1]), 0.0
    subject.task = next(tasks).to(subject.device).float()
    step()
    began = time.perf_counter()
    for _ in range(steps):
        asked = time.perf_counter()
        subject.task = next(tasks).to(subject.device, non_blocking=True).float()
        waited += time.perf_counter() - asked
        subject.seconds(step)
    subject.task = made
    return waited / (time.perf_counter() - began)


if __name__ == "__main__":
    parser = forms.parser(__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=8, help="scenes of a step (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="processes that render tasks (default: %(default)s)")
    parser.add_argument("--forms", help="only these, with commas between")
    given = parser.parse_args()
    subject = forms.Subject(given, given.batch)
    chosen = given.forms.split(",") if given.forms else subject.forms
    steps = {form: subject.step(form) for form in chosen}
    seconds = subject.medians(steps, given.rounds)
    best = {form: subject.best(forms.FORMS[form]) for form in subject.ours}
    figures = {}
    for form, step in steps.items():
        work = forms.flop(step)
        figures[form] = {
            "samples_per_second": round(given.batch / seconds[form], 3),
            "times_textbook": round(seconds.get(forms.TEXTBOOK, float("nan")) / seconds[form], 2),
            "gflop_per_sample": round(work / given.batch / 1e9, 1),
            "gflop_per_second": round(work / seconds[form] / 1e9, 1),
            "share_of_best": round(work / seconds[form] / best[form if form in best else "float32"], 3),
            "peak_memory_mb": subject.peak_memory(step),
        }
    forms.tell(
        forms.described(given)
        | {"batch": given.batch, "best_gflop_per_second": {form: round(b / 1e9) for form, b in best.items()}}
        | figures
        | {"waiting_for_data": round(waiting(subject, given, 3 if given.toy else 5), 4)},
        given.json,
    )
