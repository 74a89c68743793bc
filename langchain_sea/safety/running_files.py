"""Files that a program runs or obeys without being asked: hooks, profiles, tasks of editors, rules for agents. Reads none.

Who writes such a file decides what happens later, when nobody looks. So a call that writes one is a doubt.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from langchain_sea.safety.paths import normalize_path
from langchain_sea.safety.patterns import Danger, compile_pattern

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["find_running_file", "find_running_manifest"]

_RUNNING = (
    ("runs by itself in a repository", r"(?:^|/)\.git(?:/(?:hooks|config|info|modules|worktrees)(?:/|$)|$)|(?:^|/)\.(?:husky|githooks|lefthook|hooks)/|(?:^|/)(?:lefthook\.ya?ml|\.pre-commit-config\.ya?ml|\.gitmodules)$"),
    ("runs in continuous integration", r"(?:^|/)\.(?:github|gitea|forgejo)/(?:workflows|actions)/|(?:^|/)(?:\.gitlab-ci\.ya?ml|\.travis\.ya?ml|\.drone\.ya?ml|\.woodpecker\.ya?ml|\.appveyor\.ya?ml|appveyor\.ya?ml|jenkinsfile|azure-pipelines\.ya?ml|bitbucket-pipelines\.ya?ml|buildspec\.ya?ml|cloudbuild\.ya?ml)$|(?:^|/)\.(?:circleci|buildkite|woodpecker|teamcity|gitlab)/"),
    ("is run or obeyed by an editor", r"(?:^|/)\.vscode/|(?:^|/)\.idea/|(?:^|/)\.fleet/|(?:^|/)\.zed/|(?:^|/)\.devcontainer(?:/|\.json$)|[\w.-]+\.code-workspace$|(?:^|/)(?:\.n?vim(?:rc|\.lua)?|\.exrc|\.emacs|_vimrc|init\.el|\.dir-locals\.el|\.sublime-project|\.nvim\.lua)$|(?:^|/)\.(?:vim|emacs\.d|config/nvim)/"),
    ("gives orders to agents", r"(?:^|/)(?:agents?|claude|claude\.local|gemini|copilot-instructions|copilot|conventions|qwen|warp|jules|codex)\.md$|(?:^|/)\.(?:cursor|cursorrules|windsurf|windsurfrules|clinerules|roo|roorules|roomodes|claude|codex|gemini|aider[\w.-]*|continue|continuerules|kiro|junie|amazonq|augment|goosehints|github/(?:instructions|prompts|chatmodes|agents)|mcp\.json)(?:/|$)|(?:^|/)(?:mcp|claude_desktop_config|mcp_config)\.json$|(?:^|/)llms?-instructions?\.(?:md|txt)$"),
    ("runs at each start of a shell or of a program", r"(?:^|/)\.(?:bashrc|bash_profile|bash_login|bash_logout|bash_aliases|profile|zshrc|zshenv|zprofile|zlogin|zlogout|kshrc|cshrc|tcshrc|inputrc|xinitrc|xsession|xprofile|pam_environment|envrc|tmux\.conf|screenrc|gdbinit|lldbinit|pythonrc|pythonstartup|irbrc|rprofile|gitconfig|wgetrc|curlrc|pdbrc|psqlrc|sqliterc|direnvrc)$"
     r"|(?:^|/)config\.fish$|/fish/conf\.d/|(?:^|/)(?:sitecustomize|usercustomize)\.py$|[\w.-]+\.pth$|/profile_default/startup/|(?:^|/)(?:microsoft\.powershell_)?profile\.ps1$|(?:^|/)\.config/git/"),
    ("runs later, or at each start of the machine", r"(?:^|/)cron(?:tab|\.(?:d|daily|hourly|weekly|monthly))?(?:/|$)|/spool/(?:cron|at)|(?:^|/)\.config/autostart/|/systemd/(?:user|system)/|[\w@.-]+\.(?:service|timer)$|/launch(?:agents|daemons)/|/start menu/programs/startup/|/init\.d/|/rc\.local$|/profile\.d/|/udev/rules\.d/|/ld\.so\.preload$"),
    ("decides who may log in", r"(?:^|/)\.ssh/|(?:^|/)\.(?:rhosts|shosts|k5login)$|/ssh/sshd?_config"),
    ("decides where programs are taken from", r"(?:^|/)(?:\.npmrc|\.yarnrc(?:\.ya?ml)?|\.pnpmrc|bunfig\.toml|pip\.(?:conf|ini)|\.pip/pip\.conf|\.condarc|\.gemrc|\.cargo/config(?:\.toml)?|nuget\.config|sources\.list|\.m2/settings\.xml)$|/sources\.list\.d/|/yum\.repos\.d/"),
    ("is a program of the system", r"^/(?:usr/(?:local/)?)?s?bin/|^/home/~/(?:\.local/)?bin/|(?:^|/)node_modules/\.bin/|(?:^|/)(?:site|dist)-packages/"),
)  # fmt: skip
_MANIFEST = r"(?:^|/)(?:package\.json|composer\.json)$"
_MANIFEST_SCRIPT = r"\"(?:(?:pre|post)(?:install|pack|publish|prepare)|install|prepare|prepublish(?:Only)?|post-(?:install|update|autoload-dump|root-package-install)-cmd|pre-(?:install|update)-cmd)\"\s*:\s*[\"\[]"
_CONTAINERS = r"(?:^|/)[\w.-]+\.ya?ml$"
_HOST_RIGHTS = r"\bprivileged\s*:\s*true\b|\bhostPath\s*:|docker\.sock\b|\bhost(?:Network|PID|IPC)\s*:\s*true\b|\bpid\s*:\s*['\"]?host\b|[-\s\[]['\"]?/:/\w|\bcap_add\s*:[^#]{0,40}(?:ALL|SYS_ADMIN)"
_AT_INSTALL = re.compile(r"(?:husky|lefthook|simple-git-hooks|patch-package|tsc|npm run build|yarn build)[\w -]*")


def find_running_file(text: str) -> Danger | None:
    """Return why a path is a doubt for a tool that writes: a program runs or obeys the file by itself."""
    path = normalize_path(text).lower()
    for what, pattern in _RUNNING:
        if compile_pattern(pattern).search(path):
            return Danger(f"{text[:80]!r} {what} (path)")
    return None


def find_running_manifest(path: str, content: str) -> Iterator[Danger]:
    """Yield the scripts of a package's manifest that run when somebody installs it."""
    if compile_pattern(_CONTAINERS).search(path.lower()) and (match := compile_pattern(_HOST_RIGHTS).search(content)):
        yield Danger(f"a container would get the rights of the machine ({match[0].strip()[:40]!r})")
    if compile_pattern(_MANIFEST).search(normalize_path(path).lower()):
        for match in compile_pattern(_MANIFEST_SCRIPT).finditer(content):
            script = content[match.end() : match.end() + 200].split('"', maxsplit=1)[0]
            if not _AT_INSTALL.fullmatch(script.strip()):
                yield Danger(f"{match[0][:40]!r} in it runs when the package is installed ({script[:60]!r})")
                return
