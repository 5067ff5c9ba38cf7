#ifndef PERSSD_CCurl_H
#define PERSSD_CCurl_H
#endif
