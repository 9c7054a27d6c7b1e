"""Prompt formats: how a sample becomes the messages a model sees.

Formats are chosen by `--prompt`, never baked into a task. The wording of `see_think`, `cot` and
`caption_reasoner` is a protocol constant: it is quoted from the Vision-SR1 paper (arXiv:2508.19652,
appendices B.1 and B.2, and the prompt files released with it), because a released checkpoint
evaluated with other words is another measurement. So is one whose image is elsewhere: the
layouts of the authors' repository, zli12321/Vision-SR1, differ in that.

2025 (commit 3b39d81): one mark is removed, the text stripped at its right, and the image put at the
    end; without a mark the image goes to the end, too; several marks stay. The second pass has the
    question as it is then, without the mark.
2026 (commit 85b7c6a): marks stay. The second pass has the question stripped at both ends.

Both trim question and options as one text, and put one space before the instruction.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from vsr1_bench.answers import well_formed
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
"""Raised when the form of those prompts changes in more than their words."""

ImageOrder = Literal["mark", "end"]
"""Where the one image of a question is: at its mark, or behind question and options."""

_MARK = re.compile(r"<image ?\d*>")


@dataclass(frozen=True, slots=True)
class PromptFormat:
    """A named way to put a question to a model."""

    name: str
    version: int
    wording: str
    """The constant words; `direct` and `native` depend on the answer type or the task."""
    description: str
    fits: str = "any"
    """Which weights were trained with it."""
    images: ImageOrder = "mark"
    """Where images are; the 2025 layout puts the only one at the end."""
    separator: Literal[" ", "\n"] = " "
    """Between question and wording. With the space of the paper's template comes its trimming."""

    @property
    def describes(self) -> bool:
        """Whether it asks for a description."""
        return "<description>" in self.wording

    def digest(self, native: str | None = None) -> str:
        """Hash of every constant word this format can show and of their places (for the spec).

        An image at its mark adds nothing, so that formats which did not change keep their runs.
        """
        words = f"{self.name}\0{self.version}\0{self.wording}\0{native or ''}"
        if self.images != "mark":
            words += f"\0images {self.images}"
        return hashlib.sha256(words.encode()).hexdigest()[:16]


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
"""Of external tasks (`vsr1_bench.harness`), and theirs alone: `--prompt` does not name it."""


def get_format(name: str) -> PromptFormat:
    """Look a format up.

    Raises:
        UsageError: no format has this name.
    """
    if name not in FORMATS:
        raise UsageError(f"unknown prompt {name!r}; {nearest(name, tuple(FORMATS))}")
    return FORMATS[name]


def trained_with(names: Iterable[str]) -> tuple[str, tuple[str, ...]] | None:
    """The released checkpoint that a model is by one of its names, and the formats that fit it.

    A hub id, a served id, a folder's name or a path: its last part decides.
    """
    last = {name.rstrip("/").rpartition("/")[2].lower() for name in names}
    for checkpoint, formats in TRAINED_WITH.items():
        if checkpoint.rpartition("/")[2].lower() in last:
            return checkpoint, formats
    return None


def render_choices(choices: tuple[str, ...]) -> str:
    """Write options one a line as `A. text`."""
    return "\n".join(f"{letter}. {text}" for letter, text in zip(LETTERS, choices, strict=False))


def choice_lines(sample: Sample) -> list[Part]:
    """The options one a line as `A. …`, with their images where they hold some."""
    if not sample.choices or sample.choices_in_image:
        return []
    parts = sample.choice_parts or tuple((text,) for text in sample.choices)
    lines: list[Part] = []
    for letter, option in zip(LETTERS, parts, strict=False):
        lines += [f"\n{letter}. ", *option]
    return lines


def problem_parts(sample: Sample) -> list[Part]:
    """The question and its options as one text with image places, as the authors' rows have it."""
    lines = choice_lines(sample)
    question = _stripped_end(sample.question) if lines else [*sample.question]
    return merge_text([*question, *lines])


def only_mark(problem: Sequence[Part]) -> bool:
    """Whether exactly one mark is in a problem, and an image at it."""
    texts = "".join(part for part in problem if isinstance(part, str))
    places = [part for part in problem if isinstance(part, ImagePlace)]
    return len(places) == 1 and places[0].marked and not _MARK.search(texts)


def images_at_end(problem: list[Part]) -> list[Part]:
    """Put images where the 2025 layout does (see the module's head).

    Several images without a mark, for which the authors' code has no form, go to the end, too.
    """
    places = [part for part in problem if isinstance(part, ImagePlace)]
    texts = merge_text([part for part in problem if isinstance(part, str)])
    if only_mark(problem):
        return [*_stripped_end(texts), *places]
    if any(place.marked for place in places) or _MARK.search("".join(map(str, texts))):
        return problem
    return [*texts, *places]


