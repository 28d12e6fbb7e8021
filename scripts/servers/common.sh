# What the scripts of this directory share; sourced by them, does nothing of itself.
#
# Servers come from package registries through their ordinary clients (mvn). They are kept under ${XDG_CACHE_HOME:-~/.cache}/podtap/servers
# (of root: /var/cache/podtap/servers). They run from a directory that the caller chooses.

set -eu

here=$(cd "$(dirname "$0")" && pwd)
# Servers that refuse to run as root run as another user, who may not be let into root's home.
if [ "$(id -u)" -eq 0 ]; then
    cache=${XDG_CACHE_HOME:-/var/cache}/podtap/servers
else
    cache=${XDG_CACHE_HOME:-$HOME/.cache}/podtap/servers
fi

fail() {
    echo "${0##*/}: $*" >&2
    exit 1
}

need() {
    for tool in "$@"; do
        command -v "$tool" >/dev/null || fail "needs $tool"
    done
}

# jdk RANGE…: the first Java home of one of these major versions. PODTAP_JAVA_HOME wins.
jdk() {
    if [ -n "${PODTAP_JAVA_HOME:-}" ]; then
        echo "$PODTAP_JAVA_HOME"
        return
    fi
    for major in "$@"; do
        for home in "${JAVA_HOME:-/none}" /usr/lib/jvm/*; do
            if [ -x "$home/bin/java" ] && "$home/bin/java" -version 2>&1 | grep -q "version \"$major[.\"]"; then
                echo "$home"
                return
            fi
        done
    done
    fail "needs a Java of version $* (PODTAP_JAVA_HOME names one)"
}

# alone: the second process waits, and finds everything there.
alone() {
    mkdir -p "$cache"
    exec 9>"$cache/lock"
    flock 9
}

# together: the end of that.
together() {
    exec 9>&-
}

# unpack NAME ARTIFACT: a zip from the Maven registry into $cache/NAME, once. Runs `complete` of the caller in it.
unpack() {
    [ -e "$cache/$1/.complete" ] && return
    need mvn
    rm -rf "${cache:?}/$1"
    mkdir -p "$cache/$1"
    (
        # The plugin leaves a directory named ${project.basedir} in the current one.
        cd "$cache/$1"
        mvn -q -B -Dmaven.repo.local="$cache/maven" \
            org.apache.maven.plugins:maven-dependency-plugin:3.6.1:unpack \
            -Dartifact="$2" -DoutputDirectory="$cache/$1" >&2
        rm -rf "./\${project.basedir}"
        complete
        chmod -R a+rX .
    )
    touch "$cache/$1/.complete"
}

# free_port: one that is free, nor on the one 6000 above, for what servers say to each other. Both are below those that
# the kernel gives to clients (net.ipv4.ip_local_port_range, from 32768 on).
free_port() {
    port=$((20000 + $$ % 6000))
    while listens "$port" || listens $((port + 6000)); do
        port=$((20000 + (port + 1) % 6000))
    done
    echo "$port"
}

listens() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# await DIR PORT PID CURL-OPTIONS…: until the server answers; prints PORT and PID, or the end of its output.
await() {
    directory=$1 address="http://127.0.0.1:$2/_cluster/health?wait_for_status=yellow&timeout=5s" port=$2 pid=$3
    shift 3
    # Ten minutes: on a busy machine a start takes some; one that failed is noticed at once.
    for _ in $(seq 2400); do
        if curl -sf --max-time 30 -o /dev/null "$@" "$address"; then
            echo "$port $pid"
            return
        fi
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.25
    done
    tail -n 30 "$directory/stdout" >&2
    fail "the server did not start"
}

# as_other_user DIR WORDS…: some servers refuse to run as root.
as_other_user() {
    directory=$1
    shift
    if [ "$(id -u)" -ne 0 ]; then
        "$@"
        return
    fi
    need setpriv
    # Any unprivileged number will do; no entry in /etc/passwd is made for it.
    chown -R 65531:65531 "$directory"
    setpriv --reuid 65531 --regid 65531 --clear-groups env HOME="$directory" "$@"
}
