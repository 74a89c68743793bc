"""Paths in any spelling, and which of them hold secrets or belong to the system. Reads no file."""

from __future__ import annotations

import posixpath
import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING
from urllib.parse import unquote

from langchain_sea.safety.text.caching import cache_short
from langchain_sea.safety.text.patterns import Danger, compile_pattern

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["find_bad_path", "find_bad_paths_in_text", "is_under", "normalize_path"]

_MAX_PATH = 8192  # characters: longer texts are no path
_MAX_TOKENS = 400  # of a text that are looked at as paths
_HOME = re.compile(
    r"^(?:~[\w.-]*|\$\{?HOME\}?|\$env:(?:USERPROFILE|HOME)|%(?:USERPROFILE|HOMEPATH|HOMEDRIVE%%HOMEPATH)%)(?=/|$)",
    re.IGNORECASE,
)
_PREFIX = re.compile(
    r"^(?:/private(?=/(?:etc|var|tmp)/)|/proc/(?:self|thread-self|\d+)/(?:root|cwd)(?=/)|/(?:rootfs|hostfs|host)(?=/etc/))"
)
_DEVICE = re.compile(r"^//[?.]/(?:unc/)?(?=[a-z]:|globalroot)", re.IGNORECASE)
_SECRET = (
    r"(?:^|/)(?:\.ssh/(?:id_[\w.-]*|identity|authorized_keys\d?|[\w.-]+\.(?:pem|key|ppk))?$|\.ssh$|id_(?:rsa|dsa|ecdsa|ed25519)(?:_sk)?(?:\.(?:bak|old|orig|txt|key|pem|backup))?[~]?$"
    r"|\.aws/(?:credentials|config|cli/cache|sso/cache)|\.aws$|\.gnupg(?:/|$)|\.kube/(?:config|cache)|\.kube$|\.docker/config\.json"
    r"|[._]netrc$|\.git-credentials$|\.config/git/credentials|\.pgpass$|\.my\.cnf$|\.mylogin\.cnf$|\.htpasswd$|\.vault-token$|\.pypirc$"
    r"|\.(?:ba|z|k|c|tc)?sh_history$|\.(?:python|psql|mysql|sqlite|node_repl|rediscli)_history$|\.local/share/fish/fish_history"
    r"|\.config/(?:gcloud|gh/hosts|doctl|op|rclone|hub|solana|sops|heroku)|\.azure(?:/|$)|\.terraform\.d/credentials|\.terraformrc$"
    r"|application_default_credentials\.json|\.boto$|\.s3cfg$|\.oci/(?:config|[\w.-]+\.pem)|\.bluemix/config|\.fly/config"
    r"|\.password-store(?:/|$)|\.local/share/keyrings|library/keychains|[\w.-]+\.keychain(?:-db)?$|[\w.-]+\.kdbx?$"
    r"|\.electrum/wallets|\.ethereum/keystore|\.bitcoin/wallet|wallet\.dat$"
    r"|(?:google/chrome|google-chrome|chromium|brave-browser|bravesoftware|microsoft/edge|microsoft-edge|opera software|vivaldi)[\w ./-]*/(?:login data|cookies|web data|local state)"
    r"|(?:firefox|thunderbird)[\w ./-]*/(?:logins\.json|key[34]\.db|cookies\.sqlite|signons\.sqlite)|library/cookies)"
    r"|^/etc/(?:shadow|gshadow|passwd|master\.passwd|sudoers|security/(?:passwd|opasswd)|opasswd)[-~.\w]*$|^/etc/sudoers\.d"
    r"|^/etc/(?:ssl/private|ssh/ssh_host_|krb5\.keytab|kubernetes/(?:admin|pki|kubelet|controller|scheduler)|rancher|ppp/chap-secrets"
    r"|wireguard|openvpn|letsencrypt/(?:archive|live)|pki/tls/private|docker/key|machine-id)"
    r"|^/(?:var/)?run/secrets|^/(?:var/)?run/(?:docker|containerd|crio|podman)[\w./-]*\.sock|/serviceaccount/token"
    r"|^/var/lib/(?:kubelet|etcd|docker/(?:swarm|volumes)|sss/(?:db|secrets))"
    r"|^/proc/(?:self|thread-self|\d+|\*)/(?:environ|mem|maps|fd|cmdline|auxv)|^/proc/k(?:core|allsyms|msg)|^/dev/(?:mem|kmem|port|sd[a-z]|nvme\d|vd[a-z]|xvd[a-z]|disk)"
    r"|^/root/(?:\.|$)|^/var/root(?:/|$)|^/var/db/dslocal|^/var/(?:spool/cron|log/(?:auth|secure|wtmp|btmp))"
    r"|^[a-z]:/windows/(?:system32/config/(?:sam|security|system|default|regback)|repair/(?:sam|system|security)|ntds|panther/unattend)"
    r"|ntds\.dit$|(?:unattend|sysprep)\.xml$|microsoft/(?:credentials|protect|vault)(?:/|$)|/consolehost_history\.txt$"
)
"""Files that hold secrets, in lower case and with slashes."""
_DOUBTFUL = (
    r"(?:^|/)(?:\.env(?:rc)?(?:\.[\w-]+)?$|\.npmrc$|\.ssh(?:/|$)|\.git/config$|[\w.-]+\.(?:pem|pfx|p12|jks|keystore|ppk|asc|ovpn|rdp)$"
    r"|wp-config\.php$|config/(?:database|mongoid|secrets)\.ya?ml$|config/master\.key$|credentials(?:\.json|\.ya?ml|\.csv|\.xml|\.db)?$|secrets?\.(?:json|ya?ml|toml|env)$|[\w.-]*\.tfstate$"
    r"|service[_-]account[\w-]*\.json$|(?:private|server|client|ssl)[_-]?key(?:\.\w+)?$|[\w-]+\.key$)"
    r"|^/etc/(?:cron|ssh|hosts|pam\.|ld\.so|profile|systemd|init|rc\.|security|environment|bash|apt|yum|resolv|fstab|exports|ssl|kubernetes)"
    r"|^/var/lib/(?:mysql|postgresql|pgsql|mongodb?|redis|docker|containerd|grafana|jenkins)(?:/|$)|^/root(?:/|$)|^/(?:boot|sys|proc|dev)(?:/|$)|^[a-z]:/(?:windows|boot|program files|programdata|users/[^/]+/appdata)(?:/|$)"
)
"""Files that often hold secrets, or belong to the system."""
_HARMLESS = (
    r"(?:^|/)\.env\.(?:example|sample|template|dist|defaults?|tpl)$|\.pub$|^/dev/(?:null|stdin|stdout|stderr|shm(?:/.*)?|tty|u?random|zero)$"
    r"|(?:^|/)(?:known_hosts|public[_-]?key[\w.-]*)$|^/proc/(?:cpuinfo|meminfo|loadavg|uptime|version)$"
)
_EXEMPLARS = (
    "/etc/passwd", "/etc/shadow", "/etc/sudoers", "/etc/ssl/private/x.key", "/root/.ssh/id_rsa", "/home/u/.ssh/id_rsa",
    "/home/~/.ssh/id_rsa", "/home/~/.ssh/id_ed25519", "/home/~/.aws/credentials", "/home/u/.aws/credentials", "/home/~/.bash_history", "/home/~/.kube/config",
    "/home/~/.netrc", "/run/secrets/x", "/var/run/secrets/kubernetes.io/serviceaccount/token", "/proc/self/environ",
    "c:/windows/system32/config/sam", ".env", ".ssh/id_rsa", ".aws/credentials", ".git-credentials", ".netrc",
)  # fmt: skip
"""What a pattern such as `/etc/pass*` is compared with."""
_SECRET_WORDS = frozenset(
    "auth secret secrets credential credentials cred creds passwd password passwords passphrase token tokens apikey apikeys keyring"
    " vault wallet htpasswd oauth session sessions cookie cookies login logins keys private signing".split()
)
_DATA_ENDING = r"\.(?:json|ya?ml|toml|ini|cfg|conf|config|properties|env|txt|csv|tsv|xlsx?|docx?|pdf|xml|plist|db|sqlite3?|dat|bak|old|key|gpg|enc|vault)$"
_OWN_WORDS = frozenset(
    [
        "secret",
        "secrets",
        "credential",
        "credentials",
        "cred",
        "creds",
        "passwd",
        "password",
        "passwords",
        "passphrase",
        "apikey",
        "apikeys",
        "keyring",
        "token",
        "tokens",
        "oauth",
    ]
)
"""Words that say outside of a dot folder, too, that a file of data holds secrets."""
_DESIGN_WORDS = frozenset(
    [
        "design",
        "theme",
        "color",
        "colors",
        "css",
        "special",
        "added",
        "stop",
        "policy",
        "template",
        "test",
        "tests",
        "example",
        "sample",
        "schema",
    ]
)
_ENV_FILE = r"(?:^|/)(?:[\w-]+\.)*(?:prod|production|staging|stage|dev|development|local|live|secrets?|app|db|database|docker|server|web|api|backend|worker|config|test)[\w-]*\.env$|/[\w.-]+\.env$"
"""Settings of a program, passwords included; `process.env` is none."""
_GLOB = re.compile(r"[*?\[{]")
_TOKEN_HINT = r"[/\\~%$]|\.env|\.netrc|\.npmrc|\.pgpass|_rsa|_history|\.htpasswd|credentials|ntds"
_MIN_LITERAL = 4  # letters of a pattern that means something particular


