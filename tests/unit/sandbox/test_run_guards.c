/* Every test runs in three ways: as the broker runs on this machine, as if it were not root (own user namespace), and with limits by rlimits. */
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "sandbox/run.h"
#include "tests/support/test.h"
#include "tests/support/timely.h"

enum { OUT_MAX = 65536, WAIT_MS = 120000 };

static char base[] = "/tmp/cds-test-run-XXXXXX";
static struct cds_loop *loop;
static struct sandbox_host *host;
static struct cds_engine *engine;
static int project = -1;

/* What held the limits is what the result says: there may be no cgroup here although nobody switched them off. */
struct fate {
    struct cds_job_result r;
    char out[OUT_MAX], err[OUT_MAX];
    size_t out_len, err_len;
    bool ended;
};

static void on_output(void *user, int stream, const char *data, size_t len)
{
    struct fate *f = user;
    char *to = stream == 1 ? f->out : f->err;
    size_t *at = stream == 1 ? &f->out_len : &f->err_len;
    for (size_t i = 0; i < len && *at < OUT_MAX - 1; i++)
        to[(*at)++] = data[i];
}

static void on_end(void *user, const struct cds_job_result *r)
{
    struct fate *f = user;
    f->r = *r;
    f->ended = true;
}

static bool by_rlimit(const struct fate *f)
{
    assert_true(!strcmp(f->r.enforced_by, "rlimit") || !strcmp(f->r.enforced_by, "cgroup"));
    return !strcmp(f->r.enforced_by, "rlimit");
}

static struct cds_run_limits usual(void)
{
    return (struct cds_run_limits){60000, 50000, 256 << 20, 32768, 48, 64 << 20, 0};
}

/* Runs it to its end. The fate is static: one at a time. */
static struct fate *run_spec(const struct cds_job_spec *spec, uint64_t kill_after_ms)
{
    static const struct cds_job_events events = {on_output, on_end};
    static struct fate f;
    struct cds_err err = {0};
    struct cds_job *job = NULL;
    f = (struct fate){.ended = false};
    cds_rc rc = engine->ops->acquire(engine, spec, &job, &err);
    if (!rc)
        rc = engine->ops->exec(job, spec, &events, &f, &err);
    if (rc)
        fail_msg("exec: %s %s", err.message, err.detail);
    uint64_t began = cds_now_ms();
    while (!f.ended && cds_now_ms() - began < WAIT_MS) {
        cds_loop_once(loop, 20);
        if (kill_after_ms && !f.ended && cds_now_ms() - began >= kill_after_ms)
            engine->ops->kill(job, CDS_END_CANCELLED);
    }
    assert_true(f.ended);
    if (f.r.end == CDS_END_ENGINE_FAILED)
        fail_msg("engine: %s", f.r.reason);
    return &f;
}

static struct fate *run_with(const char *language, const char *code, const struct cds_run_limits *limits, const char *input, uint64_t kill_after_ms)
{
    const char *args[] = {"first", "second word"};
    const struct cds_job_spec spec = {.language = language,
                                      .code = code,
                                      .code_len = strlen(code),
                                      .args = args,
                                      .arg_count = 2,
                                      .stdin_data = input,
                                      .stdin_len = input ? strlen(input) : 0,
                                      .project_fd = project,
                                      .limits = *limits};
    return run_spec(&spec, kill_after_ms);
}

static struct fate *run(const char *language, const char *code)
{
    const struct cds_run_limits limits = usual();
    return run_with(language, code, &limits, NULL, 0);
}

static void exit_codes_signals_and_streams_are_told_apart(void **state)
{
    struct fate *f = run("sh", "echo out; echo err >&2; exit 3");
    assert_int_equal(f->r.end, CDS_END_EXIT);
    assert_int_equal(f->r.exit_code, 3);
    assert_string_equal(f->out, "out\n");
    assert_string_equal(f->err, "err\n");
    f = run("sh", "kill -TERM $$; sleep 5");
    assert_int_equal(f->r.end, CDS_END_SIGNAL);
    assert_int_equal(f->r.signo, 15);
    f = run("python", "import sys\nprint(sys.argv[1:], sys.stdin.read())");
    assert_int_equal(f->r.end, CDS_END_OK);
    assert_string_equal(f->out, "['first', 'second word'] \n");
}

