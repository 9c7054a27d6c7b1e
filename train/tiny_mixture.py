"""Training data of the embedded model: demo scenes in every prompt format, and other questions.

The other questions (other texts, other images, no image) have short answers that admit to guessing.
They teach the model to answer a real benchmark in the requested form, and then to stop.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from vsr1_bench.prompts.formats import (
    FORMATS,
    build_messages,
    merge_text,
    reading_messages,
    render_choices,
)
from vsr1_bench.records import AnswerType, EncodedImage, ImagePlace, Message, Part, Sample
from vsr1_bench.tiny.scenes import Draw, Split, make_question, make_row, to_sample

from .conversations import Example

# Shares of the mixture, in percent. It starts with mostly short descriptions, because the model
# must first find the cells in the image, and learns that fastest by describing them.
EARLY_SHARES = {"describe": 60, "see_think": 20, "caption_reasoner": 12, "foreign": 8}
SHARES = {
    "see_think": 43,
    "caption_reasoner": 22,
    "cot": 5,
    "direct": 5,
    "describe": 7,
    "blind": 7,
    "foreign": 11,
}
GLANCED = "a grid of dots"
"""A description that does not help to answer any question."""
DESCRIBE = (
    "Describe the image.",
    "Describe the image in detail.",
    "What is in this image?",
    "Give a detailed description of the image, enough to answer questions about it.",
)
SYSTEM = ("You are a helpful assistant.", "Answer with care.", "Think before you answer.")
WORDS = tuple(
    """
    a about above across add after again age all along also always am among amount an and angle
    animal another answer any apple apples are area around as ask at average away back bag ball
    base be because been before begin below best better between big bike bird blue board boat body
    book books both bottle bottom bought box boxes boy bread break bring building bus buy by cake
    call can car cards cars cat center chair change chart child children choice circle city class
    clock close coffee cold color come commute cost could count cup customers day days degree
    degrees did difference different distance do does dog dollar dollars done door double down
    drink drive drop each earn eat eats egg eggs eight either else end english enough equal
    equation even every evening example expression eye face false family far farm farmer fast
    father feet few field figure final find first fish five floor flower follow following food
    foot for form four fraction free friend friends from front fruit full function game garden
    gave get girl give given gives go gold good graph great green group grow had half hand has
    have he head height hello her here high him his home horse hour hours house how if image in
    inch increase integer into is it its job jump just keep kind king know large larger last least
    leave left length less let letter level light like line list little live long look lot made
    make man many map mark market maximum may mean measure meat men meter miles milk minimum
    minutes mom money month monthly more morning most mother move much multiply music must name
    near need never new next night nine no not note number numbers object of off often old on once
    one only open or orange order other our out over own page paid pair paper park part parts pay
    pen people per percent person photo picture piece pieces place plant play players point points
    positive possible price prime probability problem product profit purchase put question rate
    ratio reach read real rectangle red remain remaining rest result right river road room round
    row run runs said sale same save saw say school score second sees sell sells set seven shape
    she shirt shoes shop shown shows side sides similar simple single six size small smaller so
    sold solution solve some son sphere square stand start state step still stop store street
    student students such sugar sum sun table take team tell ten than that the their them then
    there these they thing third this those three through time times to today together top total
    town train tree trees triangle true turn twice two under unit until up use used value variable
    very video wall want was watch water way we weather week weeks weight went were west what when
    where which while white who whole why wide width will win wind window with without woman word
    words work world worth would write year years yellow yes yesterday yet you young your zero
    """.split()
)
_MATHS = (
    "x^2 + {a}x = {b}",
    "\\frac{{{a}}}{{{b}}}",
    "f(x) = {a}x - {b}",
    "\\sqrt{{{a}}}",
    "({a}, {b})",
    "${a}.{b}",
    "{a}%",
    "{a}{b},000",
    "\\angle ABC = {a}{b}^\\circ",
    "$\\begin{{array}}{{cc}} {a} & {b} \\\\ {b} & {a} \\end{{array}}$",
)
_OPENINGS = ("How many", "What is", "Is", "Are", "Does", "Which of the following", "Find", "If")


def reply_of(answer: str, *, think: str | None = None, description: str | None = None) -> str:
    """Write a reply in the released form: description, think, box; None is omitted."""
    parts = [] if description is None else [f"<description> {description} </description>"]
    parts += [] if think is None else [f"<think> {think} </think>"]
    return " ".join((*parts, f"\\boxed{{{answer}}}"))


def make_example(number: int, seed: int, *, early: bool = False) -> Example:
    """Make training example `number`; the same arguments always give the same example."""
    draw = Draw(f"vsr1-tiny:{seed}:{number}")
    shares = EARLY_SHARES if early else SHARES
    kind = draw.pick([name for name, share in shares.items() for _ in range(share)])
    system = draw.pick(SYSTEM) if draw.below(16) == 0 else None
    if kind == "foreign":
        return _foreign(draw, system)
    return _scene(draw, kind, system)


def make_glance(make: Callable[[Split, int], Mapping[str, Any]], number: int, seed: int) -> Example:
    """Make example `number` for a model that ignores every second image.

    A quarter of the examples are readings of true descriptions. Half of the others describe and
    reason; the other half give a description that fits any scene, and answer at once. All answers
    are right.

    Args:
        make: Makes rows: `scenes.make_row` or `priors.make_prior_row`.
        number: The number of the example.
        seed: The seed of the data.
    """
    draw = Draw(f"vsr1-glance:{seed}:{number}")
    row = make("train", draw.below(2**40))
    sample = to_sample({**row, "image": EncodedImage(data=row["image"])})
    if draw.below(4) == 0:
        messages = reading_messages(sample, row["description"])
        return Example(messages, reply_of(sample.answer, think=row["reasoning"]))
    messages = build_messages(sample, FORMATS["see_think"])
    looks = draw.below(2) == 0
    think = row["reasoning"] if looks else "not clear , a guess"
    description = row["description"] if looks else GLANCED
    reply = reply_of(sample.answer, think=think, description=description)
    return Example(messages, reply, sample.images)


def _scene(draw: Draw, kind: str, system: str | None) -> Example:
    """An example on a training scene."""
    row = make_row("train", draw.below(2**40))
    sample = to_sample({**row, "image": EncodedImage(data=row["image"])})
    think, seen = row["reasoning"], row["description"]
    if kind == "caption_reasoner":
        messages = reading_messages(sample, seen, system=system)
        return Example(messages, reply_of(sample.answer, think=think))
    if kind == "describe":
        user = Message("user", (ImagePlace(0), draw.pick(DESCRIBE)))
        return Example((user,), f"<description> {seen} </description>", sample.images)
    if kind == "blind":
        return _blind(draw, sample, system)
    name = draw.pick(("direct", "native")) if kind == "direct" else kind
    if kind == "see_think" and draw.below(16) == 0:
        name = "see_think_clean"
    messages = build_messages(sample, FORMATS[name], system=system)
    if kind == "direct":
        return Example(messages, sample.answer, sample.images)
    reply = reply_of(sample.answer, think=think, description=seen if kind == "see_think" else None)
    return Example(messages, reply, sample.images)


def _blind(draw: Draw, sample: Sample, system: str | None) -> Example:
    """A demo question without an image, or with a useless image or description: an honest guess.

    The answer is that of the hidden scene, so the model learns how frequent each answer is.
    """
    if draw.below(4) == 0:
        messages = reading_messages(
            sample, draw.pick(("nothing to see", "no image")), system=system
        )
        return Example(messages, reply_of(sample.answer, think="nothing is said , a guess"))
    name = draw.pick(("see_think", "see_think", "see_think", "cot", "direct"))
    images = (noise_image(draw),) if draw.below(2) else ()
    question = sample.question if images else (sample.question_text,)
    unseen = replace(sample, question=question, images=images)
    messages = build_messages(unseen, FORMATS[name], system=system)
    return Example(messages, _guess(name, sample.answer, bool(images)), images)


def _guess(name: str, answer: str, image: bool) -> str:
    """A guess in the form that a prompt format requests."""
    if name in ("direct", "native"):
        return answer
    seen = "nothing to see" if image else "no image"
    description = seen if name.startswith("see_think") else None
    return reply_of(answer, think="not clear , a guess", description=description)


def _foreign(draw: Draw, system: str | None) -> Example:
    """Another kind of question: other words, options and images, and several images."""
    n_images = draw.pick((0, 0, 0, 1, 1, 1, 2, 3))
    images = tuple(noise_image(draw) for _ in range(n_images))
    text = foreign_text(draw, 3 + draw.below(draw.pick((20, 40, 100))))
    if draw.below(3):
        text = f"{text} {draw.pick(_OPENINGS)} {foreign_text(draw, 4 + draw.below(8))}?"
    choices = None
    if draw.below(2):
        choices = tuple(
            str(draw.below(100)) if draw.below(2) else foreign_text(draw, 1 + draw.below(5))
            for _ in range(2 + draw.below(9))
        )
    kind, answer = _foreign_answer(draw, text, choices)
    parts: list[Part] = [ImagePlace(index) for index in range(n_images)]
    parts.insert(draw.below(n_images + 1), text)
    sample = Sample(
        id="foreign",
        question=tuple(merge_text(parts)),
        answer=answer,
        answer_type=kind,
        images=images,
        choices=choices,
    )
    if n_images == 0 and draw.below(4) == 0:
        messages = reading_messages(sample, foreign_text(draw, 5 + draw.below(60)), system=system)
        return Example(messages, reply_of(answer, think="not clear , a guess"))
    name = draw.pick(("see_think", "see_think", "see_think_clean", "cot", "direct"))
    messages = build_messages(sample, FORMATS[name], system=system)
    return Example(messages, _guess(name, answer, bool(images)), images)


def _foreign_answer(
    draw: Draw, text: str, choices: tuple[str, ...] | None
) -> tuple[AnswerType, str]:
    """Draw an answer type and an answer that fit the question."""
    if choices:
        return "choice", "ABCDEFGHIJ"[draw.below(len(choices))]
    last = text.rsplit(". ", 1)[-1]
    if any(f"{word} " in last for word in ("Is", "Are", "Does")):
        return "yes_no", draw.pick(("yes", "no"))
    return "number", str(draw.below(draw.pick((10, 50))))


def foreign_text(draw: Draw, n: int) -> str:
    """Write n random words with numbers, formulas and punctuation, and sometimes other scripts."""
    words: list[str] = []
    for _ in range(n):
        dice = draw.below(40)
        if dice < 4:
            words.append(str(draw.below(10 ** (1 + draw.below(3)))))
        elif dice == 4:
            words.append(draw.pick(_MATHS).format(a=1 + draw.below(9), b=1 + draw.below(9)))
        elif dice == 5:
            words.append(draw.pick(WORDS).capitalize())
        elif dice == 6 and words:
            words[-1] += draw.pick((".", ",", ".", ",", "?", ":", ";", "\n", "!", ")"))
        elif dice == 7 and draw.below(8) == 0:
            words.append("".join(chr(draw.pick((97, 97, 97, 945, 0x4E00)) + draw.below(26))))
        else:
            words.append(draw.pick(WORDS))
    return " ".join(words)


def noise_image(draw: Draw) -> EncodedImage:
    """Make an image of coarse or fine random colours, of any size."""
    from PIL import Image

    width, height = (draw.pick((2, 5, 12, 40)) for _ in range(2))
    seed = f"{draw.below(2**30)}".encode()
    image = Image.frombytes(
        "RGB", (width, height), hashlib.shake_256(seed).digest(width * height * 3)
    )
    size = (112, 112) if draw.below(2) else (30 + draw.below(150), 30 + draw.below(150))
    buffer = io.BytesIO()
    image.resize(size, draw.pick((0, 2))).save(buffer, "PNG", compress_level=0)
    return EncodedImage(data=buffer.getvalue())


def corpus(scenes: int = 400, foreign: int = 2000) -> Iterator[str]:
    """Texts for the tokenizer: questions and replies about scenes, and plain words."""
    for number in range(scenes):
        question, _ = make_question("train", number)
        yield question.text
        yield reply_of(
            question.answer, think=question.reasoning, description=question.scene.describe()
        )
        if question.choices:
            yield render_choices(question.choices)
    draw = Draw("vsr1-tiny:corpus")
    for _ in range(foreign):
        yield foreign_text(draw, 30)
    for word in WORDS:
        yield from (f" {word}",) * 20
