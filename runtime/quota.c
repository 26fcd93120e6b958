/* SPDX-License-Identifier: MIT */
/*
 * Counts the workers a process may use: its CPUs, cut down to the CPU quota of its cgroups.
 *
 * Concepts
 *   /proc/self/cgroup names the process' cgroup in each tree, /proc/self/mountinfo says where the
 *   trees are mounted and which part of each a mount shows. Every cgroup from the process' own up
 *   to the root can carry a quota, and the smallest one binds; only those that a mount shows can be
 *   read. In a container that is usually the own cgroup alone, which is where its quota is.
 */
#include "runtime/topology.h"

#include "runtime/check.h"
#include "runtime/os.h"
#include "runtime/textfile.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define NO_LIMIT UINT64_MAX

/* Where this process stands in the cgroup trees. */
struct cgroups {
    struct bnx_textfile walked; /* the file of /proc that is gone through */
    struct bnx_textfile limits; /* a cgroup's files, read meanwhile */
    bool is_unified;            /* unified holds a path */
    bool is_legacy;             /* legacy holds a path */
    char unified[PATH_MAX];     /* in the v2 tree */
    char legacy[PATH_MAX];      /* in the tree of v1's cpu controller */
    char folder[PATH_MAX];      /* the walk from the process' cgroup towards the mount point */
};

/* One cgroup mount; the strings lie in the line it was parsed from. */
struct mount {
    char *root;    /* the cgroup that the mount shows */
    char *point;   /* where it shows it */
    char *type;    /* file system */
    char *options; /* of the file system: v1 names its controllers here */
};

/* True when one of the comma-separated words is the given one. */
static bool words_contain(const char *words, const char *word) {
    size_t bytes = strlen(word);
    while (words != NULL) {
        if (strncmp(words, word, bytes) == 0 && (words[bytes] == ',' || words[bytes] == '\0')) {
            return true;
        }
        words = strchr(words, ',');
        words = words == NULL ? NULL : words + 1;
    }
    return false;
}

/* mountinfo writes space, tab, newline and backslash as \ooo. */
static void octal_unescape(char *text) {
    char *out = text;
    while (*text != '\0') {
        bool is_escape = text[0] == '\\' && text[1] >= '0' && text[1] <= '3' && text[2] >= '0' &&
                         text[2] <= '7' && text[3] >= '0' && text[3] <= '7';
        if (is_escape) {
            *out++ = (char)((text[1] - '0') << 6 | (text[2] - '0') << 3 | (text[3] - '0'));
            text += 4;
        } else {
            *out++ = *text++;
        }
    }
    *out = '\0';
}

/* "36 35 98:0 ROOT POINT rw,noatime master:1 … - TYPE source OPTIONS" */
static bool mount_parse(char *line, struct mount *out) {
    for (int skipped = 0; skipped < 3; skipped++) {
        (void)strsep(&line, " ");
    }
    out->root = strsep(&line, " ");
    out->point = strsep(&line, " ");
    const char *field = strsep(&line, " ");
    while (field != NULL && strcmp(field, "-") != 0) {
        field = strsep(&line, " ");
    }
    out->type = strsep(&line, " ");
    (void)strsep(&line, " ");
    out->options = strsep(&line, " ");
    if (out->options == NULL) {
        return false;
    }
    octal_unescape(out->root);
    octal_unescape(out->point);
    return true;
}

/* How many "/.." a path starts with: cgroups above the root of the process' cgroup namespace. */
static unsigned parents_count(const char *path) {
    unsigned count = 0;
    while (strncmp(path, "/..", 3) == 0 && (path[3] == '/' || path[3] == '\0')) {
        path += 3;
        count++;
    }
    return count;
}

/*
 * The way from the mount's root down to the process' cgroup: "" when that is as far as one can see,
 * NULL when the mount shows another part of the tree. Both paths are relative to the root of the
 * cgroup namespace; what lies above it appears as "/..", without its names.
 */
static const char *path_below(const char *mount_root, const char *path) {
    size_t bytes = strcmp(mount_root, "/") == 0 ? 0 : strlen(mount_root);
    bool is_prefix = strncmp(mount_root, path, bytes) == 0;
    if (is_prefix && (path[bytes] == '/' || path[bytes] == '\0')) {
        const char *below = path + bytes;
        return parents_count(below) == 0 ? below : NULL;
    }
    /* The mount starts above the namespace, at a cgroup that has the process somewhere below it:
     * its own limits count, and the names in between are hidden. */
    unsigned parents = parents_count(mount_root);
    bool is_above = parents > parents_count(path) && strlen(mount_root) == 3 * (size_t)parents;
    return is_above ? "" : NULL;
}

/* A quota in whole CPUs, rounded up; zeroes cannot come from a kernel and are no limit. */
static uint64_t quota_cpus(uint64_t quota, uint64_t period) {
    if (quota == 0 || period == 0) {
        return NO_LIMIT;
    }
    return quota / period + (quota % period != 0);
}

