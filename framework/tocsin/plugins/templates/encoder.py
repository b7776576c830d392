"""An encoder with settings of its own."""

from typing import Literal

from tocsin.plugins import TransformerEncoder

__all__ = ["TemplateEncoder"]


class TemplateEncoder(TransformerEncoder):
    """A transformers encoder that is given a prompt and trained from layer 2 upwards.

    Args:
        name: Folder with config.json, model.safetensors and a tokenizer, or a hub name.
        prompt: Put before every text, as in the encoder's own training.
        freeze: What is not trained: none, embeddings, all, or a number k: the
            embeddings and the bottom k layers.
    """

    def __init__(
        self,
        name: str = "intfloat/multilingual-e5-small",
        prompt: str = "query: ",
        freeze: Literal["none", "embeddings", "all"] | int = 2,
    ) -> None:
        super().__init__(name=name, prompt=prompt, freeze=freeze)
