# Sourced by the commands of this folder and .ci/run: sets $root and offers the
# functions below.

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

# Print the Python to use: $PYTHON, else the first of 3.11 (which the constraints are made for) to
# 3.13. The command is tried out, since a name may exist and not work.
find_python() {
    local candidate candidates=(python3.11 python3.12 python3.13 python3)
    for candidate in "${PYTHON:-${candidates[@]}}"; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
            2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "Python 3.11, 3.12 or 3.13 is needed; set PYTHON to its path" >&2
    return 1
}

# Print a Python 3.13, for which pip takes the newest JAX: $PYTHON, else the system's or pyenv's.
find_newer_python() {
    local candidate pyenv="${PYENV_ROOT:-$HOME/.pyenv}/versions"
    local candidates=(python3.13 python3 "$pyenv"/3.13*/bin/python3)
    for candidate in "${PYTHON:-${candidates[@]}}"; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

# setup EXTRAS: make .venv with the package (editable) and its extras at pinned versions, unless
# one is there for this folder, pyproject.toml and constraints.
setup() {
    local extras="$1" venv="$root/.venv" python stamp
    stamp="$root $(cat "$root/pyproject.toml" "$root/scripts/constraints.txt" | cksum)"
    # Two runs that start at once must not both install: the lock is this file, held until return.
    exec 9<"$root/scripts/_setup.sh"
    if command -v flock >/dev/null; then flock 9; fi
    if ! "$venv/bin/python" -c '' 2>/dev/null; then
        python="$(find_python)"
        echo "making $venv with $("$python" --version)" >&2
        "$python" -m venv --clear "$venv" || {
            echo "could not make a virtual environment (on Debian: apt install python3-venv)" >&2
            return 1
        }
    fi
    # What the development environment has is enough for a run.
    if ! grep -qsxF "$stamp" "$venv/.installed-$extras" "$venv/.installed-all,dev"; then
        echo "installing kdescent-dist[$extras] (once)" >&2
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
            --constraint "$root/scripts/constraints.txt" --editable "$root[$extras]"
        echo "$stamp" >"$venv/.installed-$extras"
    fi
    exec 9<&-
}

# setup_gpu_aot: put the extra gpu-aot, the compiler for GPUs (800 MB), into a folder of .venv. Only
# scripts/gpu_report and scripts/gpu_slots look there: JAX complains of a missing driver wherever it
# finds the compiler.
setup_gpu_aot() {
    local venv="$root/.venv" folder="$root/.venv/gpu-aot" stamp wanted
    setup all,dev
    stamp="$(cat "$root/pyproject.toml" "$root/scripts/constraints.txt" | cksum)"
    exec 9<"$root/scripts/_setup.sh"
    if command -v flock >/dev/null; then flock 9; fi
    if ! grep -qsxF "$stamp" "$folder/.installed"; then
        echo "installing the compiler for GPUs (once)" >&2
        mapfile -t wanted < <("$venv/bin/python" -c 'import sys, tomllib
project = tomllib.load(open(sys.argv[1], "rb"))["project"]
print(*project["optional-dependencies"]["gpu-aot"], sep="\n")' "$root/pyproject.toml")
        rm -rf "$folder"
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --target "$folder" \
            --constraint "$root/scripts/constraints.txt" "${wanted[@]}"
        echo "$stamp" >"$folder/.installed"
    fi
    exec 9<&-
}
