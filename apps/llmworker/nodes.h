/* apps/llmworker/nodes.h: which device files a compute backend needs, and which of them this process may open.
 *
 * vulkan:  /dev/dri/renderD*, and those of NVIDIA; cuda: /dev/nvidia<number>, nvidiactl, nvidia-uvm. cpu: none.
 * Source:  drm(7), the kernel's Documentation/gpu/drm-uapi.rst (render nodes); the files that NVIDIA's driver makes.
 * Threads: values.
 */
#pragma once

#include <stdbool.h>

enum { CDS_NODES_MAX = 48, CDS_NODE_BYTES = 128 };

enum cds_backend { CDS_BACKEND_CPU, CDS_BACKEND_VULKAN, CDS_BACKEND_CUDA };
/** "cpu", "vulkan", "cuda". */
bool cds_backend_parse(const char *name, enum cds_backend *ret);
const char *cds_backend_name(enum cds_backend backend);

struct cds_nodes {
    unsigned count;
    char paths[CDS_NODES_MAX][CDS_NODE_BYTES]; /**< may be read and written */
    char denied[CDS_NODE_BYTES];               /**< one that is there and may not; "": none */
};
/** Looks into the folder of devices ("/dev"). */
void cds_nodes_find(enum cds_backend backend, const char *dev, struct cds_nodes *ret);
