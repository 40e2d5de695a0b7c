#!/bin/sh
# Installs the Docmill worker as a systemd service, or brings an installed one up to date.
#
#   sudo worker/install.sh [--dry-run] [--with NAME]... [--no-venv]
#   sudo worker/install.sh --uninstall [--purge] [--dry-run]
#
# --dry-run    print every action, change nothing
# --with NAME  also install requirements-NAME.txt, for example local-models or ocr. An update keeps what was
#              chosen; `--with none` drops it
# --no-venv    copy the files, leave the virtual environment to you
# --uninstall  stop the workers and remove everything but configuration, state and user
# --purge      with --uninstall: remove those too
#
# DESTDIR      install below this folder, for packages: no user, no virtual environment, no systemctl
# PREFIX       where the program lives, /opt/docmill by default
# PYTHON       the Python to use, 3.11 to 3.14
#
# It may be run again at any time. Each version is a folder of its own, PREFIX/releases/VERSION; PREFIX/current
# leads to the newest. No worker is started or stopped: a running one stays with its release until it is
# restarted. worker/DEPLOYMENT.md has the rest.

set -eu
umask 022

FOLDERS="api cli handlers shared worker"
FILES="function_app.py host.json pyproject.toml constraints.txt README.md LICENSE"
ACCOUNT=docmill
UNIT=docmill-worker@.service

source=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
DESTDIR=${DESTDIR:-}
PREFIX=${PREFIX:-/opt/docmill}
prefix=$DESTDIR$PREFIX
config=$DESTDIR/etc/docmill
units=$DESTDIR/etc/systemd/system
state=$DESTDIR/var/lib/docmill
command=$DESTDIR/usr/local/bin/docmill

dry='' venv=yes uninstall='' purge='' with=''

main() {
    options "$@"
    check
    if [ "$uninstall" ]; then uninstall; else install_all; fi
    if [ "$dry" ]; then say "Nothing was changed."; fi
}

options() {
    while [ $# -gt 0 ]; do
        case $1 in
            --dry-run) dry=yes ;;
            --no-venv) venv='' ;;
            --uninstall) uninstall=yes ;;
            --purge) purge=yes ;;
            --with)
                [ $# -gt 1 ] || stop "--with needs a name, for example: --with ocr"
                extra "$2"
                shift
                ;;
            --with=*) extra "${1#--with=}" ;;
            -h | --help)
                sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
                exit 0
                ;;
            *) stop "$1 is not known: see --help" ;;
        esac
        shift
    done
    if [ "$purge" ] && [ ! "$uninstall" ]; then stop "--purge goes with --uninstall"; fi
}

extra() {
    case $1 in
        none) ;;
        *[!a-z0-9-]*) stop "--with $1: it is not a name" ;;
        *) [ -f "$source/requirements-$1.txt" ] || stop "--with $1: there is no requirements-$1.txt" ;;
    esac
    with="$with $1"
}

