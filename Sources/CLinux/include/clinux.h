#ifndef CLINUX_H
#define CLINUX_H

/*
 * The Linux calls that Swift can't import: ioctls made of macros, variadic calls, and the calls of the mount API of
 * Linux 5.2 and 5.12. Each function is one system call; where not said otherwise it returns -1 and sets errno when it fails.
 */

#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Device numbers (makedev(3), which is macros). */
uint32_t clinux_major(uint64_t device);
uint32_t clinux_minor(uint64_t device);
uint64_t clinux_makedev(uint32_t major, uint32_t minor);

/* open(2) and openat(2), which are variadic. */
int clinux_openat(int directory, const char *path, int flags, mode_t mode);
/* openat(2) with O_PATH: what is there, without opening what it holds. */
int clinux_open_place(int directory, const char *path, int flags);

/* The device of the file system that `path` lies on, without asking a server on the network (statx(2)). */
int clinux_device_of(const char *path, uint64_t *device);

/* Loop devices (loop(4)). */
enum clinux_loop_flags {
    CLINUX_LOOP_READ_ONLY = 1,
    CLINUX_LOOP_AUTOCLEAR = 4,
    CLINUX_LOOP_DIRECT_IO = 16,
};

struct clinux_loop_status {
    uint64_t backing_device;
    uint64_t backing_inode;
    uint64_t offset;
    uint64_t size_limit;
    uint32_t flags;
    /* As given to clinux_loop_configure, or by losetup(8). */
    char name[64];
};

/* The number of a free device, which the kernel adds where all are taken. */
int clinux_loop_get_free(int control);
/* LOOP_CONFIGURE, in one step with its flags. `name` is what losetup(8) shows; it is cut at 63 bytes. */
int clinux_loop_configure(int device, int backing, uint32_t flags, const char *name);
int clinux_loop_get_status(int device, struct clinux_loop_status *status);
/* Clears LO_FLAGS_AUTOCLEAR, and leaves all else. */
int clinux_loop_stay(int device);
int clinux_loop_clear(int device);
/* Takes over a changed size of the backing file. */
int clinux_loop_set_capacity(int device);

/* Block devices. */
int clinux_block_size(int device, uint64_t *bytes);
int clinux_block_logical_sector(int device, uint32_t *bytes);
int clinux_block_discard(int device, uint64_t offset, uint64_t length);
int clinux_block_zero_out(int device, uint64_t offset, uint64_t length);
int clinux_block_set_read_only(int device, int read_only);

/* File systems. */
struct clinux_file_system_stats {
    uint64_t unit_bytes;
    uint64_t total_units;
    uint64_t free_units;
    uint64_t available_units;
    uint64_t total_inodes;
    uint64_t free_inodes;
    uint64_t magic;
};

/* statfs(2). */
int clinux_file_system_stats(const char *path, struct clinux_file_system_stats *stats);
/* lseek(2) with SEEK_DATA. */
int64_t clinux_seek_data(int descriptor, int64_t offset);
/* lseek(2) with SEEK_HOLE. */
int64_t clinux_seek_hole(int descriptor, int64_t offset);
/* fallocate(2) with FALLOC_FL_PUNCH_HOLE and FALLOC_FL_KEEP_SIZE, on a file or a block device. */
int clinux_punch_hole(int descriptor, int64_t offset, int64_t length);
/* sync_file_range(2) with SYNC_FILE_RANGE_WRITE. */
int clinux_start_writing(int descriptor, int64_t offset, int64_t length);
/* PR_SET_NAME of prctl(2), for the calling thread. */
int clinux_name_thread(const char *name);
/* O_DIRECT of open(2), whose value differs between architectures. */
int clinux_direct_flag(void);
int clinux_freeze(int descriptor);
int clinux_thaw(int descriptor);
/*
 * Starts a process that thaws the file system of `descriptor` once `lifeline`, which this makes, is closed, or after
 * `milliseconds`, whichever comes first. A freeze outlives the process that made it, and so does this one. Its exit status
 * is 0 where nothing was frozen any more, 1 where it has thawed it, 2 where it could not.
 */