@cache_short
def normalize_path(text: str) -> str:
    """Return a path with slashes, decoded, without its scheme, `.`, `//` and inner `..`; the home as `/home/~`."""
    path = text.strip().strip("\"'`").replace("\0", "")
    for _ in range(3):
        decoded = unquote(
            path.replace("%c0%ae", ".").replace("%c0%af", "/").replace("%u2215", "/").replace("%u002e", ".")
        )
        if decoded == path:
            break
        path = decoded
    path = path.split("\0", maxsplit=1)[0].replace("\\", "/")
    path = re.sub(r"^(?:file|view-source:file):(?://(?:localhost|127\.0\.0\.1)?(?=/))?", "", path, flags=re.IGNORECASE)
    path = re.sub(r"^/(?=[a-zA-Z]:/)", "", path)
    path = _DEVICE.sub("", path)
    path = re.sub(r"::\$(?:DATA|INDEX_ALLOCATION)$", "", path, flags=re.IGNORECASE)
    path = _HOME.sub("/home/~", path)
    path = re.sub(r"(^|/)\.\.;(?=/)", r"\1..", path)
    is_share = path.startswith("//") and bool(re.match(r"//[^/]*[.\d$][^/]*/|//[^/]+/[^/]*\$", path))
    whole = posixpath.normpath(path) if path else ""
    whole = whole if is_share and whole.startswith("//") else re.sub(r"^//", "/", whole)
    for _ in range(2):
        whole = _PREFIX.sub("", whole)
    return "/".join(part.rstrip(". ") if part.strip(". ") else part for part in whole.split("/"))


