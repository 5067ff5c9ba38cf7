import CCrypto
import Errors
import Glibc

/// A key and the certificate that goes with it, for one side of a TLS connection. It is made by the process that uses it, is
/// signed by nobody else, and its key leaves the process never: the other side trusts the certificate because of where it
/// has found it.
public struct TLSIdentity: Sendable {
    /// In PEM.
    public let certificate: [UInt8]
    /// In PEM.
    public let privateKey: [UInt8]

    /// Makes a new one.
    ///
    /// - Parameters:
    ///   - name: the certificate's alternative name: ASCII, as a host name has.
    ///   - lifetime: how long the certificate is good from now on. It is good for all time before, as clocks may differ.
    /// - Throws: `internal` where OpenSSL does not make it.
    public init(name: String, lifetime: Duration) throws(PerSSDError) {
        var texts: (certificate: UnsafeMutablePointer<CChar>?, key: UnsafeMutablePointer<CChar>?) = (nil, nil)
        let done = ccrypto_make_identity(
            name, Int(lifetime.components.seconds), &texts.certificate, &texts.key)
        defer {
            if let key = texts.key { explicit_bzero(key, strlen(key)) }
            free(texts.certificate)
            free(texts.key)
        }
        guard done == 1, let certificate = texts.certificate, let key = texts.key else {
            throw PerSSDError(.internal, "OpenSSL cannot make a key and a certificate for '\(name.prefix(80))'")
        }
        self.certificate = Self.bytes(certificate)
        privateKey = Self.bytes(key)
    }

    private static func bytes(_ text: UnsafePointer<CChar>) -> [UInt8] {
        Array(UnsafeRawBufferPointer(start: text, count: strlen(text)))
    }
}
