#!/usr/bin/env python3
"""sandbox/image/make.py SOURCE WORK BYTES_MAX ENTRIES_MAX [REPORT]: makes a root image of microVMs (WORK/image, erofs) from what a user brings.

SOURCE   a folder; or an archive: what `docker save` writes, an OCI layout, or the tar of a root folder (`docker export`). A number: that descriptor
WORK     an empty folder; the tree is put together in WORK/root
REPORT   descriptor for one JSON object: {languages, entries, bytes}, or {rule, message} of what was refused; standard output and error when absent

cds-sandboxd runs it in the jail of jobs (sandbox/image_maker.c), since all of SOURCE is hostile: names are taken apart before use, nothing is written
through a link of the archive, devices, pipes, sockets and set-id bits are left out, and each ceiling is checked before what it bounds.
Source: OCI image specification, layer.md (white-outs), image-layout.md; docker save's manifest.json; tar(5).
"""
import io
import json
import os
import pathlib
import re
import shutil
import stat
import subprocess
import sys
import tarfile

DEPTH_MAX = 64
PART_MAX = 255
PATH_MAX = 4096
LINKS_MAX = 200
JSON_MAX = 1 << 20
LAYERS_MAX = 512
OUTER_MAX = 10_000
PIECE = 1 << 20
LANGUAGES = (("python", "usr/bin/python3"), ("node", "usr/bin/node"), ("sh", "bin/sh"))
FOLDERS = ("proc", "sys", "dev", "tmp", "work", "run", "etc")


class Refused(Exception):
    """What the source breaks: rule, and a sentence."""

    def __init__(self, rule, message):
        super().__init__(message)
        self.rule = "image." + rule


class Tree:
    """The root folder that grows, and what may still be put into it."""

    def __init__(self, root, bytes_max, entries_max):
        self.root = root
        self.bytes_max, self.entries_max = bytes_max, entries_max
        self.bytes = self.entries = 0
        root.mkdir()

    def count(self, size):
        """Before anything of an entry is read: size is what its archive says, or the disk."""
        self.entries += 1
        if self.entries > self.entries_max:
            raise Refused("too_many", f"it has more than {self.entries_max} entries")
        self.bytes += max(size, 0)
        if self.bytes > self.bytes_max:
            raise Refused("too_big", f"it unpacks to more than {self.bytes_max >> 20} MiB")


def parts_of(name):
    parts = [p for p in name.split("/") if p not in ("", ".")]
    if ".." in parts or "\0" in name:
        raise Refused("entry", f"the name {ascii(name[:100])} leads out of the image")
    if len(parts) > DEPTH_MAX or len(name) > PATH_MAX or any(len(os.fsencode(p)) > PART_MAX for p in parts):
        raise Refused("entry", f"the name {ascii(name[:100])} is too long, or deeper than {DEPTH_MAX} folders")
    return parts


def inside(root, parts, tree=None):
    """Where parts lead below root; a link (bin -> usr/bin) is followed one part at a time and never leads above root. With a tree folders that are
    missing are made, and count; without one the answer is None then."""
    at, todo, steps = [], list(parts), 0
    while todo:
        part = todo.pop(0)
        steps += 1
        if steps > LINKS_MAX:
            raise Refused("entry", "its links go in a circle")
        if part == "..":
            at = at[:-1]
            continue
        here = root.joinpath(*at, part)
        if here.is_symlink():
            target = os.readlink(here)
            if target.startswith("/"):
                at = []
            todo = [p for p in target.split("/") if p not in ("", ".")] + todo
            continue
        if not here.is_dir():
            if tree is None:
                return here if not todo and os.path.lexists(here) else None
            if os.path.lexists(here):
                here.unlink()
            tree.count(0)
            here.mkdir()
        if len(at) >= DEPTH_MAX:
            raise Refused("entry", f"it is deeper than {DEPTH_MAX} folders")
        at.append(part)
    return root.joinpath(*at)