static void input_arrives_and_c_is_compiled(void **state)
{
    const struct cds_run_limits limits = usual();
    struct fate *f = run_with("python", "print(input()[::-1])", &limits, "abc\n", 0);
    assert_string_equal(f->out, "cba\n");
    f = run("c", "#include <stdio.h>\nint main(int n, char **v) { printf(\"%d %s\\n\", n, v[2]); return 7; }");
    assert_int_equal(f->r.exit_code, 7);
    assert_string_equal(f->out, "3 second word\n");
    f = run("c", "int main(void) { return x; }");
    assert_int_equal(f->r.end, CDS_END_EXIT);
    assert_non_null(strstr(f->err, "undeclared"));
}

static void variables_and_files_come_along_and_a_file_may_be_changed(void **state)
{
    static const char code[] =
        "import os; f = open('/tmp/data/in.txt', 'r+'); print(f.read(), os.environ['GREETING'], os.environ['HOME']); f.write('x')";
    const char *env[] = {"GREETING=good morning", "HOME=/tmp"};
    const struct cds_job_file files[] = {{"data/in.txt", "content", 7}};
    const struct cds_job_spec spec = {.language = "python",
                                      .code = code,
                                      .code_len = sizeof(code) - 1,
                                      .env = env,
                                      .env_count = 2,
                                      .files = files,
                                      .file_count = 1,
                                      .project_fd = project,
                                      .limits = usual()};
    struct fate *f = run_spec(&spec, 0);
    assert_string_equal(f->err, "");
    assert_string_equal(f->out, "content good morning /tmp\n");
}

static void a_project_is_mounted_as_asked(void **state)
{
    static const char code[] = "echo a >/work/planted && echo wrote; ls /work";
    struct cds_job_spec spec = {.language = "sh", .code = code, .code_len = sizeof(code) - 1, .project_fd = project, .limits = usual()};
    assert_string_equal(run_spec(&spec, 0)->out, "wrote\nplanted\n");
    spec.access = CDS_PROJECT_READ_ONLY;
    struct fate *f = run_spec(&spec, 0);
    assert_string_equal(f->out, "planted\n");
    assert_non_null(strstr(f->err, "Read-only"));
    assert_string_equal(run("sh", "rm /work/planted")->err, "");
    spec.access = CDS_PROJECT_NONE;
    assert_string_equal(run_spec(&spec, 0)->out, "wrote\nplanted\n");
    assert_string_equal(run("sh", "ls /work")->out, ""); /* that was a folder of its own */
}

static void cpp_is_compiled_and_phases_are_told(void **state)
{
    struct fate *f = run("cpp", "#include <iostream>\nint main() { std::cout << 1 + 2 << std::endl; }");
    assert_string_equal(f->out, "3\n");
    assert_string_equal(f->r.backend, "jail");
    assert_string_equal(f->r.boundary, "process");
    assert_true(f->r.phases.run_us > 0 && f->r.phases.start_us > 0);
}

static void wall_clock_and_cpu_time_end_a_run(void **state)
{
    struct cds_run_limits limits = usual();
    limits.wall_ms = 300;
    assert_int_equal(run_with("sh", "sleep 20", &limits, NULL, 0)->r.end, CDS_END_WALL_TIME);
    limits = usual();
    limits.cpu_ms = 200;
    struct fate *f = run_with("python", "while True: pass", &limits, NULL, 0);
    assert_int_equal(f->r.end, CDS_END_CPU_TIME);
    assert_true(f->r.cpu_ms >= 200);
}

/* A limit of each process would let eight of them use eight times as much. */
static void cpu_time_is_that_of_all_processes_together(void **state)
{
    struct cds_run_limits limits = usual();
    limits.cpu_ms = 1000;
    struct fate *f = run_with("python",
                              "import os, time\nfor i in range(8):\n  if os.fork() == 0:\n    end = time.process_time() + 0.4\n"
                              "    while time.process_time() < end: pass\n    os._exit(0)\ntime.sleep(50)",
                              &limits, NULL, 0);
    assert_int_equal(f->r.end, CDS_END_CPU_TIME);
    assert_true(f->r.cpu_ms >= 1000);
    test_timely(f->r.cpu_ms, 2500); /* whoever looks at it waits for a processor, too */
    /* And of those that are gone. */
    f = run_with("python",
                 "import os, time\nwhile True:\n  if os.fork() == 0:\n    end = time.process_time() + 0.05\n"
                 "    while time.process_time() < end: pass\n    os._exit(0)\n  os.wait()",
                 &limits, NULL, 0);
    assert_int_equal(f->r.end, CDS_END_CPU_TIME);
}

