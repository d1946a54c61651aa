# sandbox/preload/python.py: a Python that is started before its program is known, inside the finished jail, for one program.
#
# Waits for the order (sandbox/confine/order.h), then behaves as `python3 -B -E -s -u FILE ARGS...` would: same __main__, same sys.path[0],
# same tracebacks, same exit codes. It serves once, so nothing is shared with another job.


def _cds_start():
    import gc
    import os
    import sys

    own_file = __file__

    def hook(kind, value, trace):
        # The lines of this file are not the program's business.
        while trace and trace.tb_frame.f_code.co_filename == own_file:
            trace = trace.tb_next
        value.__traceback__ = trace
        sys.__excepthook__(kind, value, trace)

    # What is here now stays to the end: looking through it again, as the interpreter does four times on its way out, would find nothing.
    gc.collect()
    gc.freeze()
    if not os.read(6, 1):
        os._exit(123)
    with open(5, "rb") as f:
        data = f.read()
    os.close(6)
    at = 0

    def item():
        nonlocal at
        begin = at + 4
        at = begin + int.from_bytes(data[at:begin], "little")
        return data[begin:at]

    def count():
        nonlocal at
        at += 4
        return int.from_bytes(data[at - 4 : at], "little")

    def text():
        return os.fsdecode(item()[:-1])

    argv = [text() for _ in range(count())]
    env = [text() for _ in range(count())]
    for _ in range(count()):
        name = "/tmp/" + text()
        os.makedirs(os.path.dirname(name), exist_ok=True)
        with open(name, "xb") as f:
            f.write(item())
    os.environ.clear()
    for pair in env:
        name, _, value = pair.partition("=")
        os.environ[name] = value

    path = argv[0]
    main = sys.modules["__main__"].__dict__
    del main["_cds_start"]
    main["__doc__"] = None
    main["__file__"] = path
    sys.argv = argv
    sys.path[0] = os.path.dirname(path)
    sys.excepthook = hook
    try:
        with open(path, "rb") as f:
            source = f.read()
    except OSError as e:
        sys.stderr.write(f"{sys.executable}: can't open file '{path}': [Errno {e.errno}] {e.strerror}\n")
        raise SystemExit(2) from None
    exec(compile(source, path, "exec", dont_inherit=True), main)


_cds_start()
