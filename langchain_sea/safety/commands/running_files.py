"""Files that a program runs or obeys without being asked: hooks, profiles, tasks of editors, rules for agents. Reads none.

Who writes such a file decides what happens later, when nobody looks. So a call that writes one is a doubt.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from langchain_sea.safety.addresses.paths import normalize_path
from langchain_sea.safety.text.patterns import Danger, compile_pattern

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["find_running_file", "find_running_manifest", "is_build_file"]

_RUNNING = (
    ("runs by itself in a repository", r"(?:^|/)\.git(?:/(?:hooks|config|info|modules|worktrees)(?:/|$)|$)|(?:^|/)\.(?:husky|githooks|lefthook|hooks)/|(?:^|/)(?:lefthook\.ya?ml|\.pre-commit-config\.ya?ml|\.gitmodules)$"),
    ("runs when a package is installed or built", r"(?:^|/)\.pnpmfile\.c?js$|(?:^|/)\.yarn/(?:plugins|releases)/|(?:^|/)\.mvn/|(?:^|/)gradle-wrapper\.(?:properties|jar)$|(?:^|/)init\.gradle(?:\.kts)?$|(?:^|/)\.?mise(?:\.\w+)?\.toml$|(?:^|/)\.config/mise/|(?:^|/)\.pnp\.c?js$"),
    ("decides what a server runs", r"(?:^|/)(?:\.htaccess|\.user\.ini|php\.ini|web\.config)$|/(?:sites-enabled|conf-enabled|mods-enabled)/"),
    ("runs when its folder is opened", r"(?:^|/)(?:desktop\.ini|autorun\.inf)$"),
    ("runs in continuous integration", r"(?:^|/)\.(?:github|gitea|forgejo)/(?:workflows|actions)/|(?:^|/)(?:\.gitlab-ci\.ya?ml|\.travis\.ya?ml|\.drone\.ya?ml|\.woodpecker\.ya?ml|\.appveyor\.ya?ml|appveyor\.ya?ml|jenkinsfile|azure-pipelines\.ya?ml|bitbucket-pipelines\.ya?ml|buildspec\.ya?ml|cloudbuild\.ya?ml)$|(?:^|/)\.(?:circleci|buildkite|woodpecker|teamcity|gitlab)/"),
    ("is run or obeyed by an editor", r"(?:^|/)\.vscode/|(?:^|/)\.idea/|(?:^|/)\.fleet/|(?:^|/)\.zed/|(?:^|/)\.devcontainer(?:/|\.json$)|[\w.-]+\.code-workspace$|(?:^|/)(?:\.n?vim(?:rc|\.lua)?|\.exrc|\.emacs|_vimrc|init\.el|\.dir-locals\.el|\.sublime-project|\.nvim\.lua)$|(?:^|/)\.(?:vim|emacs\.d|config/nvim)/"),
    ("gives orders to agents", r"(?:^|/)(?:agents?|claude|claude\.local|gemini|copilot-instructions|copilot|conventions|qwen|warp|jules|codex)\.md$|(?:^|/)\.(?:cursor|cursorrules|windsurf|windsurfrules|clinerules|roo|roorules|roomodes|claude|codex|gemini|aider[\w.-]*|continue|continuerules|kiro|junie|amazonq|augment|goosehints|github/(?:instructions|prompts|chatmodes|agents)|mcp\.json)(?:/|$)|(?:^|/)(?:mcp|claude_desktop_config|mcp_config)\.json$|(?:^|/)llms?-instructions?\.(?:md|txt)$"),
    ("runs at each start of a shell or of a program", r"(?:^|/)\.(?:bashrc|bash_profile|bash_login|bash_logout|bash_aliases|profile|zshrc|zshenv|zprofile|zlogin|zlogout|kshrc|cshrc|tcshrc|inputrc|xinitrc|xsession|xprofile|pam_environment|envrc|tmux\.conf|screenrc|gdbinit|lldbinit|pythonrc|pythonstartup|irbrc|pryrc|rprofile|gitconfig|wgetrc|curlrc|pdbrc|psqlrc|sqliterc|direnvrc)$"
     r"|(?:^|/)config\.fish$|/fish/conf\.d/|(?:^|/)(?:sitecustomize|usercustomize)\.py$|[\w.-]+\.pth$|/profile_default/startup/|(?:^|/)\.jupyter/\w+\.py$|(?:^|/)(?:microsoft\.powershell_)?profile\.ps1$|(?:^|/)\.config/git/"),
    ("runs later, or at each start of the machine", r"(?:^|/)cron(?:tab|\.(?:d|daily|hourly|weekly|monthly))?(?:/|$)|/spool/(?:cron|at)|(?:^|/)\.config/autostart/|/systemd/(?:user|system)/|[\w@.-]+\.(?:service|timer)$|/launch(?:agents|daemons)/|/start menu/programs/startup/|/init\.d/|/rc\.local$|/profile\.d/|/udev/rules\.d/|/ld\.so\.preload$"),
    ("decides who may log in", r"(?:^|/)\.ssh/|(?:^|/)\.(?:rhosts|shosts|k5login)$|/ssh/sshd?_config"),
    ("decides where programs are taken from", r"(?:^|/)(?:\.npmrc|\.yarnrc(?:\.ya?ml)?|\.pnpmrc|bunfig\.toml|pip\.(?:conf|ini)|\.pip/pip\.conf|\.condarc|\.gemrc|\.cargo/config(?:\.toml)?|nuget\.config|sources\.list|\.m2/settings\.xml)$|/sources\.list\.d/|/yum\.repos\.d/"),
    ("is a program of the system", r"^/(?:usr/(?:local/)?)?s?bin/|^/home/~/(?:\.local/)?bin/|(?:^|/)node_modules/\.bin/|(?:^|/)(?:site|dist)-packages/"),
)  # fmt: skip
_MANIFEST = r"(?:^|/)(?:package\.json|composer\.json)$"
_MANIFEST_SCRIPT = r"\"(?:(?:pre|post)(?:install|pack|publish|prepare)|install|prepare|prepublish(?:Only)?|post-(?:install|update|autoload-dump|root-package-install)-cmd|pre-(?:install|update)-cmd)\"\s*:\s*[\"\[]"
_CONTAINERS = r"(?:^|/)[\w.-]+\.ya?ml$"
_HOST_RIGHTS = r"\bprivileged\s*:\s*true\b|\bhostPath\s*:|docker\.sock\b|\bhost(?:Network|PID|IPC)\s*:\s*true\b|\bpid\s*:\s*['\"]?host\b|[-\s\[]['\"]?/:/\w|\bcap_add\s*:[^#]{0,40}(?:ALL|SYS_ADMIN)"
_SOURCES = (
    (r"(?:^|/)(?:requirements[\w.-]*\.(?:txt|in)|constraints[\w.-]*\.txt)$", r"(?m)^\s*(?:--?(?:extra-)?index-url|-i|--find-links|-f|--trusted-host)[ =]\S+|@\s*(?:git\+|https?:)\S+|^\s*(?:-e\s+)?(?:git\+|https?:)\S+"),
    (r"(?:^|/)(?:pyproject\.toml|setup\.cfg|setup\.py|pipfile|environment\.ya?ml)$", r"[\w\]]\s*@\s*(?:git\+|https?:)\S+|\bgit\s*=\s*['\"]\S+|-\s*(?:git\+|https?:)\S+|\[\[(?:tool\.(?:uv|poetry|pdm)\.)?(?:index|source)\]\][^\[]{0,300}\burl\s*=\s*['\"]\S+"),
    (r"(?:^|/)(?:package\.json|bower\.json)$", r"\"(?:dependencies|devDependencies|peerDependencies|optionalDependencies|overrides|resolutions)\"\s*:\s*\{[^{}]*?:\s*\"(?:https?://|git(?:\+\w+)?:|ssh:|file:|github:|gitlab:|bitbucket:|gist:)[^\"]*\""),
    (r"(?:^|/)(?:package-lock\.json|yarn\.lock|npm-shrinkwrap\.json|pnpm-lock\.yaml)$", r"(?:\"?resolved\"?:?\s*|tarball:\s*)\"?(?:https?|git\+\w+)://[^\s\",]+"),
    (r"(?:^|/)gemfile$|\.gemspec$", r"(?m)^\s*source\s*\(?['\"]\S+|\bgit(?:hub)?:\s*['\"]\S+"), (r"(?:^|/)cargo\.toml$", r"\bgit\s*=\s*\"[^\"]+\"|\bregistry(?:-index)?\s*=\s*\"[^\"]+\""),
    (r"(?:^|/)go\.(?:mod|work)$", r"(?m)^\s*replace\s+\S+(?:\s+\S+)?\s+=>\s+[\w.-]+\.\w+/\S+|=>\s+[\w.-]+\.[a-z]{2,}/\S+"), (r"(?:^|/)composer\.json$", r"\"repositories\"\s*:[^\]]{0,500}\"url\"\s*:\s*\"[^\"]+\""),
    (r"(?:^|/)(?:pom\.xml|(?:build|settings)\.gradle(?:\.kts)?)$", r"<(?:repository|pluginRepository)>[^<]{0,100}(?:<[^>]+>[^<]*</[^>]+>\s*){0,4}?<url>[^<]+|\bmaven\s*\{\s*(?:url\b|setUrl)[^}]{0,200}"),
)  # fmt: skip
"""(files that list packages, where a line of them takes a package from another place than the usual one)."""
_OWN_SOURCES = re.compile(
    r"registry\.npmjs\.org|registry\.yarnpkg\.com|pypi\.org|files\.pythonhosted\.org|download\.pytorch\.org|rubygems\.org|repo1?\.maven(?:\.apache)?\.org|plugins\.gradle\.org|maven\.google\.com|dl\.google\.com|crates-io|packagist\.org|file:\.{0,2}/"
)
_MAX_MANIFEST = 100_000  # characters
_FOR_READERS = r"\.(?:md|mdx|rst|adoc|txt|html?|tex|org|ipynb|log|csv|pdf|docx?)$"
_PIPED = r"\b(?:curl|wget|fetch|iwr|irm)\b[^\n|]{0,300}\|\s*(?:sudo\s+(?:-\S+\s+)?)?(?:(?:ba|z|da|k|a)?sh|python3?|perl|ruby|node|iex)\b|\$\(\s*(?:curl|wget)\b[^)\n]{0,300}\)\s*['\"]?\s*$"
_BUILD_FILES = r"(?:^|/)(?:setup\.py|conftest\.py|noxfile\.py|tasks\.py|fabfile\.py|sconstruct|wscript|build\.rs|build\.zig|rakefile|gulpfile\.\w+|gruntfile\.\w+|[\w.-]+\.config\.[cm]?[jt]s|\.\w+rc\.c?js|binding\.gyp|dangerfile|fastfile|podfile|vagrantfile|manage\.py)$"
_AT_INSTALL = re.compile(r"(?:husky|lefthook|simple-git-hooks|patch-package|tsc|npm run build|yarn build)[\w -]*")


def find_running_file(text: str) -> Danger | None:
    """Return why a path is a doubt for a tool that writes: a program runs or obeys the file by itself."""
    path = normalize_path(text).lower()
    for what, pattern in _RUNNING:
        if compile_pattern(pattern).search(path):
            return Danger(f"{text[:80]!r} {what} (path)")
    return None


def find_running_manifest(path: str, content: str) -> Iterator[Danger]:
    """Yield what a file makes others run: scripts of a package's manifest, sources of packages, containers, downloads."""
    name = normalize_path(path).lower()
    if compile_pattern(_CONTAINERS).search(path.lower()) and (match := compile_pattern(_HOST_RIGHTS).search(content)):
        yield Danger(f"a container would get the rights of the machine ({match[0].strip()[:40]!r})")
    if compile_pattern(_MANIFEST).search(name):
        for match in compile_pattern(_MANIFEST_SCRIPT).finditer(content):
            script = content[match.end() : match.end() + 200].split('"', maxsplit=1)[0]
            if not _AT_INSTALL.fullmatch(script.strip()):
                yield Danger(f"{match[0][:40]!r} in it runs when the package is installed ({script[:60]!r})")
                break
    for files, sources in _SOURCES:
        if compile_pattern(files).search(name):
            matches = (match[0] for match in compile_pattern(sources).finditer(content[:_MAX_MANIFEST]))
            if source := next((each for each in matches if not _OWN_SOURCES.search(each)), None):
                yield Danger(f"it takes a package from an address ({source.strip()[:60]!r})")
    if not compile_pattern(_FOR_READERS).search(name) and (match := compile_pattern(_PIPED).search(content)):
        yield Danger(f"when {path[:40]!r} is used: it runs what it downloads ({match[0].strip()[:60]!r})")
    if name.endswith(".gitattributes") and (match := compile_pattern(r"\b(?:filter|diff|merge)=\w+").search(content)):
        yield Danger(f"git would run a program for these files ({match[0]!r})")


def is_build_file(path: str) -> bool:
    """Return whether a file of code runs whenever a project is installed, built or tested."""
    return compile_pattern(_BUILD_FILES).search(normalize_path(path).lower()) is not None
