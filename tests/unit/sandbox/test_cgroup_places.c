/* Where control groups are found and how v2 is made ready: sandbox/confine/cgroup_dir.h, on folders and files made up here. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/fd.h"
#include "lib/base/str.h"
#include "sandbox/confine/cgroup_dir.h"
#include "tests/support/test.h"

static char base[] = "/tmp/cds-test-places-XXXXXX";
static struct cds_cgroup_places places;

static char *at(const char *name)
{
    static char path[4][400];
    static int turn;
    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof(path[turn]), "%s/%s", base, name);
    return path[turn];
}

static void folder(const char *name)
{
    assert_int_equal(cds_mkdir_p(at(name), 0755, NULL), CDS_OK);
}

/* In mounts "@" stands for the folder of the test. */
static void put(const char *name, const char *text)
{
    FILE *f = fopen(at(name), "we");
    assert_non_null(f);
    for (; *text; text++)
        if (*text == '@')
            fputs(base, f);
        else
            fputc(*text, f);
    fclose(f);
}

static void find(const char *mountinfo, const char *cgroup)
{
    put("mountinfo", mountinfo);
    put("cgroup", cgroup);
    cds_cgroup_places_find(at("mountinfo"), at("cgroup"), &places);
}

#define V2(root, point) "40 31 0:38 " root " " point " rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
#define V1(root, point, list) "35 31 0:31 " root " " point " rw,relatime shared:1 master:2 - cgroup cgroup rw," list "\n"
#define OTHERS "31 23 0:28 / @/x rw,relatime - tmpfs tmpfs rw,mode=755\n22 1 8:1 / / rw - ext4 /dev/root rw,errors=cgroup2\n"

static void a_v2_group_is_found_below_its_mount(void **state)
{
    folder("v2/user.slice/app");
    find(OTHERS V2("/", "@/v2"), "0::/user.slice/app\n");
    assert_string_equal(places.v2, at("v2/user.slice/app"));
    assert_string_equal(places.v2_top, at("v2"));
    assert_string_equal(places.memory, "");
    assert_string_equal(places.pids, "");
    find(V2("/", "@/v2"), "0::/\n");
    assert_string_equal(places.v2, at("v2"));
    find(V2("/", "@/v2"), "0::/gone\n"); /* removed meanwhile */
    assert_string_equal(places.v2, at("v2"));
}

static void a_hybrid_machine_has_each_controller_in_its_own_tree(void **state)
{
    folder("memory/job");
    folder("pids");
    folder("cpu/c");
    folder("v2/user.slice/app");
    find(OTHERS V1("/", "@/none", "name=systemd") V1("/", "@/cpu", "cpu,cpuacct") V1("/", "@/memory", "memory") V1("/", "@/pids", "pids")
             V2("/", "@/v2"),
         "9:name=systemd:/init\n8:pids:/\n5:cpu,cpuacct:/c\n4:memory:/job\n0::/user.slice/app\n");
    assert_string_equal(places.memory, at("memory/job"));
    assert_string_equal(places.pids, at("pids"));
    assert_string_equal(places.cpuacct, at("cpu/c"));
    assert_string_equal(places.v2, at("v2/user.slice/app"));
    find(V1("/", "@/memory", "memoryx,xmemory"), "4:memory:/job\n");
    assert_string_equal(places.memory, "");
}

static void in_a_container_the_root_of_the_mount_comes_off_the_own_path(void **state)
{
    folder("v2/inner");
    folder("v2d/inner");
    find(V2("/docker/abc", "@/v2"), "0::/docker/abc/inner\n");
    assert_string_equal(places.v2, at("v2/inner"));
    find(V2("/docker/abc", "@/v2"), "0::/docker/abc\n");
    assert_string_equal(places.v2, at("v2"));
    find(V2("/docker/abc", "@/v2"), "0::/docker/abcd/inner\n"); /* begins alike, is another */
    assert_string_equal(places.v2, at("v2"));
}

