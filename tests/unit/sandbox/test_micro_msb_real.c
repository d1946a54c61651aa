/* The tier of msb with msb itself, as far as a host without virtualisation goes: the command line is taken, msb works in its jail up to the machine,
 * the failure has msb's words, and nothing is left. Where the host has virtualisation the machine boots and a job runs. */
#include "sandbox/micro_msb.h"
#include "sandbox/micro_vm_priv.h"
#include "tests/support/msb_rig.h"

static const char program[] = CDS_BINARY_DIR "/share/micro/msb/bin/msb", images[] = CDS_BINARY_DIR "/share/micro";
static const char not_shown[] = "NOT SHOWN on a host without virtualisation: that a machine of msb boots our agent and runs a job\n";

static bool there(void)
{
    if (access(program, X_OK) == 0)
        return true;
    print_message("skipped: no msb (make micro fetches it)\n");
    return false;
}

static const struct micro_msb_plan example = {.msb = "msb",
                                              .root = "/work/root",
                                              .agents = "/opt/agent",
                                              .agent = "agent",
                                              .image = "/opt/image",
                                              .socket = "/work/agent.sock",
                                              .memory_mib = 320};

static void join(const struct micro_msb_command *msb, char *line, size_t size)
{
    line[0] = '\0';
    for (size_t i = 0, at = 0; msb->argv[i]; i++)
        at += (size_t)snprintf(line + at, size - at, "%s%s", i ? " " : "", msb->argv[i]);
}

static void a_machine_of_msb_has_no_network_the_image_read_only_and_our_agent(void **state)
{
    struct micro_msb_command msb;
    char line[2048];
    assert_true(micro_msb_command(&example, &msb));
    join(&msb, line, sizeof(line));
    assert_string_equal(line,
                        "msb run --no-tty --no-net --quiet --cpus 1 --memory 320M --mount-dir /opt/agent:/cds:ro,stat-virt=off --mount-disk "
                        "/opt/image:/image:ro,format=raw,fstype=erofs --vsock /work/agent.sock:1024 /work/root -- /cds/agent hosted /image 1024");
}

static void a_command_line_that_is_too_long_is_refused(void **state)
{
    static char name[MICRO_MSB_TEXT];
    struct micro_msb_command msb;
    struct micro_msb_plan plan = example;
    memset(name, 'x', sizeof(name) - 1);
    plan.image = name;
    assert_false(micro_msb_command(&plan, &msb));
}

static void its_words_are_taken_out_of_what_it_prints_and_nothing_else_of_a_guest(void **state)
{
    char said[] =
        "warn: slow\n  \xe2\x86\x92 ignore me\nerror: failed to start \"x\"\n  \xe2\x86\x92 other: no\n  \xe2\x86\x92 enable it\x1b[2J\xff\nrest\n";
    char reason[160], remedy[160], empty[] = "", longer[400];
    micro_msb_words(said, reason, sizeof(reason), remedy, sizeof(remedy));
    assert_string_equal(reason, "failed to start \"x\"; other: no");
    assert_string_equal(remedy, "enable it?[2J?");
    micro_msb_words(empty, reason, sizeof(reason), remedy, sizeof(remedy));
    assert_string_equal(reason, "");
    snprintf(longer, sizeof(longer), "error: %0350d\n  \xe2\x86\x92 more\n", 7);
    micro_msb_words(longer, reason, sizeof(reason), remedy, sizeof(remedy));
    assert_int_equal(strlen(reason), sizeof(reason) - 1);
    assert_string_equal(reason + sizeof(reason) - 5, " ...");
    /* A guest that has taken over msb ends the log just so that nothing is behind the word. */
    char *cut = malloc(sizeof("error:"));
    memcpy(cut, "error:", sizeof("error:"));
    micro_msb_words(cut, reason, sizeof(reason), remedy, sizeof(remedy));
    assert_string_equal(reason, "");
    free(cut);
    char next[] = "error:\nwarn: a line of its own\n";
    micro_msb_words(next, reason, sizeof(reason), remedy, sizeof(remedy));
    assert_string_equal(reason, "");
}

