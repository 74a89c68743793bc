"""What commands do, as data: which destroy, which send, which run text that they are given. Knows no parser."""

from __future__ import annotations

__all__ = [
    "AMBIGUOUS", "COMMANDS", "DATABASE_CLIENTS", "DOUBTFUL", "DOWNLOADERS", "INTERPRETERS", "KNOWN_BUILDS", "NETWORK", "POSITIONALS_BEFORE", "ROOTS", "RUNNERS", "SHELLS", "TEXT_CERTAIN",
    "WINDOWS_CERTAIN", "WINDOWS_DOUBTFUL", "WRAPPERS", "WRAPPER_VALUES",
]  # fmt: skip

SHELLS = frozenset("sh bash zsh dash ksh csh tcsh fish ash rbash busybox pwsh powershell".split())
INTERPRETERS = SHELLS | frozenset(
    "python python2 python3 perl ruby node nodejs php lua deno bun osascript awk tclsh Rscript".split()
)
DOWNLOADERS = frozenset("curl wget fetch aria2c http https lwp-download lynx w3m axel iwr Invoke-WebRequest".split())
NETWORK = DOWNLOADERS | frozenset(
    "nc ncat netcat socat telnet scp sftp rsync ftp ssh mail sendmail openssl xxd nslookup dig".split()
)
WRAPPERS = frozenset(
    "sudo doas env nohup time nice ionice timeout exec command builtin setsid stdbuf xargs strace ltrace watch unbuffer"
    " chronic parallel caffeinate chroot unshare nsenter flock run0 pkexec systemd-run".split()
)
"""Commands that run another one, which follows their options."""
_VALUES = {
    "sudo": "-u -g -h -p -C -r -t -T -U -D -R --user --group --host --prompt --chdir --chroot --role --type", "doas": "-u -C -a", "env": "-u -C --unset --chdir", "nice": "-n --adjustment",
    "ionice": "-c -n -p -P --class --classdata", "timeout": "-s -k --signal --kill-after", "xargs": "-a -I -n -P -L -E -d -s -J -R -S --arg-file --max-args --max-procs --max-lines --delimiter --replace --max-chars --eof",
    "stdbuf": "-i -o -e --input --output --error", "strace": "-e -o -p -s -u -E -a -P", "ltrace": "-e -o -p -s -u", "watch": "-n --interval", "time": "-f -o --format --output", "exec": "-a",
    "parallel": "-j -a -N -L --jobs --arg-file --colsep --joblog --delay --timeout", "nsenter": "-t -S -G --target --setuid --setgid", "unshare": "-S -G -R -w --setuid --setgid --root --wd",
    "chroot": "", "flock": "-w -E --timeout --wait --conflict-exit-code", "caffeinate": "-t -w", "pkexec": "--user", "run0": "-u -D --user --chdir", "chronic": "", "nohup": "", "npx": "-p --package -c --call",
    "uv": "--with --python -p --project --directory --extra --group --env-file -n --name -C", "setsid": "", "unbuffer": "", "systemd-run": "-p --property -u --unit --uid --gid --slice --description",
}  # fmt: skip
WRAPPER_VALUES = {name: frozenset(options.split()) for name, options in _VALUES.items()}
"""Options of these commands that take a value."""
POSITIONALS_BEFORE = {"timeout": 1, "chroot": 1, "flock": 1}
"""How many words of their own stand before the command."""
RUNNERS = {
    "npx": (), "bunx": (), "uvx": (), "pnpx": (), "uv": ("run",), "poetry": ("run",), "pipenv": ("run",), "pdm": ("run",), "hatch": ("run",), "rye": ("run",), "pixi": ("run",), "bundle": ("exec",),
    "conda": ("run",), "mamba": ("run",), "npm": ("exec", "x"), "pnpm": ("exec", "dlx"), "yarn": ("exec", "dlx"), "dotenv": ("run",), "doppler": ("run",), "nix": ("run", "shell"), "direnv": ("exec",), "mise": ("exec", "x"),
    "asdf": ("exec",), "rbenv": ("exec",), "pyenv": ("exec",), "rtk": ("run",),
}  # fmt: skip
"""Commands that run another one behind one of these words, or behind their options."""
ROOTS = (
    r"^(?:/+(?:\*+|\.{1,2}(?:/\*?)?)?|/(?:bin|boot|dev|etc|home|lib(?:32|64)?|opt|proc|root|run|sbin|srv|sys|usr|var|users|system|library|applications"
    r"|mnt|media|data)(?:/\*{0,2}|/\.\*)?|/home/[^/]+(?:/\*)?|/home/~(?:/\*|/\.\*)?|[a-z]:/?\*?|[a-z]:/(?:windows|users)(?:/\*?)?|/(?:usr|var)/(?:lib|bin|local|log)(?:/\*)?)$"
)
"""Folders without which a machine or its user has lost everything, in lower case."""
KNOWN_BUILDS = (
    r"(?:^|/)(?:node_modules|build|dist|target|out|__pycache__|\.?venv|\.cache|\.pytest_cache|\.mypy_cache|\.ruff_cache|\.tox|\.next|\.nuxt"
    r"|\.turbo|\.parcel-cache|coverage|htmlcov|\.gradle|[\w.*-]+\.egg-info|bin|obj|tmp|temp|\.terraform|vendor|site|_build)(?:/[\w.*-]*)*/?$"
    r"|^/tmp/[\w.-]+|^/var/tmp/[\w.-]+|\.(?:pyc|pyo|o|log|tmp|bak)$"
)
"""Folders that a build makes again."""
DOUBTFUL = (
    ("it deletes files", r"^(?:rm|unlink|shred|srm|wipe|rmdir)\b.*"),
    ("it deletes or overwrites version history", r"^git\s+(?:.*\s)?(?:push\s.*(?:--force|-f\b|--delete|--mirror|\s\+)|reset\s.*--hard|clean\s+-\w*[fdx]|filter-branch|filter-repo"
     r"|branch\s+(?:.*\s)?-D|update-ref\s+-d|reflog\s+expire|checkout\s+(?:--\s+)?\.$|restore\s+\.$|stash\s+(?:drop|clear))"),
    ("it stops the machine", r"^(?:shutdown|reboot|halt|poweroff|init\s+[06]|telinit|systemctl\s+(?:poweroff|reboot|halt|rescue|emergency))\b"),
    ("it stops programs", r"^(?:killall|pkill|skill|systemctl\s+(?:\S+\s+)*(?:stop|disable|mask)|service\s+\S+\s+stop|kill\s+(?:-\S+\s+)*-1\b|launchctl\s+(?:unload|bootout))\b"),
    ("it changes who may do what", r"^(?:chmod\s+(?:-\S+\s+)*(?:0?[0-7]?777|a[+=]\S*w|[ugoa]*\+s|[2-7][0-7]{3}\b|-R)|chown\s+(?:-\S+\s+)*(?:-R|--recursive|root)|setcap|setfacl|chattr|visudo|usermod|useradd|adduser|userdel|deluser|groupmod|passwd|chpasswd|gpasswd|dscl)\b"),
    ("it acts with the rights of an administrator", r"^(?:sudo|doas|su|pkexec|run0|runas|gsudo)\b"),
    ("it changes firewall, kernel or mounts", r"^(?:iptables|ip6tables|nft|ufw|firewall-cmd|sysctl\s+(?:-\S+\s+)*-w|modprobe|insmod|rmmod|mount|umount|swapoff|setenforce|losetup|kexec|pfctl)\b"),
    ("it changes a disk", r"^(?:fdisk|sfdisk|gdisk|sgdisk|parted|mkswap|lvremove|vgremove|pvremove|zpool\s+destroy|zfs\s+destroy|btrfs\s+\S+\s+delete|mdadm|cryptsetup|hdparm|dd|truncate|fallocate)\b"),
    ("it runs later, or at each start", r"^(?:crontab(?:\s+(?:-[^l\s]|[^-\s]|-$)|$)|at\b|batch\b|systemctl\s+enable|launchctl\s+load|update-rc\.d)"),
    ("it hides what was done", r"^(?:history\s+-[cdw]|unset\s+HISTFILE|export\s+HISTFILE=|journalctl\s+.*--vacuum|logrotate\s+-f|auditctl\s+-[eD]|wevtutil\s+cl)"),
    ("it deletes things of a cluster or a cloud", r"^(?:kubectl|oc|k3s\s+kubectl)\s+(?:.*\s)?(?:delete|drain|cordon|replace\s+--force|exec|create\s+clusterrolebinding)\b"
     r"|^helm\s+(?:.*\s)?(?:uninstall|delete)|^(?:terraform|tofu|pulumi|cdk|serverless|sls)\s+(?:.*\s)?(?:destroy|apply\s+.*-auto-approve|remove)"
     r"|^(?:docker|podman|nerdctl)\s+(?:\S+\s+)?(?:rm|rmi|prune|kill|stop|down)\b|^(?:docker|podman)(?:-compose|\s+compose)\s+.*\bdown\b.*-v|^(?:docker|podman)\s+run\s+.*(?:--privileged|-v\s*/:|--pid[= ]host)"
     r"|^aws\s+.*\b(?:delete|terminate|remove|rb|rm|deregister|disable|put-bucket-policy|attach-\w+-policy|create-access-key|stop-logging)[\w-]*"
     r"|^(?:gcloud|az|doctl|heroku|flyctl|fly|vercel|netlify|ibmcloud|oci|linode-cli|gh|glab|gsutil)\s+.*\b(?:delete|destroy|remove|rm|rb|purge|add-iam-policy-binding|apps:destroy|pg:reset)\b"),
    ("it deletes data of a database", r"^(?:redis-cli|valkey-cli)\s+.*\b(?:flush(?:all|db)|config\s+set|shutdown|del)\b|^(?:mongo|mongosh)\s+.*(?:drop|deleteMany|remove)\w*\(|^(?:dropdb|dropuser|mysqladmin\s+.*drop)|^(?:curl|wget|http)\s+.*-X\s*DELETE"
     r"|^(?:rails|rake|bin/rails)\s+db:(?:drop|reset|purge)|^(?:python3?\s+)?(?:\./)?manage\.py\s+flush|^(?:npx\s+)?prisma\s+(?:migrate\s+reset|db\s+push\s+.*--force-reset)|^alembic\s+downgrade\s+base|^(?:php\s+)?artisan\s+migrate:(?:fresh|reset)"),
    ("it publishes something", r"^(?:npm|yarn|pnpm|bun)\s+(?:publish|unpublish|deprecate)|^twine\s+upload|^cargo\s+(?:publish|yank)|^gem\s+(?:push|yank)|^(?:poetry|uv|flit|hatch)\s+publish|^docker\s+push"),
    ("it sends something away", r"^(?:curl|http|https|xh)\s(?:.*\s)?(?:(?-i:-(?:d|F|T))|--data[\w-]*|--form|--upload-file|--json|-X\s*(?:POST|PUT|PATCH))|^wget\s+.*--post-|^(?:nc|ncat|netcat|socat|telnet|scp|sftp|ftp|rsync\s+.*\S+:\S*)\b"),
    ("it reads all settings, passwords included", r"^(?:printenv|env|export\s+-p|declare\s+-x|set)\s*$"),
    ("it runs text as a program", r"^(?:eval|source\s+/dev/|\.\s+/dev/)\b"),
    ("it gets a machine's passwords", r"^(?:mimikatz|secretsdump|hashdump|laZagne|security\s+(?:dump-keychain|find-\w+-password)|getent\s+shadow|pass\s+show|op\s+(?:read|item)|vault\s+(?:read|kv\s+get)|kubectl\s+.*get\s+secrets?|gh\s+auth\s+token|gcloud\s+auth\s+print|aws\s+configure\s+(?:get|export)|aws\s+secretsmanager\s+get|docker\s+login)\b"),
)  # fmt: skip
"""(what it does, pattern of a command with its arguments, separated by blanks)."""
DATABASE_CLIENTS = frozenset(
    "mysql psql sqlite3 mariadb sqlcmd clickhouse-client duckdb cockroach bq usql mycli pgcli".split()
)
TEXT_CERTAIN = (
    (
        "it deletes everything where it is",
        r"\bcd\s+(?:/|~|\$HOME)?\s*(?:&&|;)\s*(?:sudo\s+)?rm\s+-\w*r\w*\s+(?:-\w+\s+)*(?:\*|\.)",
    ),
    ("it runs what it downloads", r"\$\(\s*(?:curl|wget)[^)\n]{0,300}\)\s*\|\s*(?:sudo\s+)?(?:ba|z|da|k)?sh\b"),
)
"""Signs that lie in several commands at once."""
WINDOWS_CERTAIN = (
    ("it deletes a whole disk or the user's files", r"\bformat(?:\.com)?\s+[a-z]:|\b(?:rd|rmdir)\s+(?:/[sq]\s+)+[\"']?(?:[a-z]:\\?|%(?:systemroot|userprofile|systemdrive)%)[\"'*]*(?:\s|$)|\bdel\s+(?:/[fsqa]\s+)+[\"']?[a-z]:\\(?:\*|windows|users)"
     r"|\bRemove-Item\s+(?:-\w+\s+)*[\"']?(?:[a-z]:\\?|\$env:(?:SystemDrive|SystemRoot|USERPROFILE)|~)\\?\*?[\"']?\s+(?:-\w+\s*)*-r|\bRemove-Item\s+(?:-\w+\s+)*-r\w*\s+(?:-\w+\s+)*[\"']?(?:[a-z]:\\?|\$env:(?:SystemDrive|SystemRoot|USERPROFILE)|~)\\?\*?(?:[\"'\s]|$)"
     r"|\bClear-Disk\b|\bFormat-Volume\b|\bcipher\s+/w:"),
    ("it deletes the copies from which a machine is restored", r"\bvssadmin(?:\.exe)?\s+delete\s+shadows|\bwmic\s+shadowcopy\s+delete|\bwbadmin\s+delete|\bbcdedit\s+.*recoveryenabled\s+no"),
    ("it runs what it downloads", r"\b(?:iex|Invoke-Expression)\b.{0,80}(?:DownloadString|iwr|irm|Invoke-WebRequest|Invoke-RestMethod|WebClient|curl)|(?:DownloadString|\biwr\b|\birm\b|Invoke-WebRequest|Invoke-RestMethod).{0,200}\|\s*(?:iex|Invoke-Expression)"
     r"|\b(?:mshta|regsvr32|rundll32|certutil|bitsadmin|msiexec)\b.{0,80}(?:https?:|javascript:|scrobj)"),
)  # fmt: skip
WINDOWS_DOUBTFUL = (
    ("it runs what it downloaded", r"\b(?:curl|wget|fetch|iwr|Invoke-WebRequest)\b[^|]{0,300}(?:&&|;|\n)\s*(?:sudo\s+)?(?:(?:ba|z|da|k)?sh\s|python3?\s|perl\s|ruby\s|node\s|\.?/|chmod\s+\S*[x7]|source\s)"),
    ("it deletes files", r"\bRemove-Item\b.{0,200}-(?:Recurse|Force)|\b(?:rd|rmdir)\s+/[sq]|\b(?:del|erase)\s+/[fsq]|\bri\s+-r"),
    ("it runs hidden text as a program", r"\bpowershell(?:\.exe)?\b.{0,80}\s-e\w*\s+[A-Za-z0-9+/=]{16,}|\b(?:iex|Invoke-Expression)\b|FromBase64String|-ExecutionPolicy\s+Bypass"),
    ("it changes the machine", r"\breg(?:\.exe)?\s+(?:delete|add)\b|\bSet-ExecutionPolicy\b|\bnet\s+(?:user|localgroup)\s+\S+.{0,60}/(?:add|delete)|\bsc\s+(?:delete|stop|config)\b|\bschtasks\s+/(?:create|delete)|\bdiskpart\b|\bStop-Computer\b|\bRestart-Computer\b"
     r"|\bSet-MpPreference\b|\bNew-LocalUser\b|\bAdd-LocalGroupMember\b|\bnetsh\s+(?:advfirewall|firewall)\b|\bSet-ADAccountPassword\b|\btaskkill\s+.*/f|\bStop-Service\b|\bStop-Process\b|\bwmic\b.{0,60}\b(?:call|create|delete)\b|\btakeown\b|\bicacls\b"),
)  # fmt: skip
AMBIGUOUS = frozenset(
    "find cut sort date make kill sleep time test watch touch more less head cat who last at split join look write mail nice info man"
    " yes read set type wait help history echo top file link host dig go node gem split install open start stop act fold"
    " script expand strings ping service process wall source export import format del users groups jobs fetch http https".split()
)
"""Commands that are ordinary words too."""
COMMANDS = AMBIGUOUS | INTERPRETERS | NETWORK | WRAPPERS | frozenset(
    "rm mv cp ls ln mkdir rmdir chmod chown chgrp mkfs dd shred fdisk mount umount shutdown reboot halt poweroff su sudo doas env"
    " printenv id whoami uname hostname ifconfig ip netstat ss ps pkill killall crontab systemctl journalctl useradd userdel usermod"
    " passwd groupadd iptables ufw git docker podman kubectl helm terraform aws gcloud az npm npx yarn pip pip3 apt apt-get yum dnf"
    " brew base64 xxd od tar zip unzip gzip grep egrep sed awk gawk tee tr wc uniq diff nohup eval exec ssh-keygen gpg openssl mysql psql"
    " sqlite3 mongo mongosh redis-cli pwd cd nslookup ping traceroute whois gcc vim vi nano chattr unlink truncate ncat"
    " systeminfo ipconfig tasklist taskkill net reg wmic certutil vssadmin bcdedit dir cmd cmd.exe powershell.exe rd erase"
    " Remove-Item Invoke-Expression iex Invoke-WebRequest Get-Content Get-ChildItem printf getent lsof".split()
)  # fmt: skip
