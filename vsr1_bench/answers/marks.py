"""The marks that models and servers put into a response: a table, and a scanner.

A family of models marks its thinking in its own way, and servers pass the marks on or take off half
of them. `MARKS` says what each mark does; `channels` says what follows from it. Names are matched
in any case, with one space inside the brackets (`< / think >`), and with the wide bars and blanks
of DeepSeek's tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "open",  # thinking (or a description) begins
    "close",  # it ends
    "final",  # what is said to the user begins, whatever came before
    "channel",  # the name that follows says which of the two
    "start",  # the response has not begun before it
    "turn",  # the role that follows says who speaks
    "end",  # the turn is over
    "message_end",  # of harmony: a message is over; the turn is, if no other message follows
    "struck",  # `<s>`: a start, or HTML that the next `</s>` closes
    "next",  # the next question of a few-shot prompt
]

DESCRIPTION = "description"
HARMONY = "harmony"
TRANSCRIPT = "transcript"
"""Marks of turns that are not the model's, in a response that includes the prompt."""
NAMED = "named"
"""Of tags that a user has named, as `mark_tags` writes them."""
MOST = 2_000
"""Marks that are looked at; a response with more is a loop, and what follows says nothing."""
_NAMED_OPEN, _NAMED_CLOSE = "\ufdd0", "\ufdd1"  # never characters of a text, by Unicode's own rule

_WORDS = {  # <word> … </word>, by family: either word closes the other
    "think": ("think", "thinking"),
    "seed": ("seed:think",),
    "thought": ("thought", "thoughts"),
    "reasoning": ("reasoning", "reason", "rationale", "reflection"),
    "analysis": ("analysis",),
    "scratchpad": ("scratchpad", "inner_thoughts", "inner_monologue"),
    "longcat": ("longcat_think",),
    DESCRIPTION: ("description", "visual_reasoning"),
}
_PAIRS = {  # family: what opens, what closes, what begins the final words
    "mistral": ("[THINK]", "[/THINK]", ()),
    "kimi": ("◁think▷", "◁/think▷", ()),
    "sky": ("<|begin_of_thought|>", "<|end_of_thought|>", ("<|begin_of_solution|>",)),
    "cohere": ("<|START_THINKING|>", "<|END_THINKING|>", ("<|START_RESPONSE|>", "<|START_TEXT|>")),
    "apertus": ("<|inner_prefix|>", "<|inner_suffix|>", ()),
    "working": ("<start_working_out>", "<end_working_out>", ()),
    "apriel": ("[BEGIN REASONING]", "[END REASONING]", ("[BEGIN FINAL RESPONSE]",)),
    "medgemma": ("<unused94>", "<unused95>", ()),
    "thinking": ("<|thinking|>", "<|/thinking|>", ()),
    "begun": ("<|begin_of_thinking|>", "<|end_of_thinking|>", ()),
    "started": ("<|think_start|>", "<|think_end|>", ()),
    NAMED: (_NAMED_OPEN, _NAMED_CLOSE, ()),
    TRANSCRIPT: ("[INST]", "[/INST]", ()),
}
_ENDS = (
    "</s> <eos> <seed:eos> <eot> <eoa> <eod> <eop> <end_of_turn> <turn|> <end_of_utterance> "
    "<|im_end|> "
    "<|eot_id|> <|eom_id|> <|eot|> <|eom|> <|eos|> <|eod|> <|eod_id|> <|endoftext|> "
    "<|end_of_text|> <|end_of_sentence|> <|end_of_turn|> <|endofturn|> <|endofresponse|> "
    "<|end_of_solution|> <|end_response|> <|end_text|> <|end_of_turn_token|> <|return|> <|call|> "
    "<|role_end|> <|end_of_role|> <|im_sep|> [|endofturn|] [eos] [eot] [unused_token_145]"
).split()
_STARTS = (
    "<bos> <seed:bos> <|begin_of_text|> <|startoftext|> <|begin_of_sentence|> "
    "<|start_of_turn_token|> [bos]"
).split()
_TURNS = (
    "<|im_start|> <|start_header_id|> <|header_start|> <|start_of_role|> <|start|> <|begin|> "
    "<|turn> <start_of_turn>"
).split()
ASSISTANT = ("assistant", "model", "chatbot", "bot", "gpt")
_OTHERS = ("user", "human", "system", "developer", "tool", "observation", "function", "ipython")


