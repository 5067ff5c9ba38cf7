/// A request for `HTTPClient`.
public struct HTTPRequest: Sendable {
    public enum Method: String, Sendable {
        case get = "GET"
        case head = "HEAD"
        case put = "PUT"
        case post = "POST"
        case patch = "PATCH"
        case delete = "DELETE"
    }

    public var method: Method
    /// Absolute, http or https, percent-encoded; sent exactly as it stands here.
    public var url: String
    /// `Host`, `Content-Length` and `Accept` come from libcurl where they are not given.
    public var headers: HTTPHeaders
    /// Sent with its length. A slice, so that a part of a large array needs no copy.
    public var body: ArraySlice<UInt8>?
    /// A longer response body ends the transfer with `outOfRange`.
    public var maximumResponseBytes: Int
    public var timeouts = HTTPTimeouts()
    /// Whether the proxy that the environment names (`https_proxy`, `no_proxy` ...) is used. Not for link-local services.
    public var usesProxy = true
    /// Opens a connection for this request alone. libcurl repeats a request without a body by itself when a connection
    /// that it used before turns out to be dead; whoever must know of every repetition asks for a new connection.
    public var needsNewConnection = false

    public init(
        _ method: Method, _ url: String, headers: HTTPHeaders = HTTPHeaders(), body: ArraySlice<UInt8>? = nil,
        maximumResponseBytes: Int = 1 << 20
    ) {
        (self.method, self.url, self.headers, self.body) = (method, url, headers, body)
        self.maximumResponseBytes = maximumResponseBytes
    }
}

/// How long to wait for a server before the request fails with `unavailable`.
public struct HTTPTimeouts: Sendable, Hashable {
    /// For name lookup, TCP and TLS together.
    public var connect: Duration
    /// For how long fewer than `stallBytesPerSecond` may move, be it that the server thinks or that the network is stuck.
    /// Whole seconds, at least one.
    public var stall: Duration
    public var stallBytesPerSecond: Int
    /// For the whole request, from the moment it starts (the wait for a free place among the parallel transfers is not
    /// counted); nil for no bound.
    public var total: Duration?

    public init(
        connect: Duration = .seconds(10), stall: Duration = .seconds(30), stallBytesPerSecond: Int = 1024,
        total: Duration? = nil
    ) {
        (self.connect, self.stall, self.total) = (connect, stall, total)
        self.stallBytesPerSecond = stallBytesPerSecond
    }
}

/// A response of any status: which of them are errors is for the caller to say.
public struct HTTPResponse: Sendable {
    public var status: Int
    public var headers: HTTPHeaders
    public var body: [UInt8]
    /// From the last byte of the request to the first of the response.
    public var waited: Duration

    public init(status: Int, headers: HTTPHeaders, body: [UInt8], waited: Duration = .zero) {
        (self.status, self.headers, self.body, self.waited) = (status, headers, body, waited)
    }
}
