#!/bin/sh
# Makes .venv with the locked dependencies and the tidemark command; run by `make setup`, from the repository's root.
# PYTHON=... names the interpreter to use. Safe to run again, after an interruption, and by two at once.
set -eu

OLDEST=3.11 NEWEST=3.13
STAMP=.venv/.installed
LOCK=.venv.lock

say() { printf '%s\n' "tidemark: $*" >&2; }
die() { say "$*"; exit 1; }

have_uv() { command -v uv >/dev/null 2>&1; }

supported() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1
}

# Debian ships the interpreter without what makes virtual environments.
complete() { "$1" -c 'import ensurepip, venv' >/dev/null 2>&1; }

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        supported "$PYTHON" || die "PYTHON=$PYTHON is not a Python $OLDEST-$NEWEST"
        command -v "$PYTHON"
        return
    fi
    incomplete=
    for name in python3.13 python3.12 python3.11 python3 python; do
        supported "$name" || continue
        if have_uv || complete "$name"; then
            command -v "$name"
            return
        fi
        incomplete=${incomplete:-$name}
    done
    if [ -n "$incomplete" ]; then command -v "$incomplete"; fi
}

make_venv() {
    python=$(find_python)
    rm -rf .venv
    if have_uv; then
        # Without a supported Python on this machine, uv brings one.
        say "making .venv with uv"
        uv venv --quiet --python "${python:-$NEWEST}" .venv
        return
    fi
    [ -n "$python" ] || die "no Python $OLDEST-$NEWEST found: install one (Debian: apt install python3 python3-venv; macOS: brew install python@$NEWEST), or uv"
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    complete "$python" ||
        die "Python $version cannot make virtual environments: apt install python$version-venv, or install uv"
    say "making .venv with Python $version"
    "$python" -m venv --without-pip .venv
}

# pip needs 5 minutes for what uv does in 40 s (2 cores, nothing cached), so it only fetches uv, by the lock's hashes.
# It runs out of the wheel that Python brings along: installing pip itself would take longer than all the rest.
bootstrap_uv() {
    .venv/bin/python -m uv --version >/dev/null 2>&1 && return
    awk '/^[^ ]/ { wanted = /^uv==/ } wanted' requirements.lock >.venv/uv.lock
    pip_wheel=$(.venv/bin/python -c '
import ensurepip, glob, os, sysconfig
folder = sysconfig.get_config_var("WHEEL_PKG_DIR") or os.path.join(os.path.dirname(ensurepip.__file__), "_bundled")
print(*sorted(glob.glob(os.path.join(folder, "pip-*.whl")))[-1:])')
    if [ -z "$pip_wheel" ]; then .venv/bin/python -m ensurepip >/dev/null; fi
    PYTHONPATH=$pip_wheel .venv/bin/python -m pip install --disable-pip-version-check --no-deps --require-hashes -r .venv/uv.lock
}

install() {
    if have_uv; then uv=uv; else bootstrap_uv; uv=.venv/bin/uv; fi
    "$uv" pip install --python .venv/bin/python --require-hashes -r requirements.lock
    # Built by the locked setuptools, so nothing is fetched.
    "$uv" pip install --python .venv/bin/python --quiet --no-deps --no-build-isolation --editable .
}

# One at a time; a lock whose owner is gone is taken over.
while ! (set -C && echo $$ >"$LOCK") 2>/dev/null; do
    owner=$(cat "$LOCK" 2>/dev/null || true)
    if [ -n "$owner" ] && ! kill -0 "$owner" 2>/dev/null; then rm -f "$LOCK"; else sleep 1; fi
done
trap 'rm -f "$LOCK"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Whoever waited may find the work done.
if [ -e "$STAMP" ] && [ -z "$(find requirements.lock pyproject.toml infra/setup.sh -newer "$STAMP")" ]; then exit 0; fi
supported .venv/bin/python || make_venv
install
touch "$STAMP"
say "ready: .venv/bin/tidemark --help"
