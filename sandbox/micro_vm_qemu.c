/* sandbox/micro_vm_qemu.c: a machine whose monitor is QEMU: everything is handed over as a descriptor. See micro_vm.h. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "sandbox/micro_qemu.h"
#include "sandbox/micro_vm_priv.h"

enum {
    OVERHEAD_MIB = 64, /* QEMU itself, its translated code, its buffers */
    QEMU_TASKS = 16,
    /* Places in the list that is passed: descriptors of QEMU from CDS_JAIL_PASS_FIRST on. The state is at MICRO_QMP_STATE_FD. */
    PASS_AGENT = 0,
    PASS_QMP,
    PASS_RAM,
    PASS_KERNEL,
    PASS_INITRD,
    PASS_ROOT,
    PASS_LOG,
    PASS_STATE,
    PASSED
};

static cds_rc launch(struct micro_vm *vm, const struct micro_vm_plan *plan, const struct cds_run_limits *limits, const int pass[static PASSED],
                     struct cds_err *reterr)
{
    static const char *const env[] = {"PATH=/usr/bin", "LANG=C.UTF-8", "HOME=/tmp", NULL};
    CDS_CLEANUP(cds_close_fd) int null = micro_vm_lift(open("/dev/null", O_RDWR | O_CLOEXEC));
    const int first = CDS_JAIL_PASS_FIRST;
    const struct micro_qemu_plan words = {.program = plan->qemu,
                                          .kvm = plan->kvm,
                                          .incoming = plan->state_fd >= 0,
                                          .share = plan->state_fd < 0,
                                          .memory_mib = plan->memory_mib,
                                          .tsc_khz = plan->kvm ? 0 : plan->tsc_khz,
                                          .fd = {.agent = first + PASS_AGENT,
                                                 .qmp = pass[PASS_QMP] < 0 ? -1 : first + PASS_QMP,
                                                 .ram = pass[PASS_RAM] < 0 ? -1 : first + PASS_RAM,
                                                 .kernel = first + PASS_KERNEL,
                                                 .initrd = first + PASS_INITRD,
                                                 .root = first + PASS_ROOT,
                                                 .log = pass[PASS_LOG] < 0 ? -1 : first + PASS_LOG}};
    struct micro_qemu_command command;
    micro_qemu_command(&words, &command);
    struct cds_jail_plan jail = {.limits = limits,
                                 .project_fd = -1,
                                 .access = CDS_PROJECT_NONE,
                                 .argv = command.argv,
                                 .env = env,
                                 .stdin_fd = null,
                                 .stdout_fd = null,
                                 .stderr_fd = pass[PASS_LOG] < 0 ? null : pass[PASS_LOG],
                                 .pass = pass,
                                 .pass_count = PASSED,
                                 .kvm = plan->kvm};
    return null < 0 ? cds_fail_errno(reterr, errno, __func__, "/dev/null cannot be opened.") : micro_vm_launch(vm, &jail, reterr);
}

static void close_passed(int (*pass)[PASSED])
{
    const int own[] = {PASS_AGENT, PASS_QMP, PASS_LOG}; /* the others belong to the caller */
    for (size_t i = 0; i < CDS_ARRAY_LEN(own); i++)
        cds_close_fd(&(*pass)[own[i]]);
}

static cds_rc make_ends(struct micro_vm *vm, const struct micro_vm_plan *plan, int pass[static PASSED], struct cds_err *reterr)
{
    cds_rc rc = micro_vm_pair(&vm->agent_fd, &pass[PASS_AGENT], reterr);
    if (!rc && plan->ram_fd >= 0)
        rc = micro_vm_pair(&vm->qmp.fd, &pass[PASS_QMP], reterr);
    if (!rc && plan->log)
        rc = micro_vm_pair(&vm->log_fd, &pass[PASS_LOG], reterr);
    return rc;
}

cds_rc micro_vm_start_qemu(struct sandbox_host *host, struct micro_vm **list, const struct micro_vm_plan *plan, const struct micro_vm_ops *ops,
                           void *user, struct micro_vm **ret, struct cds_err *reterr)
{
    CDS_CLEANUP(close_passed)
    int pass[PASSED] = {-1, -1, plan->ram_fd, plan->image->kernel_fd, plan->image->initrd_fd, plan->image->root_fd, -1, plan->state_fd};
    const struct cds_run_limits limits = {.wall_ms = MICRO_CPU_BACKSTOP_MS,
                                          .cpu_ms = MICRO_CPU_BACKSTOP_MS,
                                          .memory_bytes = (uint64_t)(plan->memory_mib + OVERHEAD_MIB) << 20,
                                          .max_tasks = QEMU_TASKS,
                                          .tmp_bytes = 1 << 20};
    struct micro_vm *vm = NULL;
    cds_rc rc = micro_vm_new(host, list, ops, user, "QEMU", &limits, &vm, reterr);
    if (rc)
        return rc;
    micro_decoder_init(&vm->decoder, plan->state_fd >= 0);
    if (!(rc = make_ends(vm, plan, pass, reterr)))
        rc = launch(vm, plan, &limits, pass, reterr);
    if (!rc && plan->state_fd >= 0)
        rc = micro_vm_load(vm, reterr);
    if (rc)
        micro_vm_drop(vm);
    else
        *ret = vm;
    return rc;
}
