"""Sampling: latency of one view, and an orbit of many, beside the textbook form. `gqn bench sampling [flags]`.

A single view is asked for as a viewer asks: context views in, one image out. An orbit of 36 views of one scene is one
call; it stands beside 36 single ones, and beside 36 that share the representation.
"""

import torch

import forms

VIEWS = 36


def main() -> None:
    given = forms.parser(__doc__.splitlines()[0]).parse_args()
    subject = forms.Subject(given, batch=1, queries=VIEWS)
    model, context, cameras = subject.model.eval(), subject.task.context, subject.task.query.cameras

    def one(form: str, representation=None):
        if form == forms.TEXTBOOK:
            return subject.textbook(None)
        with subject.autocast(form):
            r = model.represent(context) if representation is None else representation
            return model.sample(r, cameras[:, :1], subject.noise())

    def orbit(form: str):
        with subject.autocast(form):
            return model.sample(model.represent(context), cameras, subject.noise())

    with torch.no_grad():
        r = model.represent(context)
        singles = subject.medians({form: lambda form=form: one(form) for form in subject.forms}, given.rounds, 3)
        known = subject.medians({form: lambda form=form: one(form, r) for form in subject.ours}, given.rounds, 3)
        orbits = subject.medians({form: lambda form=form: orbit(form) for form in subject.ours}, given.rounds)
    textbook = singles.get(forms.TEXTBOOK, float("nan"))
    figures = {
        form: {
            "milliseconds_of_one": round(1e3 * seconds, 1),
            "share_of_textbook": round(seconds / textbook, 3),
        }
        for form, seconds in singles.items()
    }
    for form, seconds in orbits.items():
        figures[form] |= {
            "milliseconds_of_one_represented": round(1e3 * known[form], 1),
            "orbit_images_per_second": round(VIEWS / seconds, 1),
            "orbit_times_single_calls": round(VIEWS * singles[form] / seconds, 2),
            "orbit_times_represented_calls": round(VIEWS * known[form] / seconds, 2),
        }
    forms.tell(forms.described(given) | figures, given.json)


if __name__ == "__main__":
    main()
