# Sourced by the run.sh scripts. need COMMAND-OR-FILE PACKAGE notes what is missing; install_missing installs it.
missing=

need() {
    case $1 in
    /*) for path in $1; do [ -e "$path" ] && return; done ;;
    *) command -v "$1" >/dev/null 2>&1 && return ;;
    esac
    missing="$missing $2"
}

install_missing() {
    [ -z "$missing" ] && return
    echo "Installing:$missing"
    as_root=
    if [ "$(id -u)" -ne 0 ]; then
        as_root=sudo
        command -v sudo >/dev/null 2>&1 || { echo "Please install as root:$missing" >&2; exit 1; }
    fi
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
    # shellcheck disable=SC2086
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
}