/* "/.." is how a namespace names what lies outside of it; beside the mount there is something else. */
static void a_path_outside_of_the_namespace_never_leaves_the_mount(void **state)
{
    folder("outside");
    folder("v2");
    find(V2("/", "@/v2"), "0::/../outside\n");
    assert_string_equal(places.v2, at("v2"));
    find(V2("/", "@/v2"), "0::/..\n");
    assert_string_equal(places.v2, at("v2"));
    folder("v2/..a");
    find(V2("/", "@/v2"), "0::/..a\n");
    assert_string_equal(places.v2, at("v2/..a"));
}

static void a_mount_point_with_blanks_is_read_as_it_is(void **state)
{
    folder("with blank\\/g");
    find(V2("/", "@/with\\040blank\\134"), "0::/g\n");
    assert_string_equal(places.v2, at("with blank\\/g"));
}

static void the_leaf_of_an_earlier_start_is_taken_off(void **state)
{
    folder("v2/user.slice/app/cds-studio");
    find(V2("/", "@/v2"), "0::/user.slice/app/cds-studio\n");
    assert_string_equal(places.v2, at("v2/user.slice/app"));
    folder("v2/cds-studio");
    find(V2("/", "@/v2"), "0::/cds-studio\n");
    assert_string_equal(places.v2, at("v2"));
}

static void without_control_groups_nothing_is_found(void **state)
{
    static const char *const broken[] = {
        "", OTHERS, "\n \n - \n", "1 2 3 / /p rw - cgroup2", "cgroup2 - cgroup2 cgroup2 cgroup2\n", "1 2 3 r p o - cgroup2 c rw\n"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(broken); i++) {
        find(broken[i], "0::/\n:::\n\n0:\n");
        assert_string_equal(places.v2, "");
        assert_string_equal(places.memory, "");
    }
    cds_cgroup_places_find(at("no/such"), at("no/such"), &places);
    assert_string_equal(places.v2, "");
    assert_string_equal(places.v2_top, "");
}

static void a_line_longer_than_any_path_is_not_cut_into_another_one(void **state)
{
    enum { LONG = 20000 };
    static char text[LONG + 2000], name[LONG + 1];
    memset(name, 'a', LONG);
    folder("v2");
    /* The mount that is too long is passed over, the one behind it counts. */
    snprintf(text, sizeof(text), "40 31 0:38 / /%s rw - cgroup2 cgroup2 rw\n" V2("/", "@/v2"), name);
    find(text, "0::/\n");
    assert_string_equal(places.v2, at("v2"));
    snprintf(text, sizeof(text), "0::/%s\n", name);
    find(V2("/", "@/v2"), text);
    assert_string_equal(places.v2, "");
}

/* ---- v2: making the own group ready ---- */
static const char *content(const char *name)
{
    static char text[200];
    CDS_CLEANUP(cds_close_file) FILE *f = fopen(at(name), "re");
    text[f ? fread(text, 1, sizeof(text) - 1, f) : 0] = '\0';
    return text;
}

static void a_group_without_the_controllers_is_told_from_one_that_has_them(void **state)
{
    static const char *const wanted[] = {"memory", "pids", NULL};
    folder("g");
    put("g/cgroup.controllers", "cpu pids\n");
    put("g/cgroup.subtree_control", "");
    assert_int_equal(cds_cgroup_delegate(at("g"), wanted, true), EOPNOTSUPP);
    assert_string_equal(content("g/cgroup.subtree_control"), "");
    put("g/cgroup.controllers", "cpu memory pids\n");
    assert_int_equal(cds_cgroup_delegate(at("g"), wanted, true), 0);
    assert_string_equal(content("g/cgroup.subtree_control"), "+memory +pids");
    put("g/cgroup.subtree_control", "cpu memory\n");
    assert_int_equal(cds_cgroup_delegate(at("g"), wanted, true), 0);
    assert_true(cds_starts_with(content("g/cgroup.subtree_control"), "+pids"));
    assert_int_equal(cds_cgroup_delegate(at("none"), wanted, true), ENOENT);
    assert_int_equal(access(at("g/" CDS_CGROUP_LEAF), F_OK), -1); /* nobody was in the way */
}