check() {
    case $PREFIX in
        *[!a-zA-Z0-9/._-]* | *..*) stop "PREFIX: letters, digits and / . _ - only. Example: PREFIX=/opt/docmill" ;;
        /?*) ;;
        *) stop "PREFIX: a path from the root is needed. Example: PREFIX=/opt/docmill" ;;
    esac
    case $DESTDIR in
        "" | /*) ;;
        *) stop "DESTDIR: a path from the root is needed" ;;
    esac
    if [ "$DESTDIR" ]; then venv=''; fi
    if [ ! "$DESTDIR" ] && [ ! "$dry" ] && [ "$(id -u)" -ne 0 ]; then
        stop "Run it as root, or with --dry-run to see what it does."
    fi
}

# --- install ---

install_all() {
    remembered=$prefix/current/.extras
    if [ ! "$with" ] && [ -f "$remembered" ]; then with=$(cat "$remembered"); fi
    with=$(printf '%s\n' "$with" | tr ' ' '\n' | grep -v -x -e none -e '' | sort -u | tr '\n' ' ' || true)
    if [ "$venv" ]; then find_python; fi

    release=$PREFIX/releases/$(version)
    account
    copy_app
    if [ "$venv" ]; then make_venv; fi
    configuration
    unit
    switch
    command_line
    tidy
    next_steps
}

# The version, and a sum of all that is copied: the same source is the same release.
version() {
    sum=$(cd -- "$source" && { shipped | xargs cksum; echo "$with"; } | cksum)
    number=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$source/pyproject.toml")
    printf '%s-%s\n' "$number" "${sum%% *}"
}

# Every file that is installed, from the project's folder.
shipped() {
    for file in $FILES requirements*.txt; do printf '%s\n' "$file"; done
    for folder in $FOLDERS; do
        find "$folder" -name __pycache__ -prune -o -type f ! -name '*.pyc' ! -name .env -print
    done | LC_ALL=C sort
}

account() {
    if [ "$DESTDIR" ]; then return; fi
    if ! getent group "$ACCOUNT" >/dev/null; then run groupadd --system "$ACCOUNT"; fi
    if ! getent passwd "$ACCOUNT" >/dev/null; then
        run useradd --system --gid "$ACCOUNT" --home-dir /var/lib/docmill --no-create-home \
            --shell /usr/sbin/nologin "$ACCOUNT"
    fi
}

copy_app() {
    if [ -f "$DESTDIR$release/.complete" ]; then return; fi
    say "+ copy the app to $DESTDIR$release"
    if [ "$dry" ]; then return; fi
    rm -rf -- "$DESTDIR$release"
    (
        cd -- "$source"
        shipped | while read -r file; do
            target=$DESTDIR$release/$file
            [ -d "${target%/*}" ] || mkdir -p -- "${target%/*}"
            cp -- "$file" "$target"
        done
    )
    printf '%s\n' "$with" >"$DESTDIR$release/.extras"
    chmod -R u=rwX,go=rX -- "$DESTDIR$release"
    : >"$DESTDIR$release/.complete"
}

find_python() {
    for python in ${PYTHON:-python3 python3.12 python3.11 python3.13 python3.14 /usr/bin/python3}; do
        "$python" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' \
            2>/dev/null || continue
        case $("$python" -c 'import sys; print(sys.base_prefix)') in
            /home/* | /root/* | /run/user/*) continue ;; # the unit hides these folders from the worker
        esac
        return
    done
    stop "Docmill needs Python 3.11 to 3.14 with venv, outside of home folders. On Debian and Ubuntu:" \
        "apt install python3-venv. Name another one: PYTHON=/usr/bin/python3.12"
}

make_venv() {
    # One whose Python went with an upgrade of the system is made anew.
    if [ -f "$release/venv/.complete" ] && "$release/venv/bin/python" -c 'import pydantic' 2>/dev/null; then
        return
    fi
    say "Installing Python packages (a few minutes)"
    constraints=$release/constraints.txt
    set -- -r "$release/requirements.txt" -r "$release/requirements-worker.txt"
    for name in $with; do
        set -- "$@" -r "$release/requirements-$name.txt"
        if [ "$name" = standard ]; then constraints=$release/constraints-standard.txt; fi
    done
    if [ "$constraints" != "$release/constraints.txt" ]; then
        say "+ grep -v ^huggingface-hub $release/constraints.txt >$constraints" # see docs/conversion.md
        if [ ! "$dry" ]; then grep -v '^huggingface-hub' "$release/constraints.txt" >"$constraints"; fi
    fi
    pip="$release/venv/bin/python -m pip install --quiet --disable-pip-version-check"
    run "$python" -m venv --clear "$release/venv"
    # shellcheck disable=SC2086  # PREFIX holds no blank: see check
    run $pip -c "$constraints" "$@"
    # shellcheck disable=SC2086
    run $pip --no-deps -e "$release"
    # The worker cannot write there. What it would compile at each start is compiled once.
    run "$release/venv/bin/python" -m compileall -q -x /venv/ "$release"
    run touch "$release/venv/.complete"
}

configuration() {
    if [ ! -d "$config" ]; then
        run mkdir -p "$config"
        run chmod 0750 "$config"
        owned "$config"
    fi
    if [ ! -e "$config/worker.env" ]; then
        # By way of another name: it holds no secret yet, and is never open to others when it does.
        run cp "$source/worker/.env.example" "$config/worker.env.new"
        run chmod 0640 "$config/worker.env.new"
        owned "$config/worker.env.new"
        run mv "$config/worker.env.new" "$config/worker.env"
    fi
}

owned() {
    if [ ! "$DESTDIR" ]; then run chown "root:$ACCOUNT" "$1"; fi
}

unit() {
    run mkdir -p "$units"
    say "+ $source/worker/$UNIT, with PREFIX as $PREFIX, to $units/$UNIT"
    if [ ! "$dry" ]; then
        sed "s|/opt/docmill|$PREFIX|g" "$source/worker/$UNIT" >"$units/$UNIT.new"
        chmod 0644 "$units/$UNIT.new"
        mv "$units/$UNIT.new" "$units/$UNIT"
    fi
    if [ "$(systemd_version)" -ge 254 ]; then
        run mkdir -p "$units/$UNIT.d"
        run cp "$source/worker/backoff.conf" "$units/$UNIT.d/backoff.conf"
    else
        run rm -f "$units/$UNIT.d/backoff.conf"
    fi
    reload
}

systemd_version() {
    found=$(systemctl --version 2>/dev/null | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
    printf '%s\n' "${found:-0}"
}

reload() {
    if [ ! "$DESTDIR" ] && [ -d /run/systemd/system ]; then run systemctl daemon-reload; fi
}

# The new release is the current one, in one step. Links are relative, so that they hold below DESTDIR too.
switch() {
    before=$(readlink "$prefix/current" || true)
    if [ "$before" = "releases/${release##*/}" ]; then return; fi
    if [ "$before" ]; then run ln -sfn "$before" "$prefix/previous"; fi
    run ln -sfn "releases/${release##*/}" "$prefix/current.new"
    run mv -T "$prefix/current.new" "$prefix/current"
}