def find_bad_path(text: str, *, is_path: bool = True) -> Danger | None:
    """Return why a path should not be opened.

    Args:
        text: the whole path.
        is_path: whether the text is known to be a path; otherwise it may be something that looks like one.
    """
    if len(text) > _MAX_PATH:
        return Danger(f"a path of {len(text)} characters cannot be judged") if is_path else None
    path = normalize_path(text)
    lower = re.sub(r"\$\(?\w*\)?|['\"]", "", path.lower()) if "'" in path or '"' in path else path.lower()
    shown = repr(text[:80])
    if compile_pattern(_HARMLESS).search(lower):
        return None
    from_root = re.sub(r"^(?:\.\./)+", "/", lower)  # so many `..` lead to the root
    if compile_pattern(_SECRET).search(lower) or (from_root != lower and compile_pattern(_SECRET).search(from_root)):
        return Danger(f"{shown} holds secrets of a person or of the system (path)", is_certain=True)
    if _GLOB.search(lower) and (match := _match_glob(lower)):
        return Danger(f"{shown} also means {match!r}, which holds secrets (path)", is_certain=is_path)
    if compile_pattern(_DOUBTFUL).search(lower) and (
        is_path or lower.startswith(("/etc/", "/root", "/home/~")) or ".env" in lower
    ):
        return Danger(f"{shown} belongs to the system, or often holds secrets (path)")
    if compile_pattern(_ENV_FILE).search(lower) or (is_path and _is_named_secret(lower)):
        return Danger(f"{shown} often holds secrets (path)")
    if is_path and (danger := _find_other_folder(text)):
        return danger
    if lower.startswith("//"):
        return Danger(f"{shown} is on another machine (path)")
    if re.match(r"\.\.(?:/|$)", lower) or re.search(r"(?:^|/)\.{3,}/", path.replace("\\", "/")):
        return Danger(f"{shown} leaves the folder it should stay in (path)")
    return None