static void a_cancelled_run_ends_and_the_next_one_works(void **state)
{
    const struct cds_run_limits limits = usual();
    for (int i = 0; i < 3; i++) {
        assert_int_equal(run_with("sh", "trap '' TERM; sleep 20", &limits, NULL, 100)->r.end, CDS_END_CANCELLED);
        assert_int_equal(run("sh", "exit 0")->r.end, CDS_END_OK);
    }
}

static void memory_is_bounded(void **state)
{
    struct cds_run_limits limits = usual();
    limits.memory_bytes = 64 << 20;
    struct fate *f = run_with("python", "x = bytearray(500 << 20)\nprint('had it')", &limits, NULL, 0);
    assert_true(f->r.end == CDS_END_MEMORY || (by_rlimit(f) && f->r.end == CDS_END_EXIT));
    assert_null(strstr(f->out, "had it"));
    f = run_with("node", "const all = []; while (true) all.push(Buffer.alloc(8 << 20, 1));", &limits, NULL, 0);
    assert_true(f->r.end == CDS_END_MEMORY || (by_rlimit(f) && (f->r.end == CDS_END_EXIT || f->r.end == CDS_END_SIGNAL)));
    test_timely(f->r.wall_ms, 9000);
}

/* Each stays below the limit; together they are above. */
static void memory_is_that_of_all_processes_together(void **state)
{
    struct cds_run_limits limits = usual();
    limits.memory_bytes = 100 << 20;
    struct fate *f = run_with("python",
                              "import os, sys, time\nfor i in range(6):\n  if os.fork() == 0:\n    x = bytearray(40 << 20)\n"
                              "    for at in range(0, len(x), 4096): x[at] = 1\n    time.sleep(40)\n    os._exit(0)\n"
                              "bad = [os.wait()[1] for i in range(6)]\nsys.exit(any(bad))",
                              &limits, NULL, 0);
    assert_int_equal(f->r.end, CDS_END_MEMORY);
}

/* Twenty forks share 20 MiB: that is 20 MiB and no 400. */
static void pages_that_a_fork_shares_count_once(void **state)
{
    struct cds_run_limits limits = usual();
    limits.memory_bytes = 128 << 20;
    struct fate *f = run_with("python",
                              "import os, time\nx = b'x' * (20 << 20)\nfor i in range(20):\n  if os.fork() == 0:\n    time.sleep(0.5)\n"
                              "    os._exit(0)\nfor i in range(20): os.wait()\nprint('all')",
                              &limits, NULL, 0);
    assert_string_equal(f->out, "all\n");
}

/* Memory that nobody maps: where no cgroup counts it, there is none to have. */
static void memory_that_no_process_maps_is_counted_or_closed(void **state)
{
    struct fate *f = run("python", "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
                                   "for name, nr, a in [('memfd', 319, (b'x', 0)), ('shm', 29, (0, 4096, 0o1600)), ('msg', 68, (0, 0o1600))]:\n"
                                   "  r = libc.syscall(nr, *a)\n  print(name, 'had' if r >= 0 else ctypes.get_errno())\n");
    assert_string_equal(f->out, by_rlimit(f) ? "memfd 1\nshm 1\nmsg 1\n" : "memfd had\nshm had\nmsg had\n");
}

static void node_works_with_little_memory(void **state)
{
    struct cds_run_limits limits = usual();
    limits.memory_bytes = 48 << 20;
    struct fate *f = run_with("node", "let n = 0; for (let i = 0; i < 1e6; i++) n += i; console.log(n);", &limits, NULL, 0);
    assert_string_equal(f->out, "499999500000\n");
    f = run("node", "console.log((await import('fs')).readFileSync('/proc/self/limits', 'utf8').match(/Max data size +(\\w+)/)[1]);");
    assert_string_equal(f->out, by_rlimit(f) ? "268435456\n" : "unlimited\n");
}

