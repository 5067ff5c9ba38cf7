#ifndef PERSSD_CGRPC_H
#define PERSSD_CGRPC_H
#endif
