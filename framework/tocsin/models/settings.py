"""Settings of a classifier, and of any step, that cannot be meant together or are out of range."""

from tocsin.errors import ConfigError
from tocsin.models.encoders import Encoder
from tocsin.models.heads import FeatureHead, Head
from tocsin.models.native_head import NativeHead
from tocsin.models.pooling import Pooling

__all__ = ["check_non_finite", "check_parts", "check_start", "check_step"]


def check_parts(encoder: Encoder, pooling: Pooling | None, head: Head) -> None:
    """Refuse an encoder, a pooling and a head that do not fit together.

    Raises:
        ConfigError: A pooling is missing or too much, or a prompt would be lost in the bundle.
    """
    if head.needs == "vector" and pooling is None:
        raise ConfigError(
            f"{type(head).__name__} reads a pooled vector: set model.init_args.pooling, such as MeanPooling."
        )
    if head.needs == "tokens" and pooling is not None:
        raise ConfigError(
            f"{type(head).__name__} reads token states itself: set model.init_args.pooling to null."
        )
    if isinstance(head, NativeHead) and encoder.prompt:
        raise ConfigError(
            f"NativeHead with the prompt {encoder.prompt!r}: transformers' pipeline, which loads such "
            "a bundle, adds no prompt and "
            "would score other texts. Set the encoder's prompt to an empty string, or use LinearHead."
        )


def check_step(*, layer_decay: float | None, ema_decay: float | None, gradient_clip: float | None) -> None:
    """Refuse numbers of the optimiser step that are out of their range.

    Raises:
        ConfigError: What was given, and what is wanted.
    """
    if layer_decay is not None and not 0 < layer_decay <= 1:
        raise ConfigError(
            f"layer_decay is {layer_decay}; wanted a factor above 0, at most 1, such as 0.9 (Howard and Ruder's 2.6 "
            "divides: 0.385)."
        )
    if ema_decay is not None and not 0 < ema_decay < 1:
        raise ConfigError(
            f"ema_decay is {ema_decay}; wanted a share between 0 and 1, such as 0.999, or null for no average."
        )
    if gradient_clip is not None and not gradient_clip > 0:
        raise ConfigError(
            f"gradient_clip is {gradient_clip}; wanted a norm above 0, or null for no clipping."
        )


def check_non_finite(restore_steps: int, max_restores: int) -> None:
    """Refuse numbers of `non_finite: restore` that are out of their range.

    Raises:
        ConfigError: What was given, and what is wanted.
    """
    if restore_steps < 1:
        raise ConfigError(f"restore_steps is {restore_steps}; wanted at least 1 step, such as 100.")
    if max_restores < 1:
        raise ConfigError(f"max_restores is {max_restores}; wanted at least 1, such as 3.")


def check_start(head: Head, *, start_from_probe: bool, probe_l2: float) -> None:
    """Refuse a probe start for a head that has no features, and a penalty out of its range.

    Raises:
        ConfigError: What was given, and what is wanted.
    """
    if start_from_probe and not isinstance(head, FeatureHead):
        raise ConfigError(
            f"start_from_probe needs a head that reads one vector a message; {type(head).__name__} does not."
        )
    if not probe_l2 > 0:
        raise ConfigError(f"probe_l2 is {probe_l2}; wanted a strength above 0.")
