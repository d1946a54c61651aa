/* Many writes made durable together: each has its own fate, none is lost, and the disk is asked a fixed number of times. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/fs.h"
#include "tests/support/test.h"

enum { MANY = 32 };

static char base[] = "/tmp/cds-test-write-XXXXXX";
static int project, asked;
static bool broken;

/* In place of the C library's, to count, and to be a disk that fails. */
int fsync(int fd)
{
    asked++;
    if (!broken)
        return (int)syscall(SYS_fsync, fd);
    errno = EIO;
    return -1;
}
int syncfs(int fd)
{
    asked++;
    if (!broken)
        return (int)syscall(SYS_syncfs, fd);
    errno = EIO;
    return -1;
}

static void path_of(const char *text, struct cds_path *ret)
{
    assert_int_equal(cds_path_parse_below(text, strlen(text), ret, NULL), CDS_OK);
}

static const char *content(const char *name)
{
    static char text[64];
    char path[300];
    snprintf(path, sizeof(path), "%s/%s", base, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    return n < 0 ? NULL : text;
}

static int temporary_files(void)
{
    int n = 0;
    DIR *dir = opendir(base);
    for (const struct dirent *e; (e = readdir(dir));)
        n += !strncmp(e->d_name, CDS_PATH_TEMP_PREFIX, strlen(CDS_PATH_TEMP_PREFIX));
    closedir(dir);
    return n;
}

static void write_many(struct cds_fs_write *writes, size_t count)
{
    cds_fs_write_many(writes, count);
    cds_fs_write_release(writes, count);
}

static void many_writes_ask_the_disk_twice_and_each_tells_its_version(void **state)
{
    static struct cds_path paths[MANY];
    struct cds_fs_write writes[MANY];
    struct cds_fs_info info;
    char names[MANY][16];
    for (int i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof(names[i]), "many%d", i);
        path_of(names[i], &paths[i]);
        writes[i] = (struct cds_fs_write){.project = project, .path = &paths[i], .data = names[i], .len = strlen(names[i])};
    }
    asked = 0;
    write_many(writes, MANY);
    assert_int_equal(asked, 2);
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(writes[i].rc, CDS_OK);
        assert_string_equal(content(names[i]), names[i]);
        assert_int_equal(cds_fs_stat(project, &paths[i], &info, NULL), CDS_OK);
        assert_string_equal(info.version, writes[i].info.version);
    }
    assert_int_equal(temporary_files(), 0);
}

static void writes_into_many_folders_ask_the_disk_twice_too(void **state)
{
    static struct cds_path paths[MANY];
    struct cds_fs_write writes[MANY];
    char names[MANY][24];
    for (int i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof(names[i]), "folder%d", i);
        assert_int_equal(mkdirat(project, names[i], 0755), 0);
        strcat(names[i], "/file");
        path_of(names[i], &paths[i]);
        writes[i] = (struct cds_fs_write){.project = project, .path = &paths[i], .data = names[i], .len = strlen(names[i])};
    }
    asked = 0;
    write_many(writes, MANY);
    assert_int_equal(asked, 2);
    for (int i = 0; i < MANY; i++)
        assert_string_equal(content(names[i]), names[i]);
}

/* After the test before it, whose folders it uses and removes. */
static void two_folders_are_asked_each(void **state)
{
    struct cds_path first, second;
    path_of("folder0/two", &first);
    path_of("folder1/two", &second);
    struct cds_fs_write writes[] = {{.project = project, .path = &first, .data = "x", .len = 1},
                                    {.project = project, .path = &second, .data = "y", .len = 1}};
    asked = 0;
    write_many(writes, 2);
    assert_int_equal(asked, 4);
    for (int i = 0; i < MANY; i++) {
        char name[24];
        snprintf(name, sizeof(name), "folder%d", i);
        path_of(name, &first);
        assert_int_equal(cds_fs_delete(project, &first, true, NULL), CDS_OK);
    }
}

/* Blocks of it are free only with its last holder: whoever waits for the new file does not wait for that. */
static void a_replaced_file_is_held_until_it_is_released(void **state)
{
    struct cds_path path;
    struct stat old;
    path_of("held", &path);
    struct cds_fs_write write = {.project = project, .path = &path, .data = "old", .len = 3};
    write_many(&write, 1);
    assert_int_equal(write.old, -1);
    write = (struct cds_fs_write){.project = project, .path = &path, .data = "new", .len = 3};
    cds_fs_write_many(&write, 1);
    assert_string_equal(content("held"), "new");
    assert_int_equal(fstat(write.old, &old), 0);
    assert_int_equal(old.st_nlink, 0);
    const int fd = write.old;
    cds_fs_write_release(&write, 1);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
}

static void one_write_asks_for_its_file_and_its_folder(void **state)
{
    struct cds_path path;
    struct cds_fs_info info;
    path_of("alone", &path);
    asked = 0;
    assert_int_equal(cds_fs_write(project, &path, "x", 1, NULL, &info, NULL), CDS_OK);
    assert_int_equal(asked, 2);
}

