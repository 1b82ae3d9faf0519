"""The LSTM cell's kernels against PyTorch's operations: on a GPU as compiled, elsewhere by Triton's interpreter."""

import importlib

import pytest
import torch

from gqn.models import kernels
from gqn.models.layers import cell
from support import needs_gpu

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
triton = pytest.mark.skipif(kernels.triton is None, reason="needs Triton")


@pytest.fixture(autouse=True, scope="module")
def interpreted():
    """Triton decides when a kernel is defined whether it is compiled or interpreted."""
    with pytest.MonkeyPatch.context() as patch:
        if DEVICE == "cpu":
            patch.setenv("TRITON_INTERPRET", "1")
        importlib.reload(kernels)
        yield
    importlib.reload(kernels)


def made(shape, dtype=torch.float32, seed=0):
    """A leaf, laid out channels last."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)
    return x.to(DEVICE, dtype).contiguous(memory_format=torch.channels_last).requires_grad_()


def of_pytorch(fixed, share, previous, dtype):
    """The cell by the operations that the kernels replace."""
    gates = fixed.float() if share is None else fixed.float() + share.float()
    i, f, o, g = gates.chunk(4, 1)
    c = i.sigmoid() * g.tanh() + (0 if previous is None else f.sigmoid() * previous)
    return (o.sigmoid() * c.tanh()).to(dtype), c


@triton
@pytest.mark.parametrize("shape", [(3, 20, 4, 5), (2, 4, 1, 1), (5, 256, 8, 8)])  # one element, and several blocks
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("missing", ["", "share", "previous", "share previous"])
@pytest.mark.parametrize("used", ["h", "c", "hc"])
def test_cell_and_gradients(shape, dtype, missing, used):
    n, gates, *size = shape
    inputs = {
        "fixed": made(shape, dtype),
        "share": None if "share" in missing else made(shape, dtype, 1),
        "previous": None if "previous" in missing else made((n, gates // 4, *size), seed=2),
    }
    leaves = [x for x in inputs.values() if x is not None]
    found = []
    for way in (of_pytorch, lambda *given: kernels._Cell.apply(*given)):
        h, c = way(*inputs.values(), dtype)
        assert h.dtype == dtype and c.dtype == torch.float32
        heads = {"h": h, "c": c}
        loss = sum((heads[name].float() * made(h.shape, seed=3 + i)).sum() for i, name in enumerate(used))
        found.append((h, c, torch.autograd.grad(loss, leaves)))
    (h, c, gradients), (our_h, our_c, our_gradients) = found
    half = dtype == torch.bfloat16
    torch.testing.assert_close(our_c, c, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(our_h, h, rtol=1e-2 if half else 1e-5, atol=1e-2 if half else 1e-6)
    for ours, theirs in zip(our_gradients, gradients, strict=True):
        assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
        torch.testing.assert_close(ours, theirs, rtol=2e-2 if half else 1e-4, atol=2e-2 if half else 1e-5)


@triton
def test_other_layouts_give_the_same():
    laid = made((3, 20, 4, 5)), made((3, 20, 4, 5), seed=1), made((3, 5, 4, 5), seed=2)
    plain = [x.detach().contiguous() for x in laid]
    torch.testing.assert_close(kernels.cell(*plain), kernels.cell(*laid))


def test_nothing_of_it_runs_on_the_cpu_or_in_float64(monkeypatch):
    monkeypatch.setattr(kernels, "_works", lambda device: True)
    assert not kernels.usable(torch.zeros(1))
    fixed = torch.zeros(1, 4, 1, 1, dtype=torch.float64)
    assert cell(fixed, None, None)[1].dtype == torch.float64


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (RuntimeError("Failed to find C compiler.\nMore."), "(Failed to find C compiler.)"),
        (ValueError(), "(ValueError)"),
    ],
)
def test_what_does_not_work_is_said_and_left(monkeypatch, capsys, error, says):
    """As without a C compiler."""

    def refuse(*given):
        raise error

    monkeypatch.setattr(kernels, "triton", "here")
    monkeypatch.setattr(kernels, "cell", refuse)
    kernels._works.cache_clear()
    assert not kernels._works(torch.device("cpu"))
    assert says in "".join(capsys.readouterr().err.splitlines())
    kernels._works.cache_clear()


def test_without_triton_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr(kernels, "triton", None)
    kernels._works.cache_clear()
    assert not kernels._works(torch.device("cpu"))
    assert "not installed" in capsys.readouterr().err.replace("\n", " ")
    kernels._works.cache_clear()


@needs_gpu
def test_a_gpu_uses_them():
    x = torch.zeros(1, 8, 2, 2, device="cuda", requires_grad=True)
    assert kernels.usable(x) and "_Cell" in type(cell(x, None, None)[0].grad_fn).__name__