def _stripped_end(parts: Sequence[Part]) -> list[Part]:
    """Parts without white space at their end."""
    kept = list(parts)
    while kept and isinstance(kept[-1], str):
        kept[-1] = kept[-1].rstrip()
        if kept[-1]:
            break
        kept.pop()
    return kept


def _stripped_start(parts: Sequence[Part]) -> list[Part]:
    """Parts without white space at their start."""
    kept = list(parts)
    while kept and isinstance(kept[0], str):
        kept[0] = kept[0].lstrip()
        if kept[0]:
            break
        kept.pop(0)
    return kept


def question_unseen(sample: Sample, images: ImageOrder = "mark") -> str:
    """The question with its options as plain text for the second pass, image places removed."""
    written = bool(choice_lines(sample))
    question = _stripped_end(sample.question) if written else sample.question
    text = "".join(without_images(tuple(question)))
    if written and sample.choices:
        text += f"\n{render_choices(sample.choices)}"
    if images == "mark":
        return text.strip()
    # The 2025 code strips where it moves the only mark, and nowhere else.
    return text.rstrip() if only_mark(problem_parts(sample)) else text


def without_images(question: tuple[Part, ...]) -> tuple[str, ...]:
    """A question's texts without its images, and without further marks of an image shown once."""
    texts = tuple(part for part in question if isinstance(part, str))
    if len(texts) == len(question):
        return texts
    return tuple(text for part in texts if (text := _MARK.sub("", part)))


def wording_hash(version: int, wording: str) -> str:
    """Hash of a prompt that is no `--prompt` format (the reader's, the caption's)."""
    return hashlib.sha256(f"{version}\0{wording}".encode()).hexdigest()[:16]


def describe_messages(sample: Sample, *, system: str | None = None) -> tuple[Message, ...]:
    """Ask for a description alone: `--perception caption`, for models that write none."""
    content = [*sample.question, *choice_lines(sample), f"\n{CAPTION}"]
    user = Message("user", tuple(merge_text(content)))
    return (Message("system", (system,)), user) if system else (user,)


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
        content = _stripped_start(_stripped_end(content))
    elif not choice_lines(sample):
        content = _stripped_end(content)
    if ending:
        content.append(f"{fmt.separator}{ending}" if content else ending)
    user = Message("user", tuple(merge_text(content)))
    return (Message("system", (system,)), user) if system else (user,)


def own_messages(sample: Sample, system: str | None) -> tuple[Message, ...]:
    """The messages of an external task, to the letter; `system` replaces its system message.

    `Sample.extra` holds the turns where they are more than one question of the user's.
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


def caption_messages(
    sample: Sample, description: str, *, images: ImageOrder = "mark", system: str | None = None
) -> tuple[Message, ...]:
    """Write the second-pass message: description and question, never the image (appendix B.2).

    Args:
        sample: The question.
        description: What the first pass has seen; stripped, as both layouts do.
        images: Whose second pass it is, by the first pass's place of images.
        system: System message.
    """
    # Not str.format: the wording holds the braces of \boxed{}; not two replacements one after
    # the other: question and description may hold the other's name in braces.
    before, after = CAPTION_REASONER.split("{question}")
    told = before.replace("{description}", well_formed(description).strip())
    user = Message("user", (f"{told}{question_unseen(sample, images)}{after}",))
    return (Message("system", (system,)), user) if system else (user,)


def reader_hash(images: ImageOrder) -> str:
    """Hash of the second-pass prompt in a layout."""
    words = CAPTION_REASONER if images == "mark" else f"{CAPTION_REASONER}\0images {images}"
    return wording_hash(READER_VERSION, words)


def merge_text(parts: list[Part]) -> list[Part]:
    """Join neighbouring texts, so that a message's form does not depend on how it was built."""
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
    """Messages as the chat template of Qwen2.5-VL writes them, to look at (engines render it)."""
    told = list(messages)
    if told and told[0].role != "system":
        told.insert(0, Message("system", ("You are a helpful assistant.",)))
    image = "<|vision_start|><|image_pad|><|vision_end|>"
    turns = [
        f"<|im_start|>{message.role}\n"
        + "".join(image if isinstance(part, ImagePlace) else part for part in message.content)
        + "<|im_end|>\n"
        for message in told
    ]
    return "".join([*turns, "<|im_start|>assistant\n"])
