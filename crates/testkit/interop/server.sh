# Sourced by the scripts beside it: one server, for as long as a command runs or until interrupted.
#
#   need TOOL... PACKAGES     exits where a tool is missing, naming Debian's packages
#   jars NAME POM             fetches the jars that POM names, once for each <NAME.version>; prints their directory
#   free_ports N              prints N free ports of 127.0.0.1
#   await_port PORT SECONDS   waits until the server (its process id in $server) listens
#   serve ADDRESS VARIABLE COMMAND...
#                             runs COMMAND with VARIABLE=ADDRESS, or without one prints ADDRESS and waits
#
# Work is in $work. It is left behind, with the server's log, where the server did not start.

script=${0##*/}
cache=${AFFLUENT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/affluent}
work=$(mktemp -d)
server=
finish() {
    status=$?
    trap - EXIT
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    if [ "$status" -ne 3 ]; then rm -rf "$work"; fi
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

need() {
    while [ $# -gt 1 ]; do
        command -v "$1" >/dev/null || {
            eval "packages=\${$#}"
            echo "$script: $1 is missing (Debian, Ubuntu: apt-get install $packages)" >&2
            exit 2
        }
        shift
    done
}

jars() {
    version=$(sed -n "s:.*<$1.version>\(.*\)</$1.version>.*:\1:p" "$2")
    place=$cache/$1-$version
    if [ ! -e "$place/complete" ]; then
        mkdir -p "$place"
        mvn --quiet --batch-mode -f "$2" dependency:copy-dependencies \
            -DoutputDirectory="$place" -DincludeScope=runtime >&2
        touch "$place/complete"
    fi
    echo "$place"
}

free_ports() {
    python3 -c 'import socket, sys
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
print(*(s.getsockname()[1] for s in sockets))' "$1"
}

not_started() {
    echo "$script: $1: $work/log" >&2
    exit 3
}

await_port() {
    waited=0
    until python3 -c "import socket; socket.create_connection(('127.0.0.1', $1), 1)" 2>/dev/null; do
        waited=$((waited + 1))
        if ! kill -0 "$server" 2>/dev/null || [ "$waited" -gt $(($2 * 2)) ]; then
            not_started 'the server did not start'
        fi
        sleep 0.5
    done
}

serve() {
    address=$1
    variable=$2
    shift 2
    if [ $# -eq 0 ]; then
        echo "$address"
        wait "$server"
    else
        env "$variable=$address" "$@"
    fi
}
