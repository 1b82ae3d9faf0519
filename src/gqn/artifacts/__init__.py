"""The files of runs and models: where they lie, how they are written safely, and how they are opened again.

`checkpoint` writes and reads them; `trained` finds the file for the name that a user gives a model; `provenance`
records the command, code and machine that made a result. `weights/` holds the models that come with the package, each
as `gqn export` writes it.
"""
