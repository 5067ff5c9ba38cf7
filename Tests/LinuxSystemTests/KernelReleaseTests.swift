import Errors
import LinuxSystem
import Testing

@Suite struct KernelReleaseTests {
    @Test(arguments: [
        ("6.1.0-56-amd64", 6, 1), ("6.12.117+deb13-amd64", 6, 12), ("6.8", 6, 8), ("6.8-rc1", 6, 8), ("6.8+", 6, 8),
        ("5.14.0-427.13.1.el9_4.x86_64", 5, 14), ("6.10.14-linuxkit", 6, 10), ("10.0.1", 10, 0), ("6.8-200.fc40", 6, 8),
    ])
    func whatKernelsSay(text: String, major: Int, minor: Int) throws {
        let release = try KernelRelease(parsing: text)
        #expect(release.major == major && release.minor == minor)
        #expect(release.description == text)
    }

    @Test(arguments: [
        "", "6", "6.", ".8", "6..8", "-6.8", "+6.8", "6.-8", "v6.8", "6x.8", " 6.8", "Linux", "6 .8",
        "99999999999999999999.1", "6.99999999999999999999",
    ])
    func whatTellsNoVersion(text: String) {
        let error = #expect(throws: PerSSDError.self) { try KernelRelease(parsing: text) }
        #expect(error?.code == .unsupported && error?.message.contains("'\(text)'") == true)
    }

    @Test func versionsAreOrderedByTheirNumbers() throws {
        let order = [KernelRelease(5, 19), KernelRelease(6, 1), KernelRelease(6, 8), KernelRelease(6, 12)]
        #expect(order.sorted().map(\.description) == order.map(\.description))
        #expect(try KernelRelease(parsing: "6.8.0-31-generic") == KernelRelease(6, 8))
        #expect(try KernelRelease(parsing: "6.7.12") < KernelRelease(6, 8))
        #expect(try KernelRelease.current() >= KernelRelease(4, 0))
    }
}
