from __future__ import annotations

import os

# As in the command itself: said before torch is imported, so that a busy machine does not slow the tests tenfold.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import pytest


@pytest.fixture(autouse=True)
def _one_thread_for_tiny_models(request):
    """Tiny tensors are slower on several threads; real models (marked slow) keep all of them."""
    import torch

    threads = torch.get_num_threads()
    if request.node.get_closest_marker("slow") is None:
        torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def byte_tokenizer():
    """A fast tokenizer in which every byte is a token, with a chat template; needs no file."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<end>": 0} | {c: i for i, c in enumerate(alphabet, 1)}
    inner = Tokenizer(models.BPE(vocabulary, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<end>", pad_token="<end>")
    tokenizer.chat_template = (
        "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}<end>{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    return tokenizer


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory, byte_tokenizer):
    """Folder of a two-layer model with random weights and the byte tokenizer."""
    from tiny_models import save_model

    return save_model(tmp_path_factory.mktemp("models") / "tiny", byte_tokenizer)
