#define _GNU_SOURCE
#include "clinux.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

uint32_t clinux_major(uint64_t device) { return major(device); }
uint32_t clinux_minor(uint64_t device) { return minor(device); }
uint64_t clinux_makedev(uint32_t major, uint32_t minor) { return makedev(major, minor); }

int clinux_openat(int directory, const char *path, int flags, mode_t mode) {
    return openat(directory, path, flags, mode);
}

int clinux_open_place(int directory, const char *path, int flags) {
    return openat(directory, path, flags | O_PATH | O_CLOEXEC);
}

int clinux_device_of(const char *path, uint64_t *device) {
    struct statx status;
    int result = statx(AT_FDCWD, path, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_INO, &status);
    if (result == 0) *device = makedev(status.stx_dev_major, status.stx_dev_minor);
    return result;
}

int clinux_loop_get_free(int control) { return ioctl(control, LOOP_CTL_GET_FREE); }

int clinux_loop_configure(int device, int backing, uint32_t flags, const char *name) {
    struct loop_config config;
    memset(&config, 0, sizeof config);
    config.fd = (uint32_t)backing;
    config.info.lo_flags = flags;
    snprintf((char *)config.info.lo_file_name, sizeof config.info.lo_file_name, "%s", name);
    return ioctl(device, LOOP_CONFIGURE, &config);
}

int clinux_loop_get_status(int device, struct clinux_loop_status *status) {
    struct loop_info64 info;
    memset(&info, 0, sizeof info);
    int result = ioctl(device, LOOP_GET_STATUS64, &info);
    if (result < 0) return result;
    status->backing_device = info.lo_device;
    status->backing_inode = info.lo_inode;
    status->offset = info.lo_offset;
    status->size_limit = info.lo_sizelimit;
    status->flags = info.lo_flags;
    memcpy(status->name, info.lo_file_name, sizeof status->name);
    status->name[sizeof status->name - 1] = 0;
    return 0;
}

int clinux_loop_stay(int device) {
    struct loop_info64 info;
    memset(&info, 0, sizeof info);
    int result = ioctl(device, LOOP_GET_STATUS64, &info);
    if (result < 0) return result;
    info.lo_flags &= ~(uint32_t)LO_FLAGS_AUTOCLEAR;
    return ioctl(device, LOOP_SET_STATUS64, &info);
}

int clinux_loop_clear(int device) { return ioctl(device, LOOP_CLR_FD, 0); }
int clinux_loop_set_capacity(int device) { return ioctl(device, LOOP_SET_CAPACITY, 0); }

int clinux_block_size(int device, uint64_t *bytes) { return ioctl(device, BLKGETSIZE64, bytes); }

int clinux_block_logical_sector(int device, uint32_t *bytes) {
    int size = 0;
    int result = ioctl(device, BLKSSZGET, &size);
    if (result == 0) *bytes = (uint32_t)size;
    return result;
}

int clinux_block_discard(int device, uint64_t offset, uint64_t length) {
    uint64_t range[2] = {offset, length};
    return ioctl(device, BLKDISCARD, range);
}

int clinux_block_zero_out(int device, uint64_t offset, uint64_t length) {
    uint64_t range[2] = {offset, length};
    return ioctl(device, BLKZEROOUT, range);
}

int clinux_block_set_read_only(int device, int read_only) { return ioctl(device, BLKROSET, &read_only); }

int clinux_file_system_stats(const char *path, struct clinux_file_system_stats *stats) {
    struct statfs found;
    int result = statfs(path, &found);
    if (result < 0) return result;
    stats->unit_bytes = (uint64_t)(found.f_frsize > 0 ? found.f_frsize : found.f_bsize);
    stats->total_units = found.f_blocks;
    stats->free_units = found.f_bfree;
    stats->available_units = found.f_bavail;
    stats->total_inodes = found.f_files;
    stats->free_inodes = found.f_ffree;
    stats->magic = (uint64_t)found.f_type & UINT32_MAX;
    return 0;
}