pid_t clinux_start_thaw_guard(int descriptor, int milliseconds, int *lifeline);
/* waitpid(2) and WEXITSTATUS; the exit status, or -1. */
int clinux_exit_status(pid_t process);
/* syncfs(2): all of the file system that `descriptor` is on. */
int clinux_sync_file_system(int descriptor);
/* Waits until an xfs has the blocks of deleted files back, which since Linux 5.14 it takes in the background. */
int clinux_xfs_finish_deletions(int descriptor);
/* Discards what is free; `trimmed` becomes the number of bytes. */
int clinux_trim(int descriptor, uint64_t *trimmed);

/* Makes `to` share all blocks of `from`. */
int clinux_clone(int from, int to);

enum clinux_extent_flags {
    CLINUX_EXTENT_LAST = 0x1,
    CLINUX_EXTENT_UNKNOWN = 0x2,
    CLINUX_EXTENT_DELALLOC = 0x4,
    CLINUX_EXTENT_ENCODED = 0x8,
    CLINUX_EXTENT_ENCRYPTED = 0x80,
    CLINUX_EXTENT_NOT_ALIGNED = 0x100,
    CLINUX_EXTENT_INLINE = 0x200,
    CLINUX_EXTENT_TAIL = 0x400,
    CLINUX_EXTENT_UNWRITTEN = 0x800,
};

struct clinux_extent {
    uint64_t logical;
    uint64_t physical;
    uint64_t length;
    uint32_t flags;
};

/* FIEMAP with FIEMAP_FLAG_SYNC, from `start` on: how many of the next extents were put into `extents`. */
int clinux_extents(int descriptor, uint64_t start, struct clinux_extent *extents, uint32_t capacity);

/* Mounting (fsopen(2), fsconfig(2), fsmount(2), open_tree(2), mount_setattr(2), move_mount(2)). */
enum clinux_mount_attributes {
    CLINUX_MOUNT_READ_ONLY = 0x1,
    CLINUX_MOUNT_NO_SUID = 0x2,
    CLINUX_MOUNT_NO_DEVICES = 0x4,
    CLINUX_MOUNT_NO_EXECUTE = 0x8,
    CLINUX_MOUNT_ATIME_MASK = 0x70,
    CLINUX_MOUNT_RELATIVE_ATIME = 0x0,
    CLINUX_MOUNT_NO_ATIME = 0x10,
    CLINUX_MOUNT_STRICT_ATIME = 0x20,
    CLINUX_MOUNT_NO_DIRECTORY_ATIME = 0x80,
    CLINUX_MOUNT_NO_SYMLINKS = 0x200000,
};

int clinux_fsopen(const char *type);
int clinux_fsconfig_flag(int context, const char *key);
int clinux_fsconfig_string(int context, const char *key, const char *value);
int clinux_fsconfig_create(int context);
/* Of the file system that is mounted where the descriptor stands; its options are changed by a reconfigure (fspick(2)). */
int clinux_fspick(int place);
int clinux_fsconfig_reconfigure(int context);
int clinux_fsmount(int context, unsigned int attributes);
/* A detached copy of the mount at `path`, of that place alone: what a bind mount is made of. */
int clinux_clone_mount(int directory, const char *path);
int clinux_mount_set_attributes(int mount, uint64_t set, uint64_t clear);
/* Puts the detached `mount` onto what `target` has open. */
int clinux_attach_mount(int mount, int target);
/* umount2(2) with UMOUNT_NOFOLLOW. */
int clinux_unmount(const char *path);

/* renameat2(2) with RENAME_NOREPLACE. */
int clinux_rename_new(const char *from, const char *to);

/* SO_COOKIE of socket(7): a number that no other socket has since the machine was started; 0 for what is no socket. */
uint64_t clinux_socket_cookie(int socket);
/* TCP_INFO of tcp(7): how many bytes a connection has received since it was made. ENOTCONN for a socket that listens. */
int64_t clinux_tcp_received(int socket);

#ifdef __cplusplus
}
#endif

#endif
