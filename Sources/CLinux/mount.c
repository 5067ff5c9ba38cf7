#define _GNU_SOURCE
#include "clinux.h"

/* sys/mount.h and linux/fs.h define the same names, so mounting has a file of its own. */
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>

_Static_assert(CLINUX_MOUNT_READ_ONLY == MOUNT_ATTR_RDONLY, "mount attribute");
_Static_assert(CLINUX_MOUNT_NO_SUID == MOUNT_ATTR_NOSUID, "mount attribute");
_Static_assert(CLINUX_MOUNT_NO_DEVICES == MOUNT_ATTR_NODEV, "mount attribute");
_Static_assert(CLINUX_MOUNT_NO_EXECUTE == MOUNT_ATTR_NOEXEC, "mount attribute");
_Static_assert(CLINUX_MOUNT_ATIME_MASK == MOUNT_ATTR__ATIME, "mount attribute");
_Static_assert(CLINUX_MOUNT_NO_ATIME == MOUNT_ATTR_NOATIME, "mount attribute");
_Static_assert(CLINUX_MOUNT_STRICT_ATIME == MOUNT_ATTR_STRICTATIME, "mount attribute");
_Static_assert(CLINUX_MOUNT_NO_DIRECTORY_ATIME == MOUNT_ATTR_NODIRATIME, "mount attribute");
_Static_assert(CLINUX_MOUNT_NO_SYMLINKS == MOUNT_ATTR_NOSYMFOLLOW, "mount attribute");

int clinux_fsopen(const char *type) { return fsopen(type, FSOPEN_CLOEXEC); }

int clinux_fsconfig_flag(int context, const char *key) {
    return fsconfig(context, FSCONFIG_SET_FLAG, key, NULL, 0);
}

int clinux_fsconfig_string(int context, const char *key, const char *value) {
    return fsconfig(context, FSCONFIG_SET_STRING, key, value, 0);
}

int clinux_fsconfig_create(int context) { return fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0); }

int clinux_fspick(int place) { return fspick(place, "", FSPICK_CLOEXEC | FSPICK_EMPTY_PATH); }

int clinux_fsconfig_reconfigure(int context) { return fsconfig(context, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0); }

int clinux_fsmount(int context, unsigned int attributes) { return fsmount(context, FSMOUNT_CLOEXEC, attributes); }

int clinux_clone_mount(int directory, const char *path) {
    return open_tree(directory, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (*path ? 0 : AT_EMPTY_PATH));
}

int clinux_mount_set_attributes(int mount, uint64_t set, uint64_t clear) {
    struct mount_attr attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.attr_set = set;
    attributes.attr_clr = clear;
    return mount_setattr(mount, "", AT_EMPTY_PATH, &attributes, sizeof attributes);
}

int clinux_attach_mount(int mount, int target) {
    return move_mount(mount, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}

int clinux_unmount(const char *path) { return umount2(path, UMOUNT_NOFOLLOW); }
