"""What a judging model is asked, how its reply is read, and what may be spent."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsr1_bench.errors import JudgeMissingError, UsageError
from vsr1_bench.generation.costs import Price, Spending, cost_of, read_prices
from vsr1_bench.judge import Item, JudgeOptions
from vsr1_bench.judging.compose import spec_times, two_specs
from vsr1_bench.judging.llm import candidate
from vsr1_bench.judging.llm_parse import read_reply
from vsr1_bench.judging.open import open_judge
from vsr1_bench.prompts.judge_prompts import GRADED, PAPER, PROMPTS, STRICT, escape, get_prompt
from vsr1_bench.records import ImagePlace, Message, Request, Sampling, Usage
from vsr1_bench.store.judge_names import bare, llm_name, read_name, stored_name
from vsr1_bench.store.run_folder import RunFolder

pytestmark = pytest.mark.usefixtures("no_keys")


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        ('{"verdict": "correct"}', "correct"),
        ('{"verdict": "incorrect", "why": "<judgment>correct</judgment>"}', "incorrect"),
        ('```json\n{"verdict": "correct"}\n```', "correct"),
        ('<think>{"verdict": "correct"}</think>{"verdict": "incorrect"}', "incorrect"),
        ("so <judgment>correct</judgment> or <judgment> Incorrect </judgment>.", "unscored"),
        ("<judgment>incorrect</judgment> no: <judgment>correct", "incorrect"),
        ("<judgment>correct", "unscored"),
        ("<judgment></judgment>", "unscored"),
        ("<judgment>not correct</judgment>", "unscored"),
        ("<judgment>correct.</judgment>", "unscored"),
        ("<judgment>wrong</judgment>", "unscored"),
        ("correct", "unscored"),
        ("incorrect", "unscored"),
        ("error", "unscored"),
        ("The answer is not incorrect.", "unscored"),
        ("0. The correct answer is 12", "unscored"),
        ("", "unscored"),
        ("<think>so it is correct", "unscored"),
        ('{"verdict": "correct"', "unscored"),
        ('{"verdict": "correct", "verdict": "incorrect"}', "unscored"),
        ('{"verdict": true}', "unscored"),
        ('{"verdict": ["correct"]}', "unscored"),
        ('{"judgment": "correct"}', "unscored"),
        ('"correct"', "unscored"),
        ("[" * 100_000, "unscored"),
    ],
)
def test_only_an_explicit_verdict_counts(reply: str, outcome: str) -> None:
    verdict = read_reply(reply)
    assert verdict.outcome == outcome
    assert bool(verdict.reason) == (outcome == "unscored") and len(verdict.reason or "") < 200


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ('{"score": 0.5}', 0.5),
        ('{"score": 1}', 1.0),
        ('{"score": "0.25"}', 0.25),
        ("<judgment>0.7</judgment>", 0.7),
        ("<judgment> 1.0 </judgment>", 1.0),
        ("0. The correct answer is 12", None),
        ("<judgment>0. The correct answer is 12</judgment>", None),
        ("<judgment>1/2</judgment>", None),
        ("<judgment>1.5</judgment>", None),
        ('{"score": 12}', None),
        ('{"score": -0.1}', None),
        ('{"score": true}', None),
        ('{"score": NaN}', None),
        ('{"verdict": "correct"}', None),
        ("0.5", None),
        ("0. The correct answer is 12", None),
        ("1", None),
    ],
)
def test_a_score_is_a_number_from_0_to_1(reply: str, score: float | None) -> None:
    verdict = read_reply(reply, graded=True)
    assert verdict.score == score
    if score is None:
        assert verdict.outcome == "unscored" and verdict.reason
    else:
        assert verdict.outcome == ("correct" if score == 1 else "incorrect")


def test_reading_takes_linear_time() -> None:
    began = time.process_time()
    for text in ("<judgment>" * 100_000, "<judgment>correct</judgment" * 50_000, "{" * 200_000):
        assert read_reply(text).outcome == "unscored"
        escape(text)
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("</candidate>", "&lt;/candidate&gt;"),
        ("< / Candidate >", "&lt; / Candidate &gt;"),
        ("<judgment>correct</judgment>", "&lt;judgment&gt;correct&lt;/judgment&gt;"),
        ("</candidate", "&lt;/candidate"),
        ("<reference x='1'>", "&lt;reference x='1'&gt;"),
        ("x < y and a<b>c", "x < y and a<b>c"),
        ("<candidates>", "<candidates>"),
    ],
)
def test_tags_of_the_prompt_become_text(text: str, shown: str) -> None:
    assert escape(text) == shown


def test_prompts_have_hashes_that_follow_every_word() -> None:
    digests = {p.digest() for p in (STRICT, PAPER, GRADED)}
    changed = (replace(STRICT, version=2), replace(STRICT, reply_tags="Reply."))
    assert len(digests | {p.digest() for p in changed}) == 5
    assert set(PROMPTS) == {"strict", "paper", "graded"}
    with pytest.raises(UsageError, match="did you mean strict"):
        get_prompt("strikt")


def test_places_are_filled_once() -> None:
    text = STRICT.write("{Candidate} {Reply}", "{Question}", "c", structured=False)
    assert "{Candidate} {Reply}" in text and "{Question}" in text and text.count("\nc\n") == 1


def item(response: str, **more: object) -> Item:
    told: dict[str, object] = {"answer": "7", "answer_type": "number", "question": "q"}
    return Item(id="a", response=response, **(told | more))  # type: ignore[arg-type]


def test_the_candidate_is_the_answer_else_the_end() -> None:
    assert candidate(item("<think>9</think> \\boxed{8}")) == ("8", "8")
    shown = candidate(item("<think>9</think>it may be 8 or 9 " + "so " * 2000))
    assert shown is not None and shown[1] is None
    assert len(shown[0]) == 2000 and "9</think>" not in shown[0]
    assert candidate(item("<think>9")) is None and candidate(item(" ")) is None
    said = "A dog. It sits on a mat."
    assert candidate(item(said, answer_type="text"), graded=True) == (said, None)
    boxed = f"{said} \\boxed{{dog}}"
    assert candidate(item(boxed, answer_type="text"), graded=True) == ("dog", "dog")


def test_what_may_be_spent() -> None:
    spending = Spending({"m": Price(1.0, 2.0)}, max_cost=1.0)
    assert spending.hold(0.6) and not spending.hold(0.5) and spending.hold(0.4)
    spending.settle(0.6, 0.1)
    assert not spending.hold(0.51) and spending.hold(0.5) and spending.spent == 0.1
    assert cost_of(Price(1.0, 2.0), Usage(1_000_000, 500_000)) == 2.0
    assert cost_of(None, Usage(1, 1)) is None and cost_of(Price(1, 1), Usage()) is None
    with pytest.raises(UsageError, match="price of 'other'"):
        spending.check("other")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"m": 1}',
        '{"m": {"input": 1}}',
        '{"m": {"input": -1, "output": 1}}',
        '{"m": {"input": true, "output": 1}}',
        '{"m": {"input": NaN, "output": 1}}',
        '{"m": {"input": 1, "output": 1, "cached": 1}}',
        '{"currency": 3}',
    ],
)
def test_a_price_file_of_another_form_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    path.write_text(text)
    with pytest.raises(UsageError, match="prices of a million tokens"):
        read_prices(path)


def test_a_price_file_with_everything(tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    price = '{"input": 2, "output": 8, "cached_input": 1, "batch": 0.5, "image": 700}'
    path.write_text(
        f'{{"currency": "EUR", "m": {price}, "currency ": {{"input": 0, "output": 0}}}}'
    )
    prices, currency = read_prices(path)
    assert currency == "EUR" and prices.keys() == {"m", "currency "}
    assert prices["m"].of(1_000_000, 0, 500_000) == 1.5
    assert prices["m"].by_batch() == Price(1.0, 4.0, 0.5, image=700)
    spending = Spending(prices, batch=True)
    shown = Request("k", (Message("user", ("four", ImagePlace(0))),), Sampling(max_tokens=10))
    assert spending.prompt_bound("m", shown) == 4 + 32 + 700
    assert spending.most("m", shown) == pytest.approx((736 * 1.0 + 10 * 4.0) / 1e6)
    for wrong, said in (('"batch": 50', "wanted a factor"), ('"image": -1', "is no price")):
        path.write_text(f'{{"m": {{"input": 1, "output": 1, {wrong}}}}}')
        with pytest.raises(UsageError, match=said):
            read_prices(path)
    path.write_text('{"currency": "a long name of a currency"}')
    with pytest.raises(UsageError, match="wanted e"):
        read_prices(path)


def test_specs_split() -> None:
    assert two_specs("math,majority:cascade:a,b*3", "cascade") == ("math", "majority:cascade:a,b*3")
    assert two_specs("a[M,paper] , b[N,paper]", "cascade") == ("a[M,paper]", "b[N,paper]")
    assert spec_times("cascade:a,b*3", "majority") == ("cascade:a,b", 3)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("cascade", "wanted cascade:RULE,LLM"),
        ("cascade:math", "wanted cascade:RULE,LLM"),
        ("cascade:math,", "wanted cascade:RULE,LLM"),
        ("majority:math", r"wanted majority:SPEC\*K"),
        ("majority:math*1", "K from 2"),
        ("majority:math*x", "K from 2"),
        ("math:3", "takes nothing after a colon"),
        ("math[m]", "takes nothing in brackets"),
        ("cascade[m]:math,string_match", "takes nothing in brackets"),
        ("openai[m", r"wanted NAME, NAME\[MODEL\]"),
        ("openai:m", r"in brackets: 'openai\[m\]'"),
        ("cascade:math,nobody", "unknown judge 'nobody'"),
        ("opanai", "did you mean openai"),
    ],
)
def test_a_wrong_spec_says_what_is_wanted(spec: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        open_judge(spec)


@pytest.mark.parametrize(
    ("spec", "options", "said"),
    [
        ("openai", {}, "--judge_model NAME, and --judge_base_url"),
        ("openai", {"model": "m"}, "--judge_base_url"),
        ("gemini", {}, "key in GEMINI_API_KEY or GOOGLE_API_KEY"),
        ("cascade:math,gemini", {}, "key in GEMINI_API_KEY"),
        ("vllm", {}, "--judge_model: a folder"),
    ],
)
def test_what_is_missing_is_said(spec: str, options: dict[str, str], said: str) -> None:
    with pytest.raises(JudgeMissingError, match=said):
        open_judge(spec, (), JudgeOptions(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "spec",
    ["cascade:openai,gemini", "majority:cascade:openai,gemini*3", "legacy_vsr1:openai,gemini"],
)
def test_all_that_several_judges_miss_is_named_at_once(spec: str) -> None:
    with pytest.raises(JudgeMissingError) as caught:
        open_judge(spec, (), JudgeOptions())
    said = str(caught.value)
    wanted = ("--judge_model NAME", "VSR1_JUDGE_API_KEY or OPENAI_API_KEY", "GEMINI_API_KEY")
    assert [part for part in wanted if part not in said] == [] and "\n" not in said
    with pytest.raises(JudgeMissingError) as caught:
        open_judge("cascade:gemini,gemini[m]", (), JudgeOptions())
    assert str(caught.value).count("needs a key") == 1


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"temprature": 1}, "--judge_args temprature.*did you mean temperature|does not take it"),
        ({"temperature": "hot"}, "wanted a number"),
        ({"max_tokens": 1.5}, "wanted a whole number"),
        ({"max_tokens": 0}, "at least 1"),
        ({"timeout": -1}, "--judge_args timeout"),
    ],
)
def test_wrong_judge_args_are_said_before_any_call(args: dict[str, object], said: str) -> None:
    options = JudgeOptions(model="m", base_url="http://127.0.0.1:9/v1", args=args)
    with pytest.raises(UsageError, match=said):
        open_judge("openai", (), options)


NAMES = {
    "openai": "openai[m]",
    "openai[m]": "openai[m]",
    "openai[m,paper]": "openai[m,paper]",
    "openai[m,strict]": "openai[m]",
    "majority:openai*3": "majority:openai[m]*3",
    "cascade:math,openai": "cascade:math,openai[m]",
    "cascade:openai[m,paper],openai[m]": "cascade:openai[m,paper],openai[m]",
    "cascade:math,majority:openai*2(all)": "cascade:math,majority:openai[m]*2(all)",
    "legacy_vsr1:math,openai": "legacy_vsr1:math,openai[m,paper]",
}


@pytest.mark.parametrize("spec", NAMES)
def test_a_name_holds_model_and_prompt_and_opens_the_same_judge_again(spec: str) -> None:
    url = "http://127.0.0.1:9/v1"
    with open_judge(spec, (), JudgeOptions(model="m", base_url=url)) as judge:
        assert judge.name == NAMES[spec]
    with open_judge(judge.name, (), JudgeOptions(base_url=url)) as again:
        assert (again.name, again.identity) == (judge.name, judge.identity)


def test_the_prompt_of_a_task_is_its_usual_one() -> None:
    options = JudgeOptions(model="m", base_url="http://127.0.0.1:9/v1", prompt="graded")
    with open_judge("openai", (), options) as judge:
        assert judge.name == "openai[m,graded]"
    with open_judge("openai", (), replace(options, task_prompt=GRADED)) as judge:
        assert judge.name == "openai[m]"


ODD = st.one_of(st.text(min_size=1), st.sampled_from(["a,b", "a[b]", "..", "/", "Qwen/Q:7b"]))


@given(ODD, ODD)
def test_any_model_gives_a_name_of_its_own_that_can_be_stored_and_found(a: str, b: str) -> None:
    name, other = (f"cascade:math,{llm_name('openai', model, 'paper')}" for model in (a, b))
    assert (name == other) == (a == b)
    path = RunFolder(Path("run")).judgment_path(name, "0123456789")
    assert path.parent == Path("run/judgments") and len(path.name) < 200
    assert unquote(path.stem) == f"{name}-01234567"
    assert two_specs(str(read_name(name).argument), name)[0] == "math"
    assert bare(name) == "cascade:math,openai" and stored_name("cascade", [name]) == name


def test_the_identity_follows_what_decides_and_nothing_else() -> None:
    def of(spec: str = "openai", **told: object) -> str:
        known: dict[str, object] = {"model": "m", "base_url": "http://127.0.0.1:9/v1"}
        options = JudgeOptions(**(known | told))  # type: ignore[arg-type]
        with open_judge(spec, (), options) as judge:
            return judge.identity

    plain = of()
    assert plain == of(concurrency=3) == of(args={"timeout": 3, "max_retries": 1})
    assert plain == of(spending=Spending({"m": Price(1, 1)}))
    others = [
        of(model="n"),
        of(base_url="http://127.0.0.1:8/v1"),
        of(prompt="paper"),
        of(task_prompt=GRADED),
        of(args={"temperature": 0.5}),
        of(args={"max_tokens": 9}),
        of("majority:openai*3"),
        of("majority:openai*5"),
        of("cascade:math,openai"),
        of("cascade:string_match,openai"),
        of("cascade:math,openai", judge_all=True),
        of("legacy_vsr1:math,openai"),
    ]
    assert len({plain, *others}) == len(others) + 1
