"""Programs that are told by a verb what to do: which verbs only read or make, so that all others are a doubt."""

from __future__ import annotations

import re

from langchain_sea.safety.commands.git_commands import list_positionals, name_git_loss

__all__ = ["CLIENTS", "name_effect"]

_READ_VERBS = frozenset(
    "get list ls describe show view status info head search query scan count explain diff plan validate lint check test verify version help log logs tail top history wait whoami inspect"
    " preview print estimate lookup doctor outputs output completion select filter summary stats export-template simulate download cat stat du find presign ps auth-status explore"
    " whois metrics usage health ping current which env graph providers fmt format read watch list-all batch-get".split()
)
_MAKE_VERBS = frozenset(
    "create deploy start push pull cp copy sync upload add tag build submit login init configure use open mb run up apply install upgrade clone fork comment checkout new launch link restart rerun promote"
    " register enable import fetch set-context".split()
)
_RIGHTS = re.compile(
    r"iam|polic(?:y|ies)|roles?|keys?|users?|access|permissions?|public\w*|secrets?|tokens?|binding|credentials?|passwords?|firewall\w*|security-group\w*|acl|ssh|grant",
    re.IGNORECASE,
)
_GLOBAL_VALUES = frozenset(
    "-n --namespace --context --kubeconfig -f --filename -o --output --region --profile --project --zone --subscription -g --resource-group --repo -R --app -a -l --selector --cluster --user -s --server".split()
)
_CLOUDS = frozenset(
    "aws gcloud az doctl heroku flyctl fly vercel netlify ibmcloud oci linode-cli gsutil s3cmd mc rclone b2 wrangler firebase supabase railway render scw hcloud eksctl kops openstack oc-mirror"
    " snowsql databricks bq cf aliyun tccli stripe twilio sentry-cli datadog auth0 okta vault consul nomad argocd flux".split()
)
_KUBERNETES = re.compile(
    r"(?:get(?! secrets?\b)|describe(?! secrets?\b)|logs|top|explain|version|config (?:view|get-contexts|current-context|use-context|get-clusters)|cluster-info|api-resources|api-versions|diff|wait"
    r"|rollout (?:status|history|restart)|auth (?:can-i|whoami)|events|port-forward|kustomize|apply|create(?! clusterrole| rolebinding| role\b| token)|expose|label|annotate|completion|options|plugin list|exec)\b"
)
_TERRAFORM = re.compile(r"(?:init|plan|validate|fmt|show|outputs?|providers|version|graph|get|test|console|state (?:list|show|pull)|workspace (?:list|show|select|new)|preview|stack (?:ls|output|select|init)|about|whoami|logs|login|up --preview|synth|diff|ls|list|bootstrap|docs|doctor|package|print|info|invoke local|offline|metrics)\b")  # fmt: skip
_HELM = re.compile(r"(?:ls|list|status|get|history|search|repo (?:add|update|list|index)|template|lint|show|pull|dependency|package|version|env|diff|install|upgrade|create|test|verify|plugin list|registry login|completion|secrets (?:view|enc))\b")  # fmt: skip
_GITHUB = re.compile(
    r"(?:pr (?:create|view|list|checkout|diff|checks|comment|review|ready|status|edit)|issue (?:create|view|list|comment|status|edit|develop)|run (?:list|view|watch|rerun|download)|repo (?:view|clone|list|create|fork|sync|set-default)"
    r"|mr (?:create|view|list|checkout|diff|note|approve)|release (?:list|view|download)|auth (?:status|login|setup-git)|search|workflow (?:list|view)|label list|browse|status|help|version|completion|gist (?:list|view|clone)|cache list|ruleset|project (?:list|view|item-list)|ci (?:list|view|status|lint|trace)|extension list|alias list|config (?:get|list))\b"
)
_REDIS = frozenset(
    "get mget getrange strlen keys scan dbsize info ttl pttl type exists hget hgetall hmget hkeys hvals hlen hexists hscan lrange llen lindex smembers scard sismember sscan srandmember zrange zrevrange zrangebyscore zcard zscore zrank zscan zcount"
    " xrange xrevrange xlen xinfo xread pfcount bitcount getbit geodist geopos georadius geosearch ping echo time memory object randomkey lastsave role wait touch dump command latency slowlog"
    " set setex setnx mset incr incrby decr decrby append getset hset hmset hincrby hsetnx lpush rpush sadd zadd zincrby expire pexpire expireat persist xadd pfadd setbit publish subscribe psubscribe select auth hello quit multi exec watch client json.get json.set ft.search ft.info ts.get ts.range".split()
)
_REDIS_VALUES = frozenset(
    ["--pattern", "--count", "--type", "-h", "-p", "-n", "-a", "-u", "--user", "--pass", "-s", "-i", "-r"]
)
_SERVICES = re.compile(
    r"(?:--?\w[\w-]*\s+)*(?:status|is-active|is-enabled|is-failed|list-\S+|show|show-environment|cat|help|start|restart|reload|try-restart|daemon-reload|get-default)\b|[\w.@-]+\s+(?:status|start|restart|reload)\b"
)
_SYSTEM_PACKAGES = re.compile(
    r"(?:.*\s)?(?:remove|purge|autoremove|erase|uninstall|zap|rm|dist-upgrade|full-upgrade|untap|unlink)\b"
)
_REGISTRY = re.compile(
    r"(?:.*\s)?(?:config\s+set|set\s|login|logout|adduser|token|owner|access|hook|team|org|profile|trust)\b|.*(?:--registry|--index-url|--extra-index-url|--trusted-host|\s-i\s+https?:)"
)
_PACKAGE_MANAGERS = frozenset(["npm", "yarn", "pnpm", "bun", "pip", "pip3", "uv", "poetry", "gem", "conda", "cargo"])
_RUNNERS = frozenset(
    "make gmake just task invoke inv rake npm yarn pnpm bun nx turbo gradle gradlew mvn ant rails bin/rails composer artisan mix lein sbt tox nox".split()
)
_LOSING = frozenset(
    "delete destroy drop purge wipe truncate flush flushall flushdb erase terminate nuke reset revoke deprovision decommission uninstall shutdown unpublish teardown obliterate deletedb dropdb rmi prune".split()
)
_SPLIT = re.compile(r"[:_./-]+")
_ORDINARY = frozenset("echo printf grep egrep fgrep rg ag ack sed awk gawk cat less more head tail man which type test expr find fd ls cut sort uniq wc diff jq yq tr tee xxd od curl wget http https python python3 python2 node ruby perl php docker podman ssh tar zip unzip mkdir touch cp mv rm ln cd export psql mysql sqlite3 pytest cargo go rustc gcc say notify-send whatis apropos locate alias read set logger git mongo mongosh redis-cli terraform kubectl helm gh glab tput stty reset code open vim vi nano emacs".split())  # fmt: skip
CLIENTS = {
    "kubectl": "kubectl", "oc": "oc", "k8s": "kubectl", "helm": "helm", "git": "git", "docker": "docker", "podman": "podman", "aws": "aws", "gcloud": "gcloud", "az": "az", "azure": "az",
    "terraform": "terraform", "tofu": "tofu", "redis": "redis-cli", "valkey": "redis-cli", "gh": "gh", "glab": "glab", "npm": "npm", "pip": "pip", "brew": "brew", "apt": "apt",
    "systemctl": "systemctl", "heroku": "heroku", "pulumi": "pulumi", "gsutil": "gsutil", "vault": "vault", "mongosh": "mongosh", "doctl": "doctl", "flyctl": "flyctl", "vercel": "vercel",
}  # fmt: skip
"""Words in the names of tools that are programs, and the program that each is."""


