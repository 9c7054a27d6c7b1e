"""Prompt formats: how a sample becomes the messages a model sees.

`--prompt` chooses the format; tasks contain none. The wording of `see_think`, `cot` and
`caption_reasoner` is a protocol constant, quoted from the Vision-SR1 paper (arXiv:2508.19652,
appendices B.1 and B.2, and the prompt files released with it): a released checkpoint evaluated with
other words is another measurement. So is one with the image at another place. The layouts of the
authors' repository, zli12321/Vision-SR1, differ in that:

2025 (commit 3b39d81): a single mark is removed, the text is stripped at its right end, and the
    image is put at the end; without a mark the image is put at the end, too; several marks stay.
    The second pass has this question without the mark.
2026 (commit 85b7c6a): marks stay. The second pass has the question stripped at both ends.

Both trim question and options as one text, and put one space before the instruction.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from vsr1_bench.errors import UsageError, nearest
from vsr1_bench.records import LETTERS, ImagePlace, Message, Part, Sample

# The two-character sequence backslash-n is what the released template file feeds the model.
SEE_THINK = (
    "You are tasked with analyzing an image/video to generate a detailed description to help you "
    "answer the question. First analyze the image/video and produce a self-contained "
    "description—detailed enough that can lead to the correct answer. Wrap the entire description "
    "in <description> </description> tags.\\n Next, engage in an internal dialogue and include "
    "self-reflection or verification in your reasoning process. Provide your detailed, "
    "step-by-step reasoning based on the image/video description information and image/video, and "
    "enclose this part within <think> </think> tags.\\n Finally, provide a single word or phrase "
    "answer to the question in \\boxed{}.\\nThe output format should be: <description> image/video "
    "description here </description> <think> reasoning process here </think> \\boxed{FINAL ANSWER "
    "here}."
)
# The template of the 2026 code, in training and evaluation, has one sentence more than the paper.
SEE_THINK_2026 = SEE_THINK.replace(
    "correct answer. Wrap",
    "correct answer. Do not include the final answer in the description. Wrap",
)
COT = (
    "You FIRST think about the reasoning process as an internal monologue and then provide the "
    "final answer. The reasoning process MUST BE enclosed within <think> </think> tags. The final "
    "answer MUST BE put in \\boxed{}."
)
CAPTION_REASONER = (
    "Text description: {description}\nQuestion: {question}\nYou are provided a text description of "
    "a problem and a question. Determine the answer to the question based on the text description. "
    "First provide an internal step-by-step reasoning within <think> </think> tags, then provide a "
    "single word or phrase answer in \\boxed{}."
)
THINK = "think"
"""The tag around the reasoning, in the authors' prompts."""
# The released 2026 code gives Qwen3-VL a format reward of 0 (zli12321/Vision-SR1, issue 14): the
# tokenizers of Qwen3 have `<think>` as one token, which their Instruct models do not write. They
# write `<thinking>` if they are asked to (QwenLM/Qwen3-VL, issue 1663).
THINK_QWEN3 = "thinking"
# This project's own words: the paper's models describe unasked.
CAPTION = (
    "Describe the image in detail, so that somebody who cannot see it could answer the question "
    "above from your description alone. Write down everything the answer depends on: objects, "
    "their number, color and place, every text and every value. Do not answer the question."
)
DIRECT = {
    "choice": "Answer with the option's letter from the given choices directly.",
    "yes_no": "Answer the question using a single word: yes or no.",
    "number": "Answer the question with a single number.",
    "math": "Put your final answer in \\boxed{}.",
    "text": "Answer the question using a single word or phrase.",
}


CAPTION_VERSION = 1
READER_VERSION = 3
"""Raise a version if the form of its prompt changes, not only its words."""

ImageOrder = Literal["mark", "end"]
"""Where the only image of a question is: at its mark, or after the question and its options."""

_MARK = re.compile(r"<image ?\d*>")


