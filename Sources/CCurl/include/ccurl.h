#ifndef PERSSD_CCURL_H
#define PERSSD_CCURL_H

/* libcurl for Swift. Its setters and getters take variable arguments, which Swift can't import: here each is one function
 * for each type of argument. All else of <curl/curl.h> is used as it is. */

#include <curl/curl.h>
#include <stddef.h>

/* The types that libcurl's callbacks have (CURLOPT_WRITEFUNCTION(3), CURLOPT_HEADERFUNCTION(3), CURLOPT_READFUNCTION(3),
 * CURLOPT_SEEKFUNCTION(3), CURLOPT_SOCKOPTFUNCTION(3)). */
typedef size_t (*ccurl_data_function)(char *bytes, size_t size, size_t count, void *context);
typedef int (*ccurl_seek_function)(void *context, curl_off_t offset, int origin);
typedef int (*ccurl_socket_function)(void *context, curl_socket_t socket, curlsocktype purpose);

CURLcode ccurl_set_long(CURL *handle, CURLoption option, long value);
CURLcode ccurl_set_offset(CURL *handle, CURLoption option, curl_off_t value);
CURLcode ccurl_set_string(CURL *handle, CURLoption option, const char *value);
CURLcode ccurl_set_pointer(CURL *handle, CURLoption option, void *value);
CURLcode ccurl_set_list(CURL *handle, CURLoption option, struct curl_slist *value);
CURLcode ccurl_set_data_function(CURL *handle, CURLoption option, ccurl_data_function value);
CURLcode ccurl_set_seek_function(CURL *handle, ccurl_seek_function value);
CURLcode ccurl_set_socket_function(CURL *handle, ccurl_socket_function value);

CURLcode ccurl_get_long(CURL *handle, CURLINFO info, long *value);
CURLcode ccurl_get_offset(CURL *handle, CURLINFO info, curl_off_t *value);

CURLMcode ccurl_multi_set_long(CURLM *multi, CURLMoption option, long value);

/* Of a message of kind CURLMSG_DONE. */
CURLcode ccurl_message_result(const CURLMsg *message);

#endif
