"""The process in which `decoding_speed.py` runs llama.cpp; needs llama-cpp-python and nothing of this package.

`python decoding_llama_cpp.py GGUF IDS THREADS TOKENS ROWS`, with the prompt's ids as JSON and the most rows. It
prints `ready`; for each line with a number of rows it writes so many answers, and prints `done`.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

MISSING = 3  # the exit status if llama-cpp-python is not installed


class Writer:
    """Answers to one prompt, which is read once and copied into each row."""

    def __init__(self, llama: Any, file: str, ids: list[int], threads: int, tokens: int, rows: int) -> None:
        """Load the file, and read all of the prompt but its last id."""
        self.llama, self.ids, self.tokens = llama, ids, tokens
        self.silent = llama.llama_log_callback(lambda _level, _text, _data: None)  # kept: C calls it
        llama.llama_log_set(self.silent, None)
        self.model = llama.llama_model_load_from_file(file.encode(), llama.llama_model_default_params())
        if not self.model:
            message = f"llama.cpp cannot read {file}"
            raise ValueError(message)
        options = llama.llama_context_default_params()
        options.n_ctx = options.n_batch = rows * (len(ids) + tokens + 64)
        options.n_seq_max = rows
        options.n_threads = options.n_threads_batch = threads
        self.context = llama.llama_init_from_model(self.model, options)
        self.memory = llama.llama_get_memory(self.context)
        self.vocabulary = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(self.model))
        before = range(len(ids) - 1)
        self._decode(ids[:-1], before, [0 for _ in before], with_logits=False)
        for row in range(1, rows):
            llama.llama_memory_seq_cp(self.memory, 0, row, -1, -1)

    def write(self, rows: int) -> None:
        """Write the likeliest tokens into each row, then forget them."""
        ids, first = [self.ids[-1]] * rows, len(self.ids) - 1
        for number in range(self.tokens):
            self._decode(ids, [first + number] * rows, list(range(rows)), with_logits=True)
            ids = [self._likeliest(row) for row in range(rows)]
        for row in range(rows):
            self.llama.llama_memory_seq_rm(self.memory, row, first, -1)

    def _likeliest(self, row: int) -> int:
        numpy = importlib.import_module("numpy")
        logits = self.llama.llama_get_logits_ith(self.context, row)
        return int(numpy.ctypeslib.as_array(logits, (self.vocabulary,)).argmax())

    def _decode(self, ids: Any, positions: Any, rows: Any, *, with_logits: bool) -> None:
        batch = self.llama.llama_batch_init(len(ids), 0, 1)
        batch.n_tokens = len(ids)
        for at, (token, position, row) in enumerate(zip(ids, positions, rows, strict=True)):
            batch.token[at], batch.pos[at] = token, position
            batch.n_seq_id[at], batch.seq_id[at][0] = 1, row
            batch.logits[at] = with_logits
        status = self.llama.llama_decode(self.context, batch)
        self.llama.llama_batch_free(batch)
        if status:
            message = f"llama_decode failed with {status}"
            raise RuntimeError(message)


def main() -> None:
    """Serve lines from standard input."""
    try:
        llama = importlib.import_module("llama_cpp")
    except ImportError:
        sys.exit(MISSING)
    file, ids, *numbers = sys.argv[1:]
    writer = Writer(llama, file, json.loads(ids), *map(int, numbers))
    print("ready", flush=True)
    for line in sys.stdin:
        writer.write(int(line))
        print("done", flush=True)


if __name__ == "__main__":
    main()
