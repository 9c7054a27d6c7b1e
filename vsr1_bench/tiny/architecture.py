"""Builds the embedded model from nothing: configuration, tokenizer, processor, chat template.

It is a real Qwen2.5-VL in small, so that everything that runs a Qwen2.5-VL runs it. Sizes obey what
the engines ask for: vLLM's CPU attention needs a head dimension that is a multiple of 32.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vsr1_bench.prompts.formats import CAPTION_REASONER, COT, DIRECT, SEE_THINK

if TYPE_CHECKING:
    from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
VOCABULARY = 1536
CONTEXT = 4096
# Pixels are centred on a scene's light background, so that the shapes stand out.
PIXEL_MEAN, PIXEL_DEVIATION = 0.9, 0.25
ROPE_THETA = 10_000.0
MROPE_SECTION = (4, 6, 6)
MIN_PIXELS = 56 * 56
MAX_PIXELS = 112 * 112
"""A photograph, or a scene that some client scaled up, comes down to a scene's 16 tokens."""

# Qwen2-VL's template without its default system message, which a model of this size cannot use.
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' or 'image' in part or 'image_url' in part %}"
    "<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'video' or 'video' in part %}"
    "<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Qwen2's splitting rule (contractions, words with one leading mark, single digits, marks, spaces),
# except that a digit keeps the space before it: counts are one token each.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def constant_sentences() -> list[str]:
    """Sentences of the prompt formats, each of which becomes ONE token of the vocabulary.

    The see_think wording is 164 words long; as words it would be most of what the model reads. A
    sentence broken over lines or quoted in part is still read word by word.
    """
    texts = [SEE_THINK, COT, CAPTION_REASONER.split("{question}\n")[1], *DIRECT.values()]
    sentences: list[str] = []
    for text in texts:
        for piece in text.replace("\\n", "\n").split("\n"):
            sentences += [part.strip(" .") + "." for part in piece.split(". ") if part.strip(" .")]
    return list(dict.fromkeys(sentences))


def build_tokenizer(corpus: Iterable[str], vocabulary: int = VOCABULARY) -> Any:
    """Train a byte-level BPE tokenizer, which encodes any text without loss.

    Args:
        corpus: Texts to learn merges from.
        vocabulary: Tokens in all, special tokens and constant sentences included.

    Returns:
        A `PreTrainedTokenizerFast`.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    sentences = constant_sentences()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(SPECIAL_TOKENS) - len(sentences),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        min_frequency=2,
        show_progress=False,
    )
    tokenizer.train_from_iterator(_with_prompts(corpus, sentences), trainer)
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in sentences])
    tokenizer.add_special_tokens(
        [AddedToken(text, normalized=False, special=True) for text in SPECIAL_TOKENS]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=[t for t in SPECIAL_TOKENS if t != "<|endoftext|>"],
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )


def _with_prompts(corpus: Iterable[str], sentences: list[str]) -> Iterator[str]:
    """The corpus, then the prompts' words often enough to be learnt as words."""
    yield from corpus
    for sentence in sentences:
        for _ in range(20):
            yield f" {sentence}"
    yield from ("system\n", "user\n", "assistant\n") * 20


def build_processor(corpus: Iterable[str], vocabulary: int = VOCABULARY) -> Qwen2_5_VLProcessor:
    """Build tokenizer, image and video processor as one.

    Args:
        corpus: Texts the tokenizer learns from.
        vocabulary: See `build_tokenizer`.
    """
    from transformers import Qwen2_5_VLProcessor, Qwen2VLImageProcessor, Qwen2VLVideoProcessor

    pixels: dict[str, Any] = {
        "size": {"shortest_edge": MIN_PIXELS, "longest_edge": MAX_PIXELS},
        "image_mean": [PIXEL_MEAN] * 3,
        "image_std": [PIXEL_DEVIATION] * 3,
    }
    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(**pixels),
        tokenizer=build_tokenizer(corpus, vocabulary),
        # Said outright, because transformers warns about the default at every start.
        video_processor=Qwen2VLVideoProcessor(**pixels, cap_pixels_per_frame=False),
        chat_template=CHAT_TEMPLATE,
    )


def build_model(
    tokenizer: Any, *, hidden: int = 128, layers: int = 4, seed: int = 0
) -> Qwen2_5_VLForConditionalGeneration:
    """Build an untrained model with random weights in fp32.

    Args:
        tokenizer: Its vocabulary and special tokens.
        hidden: Width of the language model; a multiple of 64, half of it are key/value heads.
        layers: Layers of the language model.
        seed: Seed of the weights.
    """
    import torch
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    token = tokenizer.convert_tokens_to_ids
    heads = hidden // 32
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": hidden,
        "intermediate_size": hidden * 5 // 2,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": max(1, heads // 2),
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-6,
        # Sections for time, height and width; their sum is half the head dimension.
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": ROPE_THETA,
            "mrope_section": list(MROPE_SECTION),
        },
        "bos_token_id": token("<|endoftext|>"),
        "eos_token_id": token("<|im_end|>"),
        "pad_token_id": token("<|endoftext|>"),
        "tie_word_embeddings": True,
    }
    vision = {
        "depth": 2,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_heads": 2,
        "out_hidden_size": hidden,
        "fullatt_block_indexes": [1],
    }
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    config.dtype = torch.float32
    torch.manual_seed(seed)
    model = Qwen2_5_VLForConditionalGeneration(config)
    _widen(model)
    generation = model.generation_config
    generation.do_sample = False
    generation.eos_token_id = [token("<|im_end|>"), token("<|endoftext|>")]
    generation.pad_token_id = token("<|endoftext|>")
    generation.bos_token_id = token("<|endoftext|>")
    return model


def _widen(model: Any) -> None:
    """Draw every matrix again with a standard deviation of one over the root of its inputs.

    The stock 0.02 suits widths of thousands; at 64 to 128 it leaves attention flat and the image
    embeddings all alike, and sight takes a thousand steps longer to be learnt.
    """
    import torch

    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, parameter[0].numel() ** -0.5)


def save(model: Any, processor: Any, folder: Path) -> None:
    """Write a plain Hugging Face folder that transformers and vLLM load."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder, safe_serialization=True)
    processor.save_pretrained(folder)
    # safetensors writes for its owner alone, and a wheel keeps that.
    for file in folder.iterdir():
        file.chmod(0o644)