/* cpu.max: "150000 100000" or "max 100000". */
static uint64_t unified_limit(struct cgroups *cgroups) {
    const char *line = bnx_textfile_line(&cgroups->limits, "%s/cpu.max", cgroups->folder);
    uint64_t quota = 0;
    uint64_t period = 0;
    if (line == NULL || !bnx_number_take(&line, &quota) || *line != ' ') {
        return NO_LIMIT;
    }
    line++;
    if (!bnx_number_take(&line, &period) || *line != '\0') {
        return NO_LIMIT;
    }
    return quota_cpus(quota, period);
}

/* cpu.cfs_quota_us, -1 for none, and cpu.cfs_period_us. */
static uint64_t legacy_limit(struct cgroups *cgroups) {
    uint64_t quota = 0;
    uint64_t period = 0;
    const char *line = bnx_textfile_line(&cgroups->limits, "%s/cpu.cfs_quota_us", cgroups->folder);
    if (line == NULL || !bnx_number_take(&line, &quota) || *line != '\0') {
        return NO_LIMIT;
    }
    line = bnx_textfile_line(&cgroups->limits, "%s/cpu.cfs_period_us", cgroups->folder);
    if (line == NULL || !bnx_number_take(&line, &period) || *line != '\0') {
        return NO_LIMIT;
    }
    return quota_cpus(quota, period);
}

/* The smallest limit from the process' cgroup up to the mount's root. */
static uint64_t mount_limit(struct cgroups *cgroups, const struct mount *mount) {
    bool is_unified = cgroups->is_unified && strcmp(mount->type, "cgroup2") == 0;
    bool is_legacy = cgroups->is_legacy && strcmp(mount->type, "cgroup") == 0 &&
                     words_contain(mount->options, "cpu");
    if (!is_unified && !is_legacy) {
        return NO_LIMIT;
    }
    const char *below = path_below(mount->root, is_unified ? cgroups->unified : cgroups->legacy);
    if (below == NULL) {
        return NO_LIMIT;
    }
    int bytes = snprintf(cgroups->folder, sizeof(cgroups->folder), "%s%s", mount->point, below);
    if (bytes < 0 || (size_t)bytes >= sizeof(cgroups->folder)) {
        return NO_LIMIT;
    }

    uint64_t least = NO_LIMIT;
    size_t top_bytes = strlen(mount->point);
    /* Ends: each turn cuts a component off, and the mount point is the last. */
    for (;;) {
        uint64_t limit = is_unified ? unified_limit(cgroups) : legacy_limit(cgroups);
        least = limit < least ? limit : least;
        char *slash = strrchr(cgroups->folder + top_bytes, '/');
        if (slash == NULL || BNX_PLANT(count_ignores_parents)) {
            return least;
        }
        *slash = '\0';
    }
}

/* Reads /proc/self/cgroup: lines as "4:cpu,cpuacct:/path", the v2 tree as "0::/path". */
static void cgroups_load(struct cgroups *cgroups) {
    struct bnx_textfile *file = &cgroups->walked;
    if (!bnx_textfile_open(file, "/proc/self/cgroup")) {
        return;
    }
    for (char *line = bnx_textfile_next(file); line != NULL; line = bnx_textfile_next(file)) {
        const char *id = strsep(&line, ":");
        const char *controllers = strsep(&line, ":");
        /* The rest is the path; it may hold colons itself. */
        if (line == NULL || *line != '/' || strlen(line) >= PATH_MAX) {
            continue;
        }
        if (strcmp(id, "0") == 0 && *controllers == '\0') {
            strcpy(cgroups->unified, line);
            cgroups->is_unified = true;
        } else if (words_contain(controllers, "cpu")) {
            strcpy(cgroups->legacy, line);
            cgroups->is_legacy = true;
        }
    }
    bnx_textfile_close(file);
}

/*
 * The smallest limit over all mounts that show the process' cgroup. In a hybrid set-up the cpu
 * controller is in one of the two trees, and the files of the other are missing.
 */
static uint64_t cgroups_limit(struct cgroups *cgroups) {
    struct bnx_textfile *file = &cgroups->walked;
    uint64_t least = NO_LIMIT;
    if (!bnx_textfile_open(file, "/proc/self/mountinfo")) {
        return NO_LIMIT;
    }
    for (char *line = bnx_textfile_next(file); line != NULL; line = bnx_textfile_next(file)) {
        struct mount mount;
        uint64_t limit = mount_parse(line, &mount) ? mount_limit(cgroups, &mount) : NO_LIMIT;
        least = limit < least ? limit : least;
    }
    bnx_textfile_close(file);
    return least;
}

int bnx_worker_count(const char *root, const cpu_set_t *allowed, size_t set_bytes,
                     uint32_t *out_count) {
    uint32_t count = (uint32_t)CPU_COUNT_S(set_bytes, allowed);
    count = count == 0 ? 1 : count;
    struct cgroups *cgroups = bnx_os.allocate(sizeof(*cgroups), _Alignof(struct cgroups));
    if (cgroups == NULL) {
        return -ENOMEM;
    }
    cgroups->walked.root = root;
    cgroups->limits.root = root;
    cgroups->is_unified = false;
    cgroups->is_legacy = false;
    cgroups_load(cgroups);
    uint64_t limit = BNX_PLANT(count_ignores_quota) ? NO_LIMIT : cgroups_limit(cgroups);
    bnx_os.release(cgroups);
    *out_count = limit < count ? (uint32_t)limit : count;
    return 0;
}