command_line() {
    if [ "$venv" ] && { [ ! -e "$command" ] || [ -L "$command" ]; }; then
        run mkdir -p "${command%/*}"
        run ln -sfn "$PREFIX/current/venv/bin/docmill" "$command"
    fi
}

# Releases that are neither current nor the one before, unless a worker still runs there.
tidy() {
    if [ "$dry" ] && [ ! -d "$prefix/releases" ]; then return; fi
    for old in "$prefix/releases"/*; do
        case releases/${old##*/} in
            "releases/${release##*/}" | "$(readlink "$prefix/current")" | "$(readlink "$prefix/previous")") continue ;;
        esac
        if ! in_use "$old"; then run rm -rf -- "$old"; fi
    done
}

in_use() {
    for folder in /proc/[0-9]*/cwd; do
        if [ "$(readlink "$folder" 2>/dev/null)" = "$1" ]; then return 0; fi
    done
    return 1
}

next_steps() {
    if [ "$DESTDIR" ]; then return; fi
    say "" \
        "Installed: $release" \
        "1. Settings:  $config/worker.env" \
        "2. Check:     docmill doctor --env-file $config/worker.env" \
        "3. Start:     systemctl enable --now docmill-worker@CLIENT" \
        "   Update:    systemctl restart 'docmill-worker@*'"
}

# --- uninstall ---

uninstall() {
    stop_workers
    run rm -f "$units/$UNIT" "$units/$UNIT.d/backoff.conf"
    if_empty "$units/$UNIT.d"
    reload
    if [ "$(readlink "$command" || true)" = "$PREFIX/current/venv/bin/docmill" ]; then run rm -f "$command"; fi
    # Never PREFIX itself, which may be a folder of others.
    run rm -rf -- "$prefix/releases" "$prefix/current" "$prefix/previous"
    if_empty "$prefix"
    if [ ! "$purge" ]; then
        say "Kept: $config, $state, the user $ACCOUNT. --uninstall --purge removes them."
        return
    fi
    run rm -rf -- "$config" "$state"
    if [ "$DESTDIR" ]; then return; fi
    if getent passwd "$ACCOUNT" >/dev/null; then run userdel "$ACCOUNT"; fi
    if getent group "$ACCOUNT" >/dev/null; then run groupdel "$ACCOUNT"; fi
}

# Every instance, running or only enabled. Stopping waits until what runs has ended or the drain is over.
stop_workers() {
    if [ "$DESTDIR" ] || [ ! -d /run/systemd/system ]; then return; fi
    {
        systemctl list-units --all --plain --no-legend 'docmill-worker@*.service' | sed 's/ .*//'
        find "$units" -type l -name 'docmill-worker@*.service' -exec basename {} \;
    } | sort -u | while read -r name; do
        run systemctl stop "$name"
        run systemctl disable --quiet "$name" || true # it may be known only because it failed once
    done
    run systemctl reset-failed 'docmill-worker@*.service' || true
}

if_empty() {
    if [ -d "$1" ] && [ ! "$(ls -A "$1")" ]; then run rmdir "$1"; fi
}

# --- words ---

run() {
    say "+ $*"
    if [ ! "$dry" ]; then "$@"; fi
}

say() { printf '%s\n' "$@"; }

stop() {
    printf '%s\n' "$*" >&2
    exit 2
}

main "$@"