int64_t clinux_seek_data(int descriptor, int64_t offset) { return lseek(descriptor, offset, SEEK_DATA); }
int64_t clinux_seek_hole(int descriptor, int64_t offset) { return lseek(descriptor, offset, SEEK_HOLE); }

int clinux_punch_hole(int descriptor, int64_t offset, int64_t length) {
    return fallocate(descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
}

int clinux_start_writing(int descriptor, int64_t offset, int64_t length) {
    return sync_file_range(descriptor, offset, length, SYNC_FILE_RANGE_WRITE);
}

int clinux_name_thread(const char *name) { return prctl(PR_SET_NAME, name); }

int clinux_direct_flag(void) { return O_DIRECT; }

int clinux_freeze(int descriptor) { return ioctl(descriptor, FIFREEZE, 0); }
int clinux_thaw(int descriptor) { return ioctl(descriptor, FITHAW, 0); }

int clinux_sync_file_system(int descriptor) { return syncfs(descriptor); }

/* As in xfs_fs.h, which comes with xfsprogs and not with the kernel's headers. */
struct xfs_eof_blocks {
    uint32_t version, flags, uid, gid, project, padding;
    uint64_t least_file_size, reserved[12];
};
#define XFS_FREE_EOF_BLOCKS _IOR('X', 58, struct xfs_eof_blocks)
#define XFS_EOF_BLOCKS_VERSION 1
#define XFS_EOF_FLAG_LEAST_FILE_SIZE (1 << 4)

int clinux_xfs_finish_deletions(int descriptor) {
    /* The call is for space beyond the ends of files, and waits for deletions when it is through with that. No file is as
     * large as this, so that is all it does. */
    struct xfs_eof_blocks none = {
        .version = XFS_EOF_BLOCKS_VERSION, .flags = XFS_EOF_FLAG_LEAST_FILE_SIZE, .least_file_size = INT64_MAX};
    return ioctl(descriptor, XFS_FREE_EOF_BLOCKS, &none);
}

int clinux_trim(int descriptor, uint64_t *trimmed) {
    struct fstrim_range range = {.start = 0, .len = UINT64_MAX, .minlen = 0};
    int result = ioctl(descriptor, FITRIM, &range);
    if (result == 0) *trimmed = range.len;
    return result;
}

int clinux_clone(int from, int to) { return ioctl(to, FICLONE, from); }

int clinux_extents(int descriptor, uint64_t start, struct clinux_extent *extents, uint32_t capacity) {
    struct fiemap *map = calloc(1, sizeof *map + capacity * sizeof(struct fiemap_extent));
    if (map == NULL) {
        errno = ENOMEM;
        return -1;
    }
    map->fm_start = start;
    map->fm_length = FIEMAP_MAX_OFFSET - start;
    map->fm_flags = FIEMAP_FLAG_SYNC;
    map->fm_extent_count = capacity;
    int result = ioctl(descriptor, FS_IOC_FIEMAP, map);
    if (result == 0) {
        result = (int)map->fm_mapped_extents;
        for (uint32_t i = 0; i < map->fm_mapped_extents; i++) {
            const struct fiemap_extent *extent = &map->fm_extents[i];
            extents[i].logical = extent->fe_logical;
            extents[i].physical = extent->fe_physical;
            extents[i].length = extent->fe_length;
            extents[i].flags = extent->fe_flags;
        }
    }
    int error = errno;
    free(map);
    errno = error;
    return result;
}

int clinux_rename_new(const char *from, const char *to) {
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE);
}

uint64_t clinux_socket_cookie(int socket) {
    uint64_t cookie = 0;
    socklen_t size = sizeof cookie;
    return getsockopt(socket, SOL_SOCKET, SO_COOKIE, &cookie, &size) == 0 ? cookie : 0;
}

/* TCP_LISTEN of <netinet/tcp.h>, which does not go with <linux/tcp.h>. */
enum { LISTENING = 10 };

int64_t clinux_tcp_received(int socket) {
    struct tcp_info info = {0};
    socklen_t size = sizeof info;
    if (getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return -1;
    if (info.tcpi_state != LISTENING) return (int64_t)info.tcpi_bytes_received;
    errno = ENOTCONN;
    return -1;
}
