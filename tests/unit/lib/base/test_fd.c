#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "tests/support/test.h"

static char folder[] = "/tmp/cds-test-fd-XXXXXX";

static char *in(const char *name)
{
    static char path[256];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static int make_folder(void **state)
{
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    char command[300];
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    return system(command);
}

static void a_file_is_written_whole_with_its_mode_and_read_back(void **state)
{
    struct stat st;
    CDS_CLEANUP(cds_buf_free) struct cds_buf buf = cds_buf_init(100);
    assert_int_equal(cds_write_file_atomic(in("a"), "hello", 5, 0600, NULL), CDS_OK);
    assert_int_equal(stat(in("a"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(cds_read_file(in("a"), &buf, NULL), CDS_OK);
    assert_string_equal(buf.data, "hello");
}

static void a_file_over_the_ceiling_is_refused(void **state)
{
    struct cds_err err;
    CDS_CLEANUP(cds_buf_free) struct cds_buf buf = cds_buf_init(4);
    assert_int_equal(cds_write_file_atomic(in("b"), "hello", 5, 0600, NULL), CDS_OK);
    assert_int_equal(cds_read_file(in("b"), &buf, &err), CDS_TOO_LARGE);
    assert_int_equal(cds_read_file(in("none"), &buf, &err), CDS_NOT_FOUND);
}

static void a_failed_write_leaves_no_temporary_file(void **state)
{
    struct cds_err err;
    assert_int_equal(mkdir(in("dir"), 0700), 0);
    assert_int_equal(mkdir(in("dir/full"), 0700), 0);
    assert_int_not_equal(cds_write_file_atomic(in("dir"), "x", 1, 0600, &err), CDS_OK); /* a folder cannot be replaced by a file */
    char command[300];
    snprintf(command, sizeof(command), "test $(ls %s | grep -c tmp) = 0", folder);
    assert_int_equal(system(command), 0);
}

static void folders_are_made_with_their_parents_and_may_exist(void **state)
{
    assert_int_equal(cds_mkdir_p(in("x/y/z"), 0700, NULL), CDS_OK);
    assert_int_equal(cds_mkdir_p(in("x/y/z"), 0700, NULL), CDS_OK);
    assert_int_equal(cds_write_file_atomic(in("file"), "", 0, 0600, NULL), CDS_OK);
    assert_int_not_equal(cds_mkdir_p(in("file"), 0700, NULL), CDS_OK);
}

static void a_stale_socket_is_replaced_and_another_file_is_not(void **state)
{
    int fd = -1, again = -1, client = -1;
    struct cds_err err;
    struct stat st;
    assert_int_equal(cds_unix_listen(in("s"), 0660, &fd, NULL), CDS_OK);
    assert_int_equal(stat(in("s"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0660);
    close(fd);
    assert_int_equal(cds_unix_connect(in("s"), &client, &err), CDS_UNAVAILABLE);
    assert_int_equal(cds_unix_listen(in("s"), 0600, &again, NULL), CDS_OK);
    assert_int_equal(cds_unix_connect(in("s"), &client, NULL), CDS_OK);
    close(client);
    close(again);
    assert_int_equal(cds_write_file_atomic(in("plain"), "", 0, 0600, NULL), CDS_OK);
    assert_int_equal(cds_unix_listen(in("plain"), 0600, &fd, &err), CDS_CONFLICT);
}

static void a_socket_path_over_the_limit_is_refused_with_a_remedy(void **state)
{
    char path[200];
    int fd = -1;
    struct cds_err err;
    memset(path, 'a', sizeof(path) - 1);
    path[0] = '/';
    path[sizeof(path) - 1] = '\0';
    assert_int_equal(cds_unix_listen(path, 0600, &fd, &err), CDS_BAD_PARAM);
    assert_non_null(strstr(err.hint, "CDS_HOME"));
    assert_int_equal(fd, -1);
}

static void a_taken_port_is_named(void **state)
{
    int first = -1, second = -1;
    struct cds_err err;
    struct sockaddr_in place;
    socklen_t len = sizeof(place);
    assert_int_equal(cds_tcp_listen("127.0.0.1", 0, &first, NULL), CDS_OK);
    assert_int_equal(getsockname(first, (struct sockaddr *)&place, &len), 0);
    assert_int_equal(cds_tcp_listen("127.0.0.1", ntohs(place.sin_port), &second, &err), CDS_CONFLICT);
    char port[16];
    snprintf(port, sizeof(port), "%u", ntohs(place.sin_port));
    assert_non_null(strstr(err.message, port));
    close(first);
    assert_int_equal(cds_tcp_listen("localhost", 0, &second, &err), CDS_BAD_PARAM);
}

static void a_write_to_a_full_pipe_ends_at_its_deadline(void **state)
{
    int p[2];
    struct cds_err err;
    static char big[1 << 20];
    assert_int_equal(pipe2(p, O_CLOEXEC | O_NONBLOCK), 0);
    assert_int_equal(cds_write_all(p[1], big, sizeof(big), cds_now_ms() + 20, &err), CDS_TIMED_OUT);
    close(p[0]), close(p[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_written_whole_with_its_mode_and_read_back),
        cmocka_unit_test(a_file_over_the_ceiling_is_refused),
        cmocka_unit_test(a_failed_write_leaves_no_temporary_file),
        cmocka_unit_test(folders_are_made_with_their_parents_and_may_exist),
        cmocka_unit_test(a_stale_socket_is_replaced_and_another_file_is_not),
        cmocka_unit_test(a_socket_path_over_the_limit_is_refused_with_a_remedy),
        cmocka_unit_test(a_taken_port_is_named),
        cmocka_unit_test(a_write_to_a_full_pipe_ends_at_its_deadline),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
