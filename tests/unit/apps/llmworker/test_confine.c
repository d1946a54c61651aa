#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "apps/llmworker/confine.h"

/** Runs probe in a confined child. @return its result, 99 if confinement itself failed, 98 if the child was killed */
static int confined(int (*probe)(void))
{
    pid_t parent = getpid(), pid = fork();
    if (pid == 0)
        _exit(cds_worker_confine(parent, NULL) == CDS_OK ? probe() : 99);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 98;
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
        _exit(cds_worker_confine(1, NULL) == CDS_CANCELLED ? 0 : 1);
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
        cmocka_unit_test(worker_refuses_to_start_under_another_parent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