/* A program that was refused a task and fails for it. */
static void a_run_that_fails_for_want_of_tasks_says_so(void **state)
{
    struct fate *f = run("python", "import os, sys, time\ntry:\n  for i in range(100):\n    if os.fork() == 0:\n      time.sleep(20)\n"
                                   "      os._exit(0)\nexcept OSError as e:\n  sys.exit(e.errno)");
    /* Rlimits do not tell whom they refused. */
    assert_true(f->r.end == CDS_END_TASKS || (by_rlimit(f) && f->r.end == CDS_END_EXIT && f->r.exit_code == 11));
}

static void a_file_above_its_ceiling_ends_the_run_with_disk(void **state)
{
    struct fate *f = run("sh", "exec head -c 100000000 /dev/zero > /work/fill");
    assert_int_equal(f->r.end, CDS_END_DISK);
    f = run("sh", "stat -c %s /work/fill; rm /work/fill");
    assert_string_equal(f->out, "67108864\n");
}

static void a_fork_bomb_stays_inside(void **state)
{
    struct fate *f =
        run("python", "import os, time\nn = 0\ntry:\n  while True:\n    if os.fork() == 0:\n      time.sleep(30)\n      os._exit(0)\n    n += 1\n"
                      "except OSError:\n  print('refused after', n < 64)\n");
    /* The kernel never refuses root by rlimits, not even in a user namespace: there the look ends it. */
    assert_true(strstr(f->out, "refused after True") || (by_rlimit(f) && f->r.end == CDS_END_TASKS));
    test_timely(f->r.wall_ms, 9000); /* ended with its main process, not with the sleepers */
}

/* Also without control groups, where all jobs of root share a uid. */
static void the_tasks_of_one_run_are_not_taken_from_another(void **state)
{
    static const struct cds_job_events events = {on_output, on_end};
    static struct fate many;
    static const char code[] = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do sleep 20 & done; echo up; sleep 20";
    const struct cds_job_spec spec = {.language = "sh", .code = code, .code_len = sizeof(code) - 1, .project_fd = project, .limits = usual()};
    struct cds_job *job = NULL;
    struct cds_err err;
    many = (struct fate){.ended = false};
    assert_int_equal(engine->ops->acquire(engine, &spec, &job, &err), CDS_OK);
    assert_int_equal(engine->ops->exec(job, &spec, &events, &many, &err), CDS_OK);
    for (uint64_t began = cds_now_ms(); many.out_len < 3 && cds_now_ms() - began < WAIT_MS;)
        cds_loop_once(loop, 10);
    struct cds_run_limits few = usual();
    few.max_tasks = 8;
    assert_string_equal(run_with("sh", "sleep 0 & wait; echo fine", &few, NULL, 0)->out, "fine\n");
    assert_false(many.ended);
    engine->ops->kill(job, CDS_END_CANCELLED);
    while (!many.ended)
        cds_loop_once(loop, 10);
}

static void output_is_passed_on_up_to_the_ceiling_and_counted(void **state)
{
    struct fate *f = run("python", "import sys\nsys.stdout.write('x' * 1000000)\nsys.stderr.write('y' * 5)");
    assert_int_equal(f->r.stdout_bytes, 1000000);
    assert_int_equal(f->r.stderr_bytes, 5);
    assert_int_equal(f->out_len + f->err_len, 32768);
    assert_int_equal(f->r.dropped_bytes, 1000005 - 32768);
}

static void a_daemon_that_holds_the_output_dies_with_the_run(void **state)
{
    struct fate *f =
        run("python", "import os, time\nif os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0:\n    time.sleep(60)\n  os._exit(0)\nprint('parent')");
    assert_int_equal(f->r.end, CDS_END_OK);
    test_timely(f->r.wall_ms, 8000);
    assert_string_equal(f->out, "parent\n");
}

static void the_environment_is_built_and_no_descriptor_leaks(void **state)
{
    setenv("CDS_CANARY_SECRET", "CANARY", 1);
    int leak = open("/etc/passwd", O_RDONLY); /* without CLOEXEC on purpose */
    struct fate *f = run("python", "import os\nprint(sorted(os.environ))\nprint(sorted(int(x) for x in os.listdir('/proc/self/fd')))");
    close(leak);
    unsetenv("CDS_CANARY_SECRET");
    assert_null(strstr(f->out, "CANARY"));
    assert_non_null(strstr(f->out, "['HOME', 'LANG', 'PATH'"));
    assert_non_null(strstr(f->out, "\n[0, 1, 2, 3]\n")); /* 3 is the listing itself */
}