def name_effect(name: str, rest: tuple[str, ...], *, is_guess: bool = False) -> str | None:
    """Return what a program does by its verb that is a doubt; None for verbs that only read or make.

    Args:
        name: of the program.
        rest: the words after it.
        is_guess: whether the words come from a tool's name and arguments.
    """
    words = list_positionals(rest, _GLOBAL_VALUES)
    spoken = " ".join(words[:4])
    shown = f"`{name} {spoken[:50]}`"
    if not words or "--help" in rest or "--dry-run" in rest or "--dry-run=client" in rest:
        return name_git_loss(rest, is_guess=is_guess) if name == "git" and rest and "--help" not in rest else None
    if name == "git":
        return name_git_loss(rest, is_guess=is_guess)
    if name in ("kubectl", "oc", "k3s", "microk8s", "minikube"):
        is_known = (
            _KUBERNETES.match(spoken)
            or (words[0] == "scale" and "--replicas=0" not in rest)
            or (name == "minikube" and words[0] != "delete")
        )
        return None if is_known else f"{shown} changes a cluster"
    if name in ("terraform", "tofu", "pulumi", "cdk", "serverless", "sls", "terragrunt"):
        return None if _TERRAFORM.match(spoken) else f"{shown} changes what runs in a cloud"
    if name == "helm":
        return None if _HELM.match(spoken) else f"{shown} changes a cluster"
    if name in ("gh", "glab", "hub"):
        return _name_github(words, rest, shown, spoken)
    if name in ("redis-cli", "valkey-cli", "keydb-cli"):
        verb = next(iter(list_positionals(rest, _REDIS_VALUES)), "")
        return None if not verb or verb.lower() in _REDIS else f"`{name} {verb[:40]}` changes or deletes data"
    if name in ("systemctl", "service", "launchctl", "sc", "supervisorctl", "pm2", "rc-service"):
        spoken = " ".join(list_positionals(rest))
        is_known = _SERVICES.match(spoken) or (name == "pm2" and words[0] not in _LOSING | {"kill", "stop"})
        return None if is_known else f"{shown} changes which services run"
    if name in _CLOUDS:
        return _name_cloud(words, shown)
    return _name_other(name, words, rest, shown)


