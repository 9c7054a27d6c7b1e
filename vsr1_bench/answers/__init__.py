"""Extract the final answer of a response, and compare answers.

Pure functions over the standard library: no exception on any text, time linear in its length, and
never a guess. The evaluator's scores and the trainer's rewards read answers with it.
"""

from vsr1_bench.answers.boxes import boxed
from vsr1_bench.answers.channels import final_region, final_span
from vsr1_bench.answers.description import read_description
from vsr1_bench.answers.extract import extract, read_answer
from vsr1_bench.answers.leakage import states_answer
from vsr1_bench.answers.listed import options_of_question, read_options
from vsr1_bench.answers.marks import mark_tags, tag_pair
from vsr1_bench.answers.normalize import normalize_text, tidy, well_formed
from vsr1_bench.answers.numbers import (
    Quantity,
    compare_quantities,
    is_bare_quantity,
    is_date,
    is_no_gold,
    read_number,
    read_quantity,
    rounds_to,
    same_number,
    same_quantity,
    same_text,
    same_value,
    units_clash,
)
from vsr1_bench.answers.reading import Extraction
from vsr1_bench.answers.units import contradict

__all__ = [
    "Extraction",
    "Quantity",
    "boxed",
    "compare_quantities",
    "contradict",
    "extract",
    "final_region",
    "final_span",
    "is_bare_quantity",
    "is_date",
    "is_no_gold",
    "mark_tags",
    "normalize_text",
    "options_of_question",
    "read_answer",
    "read_description",
    "read_number",
    "read_options",
    "read_quantity",
    "rounds_to",
    "same_number",
    "same_quantity",
    "same_text",
    "same_value",
    "states_answer",
    "tag_pair",
    "tidy",
    "units_clash",
    "well_formed",
]
