import Foundation

/// Where the package lies on disk, and what the installer of the test dependencies has put there.
public enum PackageRoot {
    /// Without a slash at its end.
    public static let path: String = {
        let file = URL(fileURLWithPath: #filePath)
        return file.deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().path
    }()

    /// A program of the Python environment: "weed", "rclone", "python3".
    ///
    /// - Throws: `TestSetupError` that says how to install it.
    public static func virtualEnvironmentProgram(_ name: String) throws -> String {
        let program = "\(path)/.venv/bin/\(name)"
        guard access(program, X_OK) == 0 else {
            throw TestSetupError("\(program) is missing: run scripts/install-dependencies.sh test")
        }
        return program
    }

    /// A program from a Debian package, found in the usual directories.
    ///
    /// - Throws: `TestSetupError` that names the package to install.
    public static func systemProgram(_ name: String, package: String) throws -> String {
        for directory in ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"] {
            let program = "\(directory)/\(name)"
            if access(program, X_OK) == 0 { return program }
        }
        throw TestSetupError(
            "\(name) is missing: run scripts/install-dependencies.sh test, or apt-get install \(package)")
    }

    /// A program that the package builds, which lies beside the tests: "perssd", "store-racer".
    ///
    /// - Throws: `TestSetupError` where it has not been built.
    public static func builtProgram(_ name: String) throws -> String {
        for directory in productDirectories() {
            let program = "\(directory)/\(name)"
            if access(program, X_OK) == 0 { return program }
        }
        throw TestSetupError("\(name) has not been built: run swift build --build-tests")
    }

    /// The test runner is `<products>/<package>.xctest`, or a helper that was given its path with `--test-bundle-path`.
    private static func productDirectories() -> [String] {
        CommandLine.arguments.filter { $0.hasSuffix(".xctest") }
            .map { URL(fileURLWithPath: $0).deletingLastPathComponent().path } + ["\(path)/.build/debug"]
    }
}

/// What a test needs is missing or does not work.
public struct TestSetupError: Error, CustomStringConvertible {
    public let description: String
    public init(_ description: String) { self.description = description }
}
