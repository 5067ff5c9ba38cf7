#include "cext2fs.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ext2fs/ext2fs.h>

struct cext2fs {
    ext2_filsys system;
    cext2fs_read_function read;
    void *context;
    uint64_t size;
};

struct cext2fs_file {
    ext2_file_t file;
};

static errcode_t device_open(const char *name, int flags, io_channel *result);
static errcode_t device_close(io_channel channel);
static errcode_t device_set_block_size(io_channel channel, int size);
static errcode_t device_read(io_channel channel, unsigned long long block, int count, void *data);
static errcode_t device_read_old(io_channel channel, unsigned long block, int count, void *data);
static errcode_t device_flush(io_channel channel);
static errcode_t device_write(io_channel channel, unsigned long long block, int count, const void *data);
static errcode_t device_write_old(io_channel channel, unsigned long block, int count, const void *data);

static struct struct_io_manager device_manager = {
    .magic = EXT2_ET_MAGIC_IO_MANAGER,
    .name = "PerSSD's generations",
    .open = device_open,
    .close = device_close,
    .set_blksize = device_set_block_size,
    .read_blk = device_read_old,
    .read_blk64 = device_read,
    .write_blk = device_write_old,
    .write_blk64 = device_write,
    .flush = device_flush,
};

/* The library hands a device's name to open and nothing else, so the name is the address of what is to be opened. */
static errcode_t device_open(const char *name, int flags, io_channel *result) {
    uintptr_t address = 0;
    if (flags & IO_FLAG_RW) return EROFS;
    if (sscanf(name, "%" SCNxPTR, &address) != 1 || address == 0) return EINVAL;
    io_channel channel = calloc(1, sizeof *channel);
    if (!channel) return ENOMEM;
    channel->magic = EXT2_ET_MAGIC_IO_CHANNEL;
    channel->manager = &device_manager;
    channel->name = strdup(name);
    channel->block_size = 1024;
    channel->refcount = 1;
    channel->private_data = (void *)address;
    if (!channel->name) {
        free(channel);
        return ENOMEM;
    }
    *result = channel;
    return 0;
}

static errcode_t device_close(io_channel channel) {
    if (--channel->refcount > 0) return 0;
    free(channel->name);
    free(channel);
    return 0;
}

static errcode_t device_set_block_size(io_channel channel, int size) {
    channel->block_size = size;
    return 0;
}

/* A negative count is one of bytes. */
static errcode_t device_read(io_channel channel, unsigned long long block, int count, void *data) {
    const cext2fs *self = channel->private_data;
    uint64_t block_size = (uint64_t)channel->block_size;
    uint64_t length = count < 0 ? (uint64_t)-(int64_t)count : (uint64_t)count * block_size;
    if (block > self->size / block_size) return EXT2_ET_SHORT_READ;
    uint64_t offset = block * block_size;
    if (length > self->size - offset) return EXT2_ET_SHORT_READ;
    return self->read(self->context, offset, data, length) == 0 ? 0 : EIO;
}

static errcode_t device_read_old(io_channel channel, unsigned long block, int count, void *data) {
    return device_read(channel, block, count, data);
}

static errcode_t device_flush(io_channel channel) {
    (void)channel;
    return 0;
}

static errcode_t device_write(io_channel channel, unsigned long long block, int count, const void *data) {
    (void)channel, (void)block, (void)count, (void)data;
    return EROFS;
}

static errcode_t device_write_old(io_channel channel, unsigned long block, int count, const void *data) {
    return device_write(channel, block, count, data);
}

long cext2fs_open(cext2fs_read_function read, void *context, uint64_t size, cext2fs **result) {
    initialize_ext2_error_table();
    cext2fs *self = calloc(1, sizeof *self);
    if (!self) return ENOMEM;
    self->read = read;
    self->context = context;
    self->size = size;
    char name[2 * sizeof(uintptr_t) + 1];
    snprintf(name, sizeof name, "%" PRIxPTR, (uintptr_t)self);
    errcode_t error = ext2fs_open2(name, NULL, EXT2_FLAG_64BITS, 0, 0, &device_manager, &self->system);
    if (error) {
        free(self);
        return error;
    }
    *result = self;
    return 0;
}

void cext2fs_close(cext2fs *self) {
    ext2fs_close_free(&self->system);
    free(self);
}

int cext2fs_needs_recovery(const cext2fs *self) {
    return ext2fs_has_feature_journal_needs_recovery(self->system->super);
}

long cext2fs_lookup(cext2fs *self, const char *path, int follow, uint32_t *inode) {
    ext2_ino_t found = 0;
    errcode_t error = follow ? ext2fs_namei_follow(self->system, EXT2_ROOT_INO, EXT2_ROOT_INO, path, &found)
                             : ext2fs_namei(self->system, EXT2_ROOT_INO, EXT2_ROOT_INO, path, &found);
    *inode = found;
    return error;
}

static errcode_t read_inode(cext2fs *self, uint32_t number, struct ext2_inode_large *inode) {
    memset(inode, 0, sizeof *inode);
    return ext2fs_read_inode_full(self->system, number, (struct ext2_inode *)inode, sizeof *inode);
}

/* The two lowest bits of a time's extra field are its bits 32 and 33, the others nanoseconds (kernel,
 * Documentation/filesystems/ext4). Inodes of ext2 have none. */
