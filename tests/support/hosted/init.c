/* tests/support/hosted/init.c: pid 1 of a QEMU machine that boots as the one of msb does, and then starts our agent as msb does: mounts of its own,
 * its own cgroup2, devpts and links of /dev, the root image mounted read-only at /image. Only the vsock is missing: the agent speaks through the
 * virtio port. What is shown with it: that the agent takes over a machine that somebody else has booted. */
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox/guest/agent.h"

int agent_main(int argc, char **argv);

static int mount_own(void)
{
    static const char *const folders[] = {"/sys/fs/cgroup", "/dev/pts", "/dev/shm", "/image"};
    static const char *const types[] = {"cgroup2", "devpts", "tmpfs"};
    for (size_t i = 0; i < 4; i++)
        mkdir(folders[i], 0755);
    for (size_t i = 0; i < 3; i++)
        if (mount(types[i], folders[i], types[i], MS_NOSUID | MS_NOEXEC, NULL))
            return -1;
    const char *step;
    return symlink("/proc/self/fd", "/dev/fd") || !boot_image(&step) || mount(AGENT_IMAGE, "/image", NULL, MS_MOVE, NULL) ? -1 : 0;
}

int main(void)
{
    static char *const argv[] = {"agent", "hosted", "/image", NULL};
    const char *step = "mount as the agent of msb does";
    if (!boot_modules(&step) || mount_own()) {
        if (port_open())
            port_say(MICRO_FAILED, 0, "stand-in for the agent of msb: %s", step);
        pause();
    }
    if (fork() == 0) {
        setsid();
        _exit(agent_main(3, (char **)(unsigned long)argv));
    }
    for (;;)
        if (wait(NULL) < 0)
            pause();
}