/* The kernel itself: which of its controllers may a child of the v2 tree have? "" where there is none to try with. */
static void own_controller(const char *top, char *name, bool *ret_switched)
{
    static const char *const some[] = {"memory", "io", "hugetlb"}; /* "pids" and "cpu" do not mind tasks */
    CDS_CLEANUP(cds_close_fd) int fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *name = '\0';
    *ret_switched = false;
    for (size_t i = 0; fd >= 0 && !*name && i < CDS_ARRAY_LEN(some); i++)
        if (cds_cgroup_has_word(fd, "cgroup.subtree_control", some[i]))
            strcpy(name, some[i]);
    if (fd >= 0 && !*name && cds_cgroup_has_word(fd, "cgroup.controllers", "hugetlb") &&
        cds_cgroup_write(fd, "cgroup.subtree_control", "+hugetlb") == 0) {
        strcpy(name, "hugetlb");
        *ret_switched = true;
    }
}

static bool is_in_leaf(pid_t pid)
{
    char path[64], line[1024];
    snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
    CDS_CLEANUP(cds_close_file) FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof(line), f))
        if (cds_starts_with(line, "0::") && strstr(line, "/" CDS_CGROUP_LEAF "\n"))
            return true;
    return false;
}

static void tasks_in_the_way_move_into_the_leaf_where_they_are_ours(void **state)
{
    char group[PATH_MAX + 64], leaf[PATH_MAX + 96], name[16], pid_text[16];
    bool switched;
    cds_cgroup_places_find("/proc/self/mountinfo", "/proc/self/cgroup", &places);
    own_controller(places.v2_top, name, &switched);
    snprintf(group, sizeof(group), "%s/cds-test-leaf.%d", places.v2_top, (int)getpid());
    if (!*name || mkdir(group, 0755))
        skip();
    const char *const wanted[] = {name, NULL};
    pid_t pid = fork();
    if (pid == 0)
        for (;;)
            pause();
    CDS_CLEANUP(cds_close_fd) int fd = open(group, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    snprintf(pid_text, sizeof(pid_text), "%d", (int)pid);
    int moved_in = cds_cgroup_write(fd, "cgroup.procs", pid_text);
    int not_ours = cds_cgroup_delegate(group, wanted, false);
    bool stayed = !is_in_leaf(pid);
    int ours = cds_cgroup_delegate(group, wanted, true);
    bool moved = is_in_leaf(pid), enabled = cds_cgroup_has_word(fd, "cgroup.subtree_control", name);
    int again = cds_cgroup_delegate(group, wanted, true);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    snprintf(leaf, sizeof(leaf), "%s/" CDS_CGROUP_LEAF, group);
    cds_cgroup_sweep(group, CDS_CGROUP_LEAF);
    rmdir(group);
    if (switched) {
        CDS_CLEANUP(cds_close_fd) int top = open(places.v2_top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        cds_cgroup_write(top, "cgroup.subtree_control", "-hugetlb");
    }
    assert_int_equal(moved_in, 0);
    assert_int_equal(not_ours, EBUSY);
    assert_true(stayed);
    assert_int_equal(ours, 0);
    assert_true(moved && enabled);
    assert_int_equal(again, 0);
    assert_int_equal(access(leaf, F_OK), -1);
}

static int setup(void **state)
{
    return mkdtemp(base) ? 0 : -1;
}
static int teardown(void **state)
{
    char command[400];
    snprintf(command, sizeof(command), "rm -rf %s", base);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_v2_group_is_found_below_its_mount),
        cmocka_unit_test(a_hybrid_machine_has_each_controller_in_its_own_tree),
        cmocka_unit_test(in_a_container_the_root_of_the_mount_comes_off_the_own_path),
        cmocka_unit_test(a_path_outside_of_the_namespace_never_leaves_the_mount),
        cmocka_unit_test(a_mount_point_with_blanks_is_read_as_it_is),
        cmocka_unit_test(the_leaf_of_an_earlier_start_is_taken_off),
        cmocka_unit_test(without_control_groups_nothing_is_found),
        cmocka_unit_test(a_line_longer_than_any_path_is_not_cut_into_another_one),
        cmocka_unit_test(a_group_without_the_controllers_is_told_from_one_that_has_them),
        cmocka_unit_test(tasks_in_the_way_move_into_the_leaf_where_they_are_ours),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