def _table() -> dict[str, tuple[Kind, str]]:
    marks: dict[str, tuple[Kind, str]] = {"<s>": ("struck", ""), "<|end|>": ("message_end", "")}
    for family, words in _WORDS.items():
        for word in words:
            marks[f"<{word}>"], marks[f"</{word}>"] = ("open", family), ("close", family)
    for family, (opening, closing, finals) in _PAIRS.items():
        marks[opening.lower()], marks[closing.lower()] = ("open", family), ("close", family)
        marks |= {mark.lower(): ("final", family) for mark in finals}
    marks |= {mark: ("end", "") for mark in (*_ENDS, "[end of text]", "[end final response]")}
    marks |= {mark: ("start", "") for mark in _STARTS}
    marks |= {mark: ("turn", "") for mark in _TURNS}
    for role in (*ASSISTANT, *_OTHERS):  # the token is the role: `<|user|>`, `<|USER_TOKEN|>`
        for token in (f"<|{role}|>", f"<|{role}_token|>", f"<|im_{role}|>"):
            marks[token] = ("turn", role)
    marks |= {"<|channel|>": ("channel", HARMONY), "<|channel>": ("channel", "gemma")}
    marks |= {"<channel|>": ("close", "gemma"), "<|think|>": ("open", HARMONY)}
    marks |= {"<|/think|>": ("close", HARMONY)}
    marks |= {"<|content|>": ("final", HARMONY), "assistantfinal": ("final", HARMONY)}
    marks |= dict.fromkeys(("assistantanalysis", "assistantcommentary"), ("open", HARMONY))
    return marks


MARKS = _table()
# Each branch begins with one plain character: the engine then skips all others at full speed.
_SHAPES = (
    r"<(?:[|\uff5c]/?[\w▁ ]{1,24}[|\uff5c]?>|[ ]?/?[ ]?[\w:]{1,24}[ ]?\|?>)"
    r"|\[(?:[|/]?[A-Za-z_][\w ]{1,24}\|?\])"
    rf"|◁/?\w{{1,12}}▷|{_NAMED_OPEN}+|{_NAMED_CLOSE}+"
)
# Harmony, its tokens taken off by the server: nobody else writes these as one word.
_JOINED = r"|assistant(?:final|analysis|commentary)"
_LABELS = ("Question", "Problem", "Human", "User", "Instruction")
_NEXT = "".join(rf"|{label}(?:[ ]\d{{1,3}})?\*{{0,2}}:" for label in _LABELS) + r"|Q:(?=[^\n]{15})"
_NEW_PARAGRAPH = re.compile(r"\n[ \t]{0,8}\n[ \t]{0,8}(?:\#{1,4}[ ])?\*{0,2}\Z")
_SHAPE = {
    (joined, following): re.compile(_SHAPES + _JOINED * joined + _NEXT * following)
    for joined in (False, True)
    for following in (False, True)
}
_BRACKETS = 50_000
"""No response has more of one kind."""
_ROLE = re.compile(
    rf"\s{{0,2}}(?P<role>{'|'.join((*ASSISTANT, *_OTHERS))})?\b[^\S\n]?"
    r"(?:to=[\w.]{1,40}[ ]?)?"
    r"(?:<\|(?:end_header_id|header_end|end_of_role|im_sep|im_middle|message)\|>)?",
    re.IGNORECASE,
)
_CHANNEL = re.compile(
    r"\s?(?P<name>\w{0,20})"
    r"(?:[^<\n]{0,80}(?:<\|constrain\|>[^<\n]{0,40})?<\|message\|>|[ \t]?\n)?"
)
# Harmony at the start of a response, its tokens taken off: `analysisThe user asks`, `final4`.
# Gemma's `<|channel>thought` loses its tokens, too, its end included: all of it is a draft then.
_BARE = re.compile(
    r"\s{0,8}(?:assistant)?(?P<name>analysis(?=[a-z]|[ ][A-Z])|(?:analysis|commentary|final)"
    r"(?=[A-Z0-9\"*\\$(\[{#<]|[^\W\x00-\x7f])|thought(?=\n\s{0,8}\S))(?:<\|message\|>)?"
)
FINAL_CHANNELS = ("final", "response", "answer")


