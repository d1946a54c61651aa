/* QEMU taken over: another program in its place, in its jail, with its descriptors, tries what it must not be able to do. Row A41, and A37. */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "sandbox/confine/jail.h"
#include "sandbox/host.h"
#include "tests/support/test.h"

/* 5: sealed memory, 6: nothing, 7: a file of the host, to read. The list of descriptors is itself read through 3, the lowest that is free. */
static const char attack[] =
    "import errno, mmap, os, socket\n"
    "def attempt(name, f):\n"
    "    try: print(name, 'DONE', f())\n"
    "    except OSError as e: print(name, errno.errorcode[e.errno])\n"
    "def shared():\n"
    "    with open('/proc/self/fd/5', 'r+b') as f: mmap.mmap(f.fileno(), 4096, mmap.MAP_SHARED, mmap.PROT_WRITE)\n"
    "def private():\n"
    "    with open('/proc/self/fd/5', 'r+b') as f:\n"
    "        m = mmap.mmap(f.fileno(), 4096, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE); m[0:1] = b'x'; return bytes(m[0:4])\n"
    "attempt('write', lambda: os.pwrite(5, b'x', 0))\n"
    "attempt('truncate', lambda: os.ftruncate(5, 0))\n"
    "attempt('shared', shared)\n"
    "attempt('private', private)\n"
    "attempt('read', lambda: open('/proc/self/fd/7').read())\n"
    "attempt('overwrite', lambda: open('/proc/self/fd/7', 'r+').write('x'))\n"
    "attempt('shadow', lambda: open('/etc/shadow').read())\n"
    "attempt('root', lambda: sorted(os.listdir('/home')))\n"
    "attempt('usr', lambda: open('/usr/x', 'w'))\n"
    "def connect(address):\n"
    "    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as s: s.settimeout(2); s.connect(address)\n"
    "attempt('loopback', lambda: connect(('127.0.0.1', 22)))\n"
    "attempt('internet', lambda: connect(('1.1.1.1', 80)))\n"
    "attempt('vsock', lambda: socket.socket(40, socket.SOCK_STREAM))\n"
    "attempt('kvm', lambda: os.open('/dev/kvm', os.O_RDWR))\n"
    "attempt('setuid', lambda: os.setuid(0))\n"
    "open('/tmp/own', 'w').close()\n"
    "attempt('attribute', lambda: os.setxattr('/tmp/own', 'user.x', b'x'))\n"
    "attempt('meminfo', lambda: open('/proc/meminfo').read(1))\n"
    "print('descriptors', sorted(int(n) for n in os.listdir('/proc/self/fd') if int(n) > 3))\n";

static int lift(int fd)
{
    int high = fcntl(fd, F_DUPFD_CLOEXEC, CDS_JAIL_FD_LOWEST);
    close(fd);
    return high;
}

static char said[4096];

static void run_attack(void)
{
    char dir[] = "/tmp/cds-vmm-XXXXXX", secret[64], path[64];
    struct cds_loop *loop;
    struct sandbox_host *host;
    struct cds_err err;
    int p[2], pidfd, report, go, status;
    pid_t pid;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(chmod(dir, 0755), 0);
    snprintf(secret, sizeof(secret), "%s/given", dir);
    int file = open(secret, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    assert_int_equal(write(file, "given", 5), 5);
    close(file);
    int sealed = lift(memfd_create("ram", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    assert_int_equal(ftruncate(sealed, 4096), 0);
    assert_int_equal(fcntl(sealed, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), 0);
    const struct sandbox_settings settings = {.base_dir = dir, .cgroup_key = "vmmtest", .slots = 1, .no_cgroup = true};
    assert_int_equal(cds_loop_new(&loop, &err), CDS_OK);
    assert_int_equal(sandbox_host_open(loop, &settings, &host, &err), CDS_OK);
    assert_int_equal(pipe2(p, O_CLOEXEC), 0);
    int out = lift(p[1]), null = lift(open("/dev/null", O_RDONLY | O_CLOEXEC)), given = lift(open(secret, O_RDONLY | O_CLOEXEC));
    const int pass[] = {sealed, -1, given};
    const struct cds_run_limits limits = {10000, 10000, 512 << 20, 4096, 64, 1 << 20, 0};
    static const char *const argv[] = {"/usr/bin/python3", "-c", attack, NULL}, *const env[] = {"PATH=/usr/bin", NULL};
    const struct cds_jail_plan plan = {.who = &host->who,
                                       .limits = &limits,
                                       .big_address_space = true,
                                       .base = host->root_dir,
                                       .project_fd = -1,
                                       .access = CDS_PROJECT_NONE,
                                       .argv = argv,
                                       .env = env,
                                       .stdin_fd = null,
                                       .stdout_fd = out,
                                       .stderr_fd = out,
                                       .said_fd = -1,
                                       .pass = pass,
                                       .pass_count = 3,
                                       .vmm = true,
                                       .clone_cgroup_fd = -1};
    assert_int_equal(cds_jail_start(&plan, &pid, &pidfd, &report, &go, &err), CDS_OK);
    assert_int_equal(cds_jail_go(&host->who, pid, &go, &err), CDS_OK);
    close(out);
    size_t len = 0;
    for (ssize_t n; len < sizeof(said) - 1 && (n = read(p[0], said + len, sizeof(said) - 1 - len)) > 0;)
        len += (size_t)n;
    said[len] = '\0';
    waitpid(pid, &status, 0);
    const int all[] = {p[0], null, given, sealed, pidfd, report};
    for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
        close(all[i]);
    sandbox_host_close(&host);
    cds_loop_free(&loop);
    unlink(secret);
    static const char *const below[] = {"/root", "/empty", ""};
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof(path), "%s%s", dir, below[i]);
        rmdir(path);
    }
}

static void expect(const char *line)
{
    if (!strstr(said, line))
        fail_msg("\"%s\" is missing in:\n%s", line, said);
}

static void a_program_in_the_place_of_qemu_reaches_nothing_but_what_was_handed_over(void **state)
{
    run_attack();
    expect("write EPERM");
    expect("truncate EPERM");
    expect("shared EPERM");
    expect("private DONE b'x\\x00\\x00\\x00'");
    expect("read DONE given");
    expect("overwrite EACCES");
    expect("shadow ENOENT");
    expect("root ENOENT");
    expect("usr EROFS");
    expect("internet ENETUNREACH");
    expect("kvm ENOENT");
    expect("attribute EPERM"); /* only a monitor that shows folders may */
    expect("meminfo ENOENT");
    expect("setuid E"); /* EPERM, or EINVAL in a user namespace that has no such id */
    expect("descriptors [5, 7]");
    assert_null(strstr(said, "loopback DONE"));
    assert_null(strstr(said, "vsock DONE"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_program_in_the_place_of_qemu_reaches_nothing_but_what_was_handed_over)};
    return RUN_ALL(tests);
}
