"""The chat template and the byte-level tokenizer that ships with the tiny models; knows no problem."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

if TYPE_CHECKING:
    from collections.abc import Iterable

CONTEXT = 512
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

CHAT_TEMPLATE = """\
{%- set system = messages[0]['content'] if messages and messages[0]['role'] == 'system' else '' -%}
{%- if system or tools -%}
    {{- '<|im_start|>system\\n' + system -}}
    {%- if tools -%}
        {{- ('\\n\\n' if system else '') + '# Tools' -}}
        {%- for tool in tools -%}{{- '\\n' -}}{{- tool | tojson -}}{%- endfor -%}
    {%- endif -%}
    {{- '<|im_end|>\\n' -}}
{%- endif -%}
{%- for message in messages -%}
    {%- if not (loop.first and message['role'] == 'system') -%}
        {{- '<|im_start|>' + message['role'] + '\\n' + (message['content'] or '') -}}
        {%- for call in message['tool_calls'] or [] -%}
            {%- set function = call['function'] or call -%}
            {%- set arguments = function['arguments'] -%}
            {{- '\\n' if message['content'] or not loop.first else '' -}}
            {{- '<tool_call>\\n{"name": "' + function['name'] + '", "arguments": ' -}}
            {{- arguments if arguments is string else arguments | tojson -}}
            {{- '}\\n</tool_call>' -}}
        {%- endfor -%}
        {{- '<|im_end|>\\n' -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""

# Boilerplate that may become one token each, so that prompts with tools stay short.
_GLUE = (
    '{"type": "function", "function": {"name": "',
    '", "description": "',
    '", "parameters": {"type": "object", "properties": {"',
    '", "parameters": {"properties": {"',
    '": {"type": "string"}',
    '": {"type": "integer"}',
    '": {"type": "string", "description": "',
    '": {"type": "integer", "description": "',
    ', "',
    '"}',
    '}, "required": ["',
    '"}, "required": ["',
    '"]}}}',
    '"], "type": "object"}}}',
    '", "',
    '": "',
    '": ',
    '<tool_call>\n{"name": "',
    '", "arguments": {"',
    '"}}\n</tool_call>',
    "}}\n</tool_call>",
    " + ",
    " - ",
    " * ",
    " = ",
    ". ",
    ", ",
    ": ",
    "# Tools\n",
    "The answer is ",
    "How many ",
    " times as many",
)
_LITTLE = (
    "the to and is in of for has have with how many are then a an now from at on it what each "
    "all more does do you that buys finds gets gives loses sells away there add take plus minus "
    "multiply times by get result about me my can"
)


def build_tokenizer(texts: Iterable[str], size: int) -> PreTrainedTokenizerFast:
    """Train the byte-level BPE on `texts`: digits stand alone, words read alike after a space or a quote."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(_pattern()), "isolated")
    bytelevel = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, bytelevel])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token=SPECIAL[0],
        eos_token=SPECIAL[2],
        chat_template=CHAT_TEMPLATE,
        model_max_length=CONTEXT,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def _pattern() -> str:
    glue = "|".join(re.escape(piece) for piece in sorted(_GLUE, key=len, reverse=True))
    little = _LITTLE.replace(" ", "|")
    # Spaces stay apart from content words: a value must be the same tokens in a sentence and in JSON.
    return (
        rf"{glue}| (?:{little})(?![\p{{L}}\p{{M}}_])|[\p{{L}}\p{{M}}]+|\p{{N}}"
        r"|[!-/:-@\[-`{-~]|\s|[^\s\p{L}\p{M}\p{N}!-~]+"
    )
