/* The command lines of QEMU: what they must hold and what they must never hold; and images that are refused. msb's are in test_micro_msb_real.c. */
#include <unistd.h>

#include "sandbox/micro_image.h"
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
        cmocka_unit_test(an_image_that_is_missing_cut_off_or_something_else_is_named),
    };
    return RUN_ALL(tests);
}