def remove(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif os.path.lexists(path):
        path.unlink()


def put(tree, layer, entry):
    """One entry of a layer."""
    parts = parts_of(entry.name)
    tree.count(entry.size)
    if not parts:
        return
    folder, name = inside(tree.root, parts[:-1], tree), parts[-1]
    if name == ".wh..wh..opq":
        for old in list(folder.iterdir()):
            remove(old)
        return
    if name.startswith(".wh."):
        gone = name[4:]
        if gone in ("", ".", ".."):
            raise Refused("entry", f"the white-out {ascii(entry.name[:100])} names nothing")
        remove(folder / gone)
        return
    path = folder / name
    mode = stat.S_IMODE(entry.mode) & 0o777
    if entry.isdir():
        if path.is_symlink() or not path.is_dir():
            remove(path)
            path.mkdir()
        path.chmod(mode | 0o700)
    elif entry.issym():
        remove(path)
        path.symlink_to(entry.linkname)
    elif entry.islnk():
        target_parts = parts_of(entry.linkname)
        target = inside(tree.root, target_parts[:-1], tree) / target_parts[-1] if target_parts else tree.root
        if target.is_symlink() or not target.is_file():
            raise Refused("entry", f"{ascii(entry.name[:100])} is linked to {ascii(entry.linkname[:100])}, which is no file of the image")
        remove(path)
        os.link(target, path, follow_symlinks=False)
    elif entry.isreg():
        remove(path)
        with open(path, "xb") as out:
            shutil.copyfileobj(layer.extractfile(entry), out, PIECE)
        path.chmod(mode | 0o600)


def entries(archive):
    """Without remembering each of them, as iterating would."""
    while (entry := archive.next()) is not None:
        archive.members = []
        yield entry


def layers_of(archive, names):
    """The layers of an OCI archive in their order; None: it is none, but the tar of a folder."""

    def read(name):
        entry = names.get(name)
        if entry is None or not entry.isreg() or entry.size > JSON_MAX:
            raise Refused("malformed", f"{ascii(name[:100])} is missing in the archive, or too large")
        return json.load(archive.extractfile(entry))

    def blob(digest):
        if not isinstance(digest, str) or not re.fullmatch(r"[a-z0-9]{1,32}:[0-9a-f]{32,128}", digest):
            raise Refused("malformed", "a digest in it is none")
        return "blobs/" + digest.replace(":", "/")

    if "manifest.json" in names:
        images = read("manifest.json")
        if len(images) != 1:
            raise Refused("malformed", f"it holds {len(images)} images; save one of them")
        wanted = images[0]["Layers"]
    elif "index.json" in names and "oci-layout" in names:
        manifest = read("index.json")
        for _ in range(3):
            if "manifests" not in manifest:
                break
            ours = [m for m in manifest["manifests"] if m.get("platform", {}).get("architecture", "amd64") == "amd64"]
            if not ours:
                raise Refused("malformed", "it holds no image for this machine (amd64)")
            manifest = read(blob(ours[0]["digest"]))
        wanted = [blob(layer["digest"]) for layer in manifest["layers"]]
    else:
        return None
    if not 0 < len(wanted) <= LAYERS_MAX:
        raise Refused("malformed", f"it has {len(wanted)} layers")
    for name in wanted:
        if name not in names or not (names[name].isreg() or names[name].issym()):
            raise Refused("malformed", f"the layer {ascii(str(name)[:100])} is missing in the archive")
    return [names[name] for name in wanted]


def unpack_layer(tree, stream):
    with tarfile.open(fileobj=io.BufferedReader(stream, PIECE), mode="r|*") as layer:
        for entry in entries(layer):
            put(tree, layer, entry)


def unpack(tree, file):
    """An archive that can be read more than once."""
    names = {}
    with tarfile.open(fileobj=file, mode="r:*") as archive:
        for count, entry in enumerate(entries(archive)):
            if count >= tree.entries_max:
                raise Refused("too_many", f"it has more than {tree.entries_max} entries")
            if count < OUTER_MAX:
                names[entry.name.removeprefix("./")] = entry
        layers = layers_of(archive, names)
        for entry in layers or []:
            unpack_layer(tree, archive.extractfile(entry))
    if layers is None:
        file.seek(0)
        unpack_layer(tree, file)


def copy_file(source, target, size, mode):
    fd = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(fd, "rb") as from_file, open(target, "xb") as to_file:
        left = size
        while left and (piece := from_file.read(min(left, PIECE))):
            to_file.write(piece)
            left -= len(piece)
    target.chmod(mode | 0o600)


def copy_one(tree, one, to_dir):
    """True: it is a folder, whose entries are still to come."""
    st = one.stat(follow_symlinks=False)
    target, mode = to_dir / one.name, stat.S_IMODE(st.st_mode) & 0o777
    tree.count(st.st_size if stat.S_ISREG(st.st_mode) else 0)
    if stat.S_ISLNK(st.st_mode):
        target.symlink_to(os.readlink(one.path))
    elif stat.S_ISREG(st.st_mode):
        copy_file(one.path, target, st.st_size, mode)
    elif stat.S_ISDIR(st.st_mode):
        target.mkdir()
        target.chmod(mode | 0o700)
        return True
    return False


def copy(tree, source):
    """A folder, of which links are kept and never followed."""
    todo = [(source, tree.root, 0)]
    while todo:
        at, to_dir, depth = todo.pop()
        if depth > DEPTH_MAX:
            raise Refused("entry", f"{ascii(str(at)[-100:])} is deeper than {DEPTH_MAX} folders")
        try:
            with os.scandir(at) as found:
                for one in found:
                    at = one.path
                    if copy_one(tree, one, to_dir):
                        todo.append((one.path, to_dir / one.name, depth + 1))
        except PermissionError as error:
            raise Refused("entry", f"{ascii(str(at)[-100:])} may not be read by programs; make a tar of the folder as its owner") from error


def languages_of(root):
    found = []
    for language, program in LANGUAGES:
        at = inside(root, program.split("/"))
        if at is not None and at.is_file() and at.stat().st_mode & 0o111:
            found.append(language)
    if not found:
        raise Refused("empty", "it has neither /usr/bin/python3 nor /usr/bin/node nor /bin/sh, so no program could run in it")
    return found


def furnish(root):
    """Where the agent of the guest mounts, and the user of programs."""
    for name in FOLDERS:
        path = root / name
        if name == "dev" or path.is_symlink() or not path.is_dir():
            remove(path)
            path.mkdir()
    users = root / "etc" / "passwd"
    if users.is_symlink() or not users.is_file():
        remove(users)
    with open(users, "a+", encoding="utf-8", errors="surrogateescape") as file:
        file.seek(0)
        text = file.read()
        if not re.search("^job:", text, re.M):
            file.write(("\n" if text and not text.endswith("\n") else "") + "job:x:1000:1000:job:/work:/bin/sh\n")


def make(source, work, bytes_max, entries_max):
    tree = Tree(work / "root", bytes_max, entries_max)
    if source.isdigit():
        with open(int(source), "rb") as file:
            unpack(tree, file)
    elif os.path.isdir(source):
        copy(tree, source)
    else:
        with open(source, "rb") as file:
            unpack(tree, file)
    languages = languages_of(tree.root)
    furnish(tree.root)
    command = ["mkfs.erofs", "--quiet", "--all-root", "-T", "1700000000", str(work / "image"), str(tree.root)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    if done.returncode:
        raise Refused("failed", f"mkfs.erofs ended with {done.returncode}: {ascii(done.stderr[-150:].decode(errors='replace'))}")
    return {"languages": languages, "entries": tree.entries, "bytes": tree.bytes}


def tell(value, report):
    if report is None:
        print(json.dumps(value) if "rule" not in value else value["message"], file=sys.stderr if "rule" in value else sys.stdout)
    else:
        os.write(report, json.dumps(value).encode())


def main():
    if len(sys.argv) not in (5, 6):
        sys.exit(__doc__)
    source, work, bytes_max, entries_max = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    report = int(sys.argv[5]) if len(sys.argv) == 6 else None
    try:
        tell(make(source, work, bytes_max, entries_max), report)
        return 0
    except Refused as refused:
        rule, message = refused.rule, str(refused)
    except MemoryError:
        rule, message = "image.malformed", "reading it takes more memory than it may"
    except OSError as error:
        full = error.errno in (28, 122, 27)
        rule, message = "image.disk" if full else "image.malformed", f"{'writing' if full else 'reading'} it failed: {os.strerror(error.errno or 5)}"
    except Exception as error:  # whatever a parser says of hostile bytes: it is no image
        rule, message = "image.malformed", f"it is no image, or a part of it is missing: {type(error).__name__}: {ascii(str(error)[:120])}"
    tell({"rule": rule, "message": message[:240]}, report)
    return 1


sys.exit(main())
