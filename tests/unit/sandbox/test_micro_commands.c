/* The command lines of the virtual machines: what they must hold, what they must never hold, and what the real programs say to them. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox/micro_image.h"
#include "sandbox/micro_msb.h"
#include "sandbox/micro_qemu.h"
#include "tests/support/test.h"

static struct micro_qemu_command command;
static char line[8192];

static const char *join(const char *const *argv)
{
    line[0] = '\0';
    for (size_t i = 0; argv[i]; i++) {
        strncat(line, argv[i], sizeof(line) - strlen(line) - 2);
        strcat(line, " ");
    }
    return line;
}

static const struct micro_qemu_plan clone = {.program = "/usr/bin/qemu-system-x86_64",
                                             .incoming = true,
                                             .memory_mib = 256,
                                             .tsc_khz = 2445000,
                                             .fd = {.agent = 5, .qmp = 6, .ram = 7, .kernel = 8, .initrd = 9, .root = 10, .log = -1}};

static void a_machine_has_no_network_no_default_device_and_a_filter_of_its_own(void **state)
{
    micro_qemu_command(&clone, &command);
    const char *text = join(command.argv);
    assert_non_null(strstr(text, "-nodefaults -no-user-config"));
    assert_non_null(strstr(text, "-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"));
    assert_null(strstr(text, "net"));
    assert_null(strstr(text, "vsock"));
    assert_null(strstr(text, "usb"));
}

static void it_names_descriptors_and_no_path(void **state)
{
    micro_qemu_command(&clone, &command);
    for (size_t i = 1; command.argv[i]; i++)
        for (const char *at = strchr(command.argv[i], '/'); at; at = strchr(at + 1, '/'))
            if (at[-1] == '=' || at == command.argv[i])
                assert_true(!strncmp(at, "/proc/self/fd/", 14) || !strncmp(at, "/dev/fdset/", 11));
}

static void a_template_and_its_clones_are_the_same_machine(void **state)
{
    struct micro_qemu_plan template = clone;
    char first[8192];
    template.incoming = false;
    template.share = true;
    micro_qemu_command(&template, &command);
    strcpy(first, join(command.argv));
    char *from = strstr(first, " -kernel"), *to = strstr(first, " -device virtio-serial");
    assert_non_null(from);
    memmove(from, to, strlen(to) + 1); /* the kernel is in the memory of a clone */
    memcpy(strstr(first, "share=on"), "share=of", 8);
    micro_qemu_command(&clone, &command);
    char *text = (char *)(uintptr_t)join(command.argv);
    memmove(strstr(text, "share=off") + 8, strstr(text, "share=off") + 9, strlen(strstr(text, "share=off") + 9) + 1);
    *strstr(text, "-incoming defer") = '\0';
    assert_string_equal(first, text);
}

static void hardware_is_asked_for_by_name_and_emulation_too(void **state)
{
    struct micro_qemu_plan plan = clone;
    micro_qemu_command(&plan, &command);
    assert_non_null(strstr(join(command.argv), "-accel tcg,tb-size=32 -cpu max"));
    plan.kvm = true;
    micro_qemu_command(&plan, &command);
    assert_non_null(strstr(join(command.argv), "-accel kvm -cpu host"));
}

/* ---- msb ---- */
static const char *const env[] = {"A=1", NULL}, *const program[] = {"/bin/sh", "/tmp/main.sh", "x y", NULL};
static const struct micro_msb_plan msb_plan = {.root = "/nowhere/root",
                                               .tmp = "/nowhere/tmp",
                                               .work = "/nowhere/work",
                                               .work_read_only = true,
                                               .memory_mib = 256,
                                               .wall_ms = 1500,
                                               .max_tasks = 64,
                                               .argv = program,
                                               .env = env};

static void msb_is_asked_for_a_machine_without_a_network(void **state)
{
    struct micro_msb_command msb;
    struct micro_msb_plan plan = msb_plan;
    plan.msb = "msb";
    assert_true(micro_msb_command(&plan, &msb));
    assert_string_equal(join(msb.argv), "msb run --no-tty --no-net --quiet --cpus 1 --memory 256M --timeout 2s --rlimit nproc=64 --mount-dir "
                                        "/nowhere/tmp:/tmp --mount-dir /nowhere/work:/work:ro --workdir /work --env A=1 /nowhere/root -- "
                                        "/bin/sh /tmp/main.sh x y ");
}

