import Errors
import Foundation
import RPC
import Testing

@Suite struct RPCAddressTests {
    @Test(arguments: [
        ("unix:///run/csi.sock", "unix:///run/csi.sock"),
        ("unix:/run/csi.sock", "unix:///run/csi.sock"),
        ("/run/a b%?#é.sock", "unix:///run/a b%?#é.sock"),
        ("tcp://127.0.0.1:9000", "tcp://127.0.0.1:9000"),
        ("localhost:0", "tcp://localhost:0"),
        ("tcp://[::1]:65535", "tcp://[::1]:65535"),
        ("node-7.example.org:80", "tcp://node-7.example.org:80"),
    ])
    func readsAllFormsOfAnEndpoint(text: String, canonical: String) throws {
        let address = try RPCAddress(text)
        #expect(address.description == canonical)
        #expect(try RPCAddress(address.description) == address)
    }

    @Test func takesARelativePathFromTheCurrentDirectory() throws {
        let expected = FileManager.default.currentDirectoryPath + "/csi.sock"
        #expect(try RPCAddress("unix:csi.sock") == .unix(path: expected))
    }

    @Test(arguments: [
        ("", "neither a path nor host:port"), ("csi.sock", "neither a path"), ("unix:", "path is empty"),
        ("unix://csi.sock", "not an absolute path"), ("unix:///run/", "names a directory"),
        ("unix:///a\0b", "zero byte"), ("http://h:1", "scheme"), ("tcp://h", "neither a path"),
        ("h:", "not a port"), ("h:65536", "not a port"), ("h:-1", "not a port"), ("h:+1", "not a port"),
        ("h:٣", "not a port"), (":9000", "host is empty"), ("::1:9000", "brackets"), ("[::1:9", "brackets"),
        ("[1.2.3.4]:1", "not an IPv6"), ("a b:1", "not a host name"), ("a/b:1", "not a host name"),
        ("/" + String(repeating: "x", count: 107), "108 bytes"),
    ])
    func refusesWhatIsNoAddressAndSaysWhy(text: String, reason: String) {
        let error = #expect(throws: PerSSDError.self) { try RPCAddress(text) }
        #expect(error?.code == .invalidArgument)
        #expect(error?.message.contains(reason) == true, "\(String(describing: error))")
        #expect(error?.remedy?.contains("unix:///") == true)
    }
}