def _is_named_secret(path: str) -> bool:
    """Return whether a file of data says in its name that it holds secrets; in a dot folder of the home, more words do."""
    if (
        "/" not in path
    ):  # a bare name is often the value of a setting; usual names of such files are known without a guess
        return False
    if not compile_pattern(_DATA_ENDING).search(path) and not path.startswith("/home/"):
        return False
    words = set(re.split(r"[^a-z]+", path.rpartition("/")[2]))
    if re.search(r"(?:^|/)\.?(?:secrets?|credentials?|private[-_]keys?)/[^/]+$", path):
        words.add("secret")
    is_hidden = re.search(r"(?:^|/)\.(?!github|gitlab|vscode|devcontainer)[\w-]+/", path) is not None
    known = _SECRET_WORDS if is_hidden else _OWN_WORDS
    has_ending = compile_pattern(_DATA_ENDING).search(path) is not None
    return (
        (has_ending or (is_hidden and "." not in path.rpartition("/")[2]))
        and bool(words & known)
        and not words & _DESIGN_WORDS
    )


def _find_other_folder(text: str) -> Danger | None:
    """Return a doubt about a path that names one folder and then leads into another: `public/../private/x`."""
    parts = [part for part in text.replace("\\", "/").split("/") if part not in ("", ".")]
    if ".." not in parts[1:] or parts[0] in ("..", "~") or text.startswith("/"):
        return None
    result = normalize_path(text).split("/")
    if len(result) > 1 and result[0] not in ("..", parts[0]):
        return Danger(f"{text[:80]!r} names the folder {parts[0]!r}, and leads into another (path)")
    return None


def find_bad_paths_in_text(text: str) -> Iterator[Danger]:
    """Yield what is dangerous in the words of a text that look like paths."""
    if not compile_pattern(_TOKEN_HINT).search(text):
        return
    for number, match in enumerate(compile_pattern(r"[^\s\"'`=,;<>|()]{3,300}").finditer(text)):
        if number >= _MAX_TOKENS:
            return
        token = match[0].lstrip("@")
        if compile_pattern(_TOKEN_HINT).search(token) and not re.match(
            r"(?:https?|ftp|wss?|git|ssh)://", token, re.IGNORECASE
        ):
            danger = find_bad_path(token.rstrip(":"), is_path=False)
            if danger and not ("another machine" in danger.reason and not match[0].startswith("\\\\")):
                yield danger


def is_under(text: str, roots: tuple[str, ...]) -> bool:
    """Return whether the path lies in one of the folders once `..` is resolved."""
    path = normalize_path(text)
    return any(path == root or path.startswith(f"{root.rstrip('/')}/") for root in map(normalize_path, roots))


def _match_glob(path: str) -> str | None:
    """Return a file of secrets that a pattern for paths also means; None for patterns that mean everything."""
    if len(re.sub(r"[^a-z]", "", path)) < _MIN_LITERAL:
        return None
    patterns = [path]
    if match := re.search(r"\{([^{}]*)\}", path):
        patterns = [path.replace(match[0], option, 1) for option in match[1].split(",")[:20]]
    for pattern in patterns:
        if re.search(r"\*.*\*.*\*.*\*", pattern):
            continue  # each star multiplies the time
        for exemplar in _EXEMPLARS:
            if (
                pattern.count("/") <= exemplar.count("/")
                and fnmatchcase(exemplar, pattern)
                and _keeps_name(pattern, exemplar)
            ):
                return exemplar
    return None


def _keeps_name(pattern: str, exemplar: str) -> bool:
    """Return whether the pattern has the beginning of the file's name or folder, so that it is aimed at it."""
    parts = zip(pattern.split("/"), exemplar.split("/"), strict=False)
    return sum(len(re.sub(r"[^a-z_.]", "", part)) for part, _ in parts) >= len(exemplar) // 2
