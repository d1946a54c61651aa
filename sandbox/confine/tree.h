/* sandbox/confine/tree.h: what a process and everything below it use, read from /proc: for machines where no control group counts it.
 *
 * Source:  proc(5): stat, status, smaps_rollup, task/<tid>/children.
 * Threads: safe. A look takes some 50 µs for each process.
 * Limits:  a look and no lock. What is born and gone between two looks shows in the CPU time of the parent that waited for it, or not at all;
 *          memory that no process maps (files of a tmpfs) is not seen.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

struct cds_tree_usage {
    uint64_t cpu_us;       /**< of the living, and of the dead that a living one waited for; steps of the kernel's clock tick (10 ms) */
    uint64_t memory_bytes; /**< resident, not backed by a file on disk; shared pages count once when exact, else once for each process */
    uint32_t tasks;        /**< processes and their threads */
};

/**
 * @param root          the caller's child, not waited for yet: so the number means no other process
 * @param memory_bytes  above this the memory is measured exactly, which is slower
 */
void cds_tree_look(pid_t root, uint64_t memory_bytes, struct cds_tree_usage *ret);