@dataclass(frozen=True, slots=True)
class PromptFormat:
    """A named way to ask a model a question."""

    name: str
    version: int
    wording: str
    """The constant words; `direct` and `native` depend on the answer type or the task."""
    description: str
    fits: str = "any"
    """Which weights were trained with this format."""
    images: ImageOrder = "mark"
    """Where images are; the 2025 layout puts the only one at the end."""
    separator: Literal[" ", "\n"] = " "
    """Between question and wording. A space also selects the trimming of the paper's template."""
    thinking: str = THINK
    """The tag around the reasoning, in both passes."""

    @property
    def describes(self) -> bool:
        """Whether the format asks for a description."""
        return "<description>" in self.wording

    def digest(self, native: str | None = None) -> str:
        """Hash of all constant words of this format and of their places (for the spec).

        An image at its mark adds nothing, so that older formats keep their hashes.
        """
        words = f"{self.name}\0{self.version}\0{self.wording}\0{native or ''}"
        if self.images != "mark":
            words += f"\0images {self.images}"
        return hashlib.sha256(words.encode()).hexdigest()[:16]


def with_tag(words: str, thinking: str) -> str:
    """A prompt that asks for its reasoning in another tag than `THINK`."""
    return words.replace(f"<{THINK}>", f"<{thinking}>").replace(f"</{THINK}>", f"</{thinking}>")


_DIRECT = repr(sorted(DIRECT.items()))
_THINK = "think, then answer in a box (the Vision-R1 baseline)"
FORMATS = {
    f.name: f
    for f in (
        PromptFormat(
            *("see_think", 2, SEE_THINK, "describe, think, then answer in a box (paper)"),
            fits="the paper's words in the 2026 layout",
        ),
        PromptFormat(
            *("see_think_2025", 1, SEE_THINK, "see_think as the 2025 code asks"),
            fits="the released checkpoints (2025)",
            images="end",
        ),
        PromptFormat(
            *("see_think_2026", 1, SEE_THINK_2026),
            "see_think as the 2026 code asks: no answer in the description",
            fits="weights that the 2026 code trains",
        ),
        PromptFormat(
            *("see_think_clean", 2, SEE_THINK.replace("\\n", "\n")),
            "see_think with real line breaks where the released template has backslash-n",
        ),
        PromptFormat("cot", 2, COT, _THINK, fits="Vision-R1 in the 2026 layout"),
        PromptFormat(
            *("cot_2025", 1, COT, "cot as the 2025 code asks"),
            fits="Vision-R1 of the 2025 code",
            images="end",
        ),
        PromptFormat(
            *("see_think_qwen3", 1, with_tag(SEE_THINK_2026, THINK_QWEN3)),
            f"see_think_2026 with <{THINK_QWEN3}>, for models that do not write <{THINK}>",
            fits="Qwen3-VL Instruct, as a start",
            thinking=THINK_QWEN3,
        ),
        PromptFormat(
            *("cot_qwen3", 1, with_tag(COT, THINK_QWEN3)),
            f"cot with <{THINK_QWEN3}>, for models that do not write <{THINK}>",
            fits="Qwen3-VL Instruct, as a start",
            thinking=THINK_QWEN3,
        ),
        PromptFormat(*("direct", 1, _DIRECT, "the answer alone, by answer type"), separator="\n"),
        PromptFormat("native", 1, _DIRECT, "the benchmark's own wording", separator="\n"),
    )
}
TRAINED_WITH = {
    "LMMs-Lab-Turtle/SelfRewarded-R1-7B": ("see_think_2025",),
    "LMMs-Lab-Turtle/Qwen-2.5VL-7B-Cold-Start": ("see_think_2025", "cot_2025"),
    "LMMs-Lab-Turtle/Qwen-2.5VL-3B-Cold-Start": ("see_think_2025", "cot_2025"),
}
"""The released checkpoints, and the formats in which the code released with them (2025) trains
and evaluates them. The cold starts are the start of Vision-SR1 and of Vision-R1."""
DEFAULT_FORMAT = "see_think"
OWN = PromptFormat("own", 1, "", "as the task writes it: every message is its own")
"""The format of external tasks (`vsr1_bench.harness`); `--prompt` cannot name it."""


def get_format(name: str) -> PromptFormat:
    """Look a format up.

    Raises:
        UsageError: no format has this name.
    """
    if name not in FORMATS:
        raise UsageError(f"unknown prompt {name!r}; {nearest(name, tuple(FORMATS))}")
    return FORMATS[name]


