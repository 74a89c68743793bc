"""What an answer may be, token by token: a JSON schema as a matcher of the policy's own tokens (llguidance).

llguidance: a mask of 49,152 tokens takes about a millisecond, it refuses what it cannot enforce, needs
neither numpy nor a compiler, and says whether a text is whole.
"""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from langchain_sea.errors import ExtraMissingError, GrammarError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

__all__ = ["JsonGrammar", "Matcher"]

# how an answer is brought to an end: the first of these that may stand
_CLOSERS = ('"}}', '"}', '"]', '"', "}", "]", ",", "0", "null", "true", '""', "{}", "[]")
_LOOKED_AT = 64
_EXACT = 2**53
_tokenizers: dict[int, _Known] = {}  # by the id of the tokenizer, which is kept alive in it
_lock = threading.Lock()


class _Known(NamedTuple):
    """What is made of a tokenizer once."""

    tokenizer: PreTrainedTokenizerBase
    guidance: Any  # the library's view of it
    closers: list[int]
    places: torch.Tensor  # (V,)


class Matcher:
    """One answer under way."""

    def __init__(self, inner: Any, places: torch.Tensor) -> None:  # noqa: ANN401 - llguidance has no types
        """Hold the library's own, and 0 … V − 1."""
        self._inner, self._places = inner, places

    def allowed_mask(self) -> torch.Tensor:
        """(V,) bool: what may come next; the end token where the answer may end."""
        bits = torch.frombuffer(bytearray(self._inner.compute_bitmask()), dtype=torch.int32)
        found: torch.Tensor = (bits[self._places // 32] >> (self._places % 32)) & 1
        return found.bool()

    def consume_token(self, token: int) -> None:
        """Go on with a token that is allowed."""
        self._inner.consume_token(token)

    @property
    def is_accepting(self) -> bool:
        """Whether the answer may end here."""
        return bool(self._inner.is_accepting())


class JsonGrammar:
    """JSON of a schema.

    Attributes:
        schema: as it was given.
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
        """Compile it.

        Args:
            schema: JSON schema.
            tokenizer: the policy's.
            size: V.
            end_ids: what ends an answer.
            around: text that must stand before and behind the JSON.

        Raises:
            ExtraMissingError: llguidance is not installed.
            GrammarError: the schema cannot be enforced; the message says what of it.
        """
        self.schema, self._end = schema, min(end_ids)
        self._matcher_class, self._known = _guidance(tokenizer, size, sorted(end_ids))
        # blanks between the parts would be choices of the policy that say nothing
        plain = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
        whole = {**schema, "x-guidance": plain}
        try:
            before, behind = (f"{json.dumps(text)} " if text else "" for text in around)
            lark = f"start: {before}json {behind}\njson: %json {json.dumps(whole)}\n"
            self._source = self._matcher_class.grammar_from_lark(lark)
            fault = self._matcher_class.validate_grammar(self._source, self._known.guidance)
        except ValueError as error:
            fault = str(error)
        fault = fault or _too_long(schema)
        if fault:
            shown = json.dumps(schema)[:300]
            raise GrammarError(f"this schema cannot be enforced: {fault}. Simplify it: {shown}")

    def matcher(self, prefix: Sequence[int] = ()) -> Matcher:
        """An answer from its start, or from what is written of it."""
        inner = self._matcher_class(self._known.guidance, self._source)
        if prefix:
            inner.consume_tokens(list(prefix))
        return Matcher(inner, self._known.places)

    def complete(self, ids: Sequence[int], max_new_tokens: int) -> list[int] | None:
        """An answer begun, brought to a short end: strings and lists closed, what is required filled in.

        None where that takes more than `max_new_tokens` tokens.
        """
        found, matcher = list(ids), self.matcher(ids)
        for _ in range(max_new_tokens + 1):
            if matcher.is_accepting:
                return found
            allowed = matcher.allowed_mask()
            closing = next((i for i in self._known.closers if allowed[i]), None)
            if closing is None:
                places = allowed.nonzero().flatten().tolist()
                if not places:
                    return None
                # part of a key that must stand there: the more at once the better
                closing = max(
                    places[:_LOOKED_AT], key=lambda i: len(self._known.tokenizer.convert_ids_to_tokens(i))
                )
            matcher.consume_token(closing)
            found.append(closing)
        return None

    def is_complete(self, ids: Sequence[int]) -> bool:
        """Whether these are a whole answer."""
        inner = self._matcher_class(self._known.guidance, self._source)
        return inner.validate_tokens(list(ids)) == len(ids) and self.matcher(ids).is_accepting

    def allowed_candidates(self, ids: Sequence[int], support: torch.Tensor) -> torch.Tensor:
        """Which candidates may stand in a whole answer's place, all else left as it is.

        Names and braces leave room for nothing else; within a string there is.

        Args:
            ids: T tokens of a whole answer.
            support: (T, K) candidates at each of its places.

        Returns:
            (T, K) bool.
        """
        found = torch.zeros(support.shape, dtype=torch.bool)
        inner = self._matcher_class(self._known.guidance, self._source)
        for place, (token, row) in enumerate(zip(ids, support.tolist(), strict=True)):
            allowed = Matcher(inner, self._known.places).allowed_mask()
            rest = [*ids[place + 1 :], self._end]
            for k, candidate in enumerate(row):
                if candidate == token:
                    found[place, k] = True
                elif allowed[candidate] and inner.consume_token(candidate):
                    found[place, k] = inner.validate_tokens(rest) == len(rest)
                    inner.rollback(1)
            inner.consume_token(token)
        return found


def _too_long(schema: Any) -> str:  # noqa: ANN401 - any JSON
    """The library keeps numbers in float64, where the larger whole ones are others."""
    if isinstance(schema, dict):
        return next(filter(None, map(_too_long, schema.values())), "")
    if isinstance(schema, list):
        return next(filter(None, map(_too_long, schema)), "")
    long = isinstance(schema, int) and abs(schema) > _EXACT
    return f"{schema} has more digits than the library counts exactly" if long else ""


def _guidance(tokenizer: PreTrainedTokenizerBase, size: int, end_ids: list[int]) -> tuple[Any, _Known]:
    """The library's matcher, and what is made of a tokenizer once."""
    try:
        import llguidance  # noqa: PLC0415 - an extra
        import llguidance.hf  # noqa: PLC0415 - as above
    except ImportError as error:
        raise ExtraMissingError(
            "schemas and forced calls are enforced by llguidance: pip install 'langchain-sea[constrained]'"
        ) from error
    with _lock:
        key = id(tokenizer)
        if key not in _tokenizers:
            make: Any = llguidance.hf.from_tokenizer
            vocabulary = tokenizer.get_vocab()
            closers = [vocabulary[text] for text in _CLOSERS if text in vocabulary]
            seen = make(tokenizer, n_vocab=size, eos_token=end_ids)
            _tokenizers[key] = _Known(tokenizer, seen, closers, torch.arange(size))
        return llguidance.LLMatcher, _tokenizers[key]