static void read_time(
    const cext2fs *self, const struct ext2_inode_large *inode, uint32_t seconds, size_t extra_offset, int64_t *result,
    uint32_t *nanoseconds) {
    *result = (int32_t)seconds;
    *nanoseconds = 0;
    if (EXT2_INODE_SIZE(self->system->super) <= EXT2_GOOD_OLD_INODE_SIZE) return;
    if (inode->i_extra_isize < extra_offset + 4 - EXT2_GOOD_OLD_INODE_SIZE) return;
    uint32_t extra;
    memcpy(&extra, (const char *)inode + extra_offset, sizeof extra);
    *result += (int64_t)(extra & 3) << 32;
    *nanoseconds = extra >> 2;
}

long cext2fs_status_of(cext2fs *self, uint32_t number, struct cext2fs_status *status) {
    struct ext2_inode_large inode;
    errcode_t error = read_inode(self, number, &inode);
    if (error) return error;
    status->inode = number;
    status->mode = inode.i_mode;
    status->user = inode_uid(inode);
    status->group = inode_gid(inode);
    status->links = inode.i_links_count;
    status->size = EXT2_I_SIZE(&inode);
    status->generation = inode.i_generation;
    read_time(
        self, &inode, inode.i_mtime, offsetof(struct ext2_inode_large, i_mtime_extra), &status->modified,
        &status->modified_nanoseconds);
    read_time(
        self, &inode, inode.i_ctime, offsetof(struct ext2_inode_large, i_ctime_extra), &status->changed,
        &status->changed_nanoseconds);
    return 0;
}

struct listing {
    cext2fs_entry_function entry;
    void *context;
};

static int list_entry(
    ext2_ino_t directory, int kind, struct ext2_dir_entry *entry, int offset, int block_size, char *buffer,
    void *context) {
    (void)directory, (void)kind, (void)offset, (void)block_size, (void)buffer;
    const struct listing *listing = context;
    size_t length = (size_t)ext2fs_dirent_name_len(entry);
    return listing->entry(listing->context, entry->name, length, entry->inode) ? DIRENT_ABORT : 0;
}

long cext2fs_list(cext2fs *self, uint32_t inode, cext2fs_entry_function entry, void *context) {
    struct listing listing = {entry, context};
    errcode_t error = ext2fs_check_directory(self->system, inode);
    return error ? error : ext2fs_dir_iterate2(self->system, inode, 0, NULL, list_entry, &listing);
}

struct block_listing {
    cext2fs_block_function block;
    void *context;
};

static int list_block(
    ext2_filsys system, blk64_t *place, e2_blkcnt_t number, blk64_t reference, int offset, void *context) {
    (void)system, (void)reference, (void)offset;
    const struct block_listing *listing = context;
    return listing->block(listing->context, (uint64_t)number, *place) ? BLOCK_ABORT : 0;
}

long cext2fs_blocks(cext2fs *self, uint32_t inode, cext2fs_block_function block, void *context) {
    struct block_listing listing = {block, context};
    return ext2fs_block_iterate3(
        self->system, inode, BLOCK_FLAG_READ_ONLY | BLOCK_FLAG_DATA_ONLY, NULL, list_block, &listing);
}

uint32_t cext2fs_block_size(const cext2fs *self) { return self->system->blocksize; }

long cext2fs_link_target(cext2fs *self, uint32_t number, char *buffer, size_t capacity, size_t *length) {
    struct ext2_inode_large inode;
    errcode_t error = read_inode(self, number, &inode);
    if (error) return error;
    if (!LINUX_S_ISLNK(inode.i_mode)) return EINVAL;
    uint64_t size = EXT2_I_SIZE(&inode);
    if (size > capacity) return EXT2_ET_INODE_CORRUPTED;
    *length = size;
    int is_inline = (inode.i_flags & EXT4_INLINE_DATA_FL) != 0;
    if (!is_inline && !ext2fs_inode_has_valid_blocks2(self->system, (struct ext2_inode *)&inode)) {
        /* Short ones are where others have the numbers of their blocks. */
        if (size > sizeof inode.i_block) return EXT2_ET_INODE_CORRUPTED;
        memcpy(buffer, inode.i_block, size);
        return 0;
    }
    cext2fs_file *file;
    error = cext2fs_file_open(self, number, &file);
    if (error) return error;
    uint32_t got = 0;
    error = cext2fs_file_read(file, buffer, (uint32_t)size, &got);
    cext2fs_file_close(file);
    *length = got;
    return error;
}

long cext2fs_file_open(cext2fs *self, uint32_t inode, cext2fs_file **result) {
    cext2fs_file *file = calloc(1, sizeof *file);
    if (!file) return ENOMEM;
    errcode_t error = ext2fs_file_open(self->system, inode, 0, &file->file);
    if (error) {
        free(file);
        return error;
    }
    *result = file;
    return 0;
}

void cext2fs_file_close(cext2fs_file *file) {
    ext2fs_file_close(file->file);
    free(file);
}

long cext2fs_file_read(cext2fs_file *file, void *buffer, uint32_t wanted, uint32_t *got) {
    unsigned int count = 0;
    errcode_t error = ext2fs_file_read(file->file, buffer, wanted, &count);
    *got = count;
    return error;
}

const char *cext2fs_message(long error) { return error_message(error); }

int cext2fs_is_not_found(long error) { return error == EXT2_ET_FILE_NOT_FOUND || error == EXT2_ET_SYMLINK_LOOP; }
int cext2fs_is_not_directory(long error) { return error == EXT2_ET_NO_DIRECTORY; }
int cext2fs_is_inline(long error) { return error == EXT2_ET_INLINE_DATA_CANT_ITERATE; }
