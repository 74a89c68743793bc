"""Answers constrained to a JSON schema, token by token, by llguidance.

Why llguidance: a mask of 49,152 tokens takes about a millisecond; it refuses schemas that it cannot enforce,
needs neither numpy nor a compiler, and can tell whether a text is complete.
"""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from langchain_sea.errors import ExtraMissingError, GrammarError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import llguidance
    from transformers import PreTrainedTokenizerBase

__all__ = ["JsonGrammar", "Matcher"]

_MAX_EXACT_INTEGER = 2**53
_vocabularies: dict[int, _GuidanceVocabulary] = {}  # by the id of the tokenizer, which the value keeps alive
_lock = threading.Lock()


class _GuidanceVocabulary(NamedTuple):
    """What is derived from a tokenizer, once."""

    tokenizer: PreTrainedTokenizerBase
    guidance: llguidance.LLTokenizer
    positions: torch.Tensor  # (V,): 0 … V − 1


class Matcher:
    """The state of one unfinished answer."""

    def __init__(self, inner: llguidance.LLMatcher, positions: torch.Tensor) -> None:
        """Hold the library's matcher, and 0 … V − 1."""
        self._inner, self._positions = inner, positions

    def allowed_mask(self) -> torch.Tensor:
        """Return (V,) bool: which tokens may come next; the end token if the answer may end."""
        words = torch.frombuffer(bytearray(self._inner.compute_bitmask()), dtype=torch.int32)
        bits: torch.Tensor = (words[self._positions // 32] >> (self._positions % 32)) & 1
        return bits.bool()

    def consume_token(self, token: int) -> None:
        """Append an allowed token to the answer."""
        self._inner.consume_token(token)

    @property
    def is_accepting(self) -> bool:
        """Whether the answer may end here."""
        return bool(self._inner.is_accepting())


class JsonGrammar:
    """Constrains answers to the JSON of a schema.

    Attributes:
        schema: unchanged.
    """

    def __init__(
        self,
        schema: dict[str, Any],
        tokenizer: PreTrainedTokenizerBase,
        size: int,
        end_ids: Sequence[int],
        *,
        around: tuple[str, str] = ("", ""),
    ) -> None:
        """Compile the schema.

        Args:
            schema: JSON schema.
            tokenizer: the policy's.
            size: V.
            end_ids: the ids that end an answer.
            around: text that must come before and after the JSON.

        Raises:
            ExtraMissingError: llguidance is not installed.
            GrammarError: the schema cannot be enforced; the message says which part.
        """
        self.schema, self._end = schema, min(end_ids)
        self._matcher_class, self._vocabulary = _guidance(tokenizer, size, sorted(end_ids))
        # with flexible blanks the policy would choose between texts of equal meaning
        compact = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
        compact_schema = {**schema, "x-guidance": compact}
        try:
            before, behind = (f"{json.dumps(text)} " if text else "" for text in around)
            lark = f"start: {before}json {behind}\njson: %json {json.dumps(compact_schema)}\n"
            self._source = self._matcher_class.grammar_from_lark(lark)
            fault = self._matcher_class.validate_grammar(self._source, self._vocabulary.guidance)
        except ValueError as error:
            fault = str(error)
        fault = fault or _inexact_integer(schema)
        if fault:
            raise GrammarError(f"this schema cannot be enforced: {fault}. Simplify it: {json.dumps(schema)[:300]}")

    def matcher(self, prefix: Sequence[int] = ()) -> Matcher:
        """Return the matcher of a new answer, or of one that begins with `prefix`."""
        inner = self._matcher_class(self._vocabulary.guidance, self._source)
        if prefix:
            inner.consume_tokens(list(prefix))
        return Matcher(inner, self._vocabulary.positions)

    def complete(self, ids: Sequence[int], max_new_tokens: int) -> list[int] | None:
        """Complete an answer that was cut off, if only one way to go on is left until its end.

        The policy could have written nothing else. So brackets are closed behind a complete last value, and `tru`
        becomes `true`; but no string is closed that may be longer, no number that may have more digits, and no object
        that may have another key.

        Args:
            ids: the answer without an end token.
            max_new_tokens: the largest number of tokens to add.

        Returns:
            All ids of the answer; None if the policy had something left to choose, or if more tokens are needed.
        """
        completed, inner = list(ids), self._matcher_class(self._vocabulary.guidance, self._source)
        if inner.validate_tokens(completed) != len(completed):
            return None
        inner.consume_tokens(completed)
        while not inner.is_stopped():  # it stops where nothing may follow
            forced = inner.compute_ff_tokens()
            if not forced or len(completed) + len(forced) > len(ids) + max_new_tokens:
                return None
            inner.consume_tokens(forced)
            completed += forced
        return completed if inner.is_accepting() else None

    def is_complete(self, ids: Sequence[int]) -> bool:
        """Return whether an answer may end here; a number at its end may have been cut off."""
        inner = self._matcher_class(self._vocabulary.guidance, self._source)
        return inner.validate_tokens(list(ids)) == len(ids) and self.matcher(ids).is_accepting

    def allowed_candidates(self, ids: Sequence[int], support: torch.Tensor) -> torch.Tensor:
        """Find the candidates that may replace one token of a complete answer, the others unchanged.

        The text of a string can change; keys and syntax cannot.

        Args:
            ids: T tokens of a complete answer.
            support: (T, K) candidates at each position.

        Returns:
            (T, K) bool.
        """
        is_allowed = torch.zeros(support.shape, dtype=torch.bool)
        inner = self._matcher_class(self._vocabulary.guidance, self._source)
        for position, (token, row) in enumerate(zip(ids, support.tolist(), strict=True)):
            allowed = Matcher(inner, self._vocabulary.positions).allowed_mask()
            rest = [*ids[position + 1 :], self._end]
            for k, candidate in enumerate(row):
                if candidate == token:
                    is_allowed[position, k] = True
                elif allowed[candidate] and inner.consume_token(candidate):
                    is_allowed[position, k] = inner.validate_tokens(rest) == len(rest)
                    inner.rollback(1)
            inner.consume_token(token)
        return is_allowed


def _inexact_integer(schema: object) -> str:
    """Return why llguidance cannot enforce an integer of the schema: it keeps numbers in float64."""
    if isinstance(schema, dict):
        return next(filter(None, map(_inexact_integer, schema.values())), "")
    if isinstance(schema, list):
        return next(filter(None, map(_inexact_integer, schema)), "")
    if isinstance(schema, int) and abs(schema) > _MAX_EXACT_INTEGER:
        return f"{schema} has more digits than the library counts exactly"
    return ""


def _guidance(
    tokenizer: PreTrainedTokenizerBase, size: int, end_ids: list[int]
) -> tuple[type[llguidance.LLMatcher], _GuidanceVocabulary]:
    """Return the library's matcher class, and what it needs of a tokenizer."""
    try:
        import llguidance.hf  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ExtraMissingError(
            "schemas and forced calls are enforced by llguidance: pip install 'langchain-sea[constrained]'"
        ) from error
    with _lock:
        key = id(tokenizer)
        if key not in _vocabularies:
            make: Any = llguidance.hf.from_tokenizer
            guidance = make(tokenizer, n_vocab=size, eos_token=end_ids)
            _vocabularies[key] = _GuidanceVocabulary(tokenizer, guidance, torch.arange(size))
        return llguidance.LLMatcher, _vocabularies[key]
