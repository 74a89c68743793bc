"""The values of a call's options, checked as the constructor of `SEAChatModel` checks its fields."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from langchain_sea.chat.options import CALL_FIELDS
from langchain_sea.chat.validation_errors import summarize

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["merge_values"]


def merge_values(model: BaseModel, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return a value for each of `CALL_FIELDS`: the call's, or else the model's.

    Args:
        model: whose fields the options are.
        overrides: keyword arguments of the call, under the fields' names. None is the model's own value, unless the
            field itself may be None.

    Raises:
        ValueError: a value has the wrong type or is outside its range.
    """
    call_class = _make_call_class(type(model))
    optional = {name for name, field in call_class.model_fields.items() if field.default is None}
    given = {name: value for name, value in overrides.items() if value is not None or name in optional}
    try:
        call = call_class.model_validate({name: given.get(name, getattr(model, name)) for name in CALL_FIELDS})
    except ValidationError as error:
        raise ValueError(summarize(error)) from None  # it says all that the other says
    return {name: getattr(call, name) for name in CALL_FIELDS}


@cache
def _make_call_class(model_class: type[BaseModel]) -> type[BaseModel]:
    """Return a class of the fields that a call may override."""
    fields: dict[str, Any] = {name: (field.annotation, field) for name, field in model_class.model_fields.items()}
    config = ConfigDict(arbitrary_types_allowed=True, hide_input_in_errors=True)
    return create_model("CallValues", __config__=config, **{name: fields[name] for name in CALL_FIELDS})