static void the_host_is_not_there(void **state)
{
    struct fate *f =
        run("python", "import os\n"
                      "for p in ['/etc/shadow', '/root', '/home', '/var', '/sys', '/proc/kcore', '/proc/sys', '/dev/kmsg', '/dev/mem', '/run']:\n"
                      "  if os.path.exists(p): print('visible', p)\n"
                      "for p in ['/usr/x', '/x', '/etc/x', '/bin/x', '/proc/x']:\n"
                      "  try:\n    open(p, 'w'); print('wrote', p)\n  except OSError: pass\n"
                      "print(sorted(os.listdir('/')))\nprint(sum(x.isdigit() for x in os.listdir('/proc')))");
    assert_null(strstr(f->out, "visible"));
    assert_null(strstr(f->out, "wrote"));
    assert_non_null(strstr(f->out, "'work'"));
    /* At most the job's own init and its one process. */
    const char *last = strrchr(f->out, '\'') ? strrchr(f->out, '\n') : NULL;
    assert_non_null(last);
    while (last > f->out && last[-1] != '\n')
        last--;
    assert_true(atoi(last) >= 1 && atoi(last) <= 2);
}

static void there_is_no_network(void **state)
{
    struct fate *f =
        run("python", "import socket, os\n"
                      "def t(name, fn):\n"
                      "  try:\n    fn(); print('BAD', name)\n  except OSError as e: print(name, e.errno)\n"
                      "t('tcp', lambda: socket.create_connection(('192.0.2.1', 80), 1))\n"
                      "t('loop', lambda: socket.create_connection(('127.0.0.1', 22), 1))\n"
                      "t('udp', lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53)))\n"
                      "t('v6', lambda: socket.create_connection(('2001:db8::1', 80), 1))\n"
                      "t('meta', lambda: socket.create_connection(('169.254.169.254', 80), 1))\n"
                      "for n, fam in [('vsock', 40), ('netlink', 16), ('packet', 17), ('alg', 38), ('bt', 31), ('can', 29), ('xdp', 44)]:\n"
                      "  t(n, lambda: socket.socket(fam, socket.SOCK_RAW))\n"
                      "t('raw', lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))\n");
    assert_int_equal(f->r.end, CDS_END_OK);
    assert_null(strstr(f->out, "BAD"));
    assert_non_null(strstr(f->out, "vsock 1\n"));
}

static void kernel_interfaces_are_closed(void **state)
{
    struct fate *f =
        run("python",
            "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
            "def t(name, nr, *a):\n  ctypes.set_errno(0); r = libc.syscall(nr, *a); e = ctypes.get_errno()\n"
            "  print(name, 'BAD' if r >= 0 else e)\n"
            "t('keyctl', 250, 0, -3, 0)\nt('add_key', 248, b'user', b'a', b'b', 1, -3)\nt('bpf', 321, 0, 0, 0)\nt('perf', 298, 0, 0, -1, -1, 0)\n"
            "t('userfaultfd', 323, 0)\nt('io_uring', 425, 1, 0)\nt('ptrace', 101, 0, 0, 0, 0)\nt('mount', 165, b'x', b'/tmp', b'tmpfs', 0, 0)\n"
            "t('umount', 166, b'/tmp', 2)\nt('unshare_user', 272, 0x10000000)\nt('setns', 308, 0, 0)\nt('pivot', 155, b'/', b'/')\n"
            "t('chroot', 161, b'/tmp')\nt('reboot', 169, 0xfee1dead, 672274793, 0, 0)\nt('clock_settime', 227, 0, 0)\n"
            "t('sethostname', 170, b'x', 1)\nt('open_by_handle', 304, 0, 0, 0)\nt('process_vm_readv', 310, 1, 0, 0, 0, 0, 0)\nt('kexec', 246, 0, 0, "
            "0, 0)\n"
            "t('init_module', 175, 0, 0, 0)\nt('fsopen', 430, b'tmpfs', 0)\nt('swapon', 167, b'/tmp', 0)\nt('personality', 135, 0x0040000)\n"
            "t('iopl', 172, 3)\nt('syslog', 103, 3, 0, 0)\nt('clone_newuser', 56, 0x10000011, 0, 0, 0, 0)\n"
            "print('clone3', (libc.syscall(435, 0, 0), ctypes.get_errno())[1])\n"
            "t('tiocsti', 16, 0, 0x5412, b'x')\nt('tiocsti_high', 16, 0, 0x100005412, b'x')\nt('tioclinux', 16, 0, 0x541c, b'x')\n"
            "t('kill_all', 62, 1, 9)\n");
    assert_int_equal(f->r.end, CDS_END_OK);
    assert_null(strstr(f->out, "BAD"));
    assert_non_null(strstr(f->out, "tiocsti 1\n")); /* EPERM from the filter, not ENOTTY from the kernel */
    assert_non_null(strstr(f->out, "tiocsti_high 1\n"));
    assert_non_null(strstr(f->out, "unshare_user 1\n"));
    assert_non_null(strstr(f->out, "clone_newuser 1\n"));
    assert_non_null(strstr(f->out, "clone3 38\n"));
    assert_non_null(strstr(f->out, "personality 1\n"));
}

