"""The servers that `peers.py` talks to, each in a process of its own: our endpoint with the plain policy, and optillm."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

START_SECONDS, STOP_SECONDS = 300, 60
SERVE = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from langchain_sea.cli import main; raise SystemExit(main())"
)
"""`langchain-sea` by this interpreter; a shell that started it in the background has Ctrl-C ignored."""
SETTINGS = """\
model = "smollm2-135m"
rewards = []
temperature = 0.8
dtype = "{dtype}"
chat_template = '{template}'

[budget]
max_time = 0
max_evaluations = 1

[server]
max_n = 64
"""
"""Without rewards, and with the one evaluation that the draft takes, an answer is a draft of the policy."""
CONTINUING = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n"
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}"
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] }}"
    "{% if not (loop.last and message['role'] == 'assistant') %}{{ '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt and messages[-1]['role'] != 'assistant' %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""The model's own template, but the policy goes on with an answer that stands last: particles need that."""


@contextmanager
def plain_endpoint(dtype: str, threads: int) -> Iterator[str]:
    """`langchain-sea serve` with the plain policy; gives the URL that clients take."""
    with tempfile.TemporaryDirectory() as folder:
        template, settings = Path(folder, "continuing.jinja"), Path(folder, "plain.toml")
        template.write_text(CONTINUING, encoding="utf-8")
        settings.write_text(SETTINGS.format(dtype=dtype, template=template), encoding="utf-8")
        port = free_port()
        command = [sys.executable, "-c", SERVE, "serve", "--settings", str(settings), "--port", str(port)]
        with running(command, os.environ | {"OMP_NUM_THREADS": str(threads)}, port) as url:
            yield url


@contextmanager
def optillm_proxy(executable: str, command: str, endpoint: str) -> Iterator[str]:
    """optillm before an endpoint, by its own command line; gives the URL that clients take."""
    port = free_port()
    _, *arguments = shlex.split(command.format(endpoint=endpoint, port=port))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"OPENAI_API_KEY": "none", "HF_HUB_OFFLINE": "1"}
    with running([executable, *arguments], environment, port) as url:
        yield url


@contextmanager
def running(command: Sequence[str], environment: Mapping[str, str], port: int) -> Iterator[str]:
    """Start a server, wait until it lists its models, and end it afterwards.

    Raises:
        RuntimeError: it ended, or did not answer in time; the message has the end of its output.
    """
    with tempfile.TemporaryDirectory() as folder, Path(folder, "log").open("w+", encoding="utf-8") as log:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
        try:
            url = f"http://127.0.0.1:{port}/v1"
            if not _answers(url, process):
                log.seek(0)
                reason = "ended" if process.poll() is not None else f"did not answer in {START_SECONDS} s"
                message = f"{command[0]} {reason}: {log.read()[-2000:].strip()}"
                raise RuntimeError(message)
            yield url
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _answers(url: str, process: subprocess.Popen[bytes]) -> bool:
    until = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < until:
        try:
            with urllib.request.urlopen(f"{url}/models", timeout=10):  # noqa: S310 - of this machine
                return True
        except OSError:
            time.sleep(0.5)
    return False


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
