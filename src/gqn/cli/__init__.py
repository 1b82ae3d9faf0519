"""The command line, `gqn`: `main` finds the command, and one module per group of commands defines its flags.

Messages of the rest of the package name options as in Python (`image_size`); only this package turns them into flags
(--image-size).
"""
