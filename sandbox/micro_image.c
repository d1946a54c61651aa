/* sandbox/micro_image.c: see micro_image.h. */
#include "sandbox/micro_image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "lib/base/cleanup.h"
#include "lib/base/fd.h"
#include "sandbox/confine/jail.h"

enum { PIECE_MAX = 16 << 20, EROFS_AT = 1024, EROFS_BLKSZBITS = 12, EROFS_BLOCKS = 36, CPIO_HEAD = 110, EXECUTABLE = 0100755 };
static const uint32_t erofs_magic = 0xe0f5e1e2;
static const char remake[] = "Run `make micro`, which makes the images again.";

static cds_rc bad(struct cds_err *reterr, const char *path, const char *what, const char *hint)
{
    cds_fail(reterr, CDS_DENIED, "micro_image", "The microVM file %.180s %s.", path, what);
    cds_err_rule(reterr, "micro.image");
    cds_err_hint(reterr, "%s", hint);
    return CDS_DENIED;
}

static void mix(uint64_t *key, const void *data, size_t len)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < len; i++)
        *key = (*key ^ p[i]) * 1099511628211u;
}

static cds_rc open_file(const char *path, const char *hint, int *ret_fd, uint64_t *key, struct cds_err *reterr)
{
    struct stat st;
    CDS_CLEANUP(cds_close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return bad(reterr, path, errno == ENOENT ? "is missing" : strerror(errno), hint);
    if (fstat(fd, &st) || !S_ISREG(st.st_mode))
        return bad(reterr, path, "is not a regular file", hint);
    mix(key, &st.st_dev, sizeof(st.st_dev));
    mix(key, &st.st_ino, sizeof(st.st_ino));
    mix(key, &st.st_size, sizeof(st.st_size));
    mix(key, &st.st_mtim, sizeof(st.st_mtim));
    *ret_fd = fcntl(fd, F_DUPFD_CLOEXEC, CDS_JAIL_FD_LOWEST);
    return *ret_fd < 0 ? cds_fail_errno(reterr, errno, __func__, "Too many open files.") : CDS_OK;
}

static cds_rc check_kernel(int fd, const char *path, struct cds_err *reterr)
{
    unsigned char head[20];
    if (pread(fd, head, sizeof(head), 0) != (ssize_t)sizeof(head) || memcmp(head, "\177ELF\2\1", 6) != 0 || head[18] != 62)
        return bad(reterr, path, "is broken: it is no ELF file for x86-64", remake);
    return CDS_OK;
}

/* Not more than the superblock says: a file that was cut off is the usual damage, and would show as I/O errors of programs. */
static cds_rc check_root(int fd, const char *path, const char *hint, struct cds_err *reterr)
{
    unsigned char super[128];
    uint32_t magic, blocks;
    struct stat st;
    if (pread(fd, super, sizeof(super), EROFS_AT) != (ssize_t)sizeof(super))
        return bad(reterr, path, "is broken: it is too short for an erofs image", hint);
    memcpy(&magic, super, sizeof(magic));
    memcpy(&blocks, super + EROFS_BLOCKS, sizeof(blocks));
    if (magic != erofs_magic || super[EROFS_BLKSZBITS] < 9 || super[EROFS_BLKSZBITS] > 16)
        return bad(reterr, path, "is broken: it is no erofs image", hint);
    if (fstat(fd, &st) || (uint64_t)st.st_size < (uint64_t)blocks << super[EROFS_BLKSZBITS])
        return bad(reterr, path, "is broken: it is shorter than its superblock says", hint);
    return CDS_OK;
}

static cds_rc add_entry(struct cds_buf *out, const char *name, unsigned mode, const struct cds_buf *data)
{
    static const char zeros[4];
    size_t name_len = strlen(name) + 1, len = data ? data->len : 0;
    cds_rc rc = cds_buf_addf(out, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", 1U, mode, 0U, 0U, 1U, 0U, (unsigned)len, 0U, 0U, 0U,
                             0U, (unsigned)name_len, 0U);
    if (!rc)
        rc = cds_buf_add(out, name, name_len);
    if (!rc)
        rc = cds_buf_add(out, zeros, -(CPIO_HEAD + name_len) & 3);
    if (!rc && len)
        rc = cds_buf_add(out, data->data, len);
    return rc ? rc : cds_buf_add(out, zeros, -len & 3);
}

/* The modules come from set-up, the agent from the build: the kernel takes archives one behind the other. */
static cds_rc make_initrd(const char *dir, const char *agent, int *ret_fd, uint64_t *key, struct cds_err *reterr)
{
    char path[1024];
    CDS_CLEANUP(cds_buf_free) struct cds_buf all = cds_buf_init(PIECE_MAX), program = cds_buf_init(PIECE_MAX);
    snprintf(path, sizeof(path), "%s/modules.cpio", dir);
    if (cds_read_file(path, &all, NULL) || all.len < CPIO_HEAD || memcmp(all.data, "070701", 6) != 0)
        return bad(reterr, path, "is missing or broken", remake);
    if (cds_read_file(agent, &program, NULL) || program.len < 64 || memcmp(program.data, "\177ELF", 4) != 0)
        return bad(reterr, agent, "is missing or broken", "Build the studio again.");
    if (add_entry(&all, "init", EXECUTABLE, &program) || add_entry(&all, "TRAILER!!!", 0, NULL))
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    mix(key, all.data, all.len);
    CDS_CLEANUP(cds_close_fd) int fd = memfd_create("initrd", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || write(fd, all.data, all.len) != (ssize_t)all.len ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
        return cds_fail_errno(reterr, errno, __func__, "The initramfs of microVMs cannot be kept in memory.");
    *ret_fd = fcntl(fd, F_DUPFD_CLOEXEC, CDS_JAIL_FD_LOWEST);
    return *ret_fd < 0 ? cds_fail_errno(reterr, errno, __func__, "Too many open files.") : CDS_OK;
}

cds_rc micro_image_open(const char *dir, const char *agent, const char *root, struct micro_image *ret, struct cds_err *reterr)
{
    struct micro_image image = {-1, -1, -1, 14695981039346656037u};
    char kernel[1024], path[1024];
    bool own = root && *root;
    const char *hint = own ? "Check the option micro.image; tools/micro_image makes an image from a folder or an OCI archive." : remake;
    snprintf(kernel, sizeof(kernel), "%s/vmlinux", dir);
    if (own)
        snprintf(path, sizeof(path), "%s", root);
    else
        snprintf(path, sizeof(path), "%s/root.erofs", dir);
    cds_rc rc = open_file(kernel, remake, &image.kernel_fd, &image.key, reterr);
    if (!rc && !(rc = check_kernel(image.kernel_fd, kernel, reterr)) && !(rc = open_file(path, hint, &image.root_fd, &image.key, reterr)) &&
        !(rc = check_root(image.root_fd, path, hint, reterr)))
        rc = make_initrd(dir, agent, &image.initrd_fd, &image.key, reterr);
    if (rc)
        micro_image_close(&image);
    else
        *ret = image;
    return rc;
}

cds_rc micro_image_open_root(const char *path, const char *hint, int *ret_fd, struct cds_err *reterr)
{
    uint64_t key = 0;
    int fd = -1;
    cds_rc rc = open_file(path, hint, &fd, &key, reterr);
    if (!rc && (rc = check_root(fd, path, hint, reterr)))
        close(fd);
    if (!rc)
        *ret_fd = fd;
    return rc;
}

void micro_image_close(struct micro_image *image)
{
    cds_close_fd(&image->kernel_fd);
    cds_close_fd(&image->initrd_fd);
    cds_close_fd(&image->root_fd);
    image->kernel_fd = image->initrd_fd = image->root_fd = -1;
}
