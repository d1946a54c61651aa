# sandbox/guest/prestart.py: waits inside a template for its job and then is that job, as `python3 -B -E -s -u <file> <arguments>` would be.
# Holds no randomness, no thread, no socket: see README.md of this folder. What it imports stays imported in the job.
import atexit, builtins, io, linecache, os, re, sys, threading, traceback, types  # noqa: E401 (traceback: an uncaught error would cost half a second otherwise)


agent = os.fstat(3)
pid = os.getpid()


def receive():
    data = b''
    while True:
        piece = os.read(3, 1 << 20)
        if not piece:
            os._exit(0)
        data += piece
        if len(data) >= 4 and len(data) >= 4 + int.from_bytes(data[:4], 'little'):
            return data[4:]


def run(job):
    # kind, number of arguments, arguments, variables
    kind, count, *rest = [part.decode('utf-8', 'surrogateescape') for part in job.split(b'\0')[:-1]]
    argv, env = rest[: int(count)], rest[int(count):]
    os.environ.clear()
    for entry in env:
        name, _, value = entry.partition('=')
        os.environ[name] = value
    os.chdir('/work')
    sys.argv = argv
    sys.path[0] = os.path.dirname(argv[0])
    main = types.ModuleType('__main__')
    main.__dict__.update(__file__=argv[0], __builtins__=builtins, __cached__=None)
    sys.modules['__main__'] = main
    try:
        with io.open_code(argv[0]) as file:
            source = file.read()
    except OSError as error:
        sys.stderr.write(f"{sys.executable}: can't open file {argv[0]!r}: [Errno {error.errno}] {error.strerror}\n")
        sys.exit(2)
    code = 0
    try:
        exec(compile(source, argv[0], 'exec', dont_inherit=True), main.__dict__)
    except SystemExit as error:
        code = error.code
        if code is None:
            code = 0
        elif not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
    except BaseException as error:
        # What stands below is ours: the program sees its own lines only.
        trace = error.__traceback__.tb_next
        sys.excepthook(type(error), error.with_traceback(trace), trace)
        code = 130 if isinstance(error, KeyboardInterrupt) else 1
    leave(code)


def leave(code):
    # As the interpreter ends: threads, atexit, buffers. Only the taking apart of modules is left out: it costs more than a small program. The agent is
    # told the code, and need not wait until the kernel has taken the memory apart.
    try:
        threading._shutdown()
        atexit._run_exitfuncs()
    except BaseException:
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            code = code or 120
    try:
        # Not from a child of the program, and not into a file of the program's that has our number now.
        if os.getpid() == pid and os.path.samestat(os.fstat(3), agent):
            os.write(3, bytes((0x78, code & 0xff)))
    except OSError:
        pass
    os._exit(code & 0xff)


def warm(job):
    # The same way as a job, in a child, so that the code it needs is translated and the parent stays as it is. The agent reads what it prints.
    child = os.fork()
    if child == 0:
        os.dup2(os.open('/dev/null', os.O_RDWR), 0)
        os.close(3)
        run(job)
    os.waitpid(child, 0)
    os.write(3, b'w')


def wait():
    os.write(3, b'r')
    while True:
        job = receive()
        if not job.startswith(b'w'):
            os.set_inheritable(3, False)
            return job
        warm(job)


run(wait())
