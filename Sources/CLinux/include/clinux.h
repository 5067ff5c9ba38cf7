#ifndef PERSSD_CLinux_H
#define PERSSD_CLinux_H
#endif