def trained_with(names: Iterable[str]) -> tuple[str, tuple[str, ...]] | None:
    """The released checkpoint with one of these names, and the formats that fit it.

    A name is a hub id, a served id, a folder's name or a path; its last part decides.
    """
    last = {name.rstrip("/").rpartition("/")[2].lower() for name in names}
    for checkpoint, formats in TRAINED_WITH.items():
        if checkpoint.rpartition("/")[2].lower() in last:
            return checkpoint, formats
    return None


def render_choices(choices: tuple[str, ...]) -> str:
    """Write one option per line as `A. text`."""
    return "\n".join(f"{letter}. {text}" for letter, text in zip(LETTERS, choices, strict=False))


def choice_lines(sample: Sample) -> list[Part]:
    """One option per line as `A. …`, with the images that the options contain."""
    if not sample.choices or sample.choices_in_image:
        return []
    parts = sample.choice_parts or tuple((text,) for text in sample.choices)
    lines: list[Part] = []
    for letter, option in zip(LETTERS, parts, strict=False):
        lines += [f"\n{letter}. ", *option]
    return lines


def problem_parts(sample: Sample) -> list[Part]:
    """The question and its options as one text with image places, as in the authors' rows."""
    lines = choice_lines(sample)
    question = _stripped(sample.question, -1) if lines else [*sample.question]
    return merge_text([*question, *lines])


def only_mark(problem: Sequence[Part]) -> bool:
    """Whether a problem has exactly one mark, with an image at it."""
    texts = "".join(part for part in problem if isinstance(part, str))
    places = [part for part in problem if isinstance(part, ImagePlace)]
    return len(places) == 1 and places[0].marked and not _MARK.search(texts)


def images_at_end(problem: list[Part]) -> list[Part]:
    """Put images where the 2025 layout puts them (see the module's docstring).

    The authors' code does not handle several images without a mark; they go to the end, too.
    """
    places = [part for part in problem if isinstance(part, ImagePlace)]
    texts = merge_text([part for part in problem if isinstance(part, str)])
    if only_mark(problem):
        return [*_stripped(texts, -1), *places]
    if any(place.marked for place in places) or _MARK.search("".join(map(str, texts))):
        return problem
    return [*texts, *places]


def _stripped(parts: Sequence[Part], at: Literal[0, -1]) -> list[Part]:
    """Parts without white space at their start (0) or their end (-1)."""
    kept = list(parts)
    while kept and isinstance(text := kept[at], str):
        kept[at] = text.rstrip() if at else text.lstrip()
        if kept[at]:
            break
        kept.pop(at)
    return kept


def question_unseen(sample: Sample, images: ImageOrder = "mark") -> str:
    """The question with its options as plain text for the second pass, image places removed."""
    written = bool(choice_lines(sample))
    question = _stripped(sample.question, -1) if written else sample.question
    text = "".join(without_images(tuple(question)))
    if written and sample.choices:
        text += f"\n{render_choices(sample.choices)}"
    if images == "mark":
        return text.strip()
    # The 2025 code strips where it moves the only mark, and nowhere else.
    return text.rstrip() if only_mark(problem_parts(sample)) else text


def without_images(question: tuple[Part, ...]) -> tuple[str, ...]:
    """A question's texts without its images and without marks that are left in the text."""
    texts = tuple(part for part in question if isinstance(part, str))
    if len(texts) == len(question):
        return texts
    return tuple(text for part in texts if (text := _MARK.sub("", part)))


def wording_hash(version: int, wording: str) -> str:
    """Hash of a prompt that is not a `--prompt` format (the reader's, the caption's)."""
    return hashlib.sha256(f"{version}\0{wording}".encode()).hexdigest()[:16]


def _conversation(content: list[Part], system: str | None) -> tuple[Message, ...]:
    """One user's turn, after a system message if there is one."""
    user = Message("user", tuple(merge_text(content)))
    return (Message("system", (system,)), user) if system else (user,)


def describe_messages(sample: Sample, *, system: str | None = None) -> tuple[Message, ...]:
    """Ask only for a description: `--perception caption`, for models that write none unasked."""
    content = [*sample.question, *choice_lines(sample), f"\n{CAPTION}"]
    return _conversation(content, system)