def _name_other(name: str, words: list[str], rest: tuple[str, ...], shown: str) -> str | None:
    if name in (
        "apt",
        "apt-get",
        "yum",
        "dnf",
        "brew",
        "snap",
        "pacman",
        "zypper",
        "apk",
        "choco",
        "winget",
        "port",
        "flatpak",
        "dpkg",
    ):
        return (
            f"{shown} removes programs"
            if _SYSTEM_PACKAGES.match(" ".join(words)) or rest[:1] in (("-R",), ("-Rns",), ("-r",), ("-P",))
            else None
        )
    if name in (
        "npm",
        "yarn",
        "pnpm",
        "bun",
        "pip",
        "pip3",
        "uv",
        "poetry",
        "gem",
        "conda",
        "cargo",
    ) and _REGISTRY.match(" ".join(rest)):
        return f"{shown} changes where programs are taken from, or who may publish them"
    if name in _RUNNERS:
        parts = {part for word in words[:3] for part in _SPLIT.split(word.lower())}
        lost = parts & (
            _LOSING - {"reset", "uninstall", "prune"} if name not in ("rails", "rake", "artisan") else _LOSING
        )
        return f"{shown} may delete data ({min(lost)!r})" if lost else None
    if name in _ORDINARY or (name in _PACKAGE_MANAGERS and words[0] in ("uninstall", "remove", "prune")):
        return None
    lost = {word.lower().strip("-") for word in words[:3]} & _LOSING
    lost |= {part for part in _SPLIT.split(words[0].lower()) if part in _LOSING and len(words[0]) < 40}  # noqa: PLR2004 - characters of a verb
    return f"{shown} may delete data ({min(lost)!r})" if lost else None


def _name_github(words: list[str], rest: tuple[str, ...], shown: str, spoken: str) -> str | None:
    if words[0] == "api":
        sends = any(re.match(r"(?:-X|--method|-f|-F|--field|--raw-field|--input)", word) for word in rest)
        reads = any(word.upper() in ("GET", "-XGET", "--METHOD=GET") for word in rest)
        return f"{shown} changes something" if (sends and not reads) or "graphql" in words[:2] else None
    return None if _GITHUB.match(spoken) else f"{shown} changes something"


def _name_cloud(words: list[str], shown: str) -> str | None:
    """Judge by the first word that is a verb, alone or before a dash, as in `describe-instances`."""
    for word in words[:5]:
        verb = re.split(r"[-:]", word.lower(), maxsplit=1)[0]
        if word.lower() in _READ_VERBS or verb in _READ_VERBS:
            reads_secret = re.search(r"secret|password|token|decrypt|login|credential", " ".join(words[:5]).lower())
            return f"{shown} shows secrets" if reads_secret and verb not in ("list", "ls", "help", "describe") else None
        if verb in _MAKE_VERBS and not (verb == "run" and word == words[0] and len(words) > 1):
            return (
                f"{shown} changes who may do what"
                if any(map(_RIGHTS.fullmatch, re.split(r"[\s:/-]+", " ".join(words[:4]))))
                else None
            )
        if verb in _LOSING:
            break
    return f"{shown} changes something in a cloud"
