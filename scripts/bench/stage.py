"""A pair of network namespaces on this machine: nginx, and what taps it, in one, the load in the other. Needs root."""

import contextlib
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import time

import bench

APP, LOAD, PORT = "10.213.7.1", "10.213.7.2", 8080
NGINX = """
daemon off; master_process off; worker_processes 1; pid {work}/nginx.pid; error_log stderr error;
events {{ worker_connections 20000; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s;
  client_body_temp_path {work}/1; proxy_temp_path {work}/2; fastcgi_temp_path {work}/3;
  uwsgi_temp_path {work}/4; scgi_temp_path {work}/5;
  server {{
    listen {app}:{port}; root {work}; default_type application/json;
    location / {{ return 200 "{body}"; }}
    location /page.json {{ gzip on; gzip_types *; gzip_comp_level 6; }}
  }}
}}
"""


@contextlib.contextmanager
def namespaces():
    """Two namespaces joined by eth0 in each; gone at the end."""
    app, load = (f"podtap-bench-{os.getpid()}-{name}" for name in ("app", "load"))
    ip = lambda *words: subprocess.run(["ip", *words], check=True)
    made = []
    try:
        for name in (app, load):
            ip("netns", "add", name)
            made.append(name)
        ip("link", "add", "eth0", "netns", app, "type", "veth", "peer", "name", "eth0", "netns", load)
        for name, address in ((app, APP), (load, LOAD)):
            ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "link", "set", "eth0", "up")
        yield app, load
    finally:
        for name in made:
            ip("netns", "delete", name)


class Stage:
    def __init__(self, options, work, app, load):
        self.options, self.work, self.app, self.load = options, work, app, load

    def exists(self, tap):
        path = pathlib.Path(self.options.podtap)
        if tap == "podtap" and not path.exists():
            bench.say(f"no program at {path}: without podtap")
            return False
        return True

    def inside(self, space, core, command):
        pin = ["taskset", "-c", str(core)] if self.options.pin else []
        return ["ip", "netns", "exec", space, *pin, *map(str, command)]

    @contextlib.contextmanager
    def nginx(self):
        config = self.work / "nginx.conf"
        numbers = random.Random(1)
        (self.work / "page.json").write_text(json.dumps([numbers.randrange(10**6) for _ in range(2500)]))
        config.write_text(NGINX.format(work=self.work, app=APP, port=PORT, body="x" * 1024))
        server = subprocess.Popen(self.inside(self.app, 0, ["nginx", "-c", config, "-p", self.work]))
        try:
            self.until(lambda: f":{PORT} " in self.seen(["ss", "-ltn"]), "nginx listens")
            yield
        finally:
            stop(server)

    def seen(self, command):
        return subprocess.check_output(["ip", "netns", "exec", self.app, *command], text=True)

    def until(self, holds, what):
        for _ in range(100):
            if holds():
                return
            time.sleep(0.1)
        sys.exit(f"not within 10 s: {what}")

    @contextlib.contextmanager
    def tap(self, name, settings=(), output="records.out"):
        """A tap on the application's eth0, from when its packet socket is open; yields its process, or None."""
        if name is None:
            yield None
            return
        command = {
            "podtap": ["env", "-i", f"PATH={os.environ['PATH']}", "IFACE=eth0", "FORMAT=ecs", "METRICS_ADDR=none",
                       *settings, pathlib.Path(self.options.podtap).resolve()],
            "tcpdump": ["tcpdump", "-Z", "root", "-i", "eth0", "-w", "/dev/null", f"tcp port {PORT}"],
        }[name]
        with open(self.work / output, "w") as records, open(self.work / "said.err", "w") as said:
            process = subprocess.Popen(self.inside(self.app, 1, command), stdout=records, stderr=said)
            try:
                self.until(lambda: len(self.seen(["cat", "/proc/net/packet"]).splitlines()) > 1, f"{name} captures")
                yield process
            finally:
                stop(process)

    def closing(self, begins):
        """The first of podtap's closing lines that begins so."""
        said = (self.work / "said.err").read_text()
        return next((line for line in said.splitlines() if line.startswith(begins)), "")

    def paced_load(self, tap, rate, seconds):
        """So many requests a second, past `tap` (a process, or None): what the client says, the tap's seconds on a core, and its
        largest memory (see `watch`)."""
        command = [self.options.load, f"{APP}:{PORT}", "--rate", rate, "--seconds", seconds, "--connections", self.options.connections]
        begun = cpu(tap)
        client = subprocess.Popen(self.inside(self.load, 0, command), stdout=subprocess.PIPE, text=True)
        largest = watch(client, tap)
        said = client.communicate()[0]
        if client.returncode:
            sys.exit("the load ended with an error")
        time.sleep(0.5 if tap else 0)  # what was captured last is read within the tap's own interval
        return dict(word.split("=") for word in said.split()), cpu(tap) - begun, largest


def stop(process):
    """TERM and its grace, then KILL."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        bench.say("did not end within 30 s: killed")
        process.kill()
        process.wait()


def cpu(process):
    """Seconds on a core of all its threads, to the nanosecond (`stat` counts in ticks of 10 ms); `ip netns exec`, `env`
    and `taskset` replace themselves, so it is the tap's own."""
    if process is None:
        return 0.0
    threads = pathlib.Path(f"/proc/{process.pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


def watch(client, process):
    """Largest resident kilobytes without the packet ring, and with only that, until the client ends."""
    own = ring = 0
    while True:
        if process:
            now = memory(process)
            own, ring = max(own, now[0]), max(ring, now[1])
        with contextlib.suppress(subprocess.TimeoutExpired):
            client.wait(0.25)
            return own, ring


def memory(process):
    """A mapped packet socket is named `socket:[inode]` in the map."""
    own = ring = 0
    of_ring = False
    for line in open(f"/proc/{process.pid}/smaps"):
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            of_ring = "socket:[" in line
        elif line.startswith("Rss:"):
            kilobytes = int(line.split()[1])
            own, ring = own + (0 if of_ring else kilobytes), ring + (kilobytes if of_ring else 0)
    return own, ring
