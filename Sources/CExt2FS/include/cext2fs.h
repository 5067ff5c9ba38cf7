#ifndef PERSSD_CEXT2FS_H
#define PERSSD_CEXT2FS_H

/* Reading ext2, ext3 and ext4 with e2fsprogs' own library, from wherever a callback has the bytes of the device. Nothing is
 * ever written. Not for use by two threads at a time.
 *
 * Functions return 0, or an error that cext2fs_message names. */

#include <stddef.h>
#include <stdint.h>

typedef struct cext2fs cext2fs;
typedef struct cext2fs_file cext2fs_file;

/* Fills `buffer` with the bytes of the device from `offset`. Returns 0 on success. */
typedef int (*cext2fs_read_function)(void *context, uint64_t offset, void *buffer, size_t count);

struct cext2fs_status {
    uint32_t inode;
    uint16_t mode;
    uint32_t user, group;
    uint16_t links;
    uint64_t size;
    /* Seconds since 1970. */
    int64_t modified;
    uint32_t modified_nanoseconds;
    /* When anything of the inode last changed. */
    int64_t changed;
    uint32_t changed_nanoseconds;
    /* Which life of the inode's number it is. */
    uint32_t generation;
};

/* Opens the file system on a device of `size` bytes. */
long cext2fs_open(cext2fs_read_function read, void *context, uint64_t size, cext2fs **result);
void cext2fs_close(cext2fs *system);

/* Whether it was not unmounted, and its journal has changes that reads do not see. */
int cext2fs_needs_recovery(const cext2fs *system);

/* The inode of an absolute path, with symbolic links followed on the way, and at its end if `follow` says so. */
long cext2fs_lookup(cext2fs *system, const char *path, int follow, uint32_t *inode);
long cext2fs_status_of(cext2fs *system, uint32_t inode, struct cext2fs_status *status);

/* Calls `entry` for each entry of a directory, until that returns other than 0. Names are not ended by a zero. */
typedef int (*cext2fs_entry_function)(void *context, const char *name, size_t length, uint32_t inode);
long cext2fs_list(cext2fs *system, uint32_t inode, cext2fs_entry_function entry, void *context);

/* Calls `block` for each block of a file that has a place on the device, ascending by its number in the file, until that returns
 * other than 0. A file that is kept in its inode has none, and gives an error. */
typedef int (*cext2fs_block_function)(void *context, uint64_t number, uint64_t place);
long cext2fs_blocks(cext2fs *system, uint32_t inode, cext2fs_block_function block, void *context);
uint32_t cext2fs_block_size(const cext2fs *system);

/* What a symbolic link says; `buffer` is of `capacity` bytes, `length` how many of them there are. */
long cext2fs_link_target(cext2fs *system, uint32_t inode, char *buffer, size_t capacity, size_t *length);

long cext2fs_file_open(cext2fs *system, uint32_t inode, cext2fs_file **result);
void cext2fs_file_close(cext2fs_file *file);
/* Reads on from where the last read ended; `got` is 0 at the end. */
long cext2fs_file_read(cext2fs_file *file, void *buffer, uint32_t wanted, uint32_t *got);

/* A text that stays. */
const char *cext2fs_message(long error);

/* Whether the error is that a path leads nowhere or in circles, or that a part of it is no directory. */
int cext2fs_is_not_found(long error);
int cext2fs_is_not_directory(long error);

/* Whether the error is that a file has no blocks, as it is kept in its inode. */
int cext2fs_is_inline(long error);

#endif