@dataclass(frozen=True, slots=True)
class Mark:
    """One mark, and what it means for the text after it."""

    kind: Kind
    family: str
    """Of what is opened or closed; of a turn the role, empty if none is named."""
    start: int
    end: int
    """With the name of the channel or role that belongs to it."""


def split_channels(tokens: Iterable[str]) -> bool:
    """Whether special tokens of a tokenizer mark channels, so that no text may lose them.

    Without them, thinking and answer would run into each other: `The answer is A. No.B`.
    """
    kinds = ("open", "close", "final", "channel")
    return any(
        known[0] in kinds and known[1] != TRANSCRIPT
        for token in tokens
        if (known := MARKS.get(token.lower())) is not None
    )


def find_marks(text: str) -> Iterator[Mark]:
    """Find the marks of a response in their order, in linear time.

    After `MOST` marks the rest counts as thinking: the last words of a loop are not an answer.
    """
    done = 0
    bare = _BARE.match(text)
    if bare:
        kind: Kind = "final" if bare["name"] == "final" else "open"
        family = "gemma" if bare["name"] == "thought" else HARMONY
        yield Mark(kind, family, bare.start("name"), bare.end())
        done = bare.end()
    if max(map(text.count, "<[")) > _BRACKETS:
        yield Mark("open", "loop", 0, 0)
        return
    shape = _SHAPE["assistantfinal" in text, any(label in text for label in (*_LABELS, "Q:"))]
    known = 0
    for count, found in enumerate(shape.finditer(text)):
        if known == MOST or count == 10 * MOST:
            yield Mark("open", "loop", found.start(), found.start())
            return
        if found.start() < done:
            continue
        mark = _read(text, found)
        if mark is not None:
            known += 1
            done = mark.end
            yield mark


def _read(text: str, found: re.Match[str]) -> Mark | None:
    start, end = found.span()
    if text[start] in "QPHUI":
        before = _NEW_PARAGRAPH.search(text, max(0, start - 32), start)
        return Mark("next", "", before.start(), end) if before else None
    word = found.group().lower().replace("\uff5c", "|").replace("▁", "_")
    known = MARKS.get(word) or MARKS.get(word.replace(" ", "")) or MARKS.get(word[0])
    if known is None:
        return None
    kind, family = known
    if kind == "turn":
        named = _ROLE.match(text, end)
        return Mark(
            kind,
            (family or (named and named["role"]) or "").lower(),
            start,
            named.end() if named else end,
        )
    if kind == "channel":
        named = _CHANNEL.match(text, end)
        name, end = (named["name"].lower(), named.end()) if named else ("", end)
        return Mark("final" if name in FINAL_CHANNELS else "open", family, start, end)
    return Mark(kind, family, start, end)


def mark_tags(text: str, names: Sequence[str]) -> str:
    """Mark a user's own thinking tags, so that they are read as those of the families.

    Args:
        text: A response.
        names: `cot` for `<cot>…</cot>`, or both marks in full: `[[cot]]…[[/cot]]`.

    Returns:
        The response with the same length, so that places in it stay what they are.
    """
    for name in names:
        for mark, sign in zip(tag_pair(name), (_NAMED_OPEN, _NAMED_CLOSE), strict=True):
            text = re.sub(re.escape(mark), sign * len(mark), text, flags=re.IGNORECASE)
    return text


def tag_pair(name: str) -> tuple[str, str]:
    """What opens and what closes the thinking that a user has named.

    Raises:
        ValueError: neither a name nor two marks with `…` or `...` between them.
    """
    opening, dots, closing = name.replace("...", "…").partition("…")
    if not dots and re.fullmatch(r"[\w:.-]{1,40}", name):
        return f"<{name}>", f"</{name}>"
    if opening.strip() and closing.strip() and opening.strip() != closing.strip():
        return opening.strip(), closing.strip()
    raise ValueError(f"{name!r}: wanted a name (cot for <cot>…</cot>) or OPENING…CLOSING")
