"""The table of problems: complete against the code that refuses, and the page that documents it."""

import ast
import pathlib

from hub.api import problems

ROOT = pathlib.Path(__file__).parents[2]


def raised(name, *folders):
    """The first argument of every `name("code", …)` call in the sources."""
    for folder in folders:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
                if is_call and node.args and isinstance(node.args[0], ast.Constant):
                    yield node.args[0].value


def test_every_reason_code_that_the_core_refuses_with_is_a_documented_problem():
    """A code that is missing would turn a refusal into an internal error."""
    codes = set(raised("Refusal", "hub/core", "schemas"))
    assert len(codes) > 15
    assert codes - problems.REASONS == set()


def test_every_problem_that_the_interface_raises_is_in_the_table():
    assert set(raised("Problem", "hub/api")) - problems.KINDS.keys() == set()


def test_no_reason_code_is_documented_that_nothing_refuses_with():
    from hub.core.registry import KEY_PROBLEMS

    assert problems.REASONS - set(raised("Refusal", "hub/core", "schemas")) - KEY_PROBLEMS.keys() == set()


def test_the_page_is_the_table():
    assert (ROOT / "docs/problems.md").read_text() == problems.render(), "write hub.api.problems.render() to it"


def test_codes_are_unique_and_every_problem_says_what_to_do():
    kinds = list(problems.KINDS.values())
    assert len(kinds) == len(problems._TABLE) + len(problems._REASONS)
    assert all(kind.meaning and kind.remedy and 400 <= kind.status < 600 for kind in kinds)