static struct cds_engine_report report;
static unsigned probed;

static void on_probed(void *user, const struct cds_engine_report *all, size_t count)
{
    report = all[0];
    probed++;
}

static void its_doctor_decides_first_and_a_host_without_virtualisation_is_named(void **state)
{
    struct msb_rig rig;
    struct cds_err err;
    if (!there())
        skip();
    msb_rig_open(&rig, program, images, false, 2);
    probed = 0;
    assert_int_equal(rig.engine->ops->probe(rig.engine, on_probed, NULL, &err), CDS_OK);
    msb_rig_wait(&rig, &probed, 1);
    print_message("msb: %s %s %s\n%s", report.works ? "works" : "does not work:", report.reason, report.remedy, report.works ? "" : not_shown);
    if (!report.works)
        assert_true(strlen(report.reason) > 20 && strlen(report.remedy) > 10 && strstr(report.reason, "msb"));
    assert_int_equal(msb_rig_scratch(&rig), 0);
    msb_rig_close(&rig);
}

/* ---- past its doctor ---- */
static char why[400];
static unsigned told;

static bool on_frame(void *user, enum micro_type type, uint32_t id, const char *payload, size_t len)
{
    snprintf(why, sizeof(why), type == MICRO_READY ? "READY" : "frame %d: %.*s", type, (int)len, payload);
    told++;
    return false;
}

static void on_state(void *user)
{
}

static void on_lost(void *user, const char *reason)
{
    snprintf(why, sizeof(why), "%s", reason);
    told++;
}

static unsigned gone;
static void on_gone(void *user, const struct micro_vm_end *end)
{
    gone++;
}

/* What it does in the jail is what it does outside of it: it comes as far as the machine itself. */
static void in_its_jail_it_comes_as_far_as_the_machine(void **state)
{
    static const struct micro_vm_ops ops = {on_frame, on_state, on_lost};
    struct msb_rig rig;
    struct micro_vm *list = NULL, *vm;
    struct cds_err err;
    if (!there())
        skip();
    msb_rig_open(&rig, program, images, false, 2);
    const struct micro_image image = {
        .kernel_fd = -1, .initrd_fd = -1, .root_fd = micro_vm_lift(open(CDS_BINARY_DIR "/share/micro/root.erofs", O_RDONLY | O_CLOEXEC))};
    const struct micro_vm_plan plan = {.msb = program,
                                       .image = &image,
                                       .agent = CDS_BINARY_DIR "/lib/micro/agent",
                                       .kvm = true,
                                       .log = true,
                                       .memory_mib = 256,
                                       .ram_fd = -1,
                                       .state_fd = -1};
    told = gone = 0;
    if (micro_vm_start(rig.host, &list, &plan, &ops, NULL, &vm, &err))
        fail_msg("%s", err.message);
    msb_rig_wait(&rig, &told, 1);
    print_message("msb in its jail: %s\n%s", why, strcmp(why, "READY") ? not_shown : "");
    micro_vm_end(&vm, on_gone, NULL);
    msb_rig_wait(&rig, &gone, 1);
    if (strcmp(why, "READY") && !strstr(why, "exited (exit status: 1) before agent relay became available") && access("/dev/kvm", F_OK) == 0)
        fail_msg("%s", why);
    close(image.root_fd);
    assert_int_equal(msb_rig_scratch(&rig), 0);
    assert_int_equal(msb_rig_processes(&rig), 0);
    msb_rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_machine_of_msb_has_no_network_the_image_read_only_and_our_agent),
        cmocka_unit_test(a_command_line_that_is_too_long_is_refused),
        cmocka_unit_test(its_words_are_taken_out_of_what_it_prints_and_nothing_else_of_a_guest),
        cmocka_unit_test(its_doctor_decides_first_and_a_host_without_virtualisation_is_named),
        cmocka_unit_test(in_its_jail_it_comes_as_far_as_the_machine),
    };
    return RUN_ALL(tests);
}
