"""What the pod tests share: commands, waiting, the image of nginx and curl, records. Knows neither podman nor runc."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

IMAGE = os.environ.get("PODTAP_IMAGE", "localhost/podtap:latest")
LAB = "localhost/podtap-lab:latest"
PATIENCE = 30

NGINX = """
daemon off; worker_processes 1; pid /tmp/nginx.pid; error_log stderr warn;
events { worker_connections 1024; }
http {
  access_log off; default_type text/plain; keepalive_requests 1000000;
  client_body_temp_path /tmp/body; proxy_temp_path /tmp/proxy; fastcgi_temp_path /tmp/fastcgi;
  uwsgi_temp_path /tmp/uwsgi; scgi_temp_path /tmp/scgi;
  server {
    listen 8080; listen [::]:8080;
    location / { return 200 "$request_uri\\n"; }
    location /fail/ { return 503 "broken\\n"; }
    # Six seconds at 5 kB a second.
    location /slow/ { root /srv; limit_rate 5k; try_files /30k =404; }
  }
}
"""


class Failed(Exception):
    """What should hold does not."""


def fail(what):
    raise Failed(what)


def run(*words, check=True, **options):
    """A command's output; standard error with it."""
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if check and done.returncode != 0:
        fail(f"{' '.join(map(str, words))}: exit code {done.returncode}\n{done.stdout}")
    return done.stdout


def until(what, attempt, patience=PATIENCE):
    """What comes of attempt(), as soon as something does."""
    deadline = time.monotonic() + patience
    while True:
        value = attempt()
        if value:
            return value
        if time.monotonic() > deadline:
            fail(f"in vain: {what}")
        time.sleep(0.1)


def ok(sentence):
    print(f"ok    {sentence}", flush=True)


def lines(text):
    """The lines that are whole: what is still being written may end within one."""
    return text.split("\n")[:-1]


def records(text):
    """The records among the lines of standard output; anything else there is a fault."""
    return [json.loads(line) for line in lines(text)]


def target(record):
    return record.get("url", {}).get("original", f"no request: {record}")


def expect(found, wanted, what):
    if found != wanted:
        fail(f"{what}: {found!r}, not {wanted!r}")


def lacking():
    """Why these tests cannot run here; None if they can."""
    if os.geteuid() != 0:
        return "needs root"
    for tool in ["podman", "buildah", "runc", "ip", "iptables", "setpriv", "nginx", "curl", "wrk"]:
        if not shutil.which(tool):
            return f"needs {tool} (scripts/setup pods)"
    if subprocess.run(["buildah", "inspect", "--type", "image", IMAGE], capture_output=True).returncode != 0:
        return f"there is no image {IMAGE} (scripts/image makes it)"
    return None


def lab_image():
    """An image with this machine's nginx, curl and sh, made anew each time: a second, and no package is installed."""
    with tempfile.TemporaryDirectory() as directory:
        root = pathlib.Path(directory, "root")
        for program in ["nginx", "curl", "sh", "sleep"]:
            path = os.path.realpath(shutil.which(program))
            install(root, path, f"/usr/bin/{program}")
            for line in run("ldd", path).splitlines():
                for word in line.split():
                    if word.startswith("/"):
                        install(root, os.path.realpath(word), word)
        for path, text in [
            ("etc/passwd", "root:x:0:0::/:/bin/sh\nweb:x:1000:1000::/:/bin/sh\n"),
            ("etc/group", "root:x:0:\nweb:x:1000:\nnogroup:x:65534:\n"),
            ("etc/lab/nginx.conf", NGINX),
            ("srv/30k", "x" * 30_000),
        ]:
            pathlib.Path(root, path).parent.mkdir(parents=True, exist_ok=True)
            pathlib.Path(root, path).write_text(text)
        pathlib.Path(root, "tmp").mkdir()
        pathlib.Path(root, "tmp").chmod(0o1777)
        pathlib.Path(root, "bin").symlink_to("usr/bin")
        container = run("buildah", "from", "scratch").split()[-1]
        run("buildah", "add", "--quiet", container, str(root), "/")
        run("buildah", "config", "--env", "PATH=/usr/bin", container)
        run("buildah", "commit", "--quiet", "--rm", container, LAB)


def install(root, source, path):
    to = pathlib.Path(root, path.lstrip("/"))
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, to)
    to.chmod(0o755)


class DownwardVolume:
    """A directory as the kubelet writes a Downward API volume: each version is a directory of its own, and `..data` is a
    link that is swapped by renaming."""

    def __init__(self, directory, labels, annotations):
        self.path = pathlib.Path(directory)
        self.path.chmod(0o755)
        self.version = 0
        for name in ["labels", "annotations"]:
            (self.path / name).symlink_to(f"..data/{name}")
        self.write(labels, annotations)

    def write(self, labels, annotations):
        self.version += 1
        version = self.path / f"..v{self.version}"
        version.mkdir(mode=0o755)
        for name, pairs in [("labels", labels), ("annotations", annotations)]:
            # Go quotes as JSON does, as far as these go.
            lines = "".join(f"{key}={json.dumps(value)}\n" for key, value in sorted(pairs.items()))
            (version / name).write_text(lines)
        new = self.path / "..data_tmp"
        new.symlink_to(version.name)
        new.rename(self.path / "..data")


def main(tests, lacking=lacking):
    """Runs the tests in order; the first that fails ends it. Who cannot run them says so, and under CI fails."""
    why = lacking()
    if why:
        print(f"SKIPPED: {why}", file=sys.stderr)
        sys.exit(1 if os.environ.get("CI") else 0)
    started = time.monotonic()
    try:
        for test in tests:
            test()
    except Failed as failed:
        print(f"FAIL  {failed}", file=sys.stderr)
        sys.exit(1)
    print(f"{sys.argv[0]}: all is well, {time.monotonic() - started:.0f} s")
