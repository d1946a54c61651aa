/* tests/unit/apps/llmworker/test_nodes.c: device files of GPUs. */
#include "tests/support/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "apps/llmworker/nodes.h"
#include "lib/base/compiler.h"

static char dev[64];

static void put(const char *name)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", dev, name);
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
}

static int has(const struct cds_nodes *nodes, const char *name)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", dev, name);
    for (unsigned i = 0; i < nodes->count; i++)
        if (strcmp(nodes->paths[i], path) == 0)
            return 1;
    return 0;
}

static int make(void **state)
{
    char dri[80];
    snprintf(dev, sizeof(dev), "/tmp/cds-nodes-XXXXXX");
    if (!mkdtemp(dev))
        return -1;
    snprintf(dri, sizeof(dri), "%s/dri", dev);
    assert_int_equal(mkdir(dri, 0700), 0);
    static const char *const all[] = {"dri/renderD128", "dri/card0",      "dri/renderD", "dri/renderDx1", "nvidia0", "nvidia12", "nvidiactl",
                                      "nvidia-uvm",     "nvidia-modeset", "nvidia",      "null",          "sda",     "kfd"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(all); i++)
        put(all[i]);
    return 0;
}

static int clean(void **state)
{
    char command[128];
    snprintf(command, sizeof(command), "rm -rf %s", dev);
    return system(command); /* NOLINT(cert-env33-c): a folder of this test's own */
}

static void nodes_of_each_backend_are_its_own_and_no_others(void **state)
{
    struct cds_nodes nodes;
    cds_nodes_find(CDS_BACKEND_VULKAN, dev, &nodes);
    assert_int_equal(nodes.count, 5);
    assert_true(has(&nodes, "dri/renderD128") && has(&nodes, "nvidia0") && has(&nodes, "nvidia12") && has(&nodes, "nvidiactl") &&
                has(&nodes, "nvidia-uvm"));
    cds_nodes_find(CDS_BACKEND_CUDA, dev, &nodes);
    assert_int_equal(nodes.count, 4);
    assert_false(has(&nodes, "dri/renderD128"));
    cds_nodes_find(CDS_BACKEND_CPU, dev, &nodes);
    assert_int_equal(nodes.count, 0);
    cds_nodes_find(CDS_BACKEND_CUDA, "/nowhere", &nodes);
    assert_int_equal(nodes.count, 0);
}

static void nodes_that_may_not_be_opened_are_named_and_left_out(void **state)
{
    char path[96], dri[80];
    int status;
    snprintf(dri, sizeof(dri), "%s/dri", dev);
    snprintf(path, sizeof(path), "%s/renderD128", dri);
    assert_true(chmod(dev, 0755) == 0 && chmod(dri, 0755) == 0 && chmod(path, 0) == 0);
    pid_t pid = fork();
    if (pid == 0) { /* root may open everything: as root another user looks, who may open none of them */
        bool root = getuid() == 0;
        struct cds_nodes nodes;
        if (root && setuid(65534) != 0)
            _exit(2);
        cds_nodes_find(CDS_BACKEND_VULKAN, dev, &nodes);
        _exit(nodes.count == (root ? 0 : 4) && strlen(nodes.denied) > strlen(dev) ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void backends_have_their_names(void **state)
{
    enum cds_backend backend;
    assert_true(cds_backend_parse("vulkan", &backend) && backend == CDS_BACKEND_VULKAN);
    assert_true(cds_backend_parse("cpu", &backend) && backend == CDS_BACKEND_CPU);
    assert_false(cds_backend_parse("auto", &backend) || cds_backend_parse("", &backend) || cds_backend_parse(NULL, &backend));
    assert_string_equal(cds_backend_name(CDS_BACKEND_CUDA), "cuda");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nodes_of_each_backend_are_its_own_and_no_others, make, clean),
        cmocka_unit_test_setup_teardown(nodes_that_may_not_be_opened_are_named_and_left_out, make, clean),
        cmocka_unit_test(backends_have_their_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