/* The real program must take the words. What a host without virtualisation cannot show is that a machine of it runs. */
static void the_real_msb_understands_the_command_line(void **state)
{
    static const char path[] = CDS_BINARY_DIR "/share/micro/msb/bin/msb";
    struct micro_msb_command msb;
    struct micro_msb_plan plan = msb_plan;
    char said[4096] = "";
    int p[2], status;
    if (access(path, X_OK)) {
        print_message("skipped: no msb (make micro fetches it)\n");
        skip();
    }
    char folder[] = "/tmp/cds-msb-XXXXXX";
    assert_non_null(mkdtemp(folder));
    plan.msb = path;
    plan.root = plan.tmp = plan.work = folder;
    assert_true(micro_msb_command(&plan, &msb));
    assert_int_equal(pipe(p), 0);
    pid_t pid = fork();
    if (pid == 0) {
        setenv("MSB_HOME", folder, 1);
        alarm(15);
        dup2(p[1], 1);
        dup2(p[1], 2);
        close(p[0]);
        execv(path, (char *const *)(uintptr_t)msb.argv);
        _exit(127);
    }
    close(p[1]);
    for (size_t len = 0; len < sizeof(said) - 1;) {
        ssize_t n = read(p[0], said + len, sizeof(said) - 1 - len);
        if (n <= 0)
            break;
        len += (size_t)n;
        said[len] = '\0';
    }
    close(p[0]);
    waitpid(pid, &status, 0);
    print_message("msb says: %s\nNOT SHOWN on a host without virtualisation: that a machine of msb runs a job\n", said);
    /* A usage error comes at once; a machine that cannot be started takes it ten seconds, or the alarm ends it. */
    assert_true(WIFEXITED(status) ? WEXITSTATUS(status) != 2 : WTERMSIG(status) == SIGALRM);
    assert_null(strstr(said, "Usage:"));
    assert_null(strstr(said, "unexpected argument"));
}

/* ---- images ---- */
static void put(const char *path, const void *data, size_t len)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, len, f), len);
    fclose(f);
}

static void an_image_that_is_missing_cut_off_or_something_else_is_named(void **state)
{
    char dir[] = "/tmp/cds-image-XXXXXX", kernel[64], root[64], modules[64];
    static char elf[64] = "\177ELF\2\1", image[8192], cpio[200] = "070701";
    struct micro_image files;
    struct cds_err err;
    assert_non_null(mkdtemp(dir));
    snprintf(kernel, sizeof(kernel), "%s/vmlinux", dir);
    snprintf(root, sizeof(root), "%s/root.erofs", dir);
    snprintf(modules, sizeof(modules), "%s/modules.cpio", dir);
    const struct {
        const char *what;
        bool kernel, root;
        uint32_t blocks;
    } rows[] = {{"is missing", false, false, 0}, {"is missing", true, false, 0}, {"no erofs image", true, true, 0}, {"shorter than", true, true, 9}};
    elf[18] = 62;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        const uint32_t magic = rows[i].blocks ? 0xe0f5e1e2 : 0;
        memcpy(image + 1024, &magic, 4);
        image[1024 + 12] = 12;
        memcpy(image + 1024 + 36, &rows[i].blocks, 4);
        if (rows[i].kernel)
            put(kernel, elf, sizeof(elf));
        if (rows[i].root)
            put(root, image, sizeof(image));
        assert_int_equal(micro_image_open(dir, kernel, NULL, &files, &err), CDS_DENIED);
        assert_string_equal(err.rule, "micro.image");
        assert_non_null(strstr(err.message, rows[i].what));
        assert_non_null(strstr(err.hint, "make micro"));
    }
    const uint32_t blocks = 2;
    memcpy(image + 1024 + 36, &blocks, 4);
    put(root, image, sizeof(image));
    put(modules, cpio, sizeof(cpio));
    assert_int_equal(micro_image_open(dir, kernel, NULL, &files, &err), CDS_OK);
    micro_image_close(&files);
    assert_int_equal(micro_image_open(dir, kernel, "/nowhere/own.erofs", &files, &err), CDS_DENIED);
    assert_non_null(strstr(err.hint, "micro.image"));
    unlink(kernel);
    unlink(root);
    unlink(modules);
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_machine_has_no_network_no_default_device_and_a_filter_of_its_own),
        cmocka_unit_test(it_names_descriptors_and_no_path),
        cmocka_unit_test(a_template_and_its_clones_are_the_same_machine),
        cmocka_unit_test(hardware_is_asked_for_by_name_and_emulation_too),
        cmocka_unit_test(msb_is_asked_for_a_machine_without_a_network),
        cmocka_unit_test(the_real_msb_understands_the_command_line),
        cmocka_unit_test(an_image_that_is_missing_cut_off_or_something_else_is_named),
    };
    return RUN_ALL(tests);
}
