"""Prompt formats: how a sample becomes the messages a model sees.

Formats are chosen by `--prompt`, never baked into a task. The wording of `see_think`, `cot` and
`caption_reasoner` is a protocol constant: it is quoted from the Vision-SR1 paper (arXiv:2508.19652,
appendices B.1 and B.2, and the prompt files released with it), because a released checkpoint
evaluated with other words is another measurement.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace

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
READER_VERSION = 2
"""Raised when the form of those prompts changes in more than their words."""


_MARK = re.compile(r"<image ?\d*>")


@dataclass(frozen=True, slots=True)
class PromptFormat:
    """A named way to put a question to a model."""

    name: str
    version: int
    wording: str
    """The constant words; `direct` and `native` depend on the answer type or the task."""
    description: str

    def digest(self, native: str | None = None) -> str:
        """Hash of every constant word this format can show (for the spec)."""
        words = f"{self.name}\0{self.version}\0{self.wording}\0{native or ''}"
        return hashlib.sha256(words.encode()).hexdigest()[:16]


FORMATS = {
    f.name: f
    for f in (
        PromptFormat("see_think", 1, SEE_THINK, "describe, think, then answer in a box (paper)"),
        PromptFormat(
            "see_think_clean",
            1,
            SEE_THINK.replace("\\n", "\n"),
            "see_think with real line breaks where the released template has backslash-n",
        ),
        PromptFormat("cot", 1, COT, "think, then answer in a box (the Vision-R1 baseline)"),
        PromptFormat("direct", 1, repr(sorted(DIRECT.items())), "the answer alone, by answer type"),
        PromptFormat("native", 1, repr(sorted(DIRECT.items())), "the benchmark's own wording"),
    )
}
DEFAULT_FORMAT = "see_think"
OWN = PromptFormat("own", 1, "", "as the task writes it: every message is its own")
"""Of borrowed tasks (lmms-eval), and theirs alone: `--prompt` does not name it."""


def get_format(name: str) -> PromptFormat:
    """Look a format up.

    Raises:
        UsageError: no format has this name.
    """
    if name not in FORMATS:
        raise UsageError(f"unknown prompt {name!r}; {nearest(name, tuple(FORMATS))}")
    return FORMATS[name]


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


def question_with_choices(sample: Sample) -> str:
    """The question as plain text with its options, image places removed."""
    if not sample.choices or sample.choices_in_image:
        return sample.question_text
    return f"{sample.question_text}\n{render_choices(sample.choices)}"


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
        sample: The question; its images stay at their places.
        fmt: The format to use.
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
    content: list[Part] = list(sample.question)
    while content and isinstance(content[-1], str) and not content[-1].strip():
        content.pop()
    if content and isinstance(content[-1], str):
        content[-1] = content[-1].rstrip()
    content += choice_lines(sample)
    separator = "\n" if sample.choices or fmt.name in ("direct", "native") else " "
    if ending:
        content.append(f"{separator}{ending}" if content else ending)
    user = Message("user", tuple(merge_text(content)))
    return (Message("system", (system,)), user) if system else (user,)


def own_messages(sample: Sample, system: str | None) -> tuple[Message, ...]:
    """The messages of a borrowed task, to the letter; `system` goes before its system message.

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
    sample: Sample, description: str, *, system: str | None = None
) -> tuple[Message, ...]:
    """Write the second-pass message: description and question, never the image (appendix B.2)."""
    unseen = replace(sample, question=without_images(sample.question))
    # str.replace, not str.format: the wording holds the braces of \boxed{}.
    text = CAPTION_REASONER.replace("{question}", question_with_choices(unseen))
    user = Message("user", (text.replace("{description}", well_formed(description).strip()),))
    return (Message("system", (system,)), user) if system else (user,)


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
