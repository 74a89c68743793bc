"""What a command of git loses: branches, history, changes that were not committed; and settings that run programs."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple

__all__ = ["list_positionals", "name_git_loss"]

_VALUE_OPTIONS = frozenset(["-C", "-c", "--git-dir", "--work-tree", "--namespace", "--exec-path", "--config-env"])
_HARMLESS = frozenset(
    "add am annotate apply archive bisect blame bundle cat-file check-attr check-ignore cherry cherry-pick citool clone commit commit-tree count-objects describe diff diff-files diff-index"
    " diff-tree difftool fetch flow for-each-ref format-patch fsck grep gui hash-object help init instaweb interpret-trailers lfs log ls-files ls-remote ls-tree merge merge-base merge-file"
    " merge-tree mergetool mktag mktree mv name-rev notes pull range-diff read-tree rebase repack request-pull rerere rev-list rev-parse revert shortlog show show-branch"
    " show-ref sparse-checkout status submodule subtree switch symbolic-ref var verify-commit verify-tag version whatchanged write-tree credential pack-refs maintenance gc".split()
)
_RUNNING_SETTING = re.compile(
    r"core\.(?:hookspath|sshcommand|editor|pager|fsmonitor|askpass|gitproxy|attributesfile|excludesfile|alternaterefscommand|worktree)|alias\.|pager\.|interactive\.difffilter|difftool\.|mergetool\.|diff\.external|browser\.|man\.|instaweb\.|web\.browser|sendemail\.|trailer\..*command|tar\..*command|hook\.|uploadarchive\.|credential\.|url\..*insteadof|filter\.|diff\..*(?:command|textconv)"
    r"|merge\..*driver|sequence\.editor|gpg\.|include|http\..*(?:proxy|sslverify|extraheader)|http\.(?:proxy|sslverify)|remote\..*(?:url|pushurl|proxy|uploadpack|receivepack|vcs)|init\.templatedir|protocol\.|uploadpack|receive\.|submodule\..*update",
    re.IGNORECASE,
)


class _Words(NamedTuple):
    """What follows the verb: words, letters of short options, and long options."""

    targets: list[str]
    letters: set[str]
    longs: set[str]


def list_positionals(words: tuple[str, ...], value_options: frozenset[str] = frozenset()) -> list[str]:
    """List the words that are no options, and no values of these options."""
    positionals, skips = [], False
    for word in words:
        if skips:
            skips = False
        elif word in value_options:
            skips = True
        elif not word.startswith("-"):
            positionals.append(word)
    return positionals


def name_git_loss(rest: tuple[str, ...], *, is_guess: bool = False) -> str | None:
    """Return what a command of git loses or changes for later; None for ordinary work.

    Args:
        rest: the words after `git`.
        is_guess: whether the words come from a tool's name, so that an unknown verb says nothing.
    """
    settings = [value for option, value in pairwise(rest) if option in ("-c", "--config")]
    settings += [word[len("--config=") :] for word in rest if word.startswith("--config=")]
    if running := next(filter(_RUNNING_SETTING.match, settings), None):
        return f"it sets {running[:40]!r}, which can run a program"
    positionals = list_positionals(rest, _VALUE_OPTIONS)
    if not positionals:
        return None
    verb, words = positionals[0], rest[rest.index(positionals[0]) + 1 :]
    if verb in ("clone", "ls-remote", "push", "archive", "difftool") and (pack := _find_pack(verb, words)):
        return f"it runs {pack[:40]!r} as a part of git"
    targets = [word for word in words if not word.startswith("-")]
    letters = {letter for word in words if re.fullmatch(r"-[a-zA-Z]+", word) for letter in word[1:]}
    longs = {word.partition("=")[0] for word in words if word.startswith("--")}
    if verb in _JUDGES:
        return _JUDGES[verb](_Words(targets, letters, longs))
    if verb in _HARMLESS or is_guess:
        return "it forgets old states for good" if verb == "gc" and "--prune" in longs else None
    return f"`git {verb[:30]}` is not known to be harmless"


def _find_pack(verb: str, words: tuple[str, ...]) -> str | None:
    """Return the program that an option names which means this for the verb alone."""
    option = {"clone": "-u", "ls-remote": "-u", "difftool": "-x"}.get(verb, "--exec")
    attached = (word[len("--exec=") :] for word in words if option == "--exec" and word.startswith("--exec="))
    return next((value for name, value in pairwise(words) if name == option), None) or next(attached, None)


def _judge_push(words: _Words) -> str | None:
    if words.letters & {"f", "d"} or words.longs & {
        "--force",
        "--force-with-lease",
        "--force-if-includes",
        "--delete",
        "--mirror",
        "--prune",
    }:
        return "it deletes or overwrites what others see"
    return (
        "it deletes or overwrites a branch that others see" if any(t[:1] in (":", "+") for t in words.targets) else None
    )


def _judge_checkout(words: _Words) -> str | None:
    if words.letters & {"f"} or "--force" in words.longs or any(target in (".", ":/", "*") for target in words.targets):
        return "it throws away changes that were not committed"
    return None


def _judge_restore(words: _Words) -> str | None:
    if words.longs & {"--staged"} and "--worktree" not in words.longs:
        return None
    return _judge_checkout(words)


def _judge_branch(words: _Words) -> str | None:
    return "it deletes or moves a branch" if words.letters & {"D", "M", "f"} or "--force" in words.longs else None


def _judge_tag(words: _Words) -> str | None:
    return "it deletes or moves a tag" if words.letters & {"d", "f"} or words.longs & {"--delete", "--force"} else None


def _judge_reset(words: _Words) -> str | None:
    return "it throws away changes that were not committed" if words.longs & {"--hard", "--merge", "--keep"} else None


def _judge_clean(words: _Words) -> str | None:
    if words.letters & {"n"} or "--dry-run" in words.longs:
        return None
    return (
        "it deletes files that git does not know"
        if words.letters & {"f", "d", "x", "X"} or "--force" in words.longs
        else None
    )


def _judge_stash(words: _Words) -> str | None:
    return "it throws away changes that were put aside" if words.targets[:1] in (["drop"], ["clear"]) else None


def _judge_remove(words: _Words) -> str | None:
    if "--cached" in words.longs:
        return None
    return (
        "it deletes files"
        if words.letters & {"r", "f"} or words.longs & {"--force"} or any("*" in t for t in words.targets)
        else None
    )


def _judge_remote(words: _Words) -> str | None:
    return (
        "it changes where the history is sent"
        if words.targets[:1] in (["set-url"], ["rename"], ["remove"], ["rm"])
        else None
    )


def _judge_config(words: _Words) -> str | None:
    if (
        words.longs & {"--get", "--get-all", "--list", "--get-regexp", "--show-origin"}
        or "l" in words.letters
        or words.targets[:1] in (["get"], ["list"])
    ):
        return None
    names = [target for target in words.targets if target not in ("set", "unset")]
    if names and _RUNNING_SETTING.match(names[0]) and (len(names) > 1 or words.longs & {"--unset", "--add"}):
        return f"it sets {names[0][:40]!r}, which can run a program"
    return "it changes the settings of the machine" if "--system" in words.longs and len(names) > 1 else None


def _judge_reflog(words: _Words) -> str | None:
    return "it forgets old states for good" if words.targets[:1] in (["expire"], ["delete"]) else None


def _judge_worktree(words: _Words) -> str | None:
    return (
        "it deletes a folder with its changes"
        if words.targets[:1] == ["remove"] and (words.letters & {"f"} or "--force" in words.longs)
        else None
    )


_JUDGES = {
    "push": _judge_push, "checkout": _judge_checkout, "restore": _judge_restore, "branch": _judge_branch, "tag": _judge_tag, "reset": _judge_reset, "clean": _judge_clean,
    "stash": _judge_stash, "rm": _judge_remove, "remote": _judge_remote, "config": _judge_config, "reflog": _judge_reflog, "worktree": _judge_worktree,
}  # fmt: skip
