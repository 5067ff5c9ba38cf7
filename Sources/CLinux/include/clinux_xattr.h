// Extended attributes (xattr(7)), which the Swift toolchain's module of glibc leaves out.
#pragma once

#include <sys/xattr.h>
