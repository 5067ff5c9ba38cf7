#ifndef PERSSD_CCSI_H
#define PERSSD_CCSI_H
#endif
