"""Variables of the environment that decide which code a program runs, where it comes from, or whom it trusts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from langchain_sea.safety.commands.program_options import is_temporary
from langchain_sea.safety.commands.shell_reader import plain_name
from langchain_sea.safety.text.patterns import Danger

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["find_running_variable", "judge_variables"]

_RUNS = re.compile(
    r"(?:LD_(?:PRELOAD|LIBRARY_PATH|AUDIT)|DYLD_\w+|PROMPT_COMMAND|BASH_ENV|BASH_FUNC_\w+|ENV|ZDOTDIR|PS4|SHELLOPTS|GCONV_PATH|GETCONF_DIR|HOSTALIASES|NLSPATH|(?:MAN|GIT_|SYSTEMD_|AWS_|GH_|PSQL_|DELTA_|BAT_)?PAGER|LESSOPEN|LESSCLOSE"
    r"|(?:GIT_|GIT_SEQUENCE_|SUDO_|SVN_|HG|KUBE_|CVS)?EDITOR|VISUAL|FCEDIT|BROWSER|(?:SSH_|SUDO_|GIT_)ASKPASS|GIT_(?:SSH|SSH_COMMAND|PROXY_COMMAND|EXTERNAL_DIFF|EXEC_PATH|TEMPLATE_DIR|CONFIG\w*|ALLOW_PROTOCOL|ATTR_SOURCE)|RSYNC_RSH|CVS_RSH|SVN_SSH"
    r"|TAR_OPTIONS|PERL5(?:OPT|DB)|PERLLIB|RUBYOPT|PYTHON(?:STARTUP|HOME|INSPECT|BREAKPOINT)|RUSTC_WRAPPER|RUSTC_WORKSPACE_WRAPPER|CARGO_TARGET_\w+_(?:RUNNER|LINKER)|VIMINIT|EXINIT|MYVIMRC|TERMINFO|INPUTRC|EMACSLOADPATH|IFS)"
)
"""Those that name a program, or a file of code."""
_OPTION_VARIABLES = re.compile(r"(?:NODE_OPTIONS|(?:_?JAVA|MAVEN|GRADLE|JDK_JAVA|SBT|ANT|CATALINA)_?\w*(?:OPTS|OPTIONS)|GOFLAGS|MAKEFLAGS|CFLAGS|CXXFLAGS|LDFLAGS|RUSTFLAGS|PYTEST_ADDOPTS|PYTHONWARNINGS)")  # fmt: skip
_RUNNING_OPTION = re.compile(
    r"(?:^|\s)(?:-r\b|--require|--import|--loader|--experimental-loader)[= ]?\s*\S*(?:/|\.[cm]?js)|-javaagent|-agentpath|-agentlib|-XX:On\w+Error|-toolexec|-exec\b|--eval|SHELL=|-fplugin|-wrapper|-p\s+\S+plugin|antigravity|-C\s*linker"
)
_SOURCES = re.compile(
    r"(?:PIP_(?:INDEX_URL|EXTRA_INDEX_URL|FIND_LINKS|TRUSTED_HOST|CONFIG_FILE)|UV_(?:INDEX\w*|DEFAULT_INDEX|EXTRA_INDEX_URL|FIND_LINKS)|NPM_CONFIG_\w+|YARN_\w*REGISTRY\w*|BUN_CONFIG_REGISTRY|GOPROXY|GONOSUMDB|GONOSUMCHECK|GOINSECURE|GOSUMDB"
    r"|CARGO_REGISTRIES_\w+|CARGO_HTTP_\w+|GEM_SOURCE|BUNDLE_MIRROR\w*|HOMEBREW_\w*(?:DOMAIN|REMOTE)|HF_ENDPOINT|CONDA_CHANNELS|NUGET_\w+|MAVEN_REPO\w*|AWS_ENDPOINT_URL\w*|AWS_CA_BUNDLE|OPENAI_BASE_URL|ANTHROPIC_BASE_URL)",
    re.IGNORECASE,
)
_OWN_SOURCES = re.compile(r"(?:https://(?:pypi\.org|registry\.npmjs\.org|proxy\.golang\.org|registry\.yarnpkg\.com|sum\.golang\.org|download\.pytorch\.org|huggingface\.co)\S*|direct|off|on|\d+|true|false|error|warn|silent|info|)(?:,direct|\|direct)?", re.IGNORECASE)  # fmt: skip
_NAMES_SOURCE = re.compile(
    r"registry|url|proxy|index|source|shell|config|domain|remote|sum|insecure|mirror|links|host|endpoint|bundle|channels",
    re.IGNORECASE,
)
_FOLDERS = frozenset(["PATH", "PYTHONPATH", "NODE_PATH", "PERL5LIB", "RUBYLIB", "CLASSPATH", "GOBIN"])
_TRUST = re.compile(r"(?:(?:https?|all|ftp|socks)_proxy|NODE_TLS_REJECT_UNAUTHORIZED|GIT_SSL_NO_VERIFY|GIT_SSL_CAINFO|PYTHONHTTPSVERIFY|CURL_CA_BUNDLE|REQUESTS_CA_BUNDLE|SSL_CERT_(?:FILE|DIR)|NODE_EXTRA_CA_CERTS|SSLKEYLOGFILE|CURL_HOME|WGETRC|NETRC|DOCKER_HOST|HISTFILE)", re.IGNORECASE)  # fmt: skip
_OWN_VALUES = re.compile(
    r"(?:|cat|true|:|less(?: -\w+)?|more|most|never|nano|vim?|nvim|ed|ex|emacs(?: -nw)?|code(?: -w| --wait)?|subl -w|sed -i [\w'\"^/ .-]*|echo|delta|bat|\$\w+|\$HOME/\.config|none|firefox|chromium|google-chrome|open|xdg-open|/bin/true|/usr/bin/(?:vim?|nano|less)"
    r"|\\n|,|\s*)|/dev/null|\$?'\\[nt]+'"
)
_LOCAL = re.compile(r"(?:\w+://)?(?:localhost|127\.|\[::1\]|host\.docker\.internal|unix:///(?:var/)?run|$)|none$|~?/etc/|/usr/|certifi", re.IGNORECASE)  # fmt: skip


def find_running_variable(name: str, value: str) -> Iterator[Danger]:
    """Yield a doubt about a variable that is set for a command.

    Args:
        name: of the variable.
        value: without quotes.
    """
    text = value.strip().strip("\"'").strip()
    shown = repr(f"{name}={value}"[:60])
    if _RUNS.fullmatch(name):
        if not _OWN_VALUES.fullmatch(text):
            yield Danger(f"it changes how other programs run ({shown})")
    elif _OPTION_VARIABLES.fullmatch(name):
        if _RUNNING_OPTION.search(text):
            yield Danger(f"it changes how other programs run ({shown})")
    elif _SOURCES.fullmatch(name):
        if _NAMES_SOURCE.search(name) and not _OWN_SOURCES.fullmatch(text):
            yield Danger(f"it changes where programs are taken from ({shown})")
    elif _TRUST.fullmatch(name):
        if not _LOCAL.match(text):
            yield Danger(f"it changes whom programs trust, or which way they go through the network ({shown})")
    elif name in _FOLDERS and any(map(is_temporary, text.split(":"))):
        yield Danger(f"programs would run code from a folder where anybody may write ({shown})")


def judge_variables(node: Any, words: tuple[str, ...]) -> Iterator[Danger]:
    """Yield variables that are set before a command, by `export`, or behind `env`."""
    texts = [child.text.decode("utf-8", "replace") for child in node.children if child.type == "variable_assignment"]
    texts += [
        word for word in words[1:20] if plain_name(words[0]) in ("env", "sudo", "export", "docker", "set", "setx")
    ]
    for text in texts:
        name, sign, value = text.partition("=")
        if sign:
            yield from find_running_variable(name.rstrip("+"), value)