static void of_two_writes_of_one_path_the_later_one_stays(void **state)
{
    struct cds_path path;
    path_of("twice", &path);
    struct cds_fs_write writes[] = {{.project = project, .path = &path, .data = "first", .len = 5},
                                    {.project = project, .path = &path, .data = "second", .len = 6}};
    write_many(writes, 2);
    assert_int_equal(writes[0].rc | writes[1].rc, CDS_OK);
    assert_string_equal(content("twice"), "second");
}

static void the_second_of_two_that_know_the_same_version_is_a_conflict(void **state)
{
    struct cds_path path;
    path_of("raced", &path);
    struct cds_fs_write writes[] = {{.project = project, .path = &path, .data = "first", .len = 5, .if_version = ""},
                                    {.project = project, .path = &path, .data = "second", .len = 6, .if_version = ""}};
    write_many(writes, 2);
    assert_int_equal(writes[0].rc, CDS_OK);
    assert_int_equal(writes[1].rc, CDS_CONFLICT);
    assert_string_equal(content("raced"), "first");
    assert_int_equal(temporary_files(), 0);
}

static void a_refused_write_does_not_touch_the_others(void **state)
{
    static char big[CDS_FS_FILE_MAX + 1];
    struct cds_path good, missing, large;
    path_of("good", &good);
    path_of("no/such/folder", &missing);
    path_of("large", &large);
    struct cds_fs_write writes[] = {{.project = project, .path = &missing, .data = "x", .len = 1},
                                    {.project = project, .path = &large, .data = big, .len = sizeof(big)},
                                    {.project = project, .path = &good, .data = "good", .len = 4}};
    write_many(writes, 3);
    assert_int_equal(writes[0].rc, CDS_NOT_FOUND);
    assert_int_equal(writes[1].rc, CDS_DENIED);
    assert_string_equal(writes[1].err.rule, "fs.too_big");
    assert_int_equal(writes[2].rc, CDS_OK);
    assert_string_equal(content("good"), "good");
    assert_null(content("large"));
}

/* The first fills what is left; the second is refused although it would have fitted before. */
static void writes_of_one_batch_count_each_other_in_the_quota(void **state)
{
    static char half[300000];
    struct cds_path first, second;
    path_of("first", &first);
    path_of("second", &second);
    int fd = openat(project, "large", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(fallocate(fd, 0, 0, (off_t)CDS_FS_QUOTA_BYTES - 500000), 0);
    close(fd);
    struct cds_fs_usage used;
    cds_fs_count(project, CDS_FS_QUOTA_FILES, &used);
    assert_true(used.bytes + sizeof(half) < CDS_FS_QUOTA_BYTES);
    struct cds_fs_write writes[] = {{.project = project, .path = &first, .data = half, .len = sizeof(half)},
                                    {.project = project, .path = &second, .data = half, .len = sizeof(half)}};
    write_many(writes, 2);
    assert_int_equal(writes[0].rc, CDS_OK);
    assert_int_equal(writes[1].rc, CDS_DENIED);
    assert_string_equal(writes[1].err.rule, "fs.quota");
    assert_int_equal(unlinkat(project, "large", 0) | unlinkat(project, "first", 0), 0);
}

static void a_disk_that_fails_leaves_the_old_file(void **state)
{
    struct cds_path path;
    struct cds_fs_info info;
    struct cds_err err;
    path_of("kept", &path);
    assert_int_equal(cds_fs_write(project, &path, "old", 3, NULL, &info, NULL), CDS_OK);
    broken = true;
    assert_int_not_equal(cds_fs_write(project, &path, "new", 3, NULL, &info, &err), CDS_OK);
    broken = false;
    assert_string_equal(content("kept"), "old");
    assert_int_equal(temporary_files(), 0);
}

static int setup(void **state)
{
    if (!mkdtemp(base))
        return -1;
    project = open(base, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return project < 0;
}

static int teardown(void **state)
{
    char line[300];
    close(project);
    snprintf(line, sizeof(line), "rm -rf %s", base);
    return system(line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_writes_ask_the_disk_twice_and_each_tells_its_version),
        cmocka_unit_test(writes_into_many_folders_ask_the_disk_twice_too),
        cmocka_unit_test(two_folders_are_asked_each),
        cmocka_unit_test(a_replaced_file_is_held_until_it_is_released),
        cmocka_unit_test(one_write_asks_for_its_file_and_its_folder),
        cmocka_unit_test(of_two_writes_of_one_path_the_later_one_stays),
        cmocka_unit_test(the_second_of_two_that_know_the_same_version_is_a_conflict),
        cmocka_unit_test(a_refused_write_does_not_touch_the_others),
        cmocka_unit_test(writes_of_one_batch_count_each_other_in_the_quota),
        cmocka_unit_test(a_disk_that_fails_leaves_the_old_file),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
