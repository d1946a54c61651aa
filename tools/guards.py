"""tools/guards.py: takes guards away one by one, in a copy of the tree, and wants a proof of each to fail: that a list of tests can fail.

Behind tools/abuse_guards (the sandbox, rows of the escape list) and tools/llm_guards (the model server, tests by name). A list is {name: Guard}; what
a proof is and how it is played is the tool's own matter."""
import hashlib
import json
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


class Guard:
    """proof: what must fail; edits: (file, text, instead), each taken at every place the text stands; how: for the tool."""

    def __init__(self, proof, edits, how=""):
        self.proof, self.edits, self.how = proof, edits, how


def run(command, **more):
    return subprocess.run(command, capture_output=True, text=True, check=False, **more)


def copy_changed(source, target):
    """With a time of its own, so that what was built from an edited copy is built again; what is the same stays as it is."""
    new = pathlib.Path(source).read_bytes()
    if not pathlib.Path(target).exists() or pathlib.Path(target).read_bytes() != new:
        pathlib.Path(target).write_bytes(new)
        shutil.copymode(source, target)


def fill(copy, parts):
    """Files and folders of the tree, as they are now."""
    copy.mkdir(parents=True, exist_ok=True)
    for part in parts:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, copy / part, copy_function=copy_changed, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules"))
        else:
            copy_changed(ROOT / part, copy / part)


def link(place, target):
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)


def configure(copy, build):
    """@return what went wrong, or None"""
    done = run(["cmake", "-S", str(copy), "-B", str(build), "-G", "Ninja", "-DCMAKE_C_COMPILER=gcc", "-DCMAKE_C_FLAGS=-Wno-unused"])
    return done.stdout + done.stderr if done.returncode else None


def ninja(build, targets):
    """@return what went wrong, or None"""
    done = run(["ninja", "-C", str(build), *targets])
    return done.stdout[-2000:] if done.returncode else None


def without(copy, guard, play):
    """Plays with the guard taken away; the copy is whole again afterwards. @return the problem that play tells, None: it failed as it should"""
    kept = {}
    try:
        for file, text, instead in guard.edits:
            source = (copy / file).read_text()
            kept.setdefault(file, source)
            if text not in source:
                return f"NOT FOUND in {file}"
            (copy / file).write_text(source.replace(text, instead))
        return play(guard)
    finally:
        for file, source in kept.items():
            (copy / file).write_text(source)


def stale(guards):
    """Guards that the sources do not hold any more, as lines."""
    return [
        f"{name} is not found in {file}: {text!r}"
        for name, guard in guards.items()
        for file, text, _ in guard.edits
        if not (ROOT / file).exists() or text not in (ROOT / file).read_text()
    ]


class Record:
    """Which guards were seen to be missed, in a file beside the copy: a run that was ended goes on where it was (--left). One that was described anew
    since, or whose test was written anew, is to be seen again; a change of the product alone is not noticed."""

    def __init__(self, copy):
        self.path = copy.parent / f"{copy.name}.seen.json"
        try:
            self.seen = json.loads(self.path.read_text())
        except (OSError, ValueError):
            self.seen = {}

    @staticmethod
    def mark(guard):
        proof = ROOT / str(guard.proof).partition(":")[0]
        test = proof.read_bytes() if proof.is_file() else b""
        return hashlib.sha256(json.dumps([guard.proof, guard.how, guard.edits]).encode() + test).hexdigest()

    def has(self, name, guard):
        return self.seen.get(name) == self.mark(guard)

    def note(self, name, guard, seen):
        if seen:
            self.seen[name] = self.mark(guard)
        else:
            self.seen.pop(name, None)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.seen, indent=1, sort_keys=True))


def chosen(guards, is_unit, args):
    """Names of the guards that the command line means, or None: it asks for something else, and the tool has said what it can do."""
    kinds = {"--unit", "--live"} if is_unit else set()
    unknown = {a for a in args if a.startswith("-")} - {"--stale", "--table", "--left", "--seen", "--verbose"} - kinds
    names = [a for a in args if not a.startswith("-")]
    if unknown or [name for name in names if name not in guards]:
        print(sys.modules["__main__"].__doc__)
        print("\n".join([f"there is no option {a}" for a in sorted(unknown)] + [f"there is no guard named {name}" for name in names if name not in guards]))
        return None
    wanted = {"--unit": True, "--live": False}
    kinds = {wanted[a] for a in args if a in kinds}
    return [name for name in names or guards if not kinds or is_unit(guards[name]) in kinds]


def main(guards, table_row, prepare, copy, play, is_unit=None):
    """The command line of a tool: [--stale | --table] [--unit | --live] [--left] [name...]. prepare(names) builds the copy and tells what went wrong,
    or None; is_unit(guard) tells the cheap ones from the dear ones, where a tool has both."""
    names = chosen(guards, is_unit, sys.argv[1:])
    if names is None:
        return 2
    record = Record(copy)
    if "--stale" in sys.argv:
        lines = stale(guards)
        print("\n".join(lines + [f"{len(guards)} guards, {len(lines)} texts not found"]))
        return 1 if lines else 0
    if "--table" in sys.argv:
        for name, guard in guards.items():
            print(table_row(name, guard))
        return 0
    if "--left" in sys.argv:
        before = len(names)
        names = [name for name in names if not record.has(name, guards[name])]
        print(f"{before - len(names)} of {before} were seen already", flush=True)
        if not names:
            return 0
    problem = prepare(names)
    if problem:
        print("the copy is not fit:", problem)
        return 2
    bad = 0
    for name in names:
        problem = without(copy, guards[name], play)
        bad += problem is not None
        record.note(name, guards[name], problem is None)
        print(f"{'FAIL' if problem else 'ok  '} without {name}: {problem or guards[name].proof + ' fails'}", flush=True)
    print(f"{len(names) - bad} guards seen, {bad} not")
    return 1 if bad else 0
