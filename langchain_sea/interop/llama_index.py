"""`SEALLM`: a `SEAChatModel` as the language model of LlamaIndex. Needs `pip install 'langchain-sea[llama-index]'`.

LlamaIndex's own wrapper of LangChain models needs a version of `langchain-community` that current releases have left.
This adapter uses `llama-index-core` alone, and keeps what the wrapper loses: the context window, the number of tokens
and the report of the refinement.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_sea.errors import ExtraMissingError

try:
    from llama_index.core.base.llms.types import (
        ChatMessage,
        ChatResponse,
        ChatResponseAsyncGen,
        ChatResponseGen,
        CompletionResponse,
        CompletionResponseAsyncGen,
        CompletionResponseGen,
        LLMMetadata,
        MessageRole,
        TextBlock,
        ThinkingBlock,
        ToolCallBlock,
    )
    from llama_index.core.bridge.pydantic import Field
    from llama_index.core.constants import DEFAULT_CONTEXT_WINDOW
    from llama_index.core.llms import CustomLLM
    from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
except ImportError as error:
    raise ExtraMissingError(
        "the adapter for LlamaIndex needs llama-index-core: pip install 'langchain-sea[llama-index]'"
    ) from error

from langchain_sea.chat.profile import find_profile
from langchain_sea.chat_models import SEAChatModel  # noqa: TC001 - pydantic reads the annotation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

__all__ = ["SEALLM", "to_langchain_messages"]

_SYSTEM_ROLES = {MessageRole.SYSTEM, MessageRole.DEVELOPER}
_ASSISTANT_ROLES = {MessageRole.ASSISTANT, MessageRole.CHATBOT, MessageRole.MODEL}
_RESULT_ROLES = {MessageRole.TOOL, MessageRole.FUNCTION}


class SEALLM(CustomLLM):
    """A `SEAChatModel` as LlamaIndex uses language models: `complete`, `chat`, their streams, and all of it async.

    Options of a call, such as `stop`, `temperature` or `max_tokens`, are those of `SEAChatModel.invoke`. A response's
    `raw` holds LangChain's `response_metadata`, with the report of the refinement under `sea`; `additional_kwargs`
    hold the numbers of tokens.

    Examples:
        >>> from langchain_sea import SEAChatModel
        >>> from langchain_sea.interop.llama_index import SEALLM
        >>> llm = SEALLM(chat_model=SEAChatModel(model="tiny"))
        >>> llm.metadata.context_window
        512
    """

    chat_model: SEAChatModel = Field(description="The model that answers.")

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex stores this class."""
        return "sea_llm"

    @property
    def metadata(self) -> LLMMetadata:
        """What LlamaIndex plans prompts by: the context window and the length of answers, in tokens.

        The length is at most half the window, because LlamaIndex subtracts it from the place of a prompt. Where no
        configuration is at hand, as for a `.gguf` file, the model is loaded.
        """
        window = _find_context_window(self.chat_model)
        return LLMMetadata(
            context_window=window,
            num_output=min(self.chat_model.max_tokens, window // 2),
            is_chat_model=True,
            model_name=str(getattr(self.chat_model.model, "name", None) or self.chat_model.model),
        )

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer a conversation."""
        return _to_chat_response(self.chat_model.invoke(to_langchain_messages(messages), **kwargs))

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer a conversation."""
        return _to_chat_response(await self.chat_model.ainvoke(to_langchain_messages(messages), **kwargs))

    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """Answer a conversation in parts; each response holds the text so far, and the new part as `delta`."""
        chunks = self.chat_model.stream(to_langchain_messages(messages), **kwargs)
        return (_to_chat_response(whole, delta=delta) for whole, delta in _accumulate(chunks))

    @llm_chat_callback()
    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """Answer a conversation in parts; each response holds the text so far, and the new part as `delta`."""
        chunks = self.chat_model.astream(to_langchain_messages(messages), **kwargs)
        return (_to_chat_response(whole, delta=delta) async for whole, delta in _aaccumulate(chunks))

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:  # noqa: FBT001, FBT002 - LlamaIndex's
        """Answer one text, as a user's message."""
        del formatted
        return _to_completion(self.chat_model.invoke(prompt, **kwargs))

    @llm_completion_callback()
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:  # noqa: FBT001, FBT002 - LlamaIndex's
        """Answer one text, as a user's message."""
        del formatted
        return _to_completion(await self.chat_model.ainvoke(prompt, **kwargs))

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:  # noqa: FBT001, FBT002 - LlamaIndex's
        """Answer one text in parts; each response holds the text so far, and the new part as `delta`."""
        del formatted
        chunks = self.chat_model.stream(prompt, **kwargs)
        return (_to_completion(whole, delta=delta) for whole, delta in _accumulate(chunks))

    @llm_completion_callback()
    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseAsyncGen:  # noqa: FBT001, FBT002 - LlamaIndex's
        """Answer one text in parts; each response holds the text so far, and the new part as `delta`."""
        del formatted
        chunks = self.chat_model.astream(prompt, **kwargs)
        return (_to_completion(whole, delta=delta) async for whole, delta in _aaccumulate(chunks))


def _find_context_window(model: SEAChatModel) -> int:
    """Return the model's context length: that of its profile or its configuration, or else of the loaded model."""
    from langchain_sea.models.loading import where  # noqa: PLC0415 - imports transformers

    profile = model.profile
    if profile is None and isinstance(model.model, (str, os.PathLike)):
        profile = find_profile(where(model.model).path)
    known = (profile or {}).get("max_input_tokens") or model._load_policy().context  # noqa: SLF001 - a part of the package
    return known or DEFAULT_CONTEXT_WINDOW


def to_langchain_messages(messages: Sequence[ChatMessage]) -> list[BaseMessage]:
    """Convert a conversation.

    Raises:
        ValueError: a message holds a block that is no text, such as an image.
    """
    return [_to_langchain_message(message) for message in messages]


def _to_langchain_message(message: ChatMessage) -> BaseMessage:
    text = "\n".join(block.text for block in message.blocks if isinstance(block, TextBlock))
    for block in message.blocks:
        if not isinstance(block, (TextBlock, ThinkingBlock, ToolCallBlock)):
            raise ValueError(  # noqa: TRY004 - the message has a wrong value, not a wrong type
                f"a message of the role {message.role.value!r} holds a block of the type {block.block_type!r}: "
                "the model reads text alone. Leave the block out, or describe it in words."
            )
    if message.role in _SYSTEM_ROLES:
        return SystemMessage(text)
    if message.role in _RESULT_ROLES:
        return ToolMessage(text, tool_call_id=str(message.additional_kwargs.get("tool_call_id", "")))
    if message.role in _ASSISTANT_ROLES:
        calls = [
            {"name": block.tool_name, "args": block.tool_kwargs, "id": block.tool_call_id, "type": "tool_call"}
            for block in message.blocks
            if isinstance(block, ToolCallBlock)
        ]
        return AIMessage(text, tool_calls=calls)
    return HumanMessage(text)


def _accumulate(chunks: Iterator[AIMessageChunk]) -> Iterator[tuple[AIMessageChunk, str]]:
    """Yield the answer so far and its newest part."""
    whole: AIMessageChunk | None = None
    for chunk in chunks:
        whole = chunk if whole is None else whole + chunk
        yield whole, chunk.text


async def _aaccumulate(chunks: AsyncIterator[AIMessageChunk]) -> AsyncIterator[tuple[AIMessageChunk, str]]:
    """Yield the answer so far and its newest part."""
    whole: AIMessageChunk | None = None
    async for chunk in chunks:
        whole = chunk if whole is None else whole + chunk
        yield whole, chunk.text


def _to_chat_response(message: AIMessage, *, delta: str | None = None) -> ChatResponse:
    return ChatResponse(
        message=ChatMessage(role=MessageRole.ASSISTANT, content=str(message.text)),
        delta=delta,
        raw=message.response_metadata,
        additional_kwargs=_count_tokens(message),
    )


def _to_completion(message: AIMessage, *, delta: str | None = None) -> CompletionResponse:
    return CompletionResponse(
        text=str(message.text), delta=delta, raw=message.response_metadata, additional_kwargs=_count_tokens(message)
    )


def _count_tokens(message: AIMessage) -> dict[str, int]:
    """Return the numbers of tokens under the keys by which LlamaIndex counts them."""
    usage = message.usage_metadata
    if usage is None:
        return {}
    return {
        "prompt_tokens": usage["input_tokens"],
        "completion_tokens": usage["output_tokens"],
        "total_tokens": usage["total_tokens"],
    }
