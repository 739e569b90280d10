"""One declaration says what a model accepts, to gateways and to the run alike."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest

from neurogrid.runners.base import Runner, TaskError
from neurogrid.runners.catalog import build
from neurogrid.runners.schema import read, schema_of
from neurogrid.runners.text_generation import GenerationInput, GenerationParameters

RUNNERS = build(debug=True)


@pytest.mark.parametrize("runner", RUNNERS, ids=lambda runner: runner.spec.name)
def test_examples_are_valid(runner: Runner) -> None:
    """The example a model gives is accepted by its own schema, and so are no parameters at all."""
    spec = runner.spec
    jsonschema_rs.Draft202012Validator(spec.input_schema).validate(spec.example_input)
    jsonschema_rs.Draft202012Validator(spec.parameters_schema).validate({})


@pytest.mark.parametrize("runner", RUNNERS, ids=lambda runner: runner.spec.name)
def test_unknown_parameters_are_refused(runner: Runner) -> None:
    """A misspelt parameter is an error."""
    validator = jsonschema_rs.Draft202012Validator(runner.spec.parameters_schema)
    assert not validator.is_valid({"temprature": 1})


BAD_INPUTS = ["", 7, None, [], {}, {"messages": []}, {"messages": [{"role": "boss", "content": "x"}]}]
BAD_PARAMETERS = [
    {"max_tokens": 0},
    {"max_tokens": 5000},
    {"max_tokens": 1.5},
    {"temperature": 2.1},
    {"top_p": 0},
    {"stop": [""]},
    {"stop": ["a"] * 5},
    {"seed": -1},
    {"nonsense": 1},
]
GOOD_PARAMETERS = [
    {},
    {"max_tokens": 3.0},
    {"temperature": 1},
    {"stop": "END"},
    {"stop": ["a", "b"]},
    {"stop": None},
    {"seed": None},
    {"seed": 42},
]


@pytest.mark.parametrize("value", BAD_INPUTS)
def test_schema_and_run_refuse_the_same_input(value: Any) -> None:
    """What the schema refuses, a run refuses too."""
    assert not jsonschema_rs.Draft202012Validator(schema_of(GenerationInput)).is_valid(value)
    with pytest.raises(TaskError) as caught:
        read(value, GenerationInput)
    assert caught.value.code == "invalid_input"
    assert not caught.value.retryable


@pytest.mark.parametrize("value", BAD_PARAMETERS)
def test_schema_and_run_refuse_the_same_parameters(value: Any) -> None:
    """What the schema refuses, a run refuses too."""
    assert not jsonschema_rs.Draft202012Validator(schema_of(GenerationParameters)).is_valid(value)
    with pytest.raises(TaskError):
        read(value, GenerationParameters)


@pytest.mark.parametrize("value", GOOD_PARAMETERS)
def test_schema_and_run_accept_the_same_parameters(value: Any) -> None:
    """What the schema accepts, a run accepts too."""
    jsonschema_rs.Draft202012Validator(schema_of(GenerationParameters)).validate(value)
    assert isinstance(read(value, GenerationParameters), GenerationParameters)


def test_the_wrong_field_can_be_named() -> None:
    """A validator points at the field that is wrong although the input has alternatives."""
    validator = jsonschema_rs.Draft202012Validator(schema_of(GenerationInput))
    (error,) = validator.iter_errors({"messages": [{"role": "user", "content": 7}]})
    assert list(error.instance_path) == ["messages", 0, "content"]
