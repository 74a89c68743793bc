"""Options by which ordinary programs run another program, load code, or let others in: `tar --to-command`, `ssh -o ProxyCommand`.

Most of them are listed at gtfobins.github.io. Reads the words of one command, and knows no shell.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from langchain_sea.safety.addresses.paths import find_bad_path, normalize_path
from langchain_sea.safety.text.patterns import Danger

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["find_mounted_folder", "find_program_of_options", "find_temporary_program", "is_temporary"]

_RUNS = "runs a program that its option names"
_LOADS = "loads code or settings that its option names"
_OPENS = "lets others in, or goes another way through the network"
_MAX_WORDS = 200  # of one command
_MAX_WORD = 300  # characters
_SHORT = 4  # characters of an option that is long
_COMPRESSORS = (
    r"(?:gzip|pigz|bzip2|[lp]bzip2|xz|pxz|pixz|zstd|zstdmt|unzstd|lz4|p?lzip|lzma|lzop|brotli|compress)\b[\w -]*$"
)
_HTTP = r"(?:https?|git\+\w+|ftp)://"
_GIT = (
    (_RUNS, r"(?:--upload-pack|--receive-pack|--extcmd|--open-files-in-pager|--sendmail-cmd|--to-cmd|--cc-cmd|--gpg-program)[= ]|-O\S+ ?(?!\S*\.)"),
    (_LOADS, r"--exec-path=|--template[= ]\S|--config-env[= ]"),
)  # fmt: skip
_DOCKER = (
    ("gets the rights of the machine", r"--privileged|--cap-add[= ](?:all|sys_\w+|dac_\w+|net_admin|mac_admin|bpf|perfmon)|--device[= ]/dev/(?:sd|nvme|vd|xvd|mem|kmem|mapper|disk)|--security-opt[= ]\S*(?:unconfined|disable|label[=:]disable)"
     r"|--(?:pid|ipc|uts|userns|cgroupns)[= ]host\b"),
    (_OPENS, r"(?:-H|--host)[= ]?tcp:|(?:-f|--file)[= ]?(?:/tmp|/dev|/var/tmp)/"),
)  # fmt: skip
_SSH = (
    (_RUNS, r"-o ?(?:proxycommand|localcommand|permitlocalcommand|knownhostscommand|pkcs11provider|securitykeyprovider|xauthlocation|proxyusefdpass|include)\b"),
    (_LOADS, r"-F ?\S|-I ?\S*\.so"),
    (_OPENS, r"-\w*R ?\S|--?w \d|-o ?(?:remoteforward|tunnel)\b"),
)  # fmt: skip
_VIM = r"[^!]*!(?!$)|.*(?:system\(|libcall|job_start|term_start|writefile\()|[+ :|]*(?:-\w+ )?[:|+]?\s*(?:py\w*|lua\w*|ruby|rubyfile|perl|perldo|tcl|mzscheme|terminal|source|so|runtime|execute|exe)\b"
_PIP = (
    (_LOADS, r"(?:--find-links|-f|--global-option|--build-option|--config-settings|--cert|--proxy)[= ]?\S*(?://|/tmp)|(?:--index-url|--extra-index-url|-i|--trusted-host)[= ]"),
)  # fmt: skip
_NPM = ((_LOADS, r"--(?:script-shell|userconfig|globalconfig|node-options|shell|registry|init-module|git)[= ]"),)
_OPTIONS: dict[str, tuple[tuple[str, str], ...]] = {
    "tar": ((_RUNS, r"--checkpoint-a\w*[= ](?!(?:dot|\.|echo|bell|totals|ttyout|sleep|wait)\b)|--(?:to-c|rsh-c|info-s|new-vol)[\w-]*[= ]|--use-c[\w-]*[= ](?!" + _COMPRESSORS + r")|-\w*F ?\S*(?:/|sh\b)"),
            ("writes outside of the folder", r"--absolute-n\w*|-?[a-z]*x[a-z]*P|-?[a-z]*P[a-z]*x")),
    "rsync": ((_RUNS, r"(?:-e|--rsh)[= ]?(?!ssh\b)\S|-\w+e (?!ssh\b)\S|(?:-e|--rsh)[= ]?ssh\b.*proxycommand"),),
    "zip": ((_RUNS, r"-TT|--unzip-command"),),
    "7z": ((_RUNS, r"-si\S*\|"),),
    "find": ((_RUNS, r"-(?:exec|execdir|ok|okdir) (?:\S*/)?(?:tmp|shm)/"), ("writes a file", r"-f(?:printf|print|print0|ls) (?!/dev/(?:null|stdout|stderr))")),
    "sort": ((_RUNS, r"--compress-p\w*[= ](?!" + _COMPRESSORS + ")"),),
    "split": ((_RUNS, r"--filter[= ]"),),
    "man": ((_RUNS, r"-P ?\S|--pager|-H\S|--html=|--browser|-C ?\S|--config-file"),),
    "bat": ((_RUNS, r"--pager[= ](?!less|never|cat|more)"),),
    "less": ((_RUNS, r"\+[^!]{0,3}!"),),
    "more": ((_RUNS, r"\+[^!]{0,3}!"),),
    **dict.fromkeys(("vim", "vi", "nvim", "ex", "view", "vimdiff", "gvim", "rvim"), ((_RUNS, rf"(?:-c|--cmd) (?:{_VIM})|\+(?:{_VIM})|-S \S|-u (?!none|norc)\S|--(?:remote|server)\S*"),)),
    **dict.fromkeys(("emacs", "emacsclient"), ((_RUNS, r"(?:-l|--load|--script|-f|--funcall)[= ]\S*(?:/tmp|/dev|term|shell)|.*\((?:shell-command|async-shell|call-process|start-process|make-process|compile|delete-|write-region|url-retrieve|term|eshell)"),)),
    **dict.fromkeys(("ssh", "scp", "sftp", "autossh", "sshfs", "mosh"), _SSH),
    "ssh-keygen": ((_LOADS, r"-D ?\S"),), "ssh-add": ((_LOADS, r"-s ?\S"),),
    "git": _GIT,
    "hg": ((_RUNS, r"--config[= ](?:alias|hooks|extensions|ui\.(?:editor|ssh)|pager|merge-tools)"),),
    "svn": ((_RUNS, r"--(?:diff-cmd|diff3-cmd|editor-cmd|merge-tool|config-option|config-dir)"),),
    **dict.fromkeys(("make", "gmake"), ((_LOADS, r"--eval|-E ?\S|(?:-f|--file|--makefile)[= ]?(?:-(?: |$)|/dev/|/tmp/|/var/tmp/)"), (_RUNS, r"SHELL=|\.SHELLFLAGS="))),
    **dict.fromkeys(("pip", "pip3", "pipx", "uv", "uvx"), _PIP), **dict.fromkeys(("npm", "npx", "pnpm", "yarn", "bun", "bunx"), _NPM),
    "gem": ((_LOADS, r"(?:--source|-s|--clear-sources)[= ]|--install-dir"),),
    "cargo": ((_LOADS, r"--config[= ]|--index[= ]"),),
    "go": ((_RUNS, r"--?(?:toolexec|exec|vettool|overlay|gccgoflags|ldflags[= ]\S*extld)[= ]"),),
    **dict.fromkeys(("gcc", "g++", "cc", "c++", "clang", "clang++"), ((_RUNS, r"-wrapper|-fplugin|-B ?/tmp|-Xclang -load|-specs|--specs"),)),
    "cmake": ((_LOADS, r"-P ?/|-D\w*(?:LAUNCHER|COMPILER)\w*[:=]\S*(?:/tmp|sh -c)"),),
    "mvn": ((_RUNS, r"exec:|-Dexec\.|-s ?/tmp|--settings[= ]/tmp"),),
    **dict.fromkeys(("gradle", "gradlew"), ((_LOADS, r"--init-script|-I ?\S"),)),
    "java": ((_LOADS, r"-(?:javaagent|agentpath|agentlib|Xbootclasspath|Djava\.library\.path)\b|-XX:OnOutOfMemoryError|-XX:OnError"),),
    **dict.fromkeys(("docker", "podman", "nerdctl", "docker-compose"), _DOCKER),
    "kubectl": ((_OPENS, r"--address[= ]0|--accept-hosts|--server[= ]|--insecure-skip"), ("gets the rights of the machine", r"--privileged|--overrides|--profile[= ]sysadmin")),
    "helm": ((_RUNS, r"--post-renderer"),), "terraform": ((_LOADS, r"-plugin-dir|-backend-config[= ]\S*://|-from-module"),),
    "curl": ((_LOADS, r"(?:-K|--config)[= ]?\S|--engine"), (_OPENS, r"-x ?\S|--(?:pre)?proxy[= ]|--socks\w*[= ]|--resolve|--connect-to|--(?:abstract-)?unix-socket|--doh-url|--dns-servers|--interface"),
             ("sends a file away", r"(?:-H|--header|-b|--cookie|--url-query|--variable|--proxy-header)[= ]?[^ ]*@(?!\S+@)")),
    "wget": ((_RUNS, r"--use-askpass|--ask-password"), (_LOADS, r"(?:-e|--execute)[= ]?\S|--config[= ]"), ("sends a file away", r"--body-(?:file|data)|--post-(?:file|data)|-i ?/|--input-file[= ]?/")),
    "openssl": ((_LOADS, r"--?(?:engine|provider|provider-path|config)\b"),),
    "gdb": ((_RUNS, r"(?:-ex|-iex|--eval-command|-eval-command)[= ](?:!|sh(?:ell)?\b|make\b|py\w*|pipe\b|guile|target remote|dump|call\b|source)|(?:-p|--pid|-x|--command)[= ]?\S"),),
    "lldb": ((_RUNS, r"-o ?(?:platform shell|script|shell)|-s ?/|-p ?\d"),),
    "strace": ((_RUNS, r"(?:-o|--output)[= ]?[|!]|-p ?\d"),),
    "tcpdump": ((_RUNS, r"-z ?\S|--postrotate-command"),),
    "nmap": ((_LOADS, r"--script[= ]\S*(?:/|\.nse)|--interactive|--datadir"),),
    "run-parts": ((_RUNS, r"/tmp|/var/tmp|/dev"),),
    **dict.fromkeys(("apt", "apt-get", "aptitude"), ((_RUNS, r"(?:-o|--option)[= ]?\S*(?:invoke|::cmd|proxy|sourcelist|trusted|allowunauth|dir::|run::)|-c ?\S|--allow-unauth|--allow-insecure"), (_LOADS, r"(?:\.{0,2}/|~/)\S*\.deb"))),
    "dpkg": ((_LOADS, r"-i ?\S|--install|--unpack"),), "rpm": ((_LOADS, r"-[iUF]\w*|--install|--upgrade|--eval|-E|--define|--pipe"),),
    "snap": ((_LOADS, r"--dangerous|--classic|--devmode"),),
    **dict.fromkeys(("pdflatex", "latex", "xelatex", "lualatex", "latexmk"), ((_RUNS, r"--?(?:shell-escape|enable-write18)\b|-e ?.*system"),)),
    **dict.fromkeys(("convert", "magick", "identify", "mogrify"), ((_RUNS, r"\||msl:|ephemeral:|\S+:\|"),)),
    "gs": ((_RUNS, r"-dNOSAFER|.*%pipe%"),),
    "ffmpeg": ((_OPENS, r"(?:tcp|udp|rtmp\w?|srt|ftp|sftp|icecast)://(?!localhost|127\.)"),) , "wkhtmltopdf": ((_LOADS, r"--(?:allow|enable-local-file-access|run-script|proxy)"),),
    "ansible": ((_RUNS, r"(?:-m|--module-name)[= ]?(?:ansible\.builtin\.)?(?:shell|command|raw|script)|--vault-password-file"),), "ansible-playbook": ((_RUNS, r"--vault-password-file|--connection-password-file"),),
    "aws": ((_OPENS, r"--endpoint-url|--no-verify-ssl"), (_RUNS, r"send-command|--cli-input-\w+[= ](?:http|file:///tmp)")),
    "code": ((_LOADS, r"--install-extension|--extensions-dir|--user-data-dir"), (_OPENS, r"tunnel|serve-web")),
    **dict.fromkeys(("node", "nodejs", "bun", "tsx", "ts-node"), ((_LOADS, r"(?:-r|--require|--import|--loader|--experimental-loader|--env-file)[= ]?(?:/|~|\.\./|data:|https?:)|--inspect\S*0\.0\.0\.0"),)),
    "deno": ((_LOADS, r"--(?:import-map|preload|config)[= ](?:/|https?:)"),),
    "ruby": ((_LOADS, r"-r ?(?:/|\.\./)|-I ?/tmp"),), "perl": ((_LOADS, r"-d:?\S|-[mM]\S*(?:CPAN|/)|-I ?/tmp"),),
    "pytest": ((_LOADS, r"(?:-c|--rootdir|--confcutdir|--import-mode)[= ]?(?:/tmp|/dev|/$|/ )"),),
    "jq": (("prints all settings, passwords included", r"(?:.*[\s|(,;\[{:])?(?:\$ENV\b|env(?= *(?:[|)\],]|$)|\.[A-Z_]))"),),
    "yq": (("prints all settings, passwords included", r".*(?:\$ENV\b|strenv|load(?:_str)?\()"),),
    "redis-cli": ((_RUNS, r"--eval|eval\b"),),
    **dict.fromkeys(("screen", "tmux"), ((_RUNS, r"-X (?:stuff|exec)|(?:source-file|pipe-pane|if-shell) "),)),
    "start-stop-daemon": ((_RUNS, r"--exec|-x ?\S|--startas"),), "systemd-run": (("runs later", r"--on-|--timer-property"),), "busctl": ((_RUNS, r"call\b"),),
    **dict.fromkeys(("nsenter", "chroot"), (("gets out of its container", r"(?:-t|--target)[= ]?1\b|--all\b|/(?:proc/1/root|host\w*|h|mnt)\b"),)),
}  # fmt: skip
"""(what it does, pattern of an option with its value), by the program's name; matched from the option's beginning."""
_TUNNELS = re.compile(
    r"(?:ngrok (?:http|tcp|tls|start)|cloudflared (?:tunnel|access)|(?:localtunnel|lt) |tailscale (?:funnel|serve)|bore local|frpc |chisel client|zrok share|pagekite|gotty |ttyd |tmate|upterm host|sshuttle|serveo)"
)
_SHARED_ROOT = re.compile(r"(?:--directory|-d|--root|-t)[= ]?(?:/|~|/home\S*|/root\S*|/etc\S*|\$HOME|\.\.)/?(?: |$)")
_MOUNT = re.compile(r"(?:-v|--volume)[= ]?([^:]+):|--mount[= ].*?\b(?:source|src)=([^, ]+)")
_PLUGIN_OPTION = re.compile(
    r"--?(?:[\w-]*(?:config|plugin|preset|require|import|load|script|init|rc|rules|settings|hook|filter|ext|module|lib|agent|helper|template)[\w-]*|c|r|l|p|u|s)(?:[= ]|$)",
    re.IGNORECASE,
)
_TEMPORARY = re.compile(r"(?:/tmp|/var/tmp|/dev/shm|/run/user/\d+)(?:/|$)")
_HIDDEN = re.compile(r"/dev/shm/|(?:/tmp|/var/tmp)/(?:[^/]+/){0,5}\.[^/]|/dev/fd/|/proc/self/fd/")
_READ_NO_CODE = frozenset("cat ls cp mv rm grep echo curl wget git cd mkdir touch".split())
_RUN_FILES = frozenset(
    "sh bash zsh dash ksh ash fish python python2 python3 perl ruby node nodejs php lua source . exec java wish tclsh Rscript awk gawk mawk busybox env".split()
)


def find_program_of_options(name: str, rest: Sequence[str], shown: str) -> Iterator[Danger]:
    """Yield options of a command by which another program runs, code is loaded, or others get in.

    Args:
        name: of the program.
        rest: its words.
        shown: the command, for a reader.
    """
    words = rest[:_MAX_WORDS]
    line = " ".join((name, *words))[: 2 * _MAX_WORD]
    if _TUNNELS.match(line):
        yield Danger(f"it opens this machine to others ({shown})")
    if "http.server" in words and _SHARED_ROOT.search(line):
        yield Danger(f"it shows the files of this machine to others ({shown})")
    rules = _OPTIONS.get(name, ())
    reads_code = name not in _READ_NO_CODE
    for place, word in enumerate(words):
        after = words[place + 1] if place + 1 < len(words) else ""
        is_short = len(word) < _SHORT  # of a short option the letter's case means something
        option = f"{word} {after.lower() if is_short else after}"[:_MAX_WORD]
        if name == "git" and place and words[place - 1] in ("-m", "--message"):
            continue
        for what, pattern in rules:
            if _compile(pattern, ignores_case=not is_short).match(option):
                yield Danger(f"it {what} ({option[:60]!r} in {shown})")
        if name in ("docker", "podman", "nerdctl") and (mount := _MOUNT.match(option)):
            yield from find_mounted_folder(mount[1] or mount[2], shown)
        if name == "tar" and (compressor := _read_compressor(word, after)):
            yield Danger(f"it {_RUNS} ({compressor[:60]!r} in {shown})")
        if reads_code and _PLUGIN_OPTION.match(word) and _TEMPORARY.match(word.partition("=")[2] or after):
            yield Danger(f"it {_LOADS}, from a folder where anybody may write ({option[:60]!r})")


def find_temporary_program(whole: Sequence[str], name: str, rest: Sequence[str]) -> Iterator[Danger]:
    """Yield a program that runs from a hidden place where anybody may write: `/tmp/.x`, `/dev/shm/x`.

    Args:
        whole: all words, with the commands that only start it.
        name: of the command that is started, without its folder.
        rest: its words.
    """
    started = whole[len(whole) - len(rest) - 1] if len(whole) > len(rest) else name
    files = [started]
    if name in _RUN_FILES:
        files += [word for word in rest if not word.startswith("-")][:2]
    for file in files:
        if _HIDDEN.match(normalize_path(file)):
            yield Danger(f"it runs a hidden program from a folder where anybody may write ({file[:60]!r})")


def is_temporary(path: str) -> bool:
    """Return whether a path lies in a folder where anybody may write."""
    return _TEMPORARY.match(normalize_path(path)) is not None


def find_mounted_folder(source: str, shown: str) -> Iterator[Danger]:
    """Yield a folder of the machine that a container or a link gets, and that holds the system or secrets."""
    folder = normalize_path(source)
    is_system = re.match(
        r"/(?:$|etc(?:/|$)|root(?:/|$)|boot|dev(?:/|$)|proc|sys(?:/|$)|var/?$|var/(?:run|lib)(?:/|$)|run(?:/|$)|usr/?$|home/?$|home/~/?$|bin|sbin|lib)",
        folder,
    )
    if is_system or find_bad_path(source):
        yield Danger(f"it makes {source[:60]!r} of the machine reachable ({shown})")


@lru_cache(maxsize=512)
def _compile(pattern: str, *, ignores_case: bool) -> re.Pattern[str]:
    """Compile a rule when a command first needs it."""
    return re.compile(pattern, re.IGNORECASE if ignores_case else 0)


def _read_compressor(word: str, after: str) -> str:
    """Return the program of tar's `-I` if it is none that compresses."""
    match = re.fullmatch(r"-[A-Za-z]*?I(.*)", word)
    if match is None or word.startswith("--"):
        return ""
    value = match[1] if len(match[1]) > 2 else after  # noqa: PLR2004 - letters of further options
    return "" if re.match(_COMPRESSORS, value.lstrip("=")) else value