def build_messages(
    sample: Sample, fmt: PromptFormat, *, native: str | None = None, system: str | None = None
) -> tuple[Message, ...]:
    """Write the first-pass messages of a sample.

    Args:
        sample: The question.
        fmt: The format to use; it says where images are.
        native: The task's own wording, for the `native` format; empty = the question alone.
        system: System message; None leaves it to the model's chat template.
    """
    if fmt.name == "native" and native is not None:
        ending = native
    elif fmt.name in ("direct", "native"):
        ending = DIRECT[sample.answer_type]
    else:
        ending = fmt.wording
    if fmt is OWN:
        return own_messages(sample, system)
    content = problem_parts(sample)
    if fmt.images == "end":
        content = images_at_end(content)
    if fmt.separator == " ":
        content = _stripped(_stripped(content, -1), 0)
    elif not choice_lines(sample):
        content = _stripped(content, -1)
    if ending:
        content.append(f"{fmt.separator}{ending}" if content else ending)
    return _conversation(content, system)


def own_messages(sample: Sample, system: str | None) -> tuple[Message, ...]:
    """The messages of an external task, unchanged; `system` replaces its system message.

    `Sample.extra` has the turns if there are more than the user's question.
    """
    turns = sample.extra.get("turns")
    messages = [Message("user", sample.question)]
    if turns is not None:
        messages = [
            Message(role, tuple(p if isinstance(p, str) else ImagePlace(p["image"]) for p in parts))
            for role, parts in turns
        ]
    if system:
        messages = [m for m in messages if m.role != "system"]
        messages.insert(0, Message("system", (system,)))
    return tuple(messages)


def reading_messages(
    sample: Sample,
    description: str,
    *,
    images: ImageOrder = "mark",
    thinking: str = THINK,
    system: str | None = None,
) -> tuple[Message, ...]:
    """Write the second-pass message: description and question, never the image (appendix B.2).

    Args:
        sample: The question.
        description: The first pass's description; stripped, as in both layouts.
        images: Where the first pass had its images.
        thinking: The tag around the reasoning.
        system: System message.
    """
    # Not str.format, because of the braces of \boxed{}; not two replacements in sequence, because
    # question and description may contain the other's name in braces.
    before, after = with_tag(CAPTION_REASONER, thinking).split("{question}")
    from vsr1_bench.answers import well_formed  # takes half of the time of `ls` to import

    before = before.replace("{description}", well_formed(description).strip())
    return _conversation([f"{before}{question_unseen(sample, images)}{after}"], system)


def reader_hash(images: ImageOrder, thinking: str = THINK) -> str:
    """Hash of the second-pass prompt in a layout."""
    words = with_tag(CAPTION_REASONER, thinking)
    return wording_hash(READER_VERSION, words if images == "mark" else f"{words}\0images {images}")


def merge_text(parts: list[Part]) -> list[Part]:
    """Join adjacent texts, so that a message does not depend on how it was built."""
    merged: list[Part] = []
    for part in parts:
        if isinstance(part, str) and merged and isinstance(merged[-1], str):
            merged[-1] += part
        elif part != "":
            merged.append(part)
    return merged


def to_chat(messages: tuple[Message, ...]) -> list[dict[str, object]]:
    """Write messages as the role/content dictionaries that chat templates take."""
    chat: list[dict[str, object]] = []
    for message in messages:
        content = [
            {"type": "image"} if isinstance(part, ImagePlace) else {"type": "text", "text": part}
            for part in message.content
        ]
        chat.append({"role": message.role, "content": content})
    return chat


def qwen_chat(messages: Sequence[Message]) -> str:
    """Messages as the chat template of Qwen2.5-VL writes them, for display; engines use theirs."""
    turns = list(messages)
    if turns and turns[0].role != "system":
        turns.insert(0, Message("system", ("You are a helpful assistant.",)))
    image = "<|vision_start|><|image_pad|><|vision_end|>"
    written = [
        f"<|im_start|>{message.role}\n"
        + "".join(image if isinstance(part, ImagePlace) else part for part in message.content)
        + "<|im_end|>\n"
        for message in turns
    ]
    return "".join([*written, "<|im_start|>assistant\n"])
