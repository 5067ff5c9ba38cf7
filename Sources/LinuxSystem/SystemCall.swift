import Errors
import Glibc
import SystemPackage

/// Runs a call that returns -1 and sets `errno` when it fails; one that a signal interrupted runs again.
///
/// - Parameter action: what was tried, and on what, for the error's message: "open /dev/loop0".
/// - Throws: a `PerSSDError` whose cause is the `Errno`.
@discardableResult
public func systemCall<Result: FixedWidthInteger & SignedInteger>(
    _ action: @autoclosure () -> String, _ call: () -> Result
) throws -> Result {
    while true {
        let result = call()
        if result != -1 { return result }
        let number = Errno(rawValue: errno)
        if number == .interrupted { continue }
        throw PerSSDError(number, during: action())
    }
}

extension Errno {
    static var noDevice: Errno { .init(rawValue: Glibc.ENODEV) }
    /// A file system's answer where its own structures make no sense.
    static var structureNeedsCleaning: Errno { .init(rawValue: Glibc.EUCLEAN) }
}

extension PerSSDError {
    /// What the kernel said, as an error with the kind and the remedy that fit most calls.
    public init(_ number: Errno, during action: String) {
        let (code, remedy) = Self.meaning(of: number)
        self.init(code, "could not \(action)", remedy: remedy, cause: number)
    }

    /// The first system error number in the chain of causes.
    public var errno: Errno? {
        for case let number as Errno in chain { return number }
        return nil
    }

    private static func meaning(of number: Errno) -> (Code, remedy: String?) {
        switch number {
        case .noSpace, .diskQuotaExceeded:
            (.resourceExhausted, "free space on that file system, or enlarge it")
        case .tooManyOpenFiles, .tooManyOpenFilesInSystem:
            (.resourceExhausted, "raise the limit of open files")
        case .noMemory: (.resourceExhausted, "free memory on the node")
        case .notPermitted:
            (.permissionDenied, "run it as root with the capability CAP_SYS_ADMIN (a privileged container)")
        case .permissionDenied: (.permissionDenied, "run it as root, and check the owner and the mode of what is named")
        case .readOnlyFileSystem: (.failedPrecondition, "mount that file system for writing; look for errors in dmesg")
        case .resourceBusy: (.failedPrecondition, "find what uses it, with lsof or fuser, and let it end")
        case .fileExists: (.alreadyExists, nil)
        case .noSuchFileOrDirectory, .noSuchAddressOrDevice, .noDevice: (.notFound, nil)
        case .notDirectory, .isDirectory, .tooManySymbolicLinkLevels, .fileNameTooLong, .invalidArgument,
            .directoryNotEmpty:
            (.failedPrecondition, nil)
        case .fileTooLarge: (.outOfRange, "the file system has a limit for the size of one file; ask for less")
        case .ioError: (.unavailable, "look for errors of the drive in dmesg")
        case .notSupported, .notSupportedOnSocket, .noFunction, .inappropriateIOCTLForDevice:
            (.unsupported, nil)
        case .structureNeedsCleaning:
            (.corrupt, "check the file system with e2fsck or xfs_repair")
        case .canceled: (.cancelled, nil)
        case .wouldBlock: (.unavailable, nil)
        default: (.internal, nil)
        }
    }
}
