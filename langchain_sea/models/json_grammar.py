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
from langchain_sea.models.json_schema import to_enforceable
from langchain_sea.models.shortest_end import find_letters, find_shortest_end

if TYPE_CHECKING:
    from collections.abc import Sequence

    import llguidance
    from transformers import PreTrainedTokenizerBase

__all__ = ["JsonGrammar", "Matcher"]

_MAX_EXACT_INTEGER = 2**53
_BOUNDS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
_LIKELY = 7.0  # nats below the likeliest token, down to which the weight of a forbidden token is not lost
_vocabularies: dict[int, _GuidanceVocabulary] = {}  # by the id of the tokenizer, which the value keeps alive
_lock = threading.Lock()


class _GuidanceVocabulary(NamedTuple):
    """What is derived from a tokenizer, once."""

    tokenizer: PreTrainedTokenizerBase
    guidance: llguidance.LLTokenizer
    positions: torch.Tensor  # (V,): 0 … V − 1
    shorter: torch.Tensor  # (V,): the longest other token that the token's text begins with; −1: none


class Matcher:
    """The state of one unfinished answer."""

    def __init__(self, inner: llguidance.LLMatcher, vocabulary: _GuidanceVocabulary) -> None:
        """Hold the library's matcher, and what is known of the tokens."""
        self._inner, self._vocabulary = inner, vocabulary

    def allowed_mask(self) -> torch.Tensor:
        """Return (V,) bool: which tokens may come next; the end token if the answer may end."""
        words, positions = self._inner.compute_bitmask(), self._vocabulary.positions
        bits = (torch.frombuffer(bytearray(words), dtype=torch.int32)[positions // 32] >> (positions % 32)) & 1
        return bits.bool()

    def constrain(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the logits, (V,), with −∞ for every token that may not come next.

        The weight of a forbidden token is added to that of the longest allowed token that its text begins with. So a
        policy that would write `}}` in one token closes one bracket where the grammar allows one: without that, what
        is left to it may be as unlikely as one more digit, again and again.
        """
        allowed = self.allowed_mask().to(logits.device)
        constrained, peak = logits.masked_fill(~allowed, -torch.inf), logits.max()
        likely = (logits > peak - _LIKELY).nonzero().flatten()
        forbidden = likely[~allowed[likely]]
        shorter, targets = self._vocabulary.shorter.to(logits.device), forbidden
        while bool((is_open := (targets >= 0) & ~allowed[targets]).any()):
            targets = torch.where(is_open, shorter[targets], targets)
        has_target = targets >= 0
        unique, places = torch.unique(targets[has_target], return_inverse=True)
        shares = (logits[forbidden[has_target]] - peak).exp()
        sums = torch.zeros_like(shares[: len(unique)]).index_add(0, places, shares)
        constrained[unique] = constrained[unique].logaddexp(sums.log() + peak)
        return constrained

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
        enforceable = to_enforceable(schema)
        compact_schema = {**enforceable, "x-guidance": compact}
        try:
            before, behind = (f"{json.dumps(text)} " if text else "" for text in around)
            lark = f"start: {before}json {behind}\njson: %json {json.dumps(compact_schema)}\n"
            self._source = self._matcher_class.grammar_from_lark(lark)
            fault = self._matcher_class.validate_grammar(self._source, self._vocabulary.guidance)
        except ValueError as error:
            fault = str(error)
        fault = fault or _inexact_integer(enforceable)
        if fault:
            raise GrammarError(f"this schema cannot be enforced: {fault}. Simplify it: {json.dumps(schema)[:300]}")

    def matcher(self, prefix: Sequence[int] = ()) -> Matcher:
        """Return the matcher of a new answer, or of one that begins with `prefix`."""
        inner = self._matcher_class(self._vocabulary.guidance, self._source)
        if prefix:
            inner.consume_tokens(list(prefix))
        return Matcher(inner, self._vocabulary)

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

    def find_end(self, ids: Sequence[int], max_new_tokens: int) -> list[int] | None:
        """Find the shortest whole answer that begins with `ids`, whatever the policy would write.

        It shows that there is one: `a@b.c` is an address, and `P1D` a duration. It is no answer of the policy.

        Args:
            ids: an unfinished answer without an end token.
            max_new_tokens: the largest number of tokens to add.

        Returns:
            All ids of an answer; None if no end was found.
        """
        inner = self._matcher_class(self._vocabulary.guidance, self._source)
        if not inner.consume_tokens(list(ids)):
            return None
        end = find_shortest_end(inner, find_letters(self._vocabulary.guidance), max_new_tokens)
        return None if end is None else [*ids, *end]

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
            allowed = Matcher(inner, self._vocabulary).allowed_mask()
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
        values = (value for key, value in schema.items() if key not in _BOUNDS or not isinstance(value, int))
        return next(filter(None, map(_inexact_integer, values)), "")
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
            shorter = _find_shorter(guidance, size)
            _vocabularies[key] = _GuidanceVocabulary(tokenizer, guidance, torch.arange(size), shorter)
        return llguidance.LLMatcher, _vocabularies[key]


def _find_shorter(guidance: llguidance.LLTokenizer, size: int) -> torch.Tensor:
    """Return (V,) the longest other token that the text of each token begins with; −1 where there is none."""
    texts = [b"" if guidance.is_special_token(i) else guidance.decode_bytes([i]) for i in range(guidance.vocab_size)]
    ids = {text: i for i, text in enumerate(texts)}
    shorter = [-1] * size
    for i, text in enumerate(texts):
        beginnings = (text[:end] for end in range(len(text) - 1, 0, -1))
        shorter[i] = next((ids[beginning] for beginning in beginnings if beginning in ids), -1)
    return torch.tensor(shorter)
