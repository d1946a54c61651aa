#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <cmocka.h>

#include "apps/llmworker/confine.h"

/** Runs probe in a confined child. @return its result, 99 if confinement itself failed, 98 if the child was killed */
static int confined_with(int (*probe)(void), const struct cds_nodes *nodes)
{
    pid_t parent = getpid(), pid = fork();
    if (pid == 0)
        _exit(cds_worker_confine(parent, nodes, NULL) == CDS_OK ? probe() : 99);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 98;
}

static int confined(int (*probe)(void))
{
    return confined_with(probe, NULL);
}

static int open_socket(void)
{
    return socket(AF_INET, SOCK_STREAM, 0) < 0 && errno == EPERM && socket(AF_UNIX, SOCK_DGRAM, 0) < 0 && errno == EPERM ? 0 : 1;
}
static int run_a_program(void)
{
    execl("/bin/false", "false", (char *)NULL); /* its exit status tells that it ran */
    return errno == EPERM ? 0 : 1;
}
static int make_a_process(void)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    return pid < 0 && errno == EPERM ? 0 : 1;
}
static int open_for_writing(void)
{
    int written = open("/tmp", O_RDWR | O_TMPFILE, 0600);
    return written < 0 && errno == EACCES && open("/dev/null", O_WRONLY) < 0 && errno == EACCES ? 0 : 1;
}
static int look_at_core_limit(void)
{
    struct rlimit core;
    return getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_max == 0 ? 0 : 1;
}
static void *nothing(void *user)
{
    return user;
}
static int read_and_compute(void)
{
    pthread_t thread;
    char byte;
    int fd = open("/proc/self/exe", O_RDONLY);
    int readable = fd >= 0 && read(fd, &byte, 1) == 1;
    return readable && pthread_create(&thread, NULL, nothing, NULL) == 0 && pthread_join(thread, NULL) == 0 ? 0 : 1;
}

/** /dev/null stands for the GPU: it may be read and written together, and nothing else may. */
static int open_the_device_and_nothing_else(void)
{
    char byte = 0;
    int device = open("/dev/null", O_RDWR);
    if (device < 0 || write(device, &byte, 1) != 1)
        return 1;
    if (open("/dev/null", O_WRONLY) >= 0 || open("/dev/zero", O_RDWR) >= 0 || errno != EACCES)
        return 2;
    if (open("/tmp/cds-test-confine", O_RDWR | O_CREAT, 0600) >= 0 || open("/tmp", O_RDWR | O_TMPFILE, 0600) >= 0 ||
        open("/proc/self/exe", O_RDWR) >= 0)
        return 3;
    return 0;
}
static int ioctl_on_another_device(void)
{
    int rows = 0, full = open("/dev/full", O_RDONLY), device = open("/dev/null", O_RDWR);
    bool refused = ioctl(full, TIOCGWINSZ, &rows) < 0 && errno == EACCES, passed = ioctl(device, TIOCGWINSZ, &rows) < 0 && errno == ENOTTY;
    return full >= 0 && device >= 0 && refused && passed ? 0 : 1;
}

static bool has_landlock(long abi)
{
    return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) >= abi;
}

static void worker_beside_a_gpu_opens_its_device_files_and_no_other_for_writing(void **state)
{
    static const struct cds_nodes nodes = {.count = 1, .paths = {"/dev/null"}};
    if (!has_landlock(1)) {
        assert_int_equal(confined_with(open_the_device_and_nothing_else, &nodes), 99);
        skip();
    }
    assert_int_equal(confined_with(open_the_device_and_nothing_else, &nodes), 0);
    assert_int_equal(confined_with(open_socket, &nodes), 0);
    assert_int_equal(confined_with(run_a_program, &nodes), 0);
    if (has_landlock(5))
        assert_int_equal(confined_with(ioctl_on_another_device, &nodes), 0);
}

static void worker_may_read_files_and_start_threads(void **state)
{
    assert_int_equal(confined(read_and_compute), 0);
}
static void worker_cannot_open_sockets(void **state)
{
    assert_int_equal(confined(open_socket), 0);
}
static void worker_cannot_run_programs_or_make_processes(void **state)
{
    assert_int_equal(confined(run_a_program), 0);
    assert_int_equal(confined(make_a_process), 0);
}
static void worker_cannot_open_files_for_writing(void **state)
{
    assert_int_equal(confined(open_for_writing), 0);
}
static void worker_leaves_no_core_file(void **state)
{
    assert_int_equal(confined(look_at_core_limit), 0);
}
static void worker_refuses_to_start_under_another_parent(void **state)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(cds_worker_confine(1, NULL, NULL) == CDS_CANCELLED ? 0 : 1);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(worker_may_read_files_and_start_threads),
        cmocka_unit_test(worker_cannot_open_sockets),
        cmocka_unit_test(worker_cannot_run_programs_or_make_processes),
        cmocka_unit_test(worker_cannot_open_files_for_writing),
        cmocka_unit_test(worker_leaves_no_core_file),
        cmocka_unit_test(worker_beside_a_gpu_opens_its_device_files_and_no_other_for_writing),
        cmocka_unit_test(worker_refuses_to_start_under_another_parent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