static void a_32_bit_call_kills_the_job(void **state)
{
    struct fate *f = run("c", "int main(void) { int r; __asm__ volatile(\"int $0x80\" : \"=a\"(r) : \"a\"(20)); return r > 0 ? 42 : 43; }");
    assert_int_equal(f->r.end, CDS_END_SIGNAL);
    assert_int_equal(f->r.signo, 31);
}

static void no_program_gains_rights(void **state)
{
    struct fate *f = run("sh", "grep -E 'CapEff|CapBnd|NoNewPrivs|Seccomp:' /proc/self/status; id -u; su -c id 2>&1; sudo -n id 2>&1; true");
    assert_non_null(strstr(f->out, "CapEff:\t0000000000000000"));
    assert_non_null(strstr(f->out, "CapBnd:\t0000000000000000"));
    assert_non_null(strstr(f->out, "NoNewPrivs:\t1"));
    assert_non_null(strstr(f->out, "Seccomp:\t2"));
    assert_null(strstr(f->out, "uid=0"));
}

static void files_go_to_the_project_and_to_nothing_else(void **state)
{
    char path[300];
    struct stat st;
    struct fate *f = run("sh", "echo made > /work/made.txt; echo t > /tmp/t; mkdir /work/d && mv /work/made.txt /work/d/; ls /work/d");
    assert_string_equal(f->out, "made.txt\n");
    snprintf(path, sizeof(path), "%s/project/d/made.txt", base);
    assert_int_equal(stat(path, &st), 0);
    f = run("sh", "ls /tmp; rm -r /work/d");
    assert_string_equal(f->out, "main.sh\n"); /* nothing of the run before */
    f = run("sh", "head -c 100000000 /dev/zero > /tmp/fill; echo $?; stat -c %s /tmp/fill");
    assert_null(strstr(f->out, "100000000\n"));
}

static void on_report(void *user, const struct cds_engine_report *reports, size_t count)
{
    assert_int_equal(count, 1);
    *(struct cds_engine_report *)user = reports[0];
}

static void the_probe_says_what_holds_the_limits(void **state)
{
    struct cds_engine_report report = {.name = NULL};
    assert_int_equal(engine->ops->probe(engine, on_report, &report, NULL), CDS_OK);
    for (uint64_t end = cds_now_ms() + WAIT_MS; !report.name && cds_now_ms() < end;)
        cds_loop_once(loop, 20);
    assert_true(report.name && report.works);
    if (strcmp(report.limits, "rlimit"))
        assert_string_equal(report.reason, "");
    else
        assert_non_null(strstr(report.reason, "are held by rlimits of each process"));
}

static int count_in(const char *folder, const char *prefix)
{
    CDS_CLEANUP(cds_close_dir) DIR *d = opendir(folder);
    int n = 0;
    for (const struct dirent *e; d && (e = readdir(d));)
        n += !strncmp(e->d_name, prefix, strlen(prefix));
    return n;
}

static void thirty_runs_leave_nothing_behind(void **state)
{
    int fds = count_in("/proc/self/fd", "");
    for (int i = 0; i < 30; i++)
        assert_int_equal(run("sh", i % 3 ? "exit 0" : "sleep 30 & exit 1")->r.end, i % 3 ? CDS_END_OK : CDS_END_EXIT);
    assert_int_equal(count_in("/proc/self/fd", "") - fds <= 8, 1); /* a used control group may stay open for the next run */
    char mounts[300], line[1024];
    snprintf(mounts, sizeof(mounts), "%s/", base);
    CDS_CLEANUP(cds_close_file) FILE *f = fopen("/proc/self/mounts", "re");
    while (f && fgets(line, sizeof(line), f))
        assert_null(strstr(line, mounts));
    assert_int_equal(host->active, 0);
}

