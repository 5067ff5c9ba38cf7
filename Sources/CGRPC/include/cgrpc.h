// The C-callable face of libgrpc++: what the RPC module needs of it and no more. Bytes in, bytes out: no message type
// of any protocol crosses it, and no C++ exception.
//
// Threads. Callbacks come on gRPC's own threads, for one call several at a time where said so. They must not block.
// Functions may be called from any thread, from callbacks too, unless said otherwise.
//
// Ownership. What a callback is handed (messages, text, metadata) is borrowed: it is gone when the callback returns.
// What a function is handed is copied before it returns. Handles and contexts have their own rule each, told below.

#ifndef PERSSD_CGRPC_H
#define PERSSD_CGRPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#pragma clang assume_nonnull begin

#ifdef __cplusplus
extern "C" {
#endif

// Stands for "no deadline" where nanoseconds are asked for.
#define CGRPC_NO_DEADLINE INT64_MAX

// Any bytes, not zero-terminated. `bytes` may be NULL where `count` is 0.
typedef struct {
    const uint8_t *_Nullable bytes;
    size_t count;
} cgrpc_bytes;

// One entry of a call's metadata. Keys that end in "-bin" hold any bytes, others visible ASCII and spaces.
typedef struct {
    cgrpc_bytes key;
    cgrpc_bytes value;
} cgrpc_entry;

// The outcome of a call. `details` is a serialized google.rpc.Status, or empty.
typedef struct {
    int32_t code;
    cgrpc_bytes message;
    cgrpc_bytes details;
} cgrpc_status;

// A message that was received.
typedef struct cgrpc_message cgrpc_message;
size_t cgrpc_message_size(const cgrpc_message *message);
// Writes the message to `target`, which has room for `capacity` bytes; returns how many bytes were written.
size_t cgrpc_message_copy(const cgrpc_message *message, uint8_t *target, size_t capacity);

// Whether gRPC takes the entry. It ends the process over one that it does not take, so ask before sending.
bool cgrpc_entry_is_legal(cgrpc_entry entry);

// The version of the gRPC library at run time, a static string.
const char *cgrpc_version(void);

// TLS: everything in PEM. Empty parts are absent.
typedef struct {
    cgrpc_bytes roots;              // whom to trust; a server that has them requires a certificate from its clients
    cgrpc_bytes certificate_chain;  // our own, leaf first
    cgrpc_bytes private_key;        // of that leaf
    cgrpc_bytes server_name;        // client: the name to expect in the server's certificate, if not the host's
    bool any_client;                // server: requires a certificate, and leaves it to the callee whether it is a good one
} cgrpc_tls;

// Why the parts that are there are not usable, a static string; NULL if they are. gRPC itself tells it only when it
// connects, and only to its log.
const char *_Nullable cgrpc_tls_problem(const cgrpc_tls *tls);

// ---------------------------------------------------------------------------------------------------------- server

typedef struct cgrpc_server cgrpc_server;

// One call at the server. Valid from `on_call` until `cgrpc_server_call_finish` is called on it; nobody may be inside
// another function on the same call then, nor call one later.
typedef struct cgrpc_server_call cgrpc_server_call;

// What is known of a call when it arrives.
typedef struct {
    cgrpc_bytes path;                         // "/package.Service/Method"
    cgrpc_bytes peer;                         // "unix:", "ipv4:127.0.0.1:41234"
    cgrpc_bytes peer_certificate;             // in PEM; its key is the peer's. Empty where none was asked for
    int64_t remaining_ns;                     // until the client stops waiting, or CGRPC_NO_DEADLINE
    const cgrpc_entry *_Nullable metadata;
    size_t metadata_count;
} cgrpc_call_info;

typedef struct {
    // A call arrives. Returns the context that the call's other callbacks get; they come after this one returned. All
    // functions on the call may be called from within. The context is the callee's to keep alive until `on_done`.
    void *_Nonnull (*_Nonnull on_call)(
        void *server_context, cgrpc_server_call *call, const cgrpc_call_info *info);
    // A read ended: with a message, or NULL when there will be none (the client sent its last, or the call is broken).
    void (*_Nonnull on_read)(void *call_context, const cgrpc_message *_Nullable message);
    // A write ended; false means that the call is broken.
    void (*_Nonnull on_write)(void *call_context, bool ok);
    // The client cancelled or vanished, the deadline passed, or the server cancels its calls. At most once, at any time
    // beside the callbacks above. The call must still be finished.
    void (*_Nonnull on_cancel)(void *call_context);
    // The last callback of a call that was finished, after all others returned. The context is no longer used.
    void (*_Nonnull on_done)(void *call_context);
} cgrpc_server_callbacks;

typedef struct {
    int32_t max_receive_bytes;
    int32_t max_send_bytes;
    int32_t max_streams_per_connection;
    int32_t handshake_timeout_ms;   // how long a connection may take until it talks HTTP/2 (and TLS)
    int32_t keepalive_time_ms;      // a silent connection is probed after this time
    int32_t keepalive_timeout_ms;   // and closed when no answer comes within this one
} cgrpc_server_options;

typedef struct {
    const char *address;             // as gRPC names it, percent-encoded: "unix:/run/x.sock", "127.0.0.1:0"
    const cgrpc_tls *_Nullable tls;  // NULL: plain text
    int32_t bound_port;              // out: the port, for TCP
} cgrpc_listener;

// Starts a server on all of the addresses, or on none and returns NULL. May block (it looks up host names).
// `server_context` must live until `cgrpc_server_destroy` returned.
cgrpc_server *_Nullable cgrpc_server_start(
    const cgrpc_server_options *options, cgrpc_listener *listeners, size_t listener_count,
    const cgrpc_server_callbacks *callbacks, void *server_context);

// Refuses new calls, waits up to `grace_ns` for those that run, then cancels them, and returns when `on_done` of each
// has returned: no callback comes any more. Blocks; never call it from a callback. Once per server.
void cgrpc_server_shutdown(cgrpc_server *server, int64_t grace_ns);

// Frees a server that was shut down. Never call it from a callback.
void cgrpc_server_destroy(cgrpc_server *server);

// Asks for the next message; answered by `on_read`. One at a time.
void cgrpc_server_call_read(cgrpc_server_call *call);
// Sends a message; answered by `on_write` when the next may be sent. One at a time.
void cgrpc_server_call_write(cgrpc_server_call *call, cgrpc_bytes message);
// Sends the outcome, after `last` as the last message if there is one. Exactly once for each call. No write may be
// under way. Answered by `on_done` after all other callbacks of the call.
void cgrpc_server_call_finish(
    cgrpc_server_call *call, const cgrpc_bytes *_Nullable last, const cgrpc_status *status);

// ---------------------------------------------------------------------------------------------------------- client

// A client's way to a server; connects when it is first used, and again whenever needed.
typedef struct cgrpc_channel cgrpc_channel;

typedef struct {
    int32_t max_receive_bytes;
    int32_t max_send_bytes;
    int32_t keepalive_time_ms;
    int32_t keepalive_timeout_ms;
    int32_t max_reconnect_backoff_ms;
} cgrpc_channel_options;

// `target` as gRPC names it, percent-encoded: "unix:/run/x.sock", "dns:///host:1234". NULL where gRPC takes it or
// the TLS parts for unusable.
cgrpc_channel *_Nullable cgrpc_channel_create(
    const char *target, const cgrpc_tls *_Nullable tls, const cgrpc_channel_options *options);

// Frees the handle; calls that run go on. May wait for gRPC's threads: never call it from a callback.
void cgrpc_channel_destroy(cgrpc_channel *channel);

// What a client says when it calls.
typedef struct {
    cgrpc_bytes path;
    int64_t timeout_ns;  // from now on, or CGRPC_NO_DEADLINE
    bool wait_for_ready; // wait for a server that is not there, instead of failing
    const cgrpc_entry *_Nullable metadata;
    size_t metadata_count;
} cgrpc_call_options;

// One call at the client. Valid until `cgrpc_call_destroy`.
typedef struct cgrpc_call cgrpc_call;

typedef struct {
    // As at the server. A unary call that succeeds gets exactly one of these, before `on_done`.
    void (*_Nonnull on_read)(void *call_context, const cgrpc_message *_Nullable message);
    void (*_Nonnull on_write)(void *call_context, bool ok);
    // The last callback: the outcome. The context is no longer used. The call stays until it is destroyed, which
    // must be done from another thread.
    void (*_Nonnull on_done)(void *call_context, const cgrpc_status *status);
} cgrpc_client_callbacks;

// A call that is not started yet; it may be cancelled, started once or destroyed. NULL where memory is short.
cgrpc_call *_Nullable cgrpc_call_create(
    cgrpc_channel *channel, const cgrpc_call_options *options, const cgrpc_client_callbacks *callbacks);

// Starts it as a unary call. Only cancelling is allowed from then on. The context is the caller's to keep alive until
// `on_done`.
void cgrpc_call_start_unary(cgrpc_call *call, void *call_context, cgrpc_bytes request);

// Starts it as a stream in both directions. Reads and writes are allowed until `cgrpc_call_end_operations`. The
// context as above.
void cgrpc_call_start_stream(cgrpc_call *call, void *call_context);
void cgrpc_call_read(cgrpc_call *call);
// One at a time, `cgrpc_call_close_writing` included. With `last`, none may follow.
void cgrpc_call_write(cgrpc_call *call, cgrpc_bytes message, bool last);
// Tells the server that no message follows; answered by `on_write`.
void cgrpc_call_close_writing(cgrpc_call *call);
// Promises that no read or write is started any more; `on_done` does not come before. Exactly once for each stream.
void cgrpc_call_end_operations(cgrpc_call *call);

// Allowed at any time until the call is destroyed, also before its start and after its end.
void cgrpc_call_cancel(cgrpc_call *call);

// Frees a call that was never started, or whose `on_done` has come. Never call it from a callback.
void cgrpc_call_destroy(cgrpc_call *call);

#ifdef __cplusplus
}
#endif

#pragma clang assume_nonnull end

#endif
