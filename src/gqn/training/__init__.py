"""Training. `loop.train` is the training loop; `step.Step` trains on one batch.

`begin`: starts or resumes a run in its folder. `optimizers`: Adam and Muon. `schedules`: learning rate and pixel std.
`watch`, `journal`: what is printed and recorded. `validation`: scores on held-out tasks. `finite`: checks that loss and
weights are finite. Everything is a function of (config, devices, step).
"""
