"""torch.compile of an encoder: one graph for passes of every shape, the state's names as they were."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from tocsin.errors import ConfigError

__all__ = ["compile_forward", "named_failure"]

_BACKEND = "inductor"


def compile_forward(model: nn.Module) -> None:
    """Let torch.compile translate the model's forward when it is first called.

    In place, by `nn.Module.compile`: the state's names get no `_orig_mod.`, and a copy of the model is a plain one.
    Shapes are dynamic from the start: passes differ in messages and in tokens, and a graph for each would be translated
    anew at nearly every step. One is made for training and one for evaluation, and each again for passes of a
    single message (torch takes a dimension of 1 for a constant) and for another precision.

    Args:
        model: A transformers base model.
    """
    model.compile(dynamic=True, backend=_BACKEND)


@contextmanager
def named_failure(source: str) -> Iterator[None]:
    """Turn what torch.compile says when it cannot translate a model into an error with a way out.

    Args:
        source: The encoder's name.

    Raises:
        ConfigError: No C++ compiler, or an operation that torch.compile does not know.
    """
    # Read only where something is compiled: it costs a second.
    from torch._dynamo.exc import TorchDynamoException

    try:
        yield
    except TorchDynamoException as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[0] if lines else type(error).__name__
        raise ConfigError(
            f"{source!r} could not be compiled ({reason}). torch.compile wants a C++ compiler (g++), on a GPU triton, "
            "and operations that it knows; set the encoder's torch_compile to false to train without it."
        ) from error
