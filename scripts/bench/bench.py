"""What the benchmarks share: captures, programs, and one measured run of a program. Standard library only."""

import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CACHE = pathlib.Path(subprocess.check_output([HERE / "cache"], text=True).strip())


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def example(name):
    """An example of this repository, built for release."""
    command = ["cargo", "build", "--release", "--quiet", "--example", name]
    subprocess.run(command, cwd=ROOT, check=True)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return target / "release" / "examples" / name


def capture(plan, scale=1.0, seed=1):
    """A generated capture, kept in the cache, and how many units (exchanges, connections …) are in it."""
    file = CACHE / f"{plan}-{scale:g}-{seed}.pcap"
    note = file.with_suffix(".txt")
    if not note.exists():
        say(f"generating {file.name}")
        command = [example("generate"), plan, file, "--scale", str(scale), "--seed", str(seed)]
        note.write_text(subprocess.run(command, check=True, stderr=subprocess.PIPE, text=True).stderr)
    facts = dict(word.split("=") for word in note.read_text().split())
    units = next(int(facts[unit]) for unit in ("exchanges", "connections", "syns") if unit in facts)
    return file, units


class Tool:
    """A program that reads a capture. `command(file, output)` writes its lines to `output`, a path."""

    def __init__(self, name, command, counts=True):
        self.name, self.command, self.counts = name, command, counts


def podtap_tool(path, record="http"):
    # Its settings are environment variables: none of the caller's.
    def command(file, output):
        script = 'exec "$1" replay "$2" > "$3"'
        settings = [f"PATH={os.environ['PATH']}", "FORMAT=ecs", f"RECORD={record}"]
        return ["env", "-i", *settings, "sh", "-c", script, "sh", path, file, output]

    return Tool("podtap" if record == "http" else f"podtap {record}", command, counts=record == "http")


def argus_tool():
    """Flows only, in its own format."""
    return Tool("argus", lambda file, output: ["argus", "-F", "/dev/null", "-r", file, "-w", output], counts=False)


def tcpdump_tool():
    return Tool("tcpdump", lambda file, output: ["tcpdump", "-r", file, "-w", output], counts=False)


def suricata_tool(work):
    program = peer("suricata")

    def command(file, output):
        config = work / "suricata.yaml"
        config.write_text((HERE / "suricata.yaml").read_text().replace("OUTPUT", str(output)))
        flags = ["-S", "/dev/null", "-k", "none", "--runmode", "single", "-l", work]
        return [program, "-c", config, *flags, "-r", file]

    return Tool("suricata", command)


def packetbeat_tool(work):
    program = peer("packetbeat")

    def command(file, output):
        flags = ["-c", HERE / "packetbeat.yml", "--strict.perms=false", "--path.home", work / "packetbeat"]
        return ["sh", "-c", 'out=$1; shift; exec "$@" > "$out"', "sh", output, program, "run", "-t", "-I", file, *flags]

    return Tool("packetbeat", command)


def peer(name):
    say(f"looking for {name}")
    return subprocess.check_output([HERE / "peers" / name], text=True).strip().splitlines()[-1]


def tools(names, podtap, work):
    """The tools of these names; podtap only where there is a program."""
    made = []
    for name in names:
        if name.startswith("podtap") and not (podtap and pathlib.Path(podtap).exists()):
            say(f"no program at {podtap or 'PODTAP'}: without podtap")
            continue
        made.append({
            "podtap": lambda: podtap_tool(str(pathlib.Path(podtap).resolve())),
            "podtap-flows": lambda: podtap_tool(str(pathlib.Path(podtap).resolve()), "flows"),
            "podtap-both": lambda: podtap_tool(str(pathlib.Path(podtap).resolve()), "http,flows"),
            "argus": argus_tool,
            "tcpdump": tcpdump_tool,
            "suricata": lambda: suricata_tool(work),
            "packetbeat": lambda: packetbeat_tool(work),
        }[name]())
    return made


class Run:
    """CPU seconds (user and system), peak resident kilobytes, wall seconds, exit code, what it said."""

    def __init__(self, cpu, rss, wall, code, said):
        self.cpu, self.rss, self.wall, self.code, self.said = cpu, rss, wall, code, said


def measured(command):
    """Runs it under GNU time: the kernel counts in a child's peak what its parent held at the fork, and time holds
    next to nothing, while this interpreter would hide a small program."""
    with tempfile.NamedTemporaryFile("r") as note:
        begun = time.monotonic()
        wrapped = ["/usr/bin/time", "-q", "-o", note.name, "-f", "%M", *map(str, command)]
        with tempfile.TemporaryFile("w+", errors="replace") as said:
            child = subprocess.Popen(wrapped, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT)
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            said.seek(0)
            text = said.read()
        wall = time.monotonic() - begun
        rss = int((note.read().split() or ["0"])[-1])
    return Run(usage.ru_utime + usage.ru_stime, rss, wall, child.returncode, text)


def checked(command):
    run = measured(command)
    if run.code != 0:
        sys.exit(f"{' '.join(map(str, command))}\nended with {run.code}:\n{run.said[-2000:]}")
    return run


def json_lines(path):
    """Lines that hold a record; Packetbeat writes a line of another kind to the same place."""
    with open(path, "rb") as file:
        return sum(line.startswith(b"{") for line in file)


def found(tool, file, work):
    """How many records the tool makes of a capture."""
    if not tool.counts:
        return None
    output = work / "records.out"
    output.unlink(missing_ok=True)
    checked(tool.command(file, output))
    number = json_lines(output)
    output.unlink()
    return number


def machine():
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    return f"{model}, {os.cpu_count()} cores, Linux {os.uname().release}"


def load():
    return "load {:.2f} {:.2f} {:.2f}".format(*os.getloadavg())


def table(head, rows):
    print("| " + " | ".join(head) + " |")
    print("|" + "|".join("---" if i == 0 else "--:" for i in range(len(head))) + "|")
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |")


def median(values):
    return statistics.median(values)


def need(*programs):
    missing = [p for p in programs if not shutil.which(p, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")]
    if missing:
        sys.exit(f"needs {', '.join(missing)}")