static int open_engine(bool force_userns, bool no_cgroup)
{
    char dir[300];
    struct cds_err err;
    snprintf(dir, sizeof(dir), "%s/jail", base);
    char key[17];
    snprintf(key, sizeof(key), "test%d", (int)getpid()); /* a key is for one process at a time, and the tests of another tree may run */
    const struct sandbox_settings settings = {.base_dir = dir, .cgroup_key = key, .slots = 4, .no_cgroup = no_cgroup, .force_userns = force_userns};
    if (cds_loop_new(&loop, &err) || sandbox_host_open(loop, &settings, &host, &err) || cds_run_engine_new(host, 0, &engine, &err)) {
        fprintf(stderr, "%s %s\n", err.message, err.detail);
        return -1;
    }
    const struct cds_job_identity *who = &host->who;
    snprintf(dir, sizeof(dir), "%s/project", base);
    if (mkdir(dir, 0755) || (who->change && chown(dir, who->uid, who->gid)))
        return -1;
    project = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return project < 0;
}

static int usual_setup(void **state)
{
    return mkdtemp(base) && chmod(base, 0755) == 0 ? open_engine(false, false) : -1;
}
static int userns_setup(void **state)
{
    return open_engine(true, false);
}
static int rlimit_setup(void **state)
{
    return open_engine(false, true);
}

static int teardown(void **state)
{
    char command[400];
    close(project);
    engine->ops->close(engine);
    sandbox_host_close(&host);
    engine = NULL;
    cds_loop_free(&loop);
    snprintf(command, sizeof(command), "rm -rf %s/project %s/jail", base, base);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exit_codes_signals_and_streams_are_told_apart),
        cmocka_unit_test(input_arrives_and_c_is_compiled),
        cmocka_unit_test(variables_and_files_come_along_and_a_file_may_be_changed),
        cmocka_unit_test(a_project_is_mounted_as_asked),
        cmocka_unit_test(cpp_is_compiled_and_phases_are_told),
        cmocka_unit_test(wall_clock_and_cpu_time_end_a_run),
        cmocka_unit_test(cpu_time_is_that_of_all_processes_together),
        cmocka_unit_test(a_cancelled_run_ends_and_the_next_one_works),
        cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(memory_is_that_of_all_processes_together),
        cmocka_unit_test(pages_that_a_fork_shares_count_once),
        cmocka_unit_test(memory_that_no_process_maps_is_counted_or_closed),
        cmocka_unit_test(node_works_with_little_memory),
        cmocka_unit_test(a_run_that_fails_for_want_of_tasks_says_so),
        cmocka_unit_test(a_file_above_its_ceiling_ends_the_run_with_disk),
        cmocka_unit_test(a_fork_bomb_stays_inside),
        cmocka_unit_test(the_tasks_of_one_run_are_not_taken_from_another),
        cmocka_unit_test(output_is_passed_on_up_to_the_ceiling_and_counted),
        cmocka_unit_test(a_daemon_that_holds_the_output_dies_with_the_run),
        cmocka_unit_test(the_environment_is_built_and_no_descriptor_leaks),
        cmocka_unit_test(the_host_is_not_there),
        cmocka_unit_test(there_is_no_network),
        cmocka_unit_test(kernel_interfaces_are_closed),
        cmocka_unit_test(a_32_bit_call_kills_the_job),
        cmocka_unit_test(no_program_gains_rights),
        cmocka_unit_test(files_go_to_the_project_and_to_nothing_else),
        cmocka_unit_test(the_probe_says_what_holds_the_limits),
        cmocka_unit_test(thirty_runs_leave_nothing_behind),
    };
    int bad = cmocka_run_group_tests_name("as started", tests, usual_setup, teardown);
    bad += cmocka_run_group_tests_name("in a user namespace", tests, userns_setup, teardown);
    bad += cmocka_run_group_tests_name("limits by rlimits", tests, rlimit_setup, teardown);
    rmdir(base);
    return bad;
}
