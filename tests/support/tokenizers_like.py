"""Small tokenizers built like those of common model families, each with its control tokens and its chat template."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import ByT5Tokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n"
    "{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for m in messages %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n{{ m['content'] | trim }}"
    "<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)


def _bytes(specials: list[str | AddedToken]) -> Tokenizer:
    """Every byte is a token; special tokens come behind."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(specials)
    return inner


def chatml_like(
    *, bos: str | None = None, appends_eos: bool = False, template: str = CHATML
) -> PreTrainedTokenizerBase:
    """Qwen, SmolLM2. `<tool_call>` and `<think>` are added tokens that are not special."""
    inner = _bytes(["<|im_start|>", "<|im_end|>", *([bos] if bos else [])])
    inner.add_tokens([AddedToken("<tool_call>", normalized=False), AddedToken("<think>", normalized=False)])
    if appends_eos:
        end = "<|im_end|>"
        inner.post_processor = processors.TemplateProcessing(
            single=f"$A {end}", special_tokens=[(end, inner.token_to_id(end))]
        )
    elif bos:
        inner.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, inner.token_to_id(bos))]
        )
    made = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|im_end|>", pad_token="<|im_end|>")
    made.chat_template = (bos or "") + template
    return made


def llama3_like() -> PreTrainedTokenizerBase:
    """A start token that template and tokenizer both write, and reserved tokens."""
    names = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    inner = _bytes([*names, *(f"<|reserved_special_token_{i}|>" for i in range(3))])
    start = names[0]
    inner.post_processor = processors.TemplateProcessing(
        single=f"{start} $A", special_tokens=[(start, inner.token_to_id(start))]
    )
    made = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token=start, eos_token="<|eot_id|>")
    made.chat_template = LLAMA3
    return made


def gemma_like() -> PreTrainedTokenizerBase:
    """SentencePiece pieces in a Unigram model, control tokens inside its vocabulary, runs of line breaks as tokens."""
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789<>|/_.,:;?!'-\n▁"
    controls = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
    pieces = [(name, 0.0) for name in controls] + [(c, -5.0) for c in letters] + [("▁the", -3.0), ("\n\n", -4.0)]
    inner = Tokenizer(models.Unigram(pieces, unk_id=3))
    inner.normalizer = normalizers.Replace(" ", "▁")
    inner.decoder = decoders.Replace("▁", " ")
    inner.add_special_tokens(controls)
    inner.add_tokens([AddedToken("\n\n", normalized=False), AddedToken("<b>", normalized=False)])
    inner.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<bos>", eos_token="<eos>", unk_token="<unk>", pad_token="<pad>"
    )
    made.chat_template = GEMMA
    return made


def sentencepiece_like(template: str = CHATML) -> PreTrainedTokenizerBase:
    """Llama 2: a blank stands before every text, so a text alone has other tokens than behind another."""
    words = ["Lima", "▁Lima", "▁", "Quito", "▁Quito", "Answer", "▁Answer", "assistant", "user", "Capital", "\n"]
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789<>|/_.,:;?!'-"
    pieces = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0)]
    pieces += [(word, -1.0) for word in words] + [(letter, -6.0) for letter in letters]
    inner = Tokenizer(models.Unigram(pieces, unk_id=0))
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    inner.decoder = decoders.Metaspace(prepend_scheme="first", split=False)
    inner.add_special_tokens(["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"])
    made = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    made.chat_template = template
    return made


def byte_like() -> PreTrainedTokenizerBase:
    """ByT5: not a fast tokenizer."""
    made = ByT5Tokenizer(extra_ids=4)
    made.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    made.chat_template = CHATML
    return made


FAMILIES: dict[str, Callable[[], PreTrainedTokenizerBase]] = {
    "chatml": chatml_like,
    "llama3": llama3_like,
    "gemma": gemma_like,
    "sentencepiece": sentencepiece_like,
    "bytes": byte_like,
}


def bundled_like(folder: Path) -> PreTrainedTokenizerBase:
    """SmolLM2's tokenizer, from the tests' assets."""
    import gzip
    import shutil

    from transformers import AutoTokenizer

    assets = Path(__file__).parents[1] / "assets" / "tokenizer"
    for file in assets.iterdir():
        if file.suffix == ".gz":
            (folder / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
        else:
            shutil.copy(file, folder)
    return AutoTokenizer.from_pretrained(folder)
